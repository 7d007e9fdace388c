//! libzfs_core, which is loaded when the zfs driver is opened: a program with all drivers starts where it is not installed.

use crate::raw;

/// Loads libzfs_core and libnvpair for as long as the process lives. The functions that the packages `zfs-core` and
/// `nvpair` call end the process before.
///
/// # Errors
///
/// What the loader says: the library, and what is wrong with it (dlopen(3)).
pub fn load() -> Result<(), String> {
    raw::zfs_library::load()
}
