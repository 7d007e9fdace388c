//! Finds out, by doing, whether data sets can be made, cloned, mounted and compared below a directory.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use cowlab_driver::{Error, Result, Settings, Variant};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::{at, io, user_namespace};

use crate::dataset::{DataSets, check_length, mount_of};
use crate::place;

/// Makes a data set, a snapshot and a clone of it below that of `dir`, compares the two and destroys all three.
pub(crate) fn probe(dir: &Path, _variant: &'static Variant, _settings: &Settings) -> Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !user_namespace::is_host_root() {
        return Err(Error::missing("root (CAP_SYS_ADMIN)", "run as root"));
    }
    let datasets = DataSets::open()?;
    let base = place::base_of(dir)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let top = format!("{base}/cowlab-probe-{}-{count}", std::process::id());
    check_length(&top, "/1@committed")?;
    place::make(&top, "probe")?;
    let tried = try_out(&datasets, &top);
    for name in ["/2", "/1@committed", "/1", ""] {
        datasets.destroy(&format!("{top}{name}"))?;
    }
    tried
}

fn try_out(datasets: &DataSets, top: &str) -> Result<()> {
    let [parent, child] = ["1", "2"].map(|name| format!("{top}/{name}"));
    let origin = format!("{parent}@committed");
    datasets.create(&parent, None)?;
    let mount = DetachedMount::new(&mount_of(&parent, false))?;
    let file = mount.path().join("file");
    io("write", &file, std::fs::write(&file, "probe"))?;
    drop(mount);
    datasets.snapshot(&origin)?;
    datasets.create(&child, Some(&origin))?;
    let frozen = DetachedMount::new(&mount_of(&origin, true))?;
    let mount = DetachedMount::new(&mount_of(&child, false))?;
    let [before, after] = [&frozen, &mount].map(|tree| at::stat(tree, "file"));
    let (before, after) = (before?, after?);
    if (before.ino, before.ctime) == (after.ino, after.ctime) {
        return Ok(());
    }
    Err(Error::missing(
        "clones that keep inode numbers and times",
        "take a release of OpenZFS that Debian has",
    ))
}
