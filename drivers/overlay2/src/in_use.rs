//! Whether the kernel still has an upper directory mounted where no mount table tells.
//!
//! The store reads the mount tables. The kernel also knows of mounts that are in no table: made and
//! never attached, or detached with `umount -l` and still used by a process. A mount with index=on
//! refuses, with `EBUSY`, a layer that is an upper elsewhere (fs/overlayfs/super.c,
//! `ovl_report_in_use`); so a mount of scratch directories, attached nowhere, asks it.

use std::time::Duration;

use cowlab_driver::{Error, Home, Result, SnapshotId};
use cowlab_sys::lock::FileLock;
use cowlab_sys::{Errno, MountAttributes, MountOption, mount};

use crate::lowers::{Places, Style, escape, overlay};

/// How often, and how far apart, the kernel is asked: a child that this process has forked holds copies of its descriptors until
/// its execve(2), and with them the detached mounts that have ended here.
const CHECKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Refuses to go on while the snapshot can be written through any mount, detached ones included.
///
/// # Errors
///
/// [`Error::Busy`].
pub(crate) fn refuse_writable(home: &Home, style: Style, id: SnapshotId) -> Result<()> {
    let places = Places(home.root());
    let probe = places.probe();
    let _lock = FileLock::exclusive(&probe.join("lock"))?;
    // The upper remembers its first lower, so that one is always the same.
    let mut options = style.lowers(&[places.empty(), places.diff(id)]);
    options.extend([
        MountOption::text("upperdir", escape(&probe.join("upper"))),
        MountOption::text("workdir", escape(&probe.join("work"))),
        MountOption::text("index", "on"),
    ]);
    let spec = overlay(options, MountAttributes::default());
    for _ in 0..CHECKS {
        match mount::probe(&spec) {
            Err(error) if error.errno() == Some(Errno::BUSY) => std::thread::sleep(PAUSE),
            Err(error) => {
                tracing::debug!(%id, %error, "the kernel cannot be asked whether the upper is in use");
                return Ok(());
            }
            Ok(()) => return Ok(()),
        }
    }
    Err(Error::Busy {
        id,
        reason: "the kernel still has it mounted, in no mount table: a process uses it after `umount -l`, or holds the \
                 mount by a descriptor"
            .to_owned(),
    })
}
