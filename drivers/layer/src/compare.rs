//! Whether one entry differs between two trees: its attributes, its content, and which other names are the same file.
//!
//! A name that is otherwise unchanged counts as modified when it is one file with others than
//! before: with a name that was added or replaced, or without one that is unchanged as well. What
//! was one file with it and is removed or replaced now makes no difference: applying the layer
//! takes that name away and leaves the rest together.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

use cowlab_sys::fiemap::{self, Extent};
use cowlab_sys::{FileKind, Result, Stat, Time, at, io, mountinfo, xattr};

use crate::metadata::{Xattrs, is_portable, read_xattrs};

/// How far a comparison goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Attributes, and not what is in files: for names that only might be missing.
    Attributes,
    /// Files are read where nothing else differs.
    Content,
}

/// A comparison of two trees.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    are_on_one_file_system: bool,
    /// Since when the child, a copy with the parent's inode numbers and times, could be written to.
    copied: Option<Time>,
    /// What was found for files that have several names, which are read once.
    read: HashMap<[u64; 4], bool>,
}

impl Comparison {
    /// Compares the trees that have these roots.
    pub(crate) fn of(parent: &Stat, child: &Stat) -> Self {
        let are_on_one_file_system = parent.dev == child.dev || share_super_block(parent, child);
        Self {
            are_on_one_file_system,
            ..Self::default()
        }
    }

    /// Takes the child for a copy of the parent with the same inode numbers and times.
    pub(crate) fn of_copies(self, copied: Option<Time>) -> Self {
        Self { copied, ..self }
    }

    /// Whether the child's entry cannot have been touched since it was copied.
    fn is_untouched(&self, parent: &Stat, child: &Stat) -> bool {
        self.copied.is_some_and(|copied| child.ctime < copied) && inode(parent) == inode(child)
    }

