//! What may differ between a snapshot and its parent: what `zfs diff` says, and what it leaves out.

use std::path::{Path, PathBuf};

use cowlab_driver::{Candidate, Candidates, Reach, Result};
use cowlab_sys::mount::{self, MountGuard};
use cowlab_sys::{Cmd, Guard, mountinfo, process};

use crate::diff;
use crate::driver::mount_of;
use crate::trees::Trees;

/// Two snapshots to compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared<'a> {
    /// The driver's data set.
    pub(crate) top: &'a str,
    /// A directory with the empty directories `parent` and `child`.
    pub(crate) mounts: &'a Path,
    /// The parent's `@committed`.
    pub(crate) parent: &'a str,
    /// The child's `@committed`, or its data set.
    pub(crate) child: &'a str,
}

/// The candidates of a snapshot without a parent.
pub(crate) fn everything() -> Candidates {
    vec![Candidate {
        path: PathBuf::new(),
        reach: Reach::Subtree,
    }]
}

/// Lists the paths that may differ. Neither snapshot is mounted for writing.
///
/// `zfs diff` finds data sets by its own mount table. They are mounted in the mount namespace of a thread, which
/// nobody else sees and which ends with it, however that ends.
pub(crate) fn find(compared: &Compared<'_>) -> Result<Candidates> {
    process::with_private_mounts(|| {
        let_go_of_copies(compared.top)?;
        let mut mounted = Vec::new();
        for (name, place) in [(compared.parent, "parent"), (compared.child, "child")] {
            let dataset = name.split('@').next().unwrap_or(name);
            let target = compared.mounts.join(place);
            mounted.push(mount::mount(&mount_of(dataset, true), &target)?);
        }
        let found = find_mounted(compared);
        close(mounted)?;
        found
    })?
}

/// Unmounts this namespace's copies of the driver's mounts: elsewhere snapshots would seem to be in use by them.
fn let_go_of_copies(top: &str) -> Result<()> {
    for entry in mountinfo::read_self()?.iter().rev() {
        let source = entry.source.to_string_lossy();
        let dataset = source.rsplit_once('/').map_or("", |(above, _)| above);
        if entry.fstype == "zfs" && dataset == top {
            mount::unmount(&entry.mount_point)?;
        }
    }
    Ok(())
}

fn close(mounted: Vec<MountGuard>) -> Result<()> {
    for mut guard in mounted.into_iter().rev() {
        guard.close().map_err(|leak| leak.source)?;
    }
    Ok(())
}

fn find_mounted(compared: &Compared<'_>) -> Result<Candidates> {
    let trees = Trees {
        parent: compared.mounts.join("parent"),
        child: compared.mounts.join("child"),
    };
    let output = Cmd::new("zfs")
        .args(["diff", "-FH"])
        .args([compared.parent, compared.child])
        .output()?;
    if output.status != Some(0) {
        let error = String::from_utf8_lossy(&output.stderr);
        tracing::warn!(child = compared.child, %error, "`zfs diff` does not answer");
        return trees.by_change_time();
    }
    match diff::parse(&output.stdout, &trees.child) {
        Ok(lines) => trees.widen(&lines),
        Err(error) => {
            tracing::warn!(child = compared.child, %error, "`zfs diff` is not understood");
            trees.by_change_time()
        }
    }
}
