//! Walks of a directory tree that a driver keeps: to list it, and to add up what it allocates.
//!
//! A walk goes by a [`Cursor`], so a tree may be deeper than a path can name, a stack can hold or descriptors can be open.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cowlab_sys::at::{self, OFlags};
use cowlab_sys::cursor::Cursor;
use cowlab_sys::{FileKind, Stat, dir, fiemap, xattr};

use crate::{Allocation, Bytes, Result, Usage};

/// The unit of `st_blocks`, in bytes (stat(2)).
const BLOCK: u64 = 512;

/// An entry met by [`walk`].
#[derive(Debug)]
pub struct Visited<'a> {
    /// Its directory.
    pub dir: BorrowedFd<'a>,
    /// Its path below the top.
    pub path: &'a Path,
    /// Its type.
    pub kind: FileKind,
}

impl Visited<'_> {
    /// The name in its directory.
    #[must_use]
    pub fn name(&self) -> &Path {
        self.path.file_name().map_or(self.path, Path::new)
    }

    /// Its attributes, or `None` when it has gone since.
    ///
    /// # Errors
    ///
    /// What stat(2) refused.
    pub fn stat(&self) -> Result<Option<Stat>> {
        Ok(at::stat_if_present(self.dir, self.name())?)
    }
}

/// Visits every entry below the directory `top`, a directory before what is in it. Entries that
/// vanish meanwhile are passed over.
///
/// # Errors
///
/// The first directory that cannot be read, or what `visit` returned.
pub fn walk(top: &Path, visit: &mut dyn FnMut(&Visited<'_>) -> Result<()>) -> Result<()> {
    let mut cursor = Cursor::open(top)?.across_mounts(true);
    let mut path = PathBuf::new();
    let mut levels = vec![dir::read_dir_fd(cursor.dir())?.into_iter()];
    while let Some(entries) = levels.last_mut() {
        let Some(entry) = entries.next() else {
            levels.pop();
            cursor.leave()?;
            path.pop();
            continue;
        };
        path.push(&entry.name);
        let visited = Visited {
            dir: cursor.dir().as_fd(),
            path: &path,
            kind: entry.kind,
        };
        visit(&visited)?;
        if entry.kind == FileKind::Directory && cursor.enter_if_present(&entry.name)? {
            levels.push(dir::read_dir_fd(cursor.dir())?.into_iter());
        } else {
            path.pop();
        }
    }
    Ok(())
}

/// Opens the directory that `path` is in, below `top`, and returns it with the last name. It goes step by
/// step, for a path may be longer than one call takes, and follows no symbolic link.
///
/// # Errors
///
/// The step that cannot be taken.
pub fn open_parent(top: impl AsFd, path: &Path) -> Result<(OwnedFd, &Path)> {
    let mut dir = at::open_path(top, ".")?;
    for step in path.parent().into_iter().flatten() {
        dir = at::open_path(&dir, step)?;
    }
    Ok((dir, path.file_name().map_or(path, Path::new)))
}

/// Gives the entry `name` of `dir` the owner, mode, xattrs and times of `original`, which has the
/// attributes `stat`; of the xattrs those that `keep` picks.
///
/// # Errors
///
/// The attribute that cannot be set.
pub fn copy_attributes(
    original: impl AsFd,
    stat: &Stat,
    dir: impl AsFd,
    name: &Path,
    keep: impl Fn(&OsStr) -> bool,
) -> Result<()> {
    // The owner comes first, for chown(2) clears set-user-id bits and capabilities.
    at::chown(&dir, name, stat.uid, stat.gid)?;
    if stat.kind() != FileKind::Symlink {
        at::chmod(&dir, name, stat.permissions())?;
    }
    let xattrs = xattr::read_all_fd(original)?;
    if xattrs.iter().any(|(key, _)| keep(key)) {
        let copy = at::open_path(&dir, name)?;
        for (key, value) in xattrs.into_iter().filter(|(key, _)| keep(key)) {
            xattr::set_fd(&copy, key, &value)?;
        }
    }
    Ok(at::set_times(dir, name, stat.atime, stat.mtime)?)
}

/// Adds up what inodes allocate, each once.
#[derive(Debug, Default)]
pub struct Tally {
    exclusive: Allocation,
    shared: Bytes,
    /// Inodes with several names that were counted, by device and number.
    linked: BTreeSet<(u64, u64)>,
}

impl Tally {
    /// Counts an inode, of whose bytes `shared` belong to others as well. False when it was
    /// counted under another name.
    pub fn add(&mut self, stat: &Stat, shared: impl FnOnce() -> Result<Bytes>) -> Result<bool> {
        let is_linked = stat.nlink > 1 && stat.kind() != FileKind::Directory;
        if is_linked && !self.linked.insert((stat.dev, stat.ino)) {
            return Ok(false);
        }
        let all = stat.blocks.saturating_mul(BLOCK);
        // Extents count unpacked bytes, and blocks packed ones, where the file system compresses.
        let shared = if all == 0 { 0 } else { shared()?.0.min(all) };
        let own = Allocation {
            bytes: Bytes(all - shared),
            inodes: 1,
        };
        self.exclusive = self.exclusive + own;
        self.shared += Bytes(shared);
        Ok(true)
    }

    /// What was counted and belongs to these inodes alone.
    #[must_use]
    pub const fn exclusive(&self) -> Allocation {
        self.exclusive
    }

    /// Bytes that were counted and belong to others as well.
    #[must_use]
    pub const fn shared(&self) -> Bytes {
        self.shared
    }
}

/// Measures the tree at `top`, itself included, by `st_blocks`: bytes that the file system shares
/// between files count in full.
///
/// # Errors
///
/// The first entry that cannot be read.
pub fn allocation(top: &Path) -> Result<Allocation> {
    let mut tally = Tally::default();
    let nothing = || Ok(Bytes(0));
    tally.add(&cowlab_sys::stat::lstat(top)?, nothing)?;
    walk(top, &mut |entry| {
        if let Some(stat) = entry.stat()? {
            tally.add(&stat, nothing)?;
        }
        Ok(())
    })?;
    Ok(tally.exclusive())
}

/// Measures the tree at `top`, itself included, and asks FIEMAP which extents of its files are
/// shared. Only data is told apart: an inode, and the blocks of a directory, count as exclusive.
///
/// # Errors
///
/// The first entry that cannot be read; `EOPNOTSUPP` where the file system has no FIEMAP.
pub fn usage_by_extents(top: &Path) -> Result<Usage> {
    let mut tally = Tally::default();
    tally.add(&cowlab_sys::stat::lstat(top)?, || Ok(Bytes(0)))?;
    walk(top, &mut |entry| {
        if let Some(stat) = entry.stat()? {
            tally.add(&stat, || shared_bytes(entry.dir, entry.name(), entry.kind))?;
        }
        Ok(())
    })?;
    Ok(Usage {
        exclusive: tally.exclusive(),
        shared: Some(Allocation {
            bytes: tally.shared(),
            inodes: 0,
        }),
    })
}

/// The bytes of a file that lie in extents which other files, or other snapshots, refer to as well.
///
/// # Errors
///
/// When it cannot be opened, or the file system has no FIEMAP.
pub fn shared_bytes(dir: impl AsFd, name: &Path, kind: FileKind) -> Result<Bytes> {
    if kind != FileKind::Regular {
        return Ok(Bytes(0));
    }
    let file = File::from(at::open(dir, name, OFlags::RDONLY | OFlags::NONBLOCK, 0)?);
    let extents = fiemap::extents(&file, false)?;
    let shared = extents.iter().filter(|extent| extent.is_shared());
    Ok(Bytes(shared.map(|extent| extent.length).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_names_parents_first_and_goes_deep() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("a/b/c")).unwrap();
        std::fs::write(top.path().join("a/b/f"), "x").unwrap();
        let mut seen = Vec::new();
        walk(top.path(), &mut |entry| {
            seen.push((entry.path.to_owned(), entry.kind));
            Ok(())
        })
        .unwrap();
        let place = |path: &str| seen.iter().position(|(found, _)| found == Path::new(path));
        assert_eq!(seen.len(), 4);
        assert!(place("a") < place("a/b") && place("a/b") < place("a/b/f"));
    }

    #[test]
    fn links_count_once() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("file");
        std::fs::write(&file, vec![1; 8192]).unwrap();
        let one = allocation(top.path()).unwrap();
        assert_eq!(one.inodes, 2);
        std::fs::hard_link(&file, top.path().join("link")).unwrap();
        assert_eq!(allocation(top.path()).unwrap().inodes, 2);
        assert!(one.bytes.0 >= 8192);
    }
}