    /// Tells whether two directories differ, apart from what is in them.
    pub(crate) fn differ_here(
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
    pub(crate) fn differ(
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
        let differ = !has_same_content(
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

/// Bytes read from each file at a time.
const BLOCK: usize = 128 * 1024;

/// Tells whether two files of the same size have the same content.
///
/// Where both lie on one file system, the same extents are the same content and nothing is read.
/// Holes on both sides are not read either.
fn has_same_content(a: &File, b: &File, are_on_one_file_system: bool) -> Result<bool> {
    if are_on_one_file_system && have_same_extents(a, b) {
        return Ok(true);
    }
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    for (start, length) in union(&fiemap::data_segments(a)?, &fiemap::data_segments(b)?) {
        let mut offset = start;
        while offset < start + length {
            let wanted = usize::try_from(start + length - offset)
                .unwrap_or(BLOCK)
                .min(BLOCK);
            let count = read_at(a, &mut left[..wanted], offset)?;
            if count != read_at(b, &mut right[..wanted], offset)? || left[..count] != right[..count]
            {
                return Ok(false);
            }
            if count == 0 {
                break;
            }
            offset += u64::try_from(count).unwrap_or(0);
        }
    }
    Ok(true)
}

/// The same pieces of one device at the same places of both files are the same bytes, if the kernel
/// says where they are: not yet placed, kept within metadata, or encoded (several files may use
/// different parts of one compressed piece) prove nothing (kernel, filesystems/fiemap.rst).
fn have_same_extents(a: &File, b: &File) -> bool {
    let is_placed = |extent: &Extent| {
        !(extent.is_unknown() || extent.is_delalloc() || extent.is_inline() || extent.is_encoded())
    };
    let place = |extent: &Extent| {
        (
            extent.logical,
            extent.physical,
            extent.length,
            extent.is_unwritten(),
        )
    };
    let are_same = |sync| match (fiemap::extents(a, sync), fiemap::extents(b, sync)) {
        (Ok(a), Ok(b)) => {
            a.iter().chain(&b).all(is_placed) && a.iter().map(place).eq(b.iter().map(place))
        }
        // No FIEMAP here: the bytes decide.
        _ => false,
    };
    // Data that waits to be written to a place of its own still shows the shared one, so it is
    // written first; but only for files that seem to share, because it is slow.
    are_same(false) && are_same(true)
}

/// Merges two ordered lists of offsets and lengths.
fn union(a: &[(u64, u64)], b: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut all: Vec<_> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(all.len());
    for (start, length) in all {
        match merged.last_mut() {
            Some(last) if start <= last.0 + last.1 => {
                last.1 = last.1.max(start + length - last.0);
            }
            _ => merged.push((start, length)),
        }
    }
    merged
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        let at = offset + u64::try_from(count).unwrap_or(0);
        match file.read_at(&mut buffer[count..], at) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return io("pread", "", Err(error)),
        }
    }
    Ok(count)
}

/// A file: the device and the inode.
pub(crate) type Inode = (u64, u64);

/// The names of files that have several, in both trees.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    parent: HashMap<Inode, Group>,
    child: HashMap<Inode, Group>,
    names: Vec<Name>,
}

/// The names of one file.
#[derive(Debug, Default)]
struct Group {
    names: Vec<usize>,
    links: u64,
}

#[derive(Debug)]
struct Name {
    path: Vec<u8>,
    parent: Option<Inode>,
    child: Option<Inode>,
    /// Whether both trees have it and nothing else about it differs.
    is_kept: bool,
}

/// The file that a name belongs to, if it has several names.
pub(crate) fn linked(stat: &Stat) -> Option<Inode> {
    let is_linked = stat.nlink > 1 && stat.kind() != FileKind::Directory;
    is_linked.then_some((stat.dev, stat.ino))
}

impl Groups {
    /// Notes a name, what both trees have there, and whether that is otherwise the same.
    pub(crate) fn note(
        &mut self,
        path: &[u8],
        parent: Option<&Stat>,
        child: Option<&Stat>,
        is_kept: bool,
    ) {
        let name = Name {
            path: path.to_vec(),
            parent: parent.and_then(linked),
            child: child.and_then(linked),
            is_kept,
        };
        if name.parent.is_none() && name.child.is_none() {
            return;
        }
        let index = self.names.len();
        for (groups, inode, stat) in [
            (&mut self.parent, name.parent, parent),
            (&mut self.child, name.child, child),
        ] {
            if let Some(inode) = inode {
                let group = groups.entry(inode).or_default();
                group.names.push(index);
                group.links = stat.map_or(0, |stat| stat.nlink);
            }
        }
        self.names.push(name);
    }

    /// Tells whether an otherwise unchanged name is one file with other names than before.
    fn has_changed(&self, index: usize) -> bool {
        let name = &self.names[index];
        let alone = [index];
        let group = |groups: &HashMap<Inode, Group>, inode: Option<Inode>| match inode {
            Some(inode) => groups[&inode].names.clone(),
            None => alone.to_vec(),
        };
        let mut before = group(&self.parent, name.parent);
        before.retain(|index| self.names[*index].is_kept);
        name.is_kept && before != group(&self.child, name.child)
    }

    /// The files of the parent of which a name may have changed that was not looked at: a name that
    /// was looked at has left the others, and not all of them are known.
    pub(crate) fn incomplete(&self) -> HashSet<Inode> {
        let left = |(index, name): (usize, &Name)| {
            let inode = name.parent.filter(|_| name.is_kept)?;
            let group = &self.parent[&inode];
            let links = name.child.map_or(1, |child| self.child[&child].links);
            let is_known = u64::try_from(group.names.len()).is_ok_and(|known| known >= group.links);
            let has_left = links != group.links || self.has_changed(index);
            (has_left && !is_known).then_some(inode)
        };
        self.names.iter().enumerate().filter_map(left).collect()
    }

    /// Whether a name was noted.
    pub(crate) fn has_seen(&self, inode: Inode, path: &[u8]) -> bool {
        let names = self
            .parent
            .get(&inode)
            .map_or(&[][..], |group| &group.names);
        names.iter().any(|index| self.names[*index].path == path)
    }

    /// The names that are modified for their links alone.
    pub(crate) fn changed_names(&self) -> Vec<Vec<u8>> {
        let changed = (0..self.names.len()).filter(|index| self.has_changed(*index));
        changed
            .map(|index| self.names[index].path.clone())
            .collect()
    }
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

