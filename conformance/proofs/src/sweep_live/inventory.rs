//! Everything that a sweep could touch below a directory, entry by entry.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cowlab_sys::{loopdev, mountinfo};

use crate::gone_and_left;

/// Mounts, loop devices and files, a line each.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    mounts: BTreeSet<String>,
    devices: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Inventory {
    /// Lists what is below `place`, in the file systems mounted there as well, and loop devices of files whose file system
    /// is mounted nowhere anymore and whose names begin with one of `runs`.
    pub(super) fn take(place: &Path, runs: &[String]) -> anyhow::Result<Self> {
        let mut inventory = Self::default();
        for mount in mountinfo::at_or_below(&mountinfo::read_self()?, place) {
            inventory.mounts.insert(format!(
                "mount {} of {} `{}` at `{}`",
                mount.mount_id,
                mount.fstype,
                mount.source.display(),
                mount.mount_point.display()
            ));
        }
        for (device, image) in loopdev::list()? {
            // A tmpfs went with the mount namespace of who was killed: the path begins at its root.
            let lost = |run: &String| image.to_string_lossy().starts_with(&format!("/{run}-"));
            if image.starts_with(place) || runs.iter().any(lost) {
                let (device, image) = (device.display(), image.display());
                inventory
                    .devices
                    .insert(format!("loop device `{device}` of `{image}`"));
            }
        }
        inventory.walk(place)?;
        Ok(inventory)
    }

    fn walk(&mut self, dir: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let found = fs::symlink_metadata(&path)?;
            self.files.insert(format!(
                "file `{}`: device {}, inode {}, mode {:o}, {} names, {} bytes",
                path.display(),
                found.dev(),
                found.ino(),
                found.mode(),
                found.nlink(),
                found.len()
            ));
            if found.is_dir() {
                self.walk(&path)?;
            }
        }
        Ok(())
    }

    fn sets(&self) -> [&BTreeSet<String>; 3] {
        [&self.mounts, &self.devices, &self.files]
    }

    /// What is in one of the two lists only.
    pub(super) fn differences(&self, after: &Self) -> Vec<String> {
        let pairs = self.sets().into_iter().zip(after.sets());
        pairs
            .flat_map(|(before, after)| gone_and_left(before, after))
            .collect()
    }

    /// How many entries of `before` are still the same.
    pub(super) fn kept_of(&self, before: &Self) -> usize {
        let pairs = self.sets().into_iter().zip(before.sets());
        pairs
            .map(|(now, before)| now.intersection(before).count())
            .sum()
    }

    /// How many there are of each that `before` does not have.
    pub(super) fn beyond(&self, before: &Self) -> Count {
        let [mounts, devices, files] = self.sets();
        Count([
            mounts.difference(&before.mounts).count(),
            devices.difference(&before.devices).count(),
            files.difference(&before.files).count(),
        ])
    }
}

/// The lengths of the lists of an inventory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count([usize; 3]);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mounts, devices, files] = self.0;
        write!(
            f,
            "{mounts} mounts, {devices} loop devices, {files} directory entries"
        )
    }
}
