//! Whether one entry differs between two trees.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;

use cowlab_sys::{FileKind, Result, Stat, Time, at, mountinfo, xattr};

use super::content;
use super::metadata::{Xattrs, is_portable, read_xattrs};

/// How far a comparison goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Attributes, and not what is in files: for names that only might be missing.
    Attributes,
    /// Files are read where nothing else differs.
    Content,
}

/// A comparison of two trees.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    are_on_one_file_system: bool,
    /// Since when the child, a copy with the parent's inode numbers and times, could be written to.
    copied: Option<Time>,
    /// What was found for files that have several names, which are read once.
    read: HashMap<[u64; 4], bool>,
}

impl Comparison {
    /// Compares the trees that have these roots.
    pub(super) fn of(parent: &Stat, child: &Stat) -> Self {
        let are_on_one_file_system = parent.dev == child.dev || share_super_block(parent, child);
        Self {
            are_on_one_file_system,
            ..Self::default()
        }
    }

    /// Takes the child for a copy of the parent with the same inode numbers and times.
    pub(super) fn of_copies(self, copied: Option<Time>) -> Self {
        Self { copied, ..self }
    }

    /// Whether the child's entry cannot have been touched since it was copied.
    fn is_untouched(&self, parent: &Stat, child: &Stat) -> bool {
        self.copied.is_some_and(|copied| child.ctime < copied) && inode(parent) == inode(child)
    }

    /// Tells whether two directories differ, apart from what is in them.
    pub(super) fn differ_here(
        &self,
        parent_dir: &File,
        child_dir: &File,
        parent: &Stat,
        child: &Stat,
    ) -> Result<bool> {
        Ok(attributes(parent) != attributes(child)
            || read_xattrs(parent_dir)? != read_xattrs(child_dir)?)
    }

    /// Tells whether two entries of one type differ.
    pub(super) fn differ(
        &mut self,
        (parent_dir, child_dir): (&File, &File),
        name: &OsStr,
        (parent, child): (&Stat, &Stat),
        depth: Depth,
    ) -> Result<bool> {
        if self.is_untouched(parent, child) {
            return Ok(false);
        }
        if attributes(parent) != attributes(child) {
            return Ok(true);
        }
        if (parent.dev, parent.ino) == (child.dev, child.ino) {
            // One file seen twice; a snapshot's files have a device of their own.
            return Ok(false);
        }
        if child.kind() == FileKind::Symlink
            && at::read_link(parent_dir, name)? != at::read_link(child_dir, name)?
        {
            return Ok(true);
        }
        if xattrs_of(parent_dir, name)? != xattrs_of(child_dir, name)? {
            return Ok(true);
        }
        if child.kind() != FileKind::Regular || child.size == 0 || depth == Depth::Attributes {
            return Ok(false);
        }
        let key = [parent.dev, parent.ino, child.dev, child.ino];
        if let Some(known) = self.read.get(&key) {
            return Ok(*known);
        }
        let open = |dir| at::open(dir, name, at::OFlags::RDONLY, 0).map(File::from);
        let differ = !content::is_same(
            &open(parent_dir)?,
            &open(child_dir)?,
            self.are_on_one_file_system,
        )?;
        if child.nlink > 1 || parent.nlink > 1 {
            self.read.insert(key, differ);
        }
        Ok(differ)
    }
}

/// What counts of a `stat` besides the type: not links, times of access and change, blocks. A
/// directory's size is its file system's affair.
fn attributes(stat: &Stat) -> impl PartialEq + use<> {
    let size = if stat.kind() == FileKind::Regular {
        stat.size
    } else {
        0
    };
    let is_device = matches!(stat.kind(), FileKind::CharDevice | FileKind::BlockDevice);
    let rdev = if is_device { stat.rdev } else { 0 };
    // The mode of a symbolic link is no one's choice.
    let mode = if stat.kind() == FileKind::Symlink {
        0
    } else {
        stat.permissions()
    };
    (mode, stat.uid, stat.gid, stat.mtime, size, rdev)
}

/// What is equal in a copy of an inode until it is touched. The change time would do; the others cost nothing, and cover a
/// clock that was set back.
fn inode(stat: &Stat) -> impl PartialEq + use<> {
    let identity = (stat.ino, stat.btime, stat.mode, stat.rdev);
    let content = (stat.ctime, stat.mtime, stat.size, stat.blocks);
    (identity, content, stat.nlink, stat.uid, stat.gid)
}

fn xattrs_of(dir: &File, name: &OsStr) -> Result<Xattrs> {
    // One call lists the names; opening the file first would take three more.
    let mut xattrs = xattr::read_all(at::descriptor_path(dir).join(name))?;
    xattrs.retain(|(name, _)| is_portable(name));
    Ok(xattrs)
}

/// Tells whether two mounts show one file system. Files of btrfs subvolumes have a device number for
/// each subvolume, and their mounts have that of the super block (mountinfo, field 3).
fn share_super_block(a: &Stat, b: &Stat) -> bool {
    let Ok(mounts) = mountinfo::read_self() else {
        return false;
    };
    let device = |stat: &Stat| {
        let mount = mounts
            .iter()
            .find(|mount| mount.mount_id == stat.mount_id)?;
        (mount.fstype == "btrfs").then_some(mount.device)
    };
    matches!((device(a), device(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_copy_is_untouched_only_with_the_same_older_change_time() {
        let dir = tempfile::tempdir().unwrap();
        let stat = cowlab_sys::stat::lstat(dir.path()).unwrap();
        let later = |time: Time| Time {
            sec: time.sec + 1,
            ..time
        };
        let of = |copied| Comparison::default().of_copies(copied);
        let after = Some(later(stat.ctime));
        assert!(of(after).is_untouched(&stat, &stat));
        assert!(!of(None).is_untouched(&stat, &stat));
        // In the tick of the copy both may have changed.
        assert!(!of(Some(stat.ctime)).is_untouched(&stat, &stat));
        let ctime = later(stat.ctime);
        let after = Some(later(ctime));
        assert!(!of(after).is_untouched(&stat, &Stat { ctime, ..stat }));
        let ino = stat.ino + 1;
        assert!(!of(after).is_untouched(&stat, &Stat { ino, ..stat }));
    }
}