    fn file(size: u64, pieces: &[(&[u8], u64)]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (bytes, offset) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    #[test]
    fn compares_bytes_and_not_holes() {
        let size = 5 << 20;
        let plain = file(size, &[(&[1; 300_000], 1 << 20), (b"end", size - 3)]);
        let padded = file(
            size,
            &[
                (&[0; 70_000], 0),
                (&[1; 300_000], 1 << 20),
                (b"end", size - 3),
            ],
        );
        let other = file(size, &[(&[1; 300_000], 1 << 20), (b"enD", size - 3)]);
        for shared in [true, false] {
            assert!(has_same_content(&plain, &padded, shared).unwrap());
            assert!(!has_same_content(&plain, &other, shared).unwrap());
            assert!(has_same_content(&file(0, &[]), &file(0, &[]), shared).unwrap());
            assert!(has_same_content(&file(9, &[]), &file(9, &[(&[0; 9], 0)]), shared).unwrap());
        }
    }

    #[test]
    fn segments_merge() {
        assert_eq!(
            union(&[(0, 2), (8, 2)], &[(1, 3), (4, 1), (9, 9)]),
            [(0, 5), (8, 10)]
        );
        assert_eq!(union(&[], &[]), []);
    }

    fn stat(ino: u64, nlink: u64) -> Stat {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        Stat {
            ino,
            nlink,
            dev: 1,
            ..cowlab_sys::stat::lstat(dir.path().join("f")).unwrap()
        }
    }

    /// An inode and its links, if it is there.
    type Seen = Option<(u64, u64)>;

    fn groups(names: &[(&str, Seen, Seen)]) -> Groups {
        let mut groups = Groups::default();
        for (path, parent, child) in names {
            let stat = |pair: &Seen| pair.map(|(ino, nlink)| stat(ino, nlink));
            let (parent, child) = (stat(parent), stat(child));
            let is_kept = parent.is_some() && child.is_some();
            groups.note(path.as_bytes(), parent.as_ref(), child.as_ref(), is_kept);
        }
        groups
    }

    fn changed(names: &[(&str, Seen, Seen)]) -> Vec<String> {
        let text = |path| String::from_utf8(path).unwrap();
        groups(names)
            .changed_names()
            .into_iter()
            .map(text)
            .collect()
    }

    #[test]
    fn a_group_is_its_names_and_not_its_inode() {
        let same = [
            ("a", Some((1, 2)), Some((7, 2))),
            ("b", Some((1, 2)), Some((7, 2))),
        ];
        assert!(changed(&same).is_empty());
        // Of three names, one became a file of its own.
        let names = [
            ("a", Some((1, 3)), Some((7, 2))),
            ("b", Some((1, 3)), Some((7, 2))),
            ("c", Some((1, 3)), Some((8, 1))),
        ];
        assert_eq!(changed(&names), ["a", "b", "c"]);
        // A link was added to a file that had one name.
        assert_eq!(
            changed(&[("a", Some((1, 1)), Some((1, 2))), ("b", None, Some((1, 2)))]),
            ["a"]
        );
        // One of two was removed: the other stays as it is.
        assert!(
            changed(&[("a", Some((1, 2)), Some((1, 1))), ("b", Some((1, 2)), None)]).is_empty()
        );
    }

    #[test]
    fn names_that_were_not_looked_at_are_missed_only_where_they_matter() {
        // Of two links one became a file of its own, and the other is unknown.
        assert_eq!(
            groups(&[("a", Some((1, 2)), Some((7, 1)))]).incomplete(),
            [(1, 1)].into()
        );
        // Both are known; or nothing happened; or the name is gone.
        let both = [
            ("a", Some((1, 2)), Some((7, 1))),
            ("b", Some((1, 2)), Some((1, 2))),
        ];
        assert!(groups(&both).incomplete().is_empty());
        assert!(
            groups(&[("a", Some((1, 2)), Some((1, 2)))])
                .incomplete()
                .is_empty()
        );
        assert!(groups(&[("a", Some((1, 2)), None)]).incomplete().is_empty());
    }
}
