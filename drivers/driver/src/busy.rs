//! Who has a snapshot's directories mounted: by a bind mount of them, or as layers of an overlay, in
//! any mount namespace.
//!
//! A detached mount (`umount -l`) is in no mount table and is not seen here. Open files are the
//! snapshot store's affair.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cowlab_sys::holders::{Holder, mounts_where};
use cowlab_sys::mountinfo::{self, MountEntry};

use crate::{Error, Result, SnapshotId};

/// The most holders named in a message.
const NAMED: usize = 3;

/// Lists the mounts that show one of `dirs`, or a part of it. The paths are absolute and lead
/// through no symbolic link.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn mounts_of(dirs: &[&Path]) -> Result<Vec<Holder>> {
    let own = mountinfo::read_self()?;
    let places: Vec<Place> = dirs.iter().filter_map(|dir| Place::of(&own, dir)).collect();
    let uses = |entry: &MountEntry| {
        places.iter().any(|place| place.is_bound_by(entry))
            || layers(entry)
                .iter()
                .any(|layer| dirs.iter().any(|dir| layer.starts_with(dir)))
    };
    Ok(mounts_where(uses)?)
}

/// Refuses to go on while one of the snapshot's directories is mounted.
///
/// # Errors
///
/// [`Error::Busy`], naming where and by whom.
pub fn refuse_mounted(id: SnapshotId, dirs: &[&Path]) -> Result<()> {
    refuse(id, &mounts_of(dirs)?)
}

/// Refuses to go on while something is mounted that `shows` picks as the snapshot: for file systems of which a
/// snapshot is one of its own.
///
/// # Errors
///
/// As [`refuse_mounted`].
pub fn refuse_mounted_as(id: SnapshotId, shows: impl Fn(&MountEntry) -> bool) -> Result<()> {
    refuse(id, &mounts_where(shows)?)
}

fn refuse(id: SnapshotId, holders: &[Holder]) -> Result<()> {
    if holders.is_empty() {
        return Ok(());
    }
    let mut reason = holders
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if holders.len() > NAMED {
        reason.push_str(&format!("; and {} more", holders.len() - NAMED));
    }
    Err(Error::Busy { id, reason })
}

/// A directory as mount tables name it.
struct Place {
    device: (u32, u32),
    root: PathBuf,
}

impl Place {
    fn of(mounts: &[MountEntry], dir: &Path) -> Option<Self> {
        let mount = mountinfo::of_path(mounts, dir)?;
        let below = dir.strip_prefix(&mount.mount_point).ok()?;
        Some(Self {
            device: mount.device,
            root: mount.root.join(below),
        })
    }

    fn is_bound_by(&self, entry: &MountEntry) -> bool {
        entry.device == self.device && entry.root.starts_with(&self.root)
    }
}

/// The directories that an overlay mount is made of, as who mounted it named them. Empty for any other mount.
#[must_use]
pub fn layers(entry: &MountEntry) -> Vec<PathBuf> {
    if entry.fstype != "overlay" {
        return Vec::new();
    }
    let values = |key| entry.super_option(key).into_iter();
    let own = ["upperdir", "workdir"].into_iter().flat_map(values);
    values("lowerdir+")
        .map(PathBuf::from)
        .chain(own.flat_map(|value| layer_paths(&value, None)))
        .chain(values("lowerdir").flat_map(|value| layer_paths(&value, Some(b':'))))
        .collect()
}

/// Reads the value of `upperdir` or `workdir`, and with `:` as the separator of `lowerdir`: backslashes
/// are undone (overlayfs.rst, "mount options"). The value of `lowerdir+` is a path as it stands.
#[must_use]
pub fn layer_paths(value: &OsStr, separator: Option<u8>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut path = Vec::new();
    let mut bytes = value.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        if Some(byte) == separator {
            paths.push(std::mem::take(&mut path));
        } else if byte == b'\\' {
            path.extend(bytes.next());
        } else {
            path.push(byte);
        }
    }
    paths.push(path);
    paths
        .into_iter()
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(OsString::from_vec(path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> MountEntry {
        mountinfo::parse(line.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_bind_mount_of_a_part_counts_and_one_of_the_whole_does_not() {
        let own = [entry("1 0 8:1 /data /srv rw - ext4 /dev/a rw")];
        let place = Place::of(&own, Path::new("/srv/root/7")).unwrap();
        let bound = |root: &str| {
            place.is_bound_by(&entry(&format!("2 1 8:1 {root} /m rw - ext4 /dev/a rw")))
        };
        assert!(bound("/data/root/7"));
        assert!(bound("/data/root/7/fs"));
        assert!(!bound("/data/root"));
        assert!(!bound("/data/root/77"));
    }

    #[test]
    fn layers_are_read_from_either_form() {
        let each = entry(
            "2 1 0:5 / /m rw - overlay overlay rw,lowerdir+=/r/1/diff,upperdir=/r/\\134\\134x:y/diff",
        );
        assert_eq!(
            layers(&each),
            [Path::new("/r/1/diff"), Path::new("/r/\\x:y/diff")]
        );
        let joined = entry("2 1 0:5 / /m rw - overlay overlay rw,lowerdir=/a\\134:b:/c");
        assert_eq!(layers(&joined), [Path::new("/a:b"), Path::new("/c")]);
        assert!(layers(&entry("2 1 0:5 / /m rw - ext4 x rw,lowerdir=/a")).is_empty());
    }
}
