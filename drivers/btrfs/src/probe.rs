//! Finds out, by doing, whether btrfs snapshots work in a directory.

use std::path::Path;

use cowlab_driver::{Error, ProbeDir, Result, Settings, Variant, make_dir};
use cowlab_sys::{btrfs, io, user_namespace};

use crate::driver::require_btrfs;
use crate::{changes, subvolume};

/// Makes a subvolume and a snapshot of it in `dir`, finds the change and deletes both.
pub(crate) fn probe(dir: &Path, _variant: &'static Variant, _settings: &Settings) -> Result<()> {
    if !user_namespace::is_host_root() {
        return Err(Error::missing("root (CAP_SYS_ADMIN)", "run as root"));
    }
    require_btrfs(dir)?;
    let place = ProbeDir::make(dir)?;
    let snapshots = ["1", "2"].map(|name| place.path().join(name));
    let tried = try_out(&snapshots);
    for snapshot in &snapshots {
        subvolume::delete(snapshot)?;
    }
    place.close()?;
    tried
}

fn try_out(snapshots: &[std::path::PathBuf; 2]) -> Result<()> {
    for snapshot in snapshots {
        make_dir(snapshot, 0o700)?;
    }
    let [parent, child] = snapshots.each_ref().map(|snapshot| snapshot.join("fs"));
    subvolume::create(&parent)?;
    let parent_fd = subvolume::open(&parent)?;
    btrfs::set_read_only(&parent_fd, true)?;
    subvolume::snapshot(&parent, &child)?;
    let file = child.join("file");
    io("write", &file, std::fs::write(&file, "probe"))?;
    let child_fd = subvolume::open(&child)?;
    btrfs::sync(&child_fd)?;
    let candidates = changes::candidates(&child_fd, &parent_fd)?;
    if candidates.iter().all(|one| one.path != Path::new("file")) {
        return Err(Error::missing(
            "a search of btrfs trees by transaction (BTRFS_IOC_TREE_SEARCH_V2)",
            "boot Linux 4.18 or later",
        ));
    }
    Ok(())
}
