//! Snapshots whose mount skips every flush (overlayfs.rst, "volatile mount").
//!
//! The kernel leaves the mark `work/work/incompat/volatile` at such a mount and refuses a further
//! one while it is there: it cannot know whether everything reached the disk. After a clean unmount
//! in the same boot nothing is lost, for the page cache still has it all. So the boot is noted
//! before a snapshot is handed out, and only in that boot is the mark taken away.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cowlab_driver::{Error, Result, SnapshotId};
use cowlab_sys::{dir, io, process};

fn mark(snapshot: &Path) -> PathBuf {
    snapshot.join("work/work/incompat/volatile")
}

fn boot_file(snapshot: &Path) -> PathBuf {
    snapshot.join("boot")
}

/// Whether a volatile mount of the snapshot is there, or was.
pub(crate) fn is_marked(snapshot: &Path) -> bool {
    mark(snapshot).symlink_metadata().is_ok()
}

/// Notes the running boot.
pub(crate) fn note_boot(snapshot: &Path) -> Result<()> {
    let (file, boot) = (boot_file(snapshot), process::boot_id()?);
    if noted_boot(snapshot)? != Some(boot.clone()) {
        io("write", &file, fs::write(&file, boot))?;
    }
    Ok(())
}

/// Removes the note, which a frozen snapshot does not need.
pub(crate) fn forget_boot(snapshot: &Path) -> Result<()> {
    let file = boot_file(snapshot);
    match fs::remove_file(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => Ok(io("unlink", &file, removed)?),
    }
}

fn noted_boot(snapshot: &Path) -> Result<Option<String>> {
    let file = boot_file(snapshot);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => Ok(Some(io("read", &file, read)?)),
    }
}

/// Whether the snapshot was mounted when the machine went down. It can still be removed.
pub(crate) fn is_crashed(snapshot: &Path) -> Result<bool> {
    Ok(is_marked(snapshot) && noted_boot(snapshot)? != Some(process::boot_id()?))
}

/// Refuses a snapshot that was mounted when the machine went down.
///
/// # Errors
///
/// [`Error::Damaged`].
pub(crate) fn refuse_crashed(id: SnapshotId, snapshot: &Path) -> Result<()> {
    if !is_crashed(snapshot)? {
        return Ok(());
    }
    Err(Error::Damaged {
        id,
        reason:
            "it was mounted volatile and the machine stopped before the unmount, so that any of \
                 its changes may be missing; remove it"
                .to_owned(),
    })
}

/// Takes the mark away. The caller has made sure that the snapshot is not mounted.
///
/// # Errors
///
/// [`Error::Damaged`] after a crash.
pub(crate) fn settle(id: SnapshotId, snapshot: &Path) -> Result<()> {
    refuse_crashed(id, snapshot)?;
    Ok(dir::remove_tree(mark(snapshot))?)
}
