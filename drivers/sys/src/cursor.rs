//! A place in a directory tree, moved one name at a time and never through a symbolic link: what every walk of a tree is
//! made of.
//!
//! The number of open descriptors is bounded at any depth, no path is ever given to the kernel, and each step costs the
//! same: a directory far above is closed, and opened again by `..` from the one below it. A directory that was moved away
//! meanwhile leads elsewhere; the device and inode number tell, and the walk ends with `ESTALE`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::stat::{self, Stat};
use crate::{Errno, Result, at, dir, sys};

/// How many directories are kept open besides the root: ordinary trees are less deep.
const OPEN: usize = 64;

/// A directory of a tree, and the way to it from the tree's root.
#[derive(Debug)]
pub struct Cursor {
    root: File,
    levels: Vec<Level>,
    /// The path of the current directory, without slashes at its ends.
    path: Vec<u8>,
    across_mounts: bool,
}

/// A directory on the way.
#[derive(Debug)]
struct Level {
    /// Where its name ends in the path.
    end: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(File),
    /// Closed, with device and inode number to know it again by.
    Closed(u64, u64),
}

impl Cursor {
    /// Starts at the directory `root`; symbolic links on the way to it are followed.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`]: `ENOTDIR` for anything but a directory.
    pub fn open(root: &Path) -> Result<Self> {
        dir::open(root).map(|root| Self::from_dir(root.into()))
    }

    /// Starts at an open directory.
    #[must_use]
    pub fn from_dir(root: File) -> Self {
        Self {
            root,
            levels: Vec::new(),
            path: Vec::new(),
            across_mounts: false,
        }
    }

    /// Lets the cursor enter what is mounted in the tree. Without, a mount point is an error.
    #[must_use]
    pub fn across_mounts(mut self, across_mounts: bool) -> Self {
        self.across_mounts = across_mounts;
        self
    }

    /// The current directory, open for reading.
    pub fn dir(&self) -> &File {
        match self.levels.last().map(|level| &level.state) {
            None => &self.root,
            Some(State::Open(file)) => file,
            Some(State::Closed(..)) => unreachable!("the current directory is kept open"),
        }
    }

    /// The root, open for reading.
    pub fn root(&self) -> &File {
        &self.root
    }

    /// How many directories the current one lies below the root.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The path of the current directory below the root; empty at the root.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Goes into the directory `name` of the current one.
    pub fn enter(&mut self, name: &OsStr) -> Result<()> {
        let opened = match self.across_mounts {
            true => at::enter_across(self.dir(), name),
            false => at::enter(self.dir(), name),
        };
        let state = State::Open(opened?.into());
        if !self.levels.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.as_bytes());
        let end = self.path.len();
        self.levels.push(Level { end, state });
        match self.levels.len().checked_sub(OPEN + 1) {
            Some(far) => self.close(far),
            None => Ok(()),
        }
    }

    /// Goes into the directory `name`; false where there is nothing of this name.
    pub fn enter_if_present(&mut self, name: &OsStr) -> Result<bool> {
        match self.enter(name) {
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(false),
            entered => entered.map(|()| true),
        }
    }

    /// Goes to the directory above and returns the name of the one that was left. At the root it stays.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`]: `ESTALE` where the directory was moved elsewhere.
    pub fn leave(&mut self) -> Result<OsString> {
        let Some(left) = self.levels.pop() else {
            return Ok(OsString::new());
        };
        let end = self.levels.last().map_or(0, |above| above.end);
        let name = OsStr::from_bytes(&self.path[end..]);
        let name = OsStr::from_bytes(
            name.as_bytes()
                .strip_prefix(b"/")
                .unwrap_or(name.as_bytes()),
        );
        let name = name.to_owned();
        self.path.truncate(end);
        if let (Some(above), State::Open(file)) = (self.levels.last_mut(), left.state)
            && let State::Closed(dev, ino) = above.state
        {
            let parent = at::open_dir(&file, "..")?;
            let found = stat::fstat(&parent)?;
            if (found.dev, found.ino) != (dev, ino) {
                return sys("openat", &name, Err(Errno::STALE));
            }
            above.state = State::Open(parent.into());
        }
        Ok(name)
    }

    /// Leaves directories until `path`, relative to the root, lies at or below the current one, and returns what is left of
    /// `path` from there: where paths come in the order of a tree, no directory is entered twice.
    pub fn climb_to<'p>(&mut self, path: &'p Path) -> Result<&'p Path> {
        let path = path.as_os_str().as_bytes();
        let common = common_prefix(path, &self.path);
        while self
            .levels
            .last()
            .is_some_and(|level| !has_prefix(path, level.end, common))
        {
            self.leave()?;
        }
        let rest = &path[self.path.len()..];
        Ok(Path::new(OsStr::from_bytes(
            rest.strip_prefix(b"/").unwrap_or(rest),
        )))
    }

    /// Goes to the directory that `path`, relative to the root, is in, and returns its last name, which is empty for the root.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter) and [`leave`](Self::leave).
    pub fn go_to_parent<'p>(&mut self, path: &'p Path) -> Result<&'p OsStr> {
        let (parent, name) = match path.file_name() {
            Some(name) => (path.parent().unwrap_or(Path::new("")), name),
            None => (path, OsStr::new("")),
        };
        for step in self.climb_to(parent)? {
            self.enter(step)?;
        }
        Ok(name)
    }

    fn close(&mut self, index: usize) -> Result<()> {
        let level = &mut self.levels[index];
        if let State::Open(file) = &level.state {
            let Stat { dev, ino, .. } = stat::fstat(file)?;
            level.state = State::Closed(dev, ino);
        }
        Ok(())
    }
}

