//! Lower layers in one list of short links: for kernels without `lowerdir+`, and for other programs.
//!
//! The links of `<root>/l` are made when they are needed and removed with their snapshot, so that a
//! store can move between kernels.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;

use cowlab_driver::{Error, Result, SnapshotId};
use cowlab_sys::{MountOption, io};

use crate::lowers::Places;

/// The bytes of options that mount(2) takes: a page of 4096 bytes with a NUL at its end.
const LONGEST_OPTIONS: usize = 4095;

/// Room for the options that do not name layers.
const OTHER_OPTIONS: usize = 128;

/// Makes the links of these snapshots.
pub(crate) fn link(places: Places<'_>, ids: &[SnapshotId]) -> Result<()> {
    for id in ids {
        let link = places.link(*id);
        match symlink(format!("../{id}/diff"), &link) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => io("symlink", &link, made)?,
        }
    }
    Ok(())
}

/// Removes the link of a snapshot, if there is one.
pub(crate) fn unlink(places: Places<'_>, id: SnapshotId) -> Result<()> {
    let link = places.link(id);
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => Ok(io("unlink", &link, removed)?),
    }
}

/// Refuses options that mount(2) cannot take.
pub(crate) fn check_length(options: &[MountOption]) -> Result<()> {
    let length = |option: &MountOption| match option {
        MountOption::Flag(name) => name.len() + 1,
        MountOption::Text(name, value) => name.len() + value.len() + 2,
    };
    let value = options.iter().map(length).sum::<usize>() + OTHER_OPTIONS;
    if value > LONGEST_OPTIONS {
        return Err(Error::Limit {
            what: "the length of the mount options in bytes",
            value,
            limit: LONGEST_OPTIONS,
            because: "mount(2) passes one page, and this kernel has no `lowerdir+` (Linux 6.8); \
                      a shorter driver root or fewer layers fit",
        });
    }
    Ok(())
}
