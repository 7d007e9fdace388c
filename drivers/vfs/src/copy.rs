//! Copies a directory tree with everything an inode has that a copy can have.
//!
//! The walk goes by two cursors, so that depth and names are no limit. What is held in memory is one directory's entries a
//! level, and the first name of each file that has several.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cowlab_driver::{Error, Result, tree};
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::cursor::Cursor;
use cowlab_sys::dir::{self, DirEntry};
use cowlab_sys::{FileKind, Stat, reflink, stat};

/// Copies the tree at `source`, which nobody changes, to the empty directory `target`.
pub(crate) fn copy_tree(source: &Path, target: &Path) -> Result<()> {
    let (from, to) = (Cursor::open(source)?, Cursor::open(target)?);
    let mut copy = Copy {
        source,
        from: from.across_mounts(true),
        to: to.across_mounts(true),
        path: PathBuf::new(),
        linked: HashMap::new(),
        last_link: None,
    };
    copy.all()
}

struct Copy<'a> {
    /// The tree that is copied, for messages.
    source: &'a Path,
    /// The directory that is copied.
    from: Cursor,
    /// Its copy.
    to: Cursor,
    /// The entry being copied, below the top.
    path: PathBuf,
    /// Where the copy of a file with several names lies, by the file's device and inode.
    linked: HashMap<(u64, u64), PathBuf>,
    /// The directory of the last such file: the next one is likely to lie there as well.
    last_link: Option<(PathBuf, OwnedFd)>,
}

/// A directory being copied.
struct Level {
    stat: Stat,
    entries: std::vec::IntoIter<DirEntry>,
}

impl Copy<'_> {
    fn all(&mut self) -> Result<()> {
        let mut levels = vec![self.level()?];
        while let Some(level) = levels.last_mut() {
            if let Some(entry) = level.entries.next() {
                self.path.push(&entry.name);
                match self.entry(Path::new(&entry.name))? {
                    Copied::Entry => drop(self.path.pop()),
                    Copied::Directory => levels.push(self.level()?),
                }
                continue;
            }
            // Last, for filling a directory changes its times. It has a name in itself, as every entry has one elsewhere.
            let here = Path::new(".");
            tree::copy_attributes(self.from.dir(), &level.stat, self.to.dir(), here, |_| true)
                .map_err(|error| self.naming(error))?;
            levels.pop();
            let left = self.from.leave().and_then(|_| self.to.leave());
            self.named(left)?;
            self.path.pop();
        }
        Ok(())
    }

    fn level(&self) -> Result<Level> {
        Ok(Level {
            stat: self.named(stat::fstat(self.from.dir()))?,
            entries: self.named(dir::read_dir_fd(self.from.dir()))?.into_iter(),
        })
    }

    fn entry(&mut self, name: &Path) -> Result<Copied> {
        let (from, to) = (self.from.dir(), self.to.dir());
        let original = self.named(at::open_path(from, name))?;
        let stat = self.named(at::stat(&original, ""))?;
        if stat.kind() == FileKind::Directory {
            self.named(at::mkdir(to, name, 0o700))?;
            let entered = self.from.enter(name.as_os_str());
            self.named(entered)?;
            let entered = self.to.enter(name.as_os_str());
            self.named(entered)?;
            return Ok(Copied::Directory);
        }
        if stat.nlink > 1 && self.link(name, &stat)? {
            return Ok(Copied::Entry);
        }
        let (from, to) = (self.from.dir(), self.to.dir());
        self.named(make(from, to, name, &stat))?;
        tree::copy_attributes(&original, &stat, to, name, |_| true)
            .map_err(|error| self.naming(error))?;
        Ok(Copied::Entry)
    }

    /// Gives the copy of a file another name. False where this is its first.
    fn link(&mut self, name: &Path, stat: &Stat) -> Result<bool> {
        let Some(first) = self.linked.get(&(stat.dev, stat.ino)) else {
            self.linked.insert((stat.dev, stat.ino), self.path.clone());
            return Ok(false);
        };
        let parent = first.parent().unwrap_or(Path::new(""));
        if self
            .last_link
            .as_ref()
            .is_none_or(|(last, _)| last != parent)
        {
            let (dir, _) = tree::open_parent(self.to.root(), first)?;
            self.last_link = Some((parent.to_owned(), dir));
        }
        if let (Some((_, dir)), Some(first)) = (&self.last_link, first.file_name()) {
            self.named(at::link(dir, first, self.to.dir(), name))?;
        }
        Ok(true)
    }

    /// Names the entry in an error that knows only the last name, or none.
    fn named<T>(&self, result: cowlab_sys::Result<T>) -> Result<T> {
        result.map_err(|error| self.naming(error.into()))
    }

    fn naming(&self, error: Error) -> Error {
        match error {
            Error::Sys(cowlab_sys::Error::Sys { call, source, .. }) => {
                let path = self.source.join(&self.path);
                cowlab_sys::Error::Sys { call, path, source }.into()
            }
            other => other,
        }
    }
}

/// What became of an entry.
enum Copied {
    Entry,
    /// It is the current directory now, and empty so far.
    Directory,
}

/// Makes the copy of an entry that is no directory, without its attributes.
fn make(from: &File, to: &File, name: &Path, stat: &Stat) -> cowlab_sys::Result<()> {
    match stat.kind() {
        FileKind::Regular => {
            // The copy takes the access time over, so reading must not change it.
            let original = File::from(at::open(from, name, OFlags::RDONLY | OFlags::NOATIME, 0)?);
            let copy = at::create(to, name, 0o600)?;
            reflink::copy_file(&original, &copy).map(drop)
        }
        FileKind::Symlink => at::symlink(at::read_link(from, name)?, to, name),
        kind => at::mknod(to, name, kind, 0o600, stat.rdev),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_holes_times_and_depth_survive() {
        let place = tempfile::tempdir().unwrap();
        let (source, target) = (place.path().join("source"), place.path().join("target"));
        std::fs::create_dir_all(source.join("a/b")).unwrap();
        std::fs::write(source.join("a/one"), "x").unwrap();
        std::fs::hard_link(source.join("a/one"), source.join("a/b/two")).unwrap();
        std::os::unix::fs::symlink("one", source.join("a/link")).unwrap();
        let sparse = File::create(source.join("sparse")).unwrap();
        sparse.set_len(1 << 26).unwrap();
        let dir = cowlab_sys::Root::open(&source).unwrap();
        let time = |sec| cowlab_sys::Time { sec, nsec: 7 };
        at::set_times(&dir, "a", time(5), time(-5)).unwrap();
        std::fs::create_dir(&target).unwrap();
        copy_tree(&source, &target).unwrap();
        let stat = |path: &str| cowlab_sys::stat::lstat(target.join(path)).unwrap();
        assert_eq!(stat("a/one").ino, stat("a/b/two").ino);
        assert_eq!(stat("a/one").nlink, 2);
        assert_eq!((stat("a").atime, stat("a").mtime), (time(5), time(-5)));
        assert_eq!(stat("sparse").size, 1 << 26);
        assert!(stat("sparse").blocks < 1 << 10);
        assert_eq!(
            std::fs::read_link(target.join("a/link")).unwrap(),
            Path::new("one")
        );
    }

    #[test]
    fn an_error_names_the_entry() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        let refused = copy_tree(&place.path().join("none"), &target);
        assert!(refused.unwrap_err().to_string().contains("none"));
    }
}
