//! Size limits, where the operator has turned quotas on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cowlab_driver::{Bytes, Error, Result};
use cowlab_sys::{Cmd, io};

use crate::NAME;

/// Limits what the subvolume of a new snapshot may hold of its own.
///
/// # Errors
///
/// [`Error::Unsupported`] while quotas are off: turning them on is the operator's choice, since they
/// slow down the whole file system and have crashed hosts (moby issue 34593).
pub(crate) fn limit(snapshot: &Path, limit: Bytes) -> Result<()> {
    match set(snapshot, &limit.0.to_string()).run() {
        Err(cowlab_sys::Error::Command { stderr, .. }) => Err(Error::Unsupported {
            driver: NAME,
            what: format!("a size limit without quotas ({})", stderr.trim()),
            remedy: "turn quotas on with `btrfs quota enable`, at the cost of slower snapshots, or use a \
                     file system of the wanted size"
                .to_owned(),
        }),
        limited => {
            limited?;
            let mark = mark(snapshot);
            io("create", &mark, File::create(&mark))?;
            Ok(())
        }
    }
}

/// Takes the limit of a snapshot away, if it has one: a frozen snapshot does not grow, and a child would begin with the
/// limit of its parent (fs/btrfs/qgroup.c, btrfs_qgroup_inherit).
pub(crate) fn lift(snapshot: &Path) -> Result<()> {
    let mark = mark(snapshot);
    if mark.symlink_metadata().is_err() {
        return Ok(());
    }
    match set(snapshot, "none").run() {
        Err(error @ cowlab_sys::Error::Command { .. }) => {
            // Quotas were turned off since, and the limit went with them.
            tracing::warn!(%error, "a size limit is left");
        }
        lifted => lifted?,
    }
    Ok(io("unlink", &mark, fs::remove_file(&mark))?)
}

fn set(snapshot: &Path, limit: &str) -> Cmd {
    let line = Cmd::new("btrfs").args(["qgroup", "limit", "-e", limit]);
    line.arg(snapshot.join("fs"))
}

fn mark(snapshot: &Path) -> PathBuf {
    snapshot.join("limited")
}
