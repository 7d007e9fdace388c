//! The driver's data set: found or made below the data set that the root directory is on.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use cowlab_driver::{Error, Result};
use cowlab_sys::durability::{fsync, fsync_dir};
use cowlab_sys::{Cmd, io, mountinfo};

use crate::dataset::{DataSets, check_length, refused};

/// The property that says which store made a data set.
const STORE: &str = "cowlab:store";
/// The longest that comes behind the driver's data set's name: the largest number and the snapshot, or quarantine.
const LONGEST_BELOW: &str = "/quarantine-16777215-999999@committed";

/// The data set that is mounted where `dir` is.
///
/// # Errors
///
/// [`Error::Unavailable`] where it is not on a data set, or on a snapshot of one.
pub(crate) fn base_of(dir: &Path) -> Result<String> {
    let dir = io("realpath", dir, fs::canonicalize(dir))?;
    let mounts = mountinfo::read_self()?;
    let found = mountinfo::of_path(&mounts, &dir);
    let refused = |what: &str| {
        Error::missing(
            format!("a ZFS data set under `{}` ({what})", dir.display()),
            "put the store on a mounted ZFS data set: `zpool create POOL DEVICE`",
        )
    };
    let mount = found.ok_or_else(|| refused("nothing is mounted there"))?;
    let source = mount.source.to_string_lossy();
    match mount.fstype.as_str() {
        "zfs" if source.contains('@') => Err(refused(&format!("`{source}` is a snapshot"))),
        "zfs" => Ok(source.into_owned()),
        other => Err(refused(&format!("the file system there is {other}"))),
    }
}

/// Finds the driver's data set of the directory `root`, or makes it.
///
/// Its name is drawn at first and kept in the root, so that two roots on one data set do not meet; it is
/// written down before the data set is made, so that a data set is never made twice.
///
/// # Errors
///
/// [`Error::ForeignRoot`] when another store made it.
pub(crate) fn claim(datasets: &DataSets, root: &Path, store: &str) -> Result<String> {
    let base = base_of(root)?;
    let name = format!("{base}/{}", name_in(root)?);
    check_length(&name, LONGEST_BELOW)?;
    if !datasets.exists(&name)
        && let Err(error) = make(&name, store)
        && !datasets.exists(&name)
    {
        return Err(error);
    }
    let [owner] = datasets.get(&name, [STORE])?;
    if owner == store {
        return Ok(name);
    }
    Err(Error::ForeignRoot {
        root: root.to_owned(),
        owner: format!("{owner} (data set `{name}`)"),
        opener: store.to_owned(),
    })
}

/// Makes a data set for a driver: one call that sets all properties or makes nothing.
pub(crate) fn make(name: &str, store: &str) -> Result<()> {
    let properties = [
        format!("{STORE}={store}"),
        "mountpoint=legacy".to_owned(),
        "xattr=sa".to_owned(),
        "acltype=posix".to_owned(),
        "com.sun:auto-snapshot=false".to_owned(),
    ];
    let options = properties.iter().flat_map(|property| ["-o", property]);
    let line = Cmd::new("zfs").arg("create").args(options).arg(name);
    line.run().map_err(|error| refused(name, error))
}

/// The last part of the data set's name, kept in the file `dataset`.
fn name_in(root: &Path) -> Result<String> {
    let path = root.join("dataset");
    let read = || fs::read_to_string(&path).map(|text| text.trim().to_owned());
    let found = match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let drawn = io("read", UUID, fs::read_to_string(UUID))?;
            let name = format!("cowlab-{}", drawn.get(..8).unwrap_or_default());
            // Linked into place whole, so that of two first opens one wins and the other reads its name.
            let fresh = root.join(format!("tmp/{name}"));
            io("write", &fresh, fs::write(&fresh, format!("{name}\n")))?;
            fsync(&fresh)?;
            match fs::hard_link(&fresh, &path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                linked => io("link", &path, linked)?,
            }
            io("unlink", &fresh, fs::remove_file(&fresh))?;
            fsync_dir(root)?;
            read()
        }
        found => found,
    };
    let name = io("read", &path, found)?;
    if is_ours(&name) {
        return Ok(name);
    }
    Err(cowlab_sys::Error::parse("the name of a data set in the driver's root", name).into())
}

/// Where the kernel gives out random names.
const UUID: &str = "/proc/sys/kernel/random/uuid";

/// Whether a name is one that [`name_in`] gives.
fn is_ours(name: &str) -> bool {
    let digits = name.strip_prefix("cowlab-").unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        assert!(is_ours("cowlab-0123abcd"));
        for name in [
            "",
            "cowlab-",
            "cowlab-0123abc/",
            "other-0123abcd",
            "cowlab-0123abcd@x",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
