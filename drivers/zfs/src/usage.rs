//! What a snapshot allocates.

use cowlab_driver::{Allocation, Bytes, Result, Usage};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::{Error, stat};

use crate::dataset::{DataSets, mount_of};

/// Measures the snapshot that is the data set `name`, whose content `shown` shows: mounting a frozen data set itself, even
/// read-only, may rewrite its first block, to forget an intent log (zil.c, `zil_destroy`).
pub(crate) fn measure(datasets: &DataSets, name: &str, shown: &str) -> Result<Usage> {
    // The properties are those of the last transaction group on disk.
    datasets.sync(name)?;
    let [used, by_snapshots, referenced, origin] =
        datasets.get(name, ["used", "usedbysnapshots", "referenced", "origin"])?;
    let (used, by_snapshots, referenced) =
        (number(&used)?, number(&by_snapshots)?, number(&referenced)?);
    let own_and_seen = used.saturating_sub(by_snapshots);
    let inodes = inodes(shown)?;
    let inherited = match origin.as_str() {
        "-" => 0,
        origin => self::inodes(origin)?.min(inodes),
    };
    Ok(Usage {
        exclusive: Allocation {
            bytes: Bytes(used),
            inodes: inodes - inherited,
        },
        shared: Some(Allocation {
            bytes: Bytes(referenced.saturating_sub(own_and_seen)),
            inodes: inherited,
        }),
    })
}

fn number(text: &str) -> Result<u64> {
    let number = text.parse().ok();
    Ok(number.ok_or_else(|| Error::parse("a number of `zfs get`", text))?)
}

/// How many objects a data set or snapshot has in use (zfs_vfsops.c, `zfs_statvfs`).
fn inodes(name: &str) -> Result<u64> {
    let mount = DetachedMount::new(&mount_of(name, true))?;
    let found = stat::statfs(mount.path())?;
    Ok(found.files.saturating_sub(found.files_free))
}