/// How many bytes two paths have in common at their beginning.
#[must_use]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    /// Compared at a time, because paths may be long and mostly the same.
    const CHUNK: usize = 512;
    let chunks = a.chunks_exact(CHUNK).zip(b.chunks_exact(CHUNK));
    let same = chunks.take_while(|(a, b)| a == b).count() * CHUNK;
    let rest = a[same..].iter().zip(&b[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

/// Whether the first `end` bytes of a path are a whole number of its names, and among the `common` bytes that it shares with
/// another path in which they are.
#[must_use]
pub fn has_prefix(path: &[u8], end: usize, common: usize) -> bool {
    end <= common && path.get(end).is_none_or(|byte| *byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes `depth` directories inside one another.
    fn deep(top: &Path, depth: usize) {
        let mut cursor = Cursor::open(top).unwrap();
        for _ in 0..depth {
            at::mkdir(cursor.dir(), "d", 0o700).unwrap();
            cursor.enter(OsStr::new("d")).unwrap();
        }
    }

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn goes_down_and_up_at_any_depth() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir(&top).unwrap();
        deep(&top, 3000);
        let before = open_descriptors();
        let mut cursor = Cursor::open(&top).unwrap();
        while cursor.enter_if_present(OsStr::new("d")).unwrap() {}
        assert_eq!(cursor.depth(), 3000);
        // Other tests of this process open files as well.
        assert!(open_descriptors() < before + 2 * OPEN);
        let bottom = stat::fstat(cursor.dir()).unwrap();
        while cursor.depth() > 0 {
            assert_eq!(cursor.leave().unwrap().as_bytes(), b"d");
            assert_ne!(stat::fstat(cursor.dir()).unwrap().ino, bottom.ino);
        }
        let root = stat::fstat(cursor.dir()).unwrap();
        assert_eq!(root.ino, stat::lstat(&top).unwrap().ino);
        dir::remove_tree(&top).unwrap();
    }

    #[test]
    fn a_tree_that_is_moved_meanwhile_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        deep(place.path(), 2 * OPEN);
        let mut cursor = Cursor::open(place.path()).unwrap();
        for _ in 0..2 * OPEN {
            cursor.enter(OsStr::new("d")).unwrap();
        }
        let near = place.path().join("d/".repeat(OPEN - 1)).join("d");
        std::fs::rename(near.join("d"), place.path().join("moved")).unwrap();
        let left = std::iter::from_fn(|| Some(cursor.leave())).take(2 * OPEN);
        let errors: Vec<_> = left.filter_map(std::result::Result::err).collect();
        assert_eq!(errors[0].errno(), Some(Errno::STALE));
    }

    #[test]
    fn goes_from_path_to_path() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b/c")).unwrap();
        std::fs::create_dir_all(place.path().join("a/bb")).unwrap();
        let mut cursor = Cursor::open(place.path()).unwrap();
        for (path, parent, name) in [
            ("a/b/c/f", "a/b/c", "f"),
            ("a/bb/g", "a/bb", "g"),
            ("a/b", "a", "b"),
            ("a", "", "a"),
            ("a/b/c", "a/b", "c"),
            ("", "", ""),
        ] {
            assert_eq!(cursor.go_to_parent(Path::new(path)).unwrap(), name);
            assert_eq!(cursor.path(), Path::new(parent));
            let wanted = stat::lstat(place.path().join(parent)).unwrap();
            assert_eq!(stat::fstat(cursor.dir()).unwrap().ino, wanted.ino);
        }
    }

    #[test]
    fn goes_through_no_symbolic_link() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", place.path().join("link")).unwrap();
        let mut cursor = Cursor::open(place.path()).unwrap();
        let refused = cursor.enter(OsStr::new("link")).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::LOOP));
        assert!(cursor.enter(OsStr::new("..")).is_err());
        assert_eq!(cursor.depth(), 0);
    }
}
