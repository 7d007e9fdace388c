//! A directory tree as a process sees it that has it for its root: symbolic links lead on inside it, never out.
//!
//! All resolution is openat2(2) with `RESOLVE_IN_ROOT`. Made for trees that others may have filled with malice and that
//! nobody changes meanwhile, or where a change can only lead to another place inside.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use crate::root::Root;
use crate::stat::{self, FileKind, Stat};
use crate::{Errno, Error, Result, at, io, sys};

/// The most links that a path may pass (path_resolution(7)).
const MOST_LINKS: usize = 40;

impl Root {
    /// Opens what `path` leads to, as an `O_PATH` descriptor; `None` where nothing is there.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`], `ELOOP` for links that lead in a circle.
    pub fn find_inside(&self, path: &Path) -> Result<Option<OwnedFd>> {
        absent(self.open_inside(path, OFlags::PATH, 0))
    }

    /// Opens the directory that the last name of `path` is in, links on the way followed, and returns it with that name.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `EINVAL` for a path that ends in no name.
    pub fn parent_inside(&self, path: &Path) -> Result<(OwnedFd, PathBuf)> {
        let name = path.file_name().map(PathBuf::from);
        let name = sys("openat2", path, name.ok_or(Errno::INVAL))?;
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let dir = self.open_inside(parent, OFlags::PATH | OFlags::DIRECTORY, 0)?;
        Ok((dir, name))
    }

    /// Returns what `path` leads to, as a path from this root without links; `None` where nothing is there.
    pub fn resolve_inside(&self, path: &Path) -> Result<Option<(PathBuf, Stat)>> {
        let Some(fd) = self.find_inside(path)? else {
            return Ok(None);
        };
        let found = stat::fstat(&fd)?;
        let link = |fd: &dyn Fn() -> PathBuf| {
            let place = fd();
            io("readlink", &place, std::fs::read_link(&place))
        };
        let whole = link(&|| at::descriptor_path(&fd))?;
        let root = link(&|| at::descriptor_path(self))?;
        let inside = whole
            .strip_prefix(&root)
            .ok()
            .map(|rest| Path::new("/").join(rest));
        let inside = sys("openat2", path, inside.ok_or(Errno::XDEV))?;
        Ok(Some((inside, found)))
    }

    /// Returns where `path` leads to, as a path from this root without links, for something to be made there: links that lead to
    /// nothing are followed too, and names that are not there are taken as they are written.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`], `ELOOP` for links that lead in a circle.
    pub fn lead_inside(&self, path: &Path) -> Result<PathBuf> {
        follow(path, |here| self.link_at(here))
    }

    /// Reads the link at a path without links before its last name; `None` where no link is.
    fn link_at(&self, path: &Path) -> Result<Option<PathBuf>> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let (dir, name) = match self.open_parent(relative) {
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR)) => {
                return Ok(None);
            }
            parent => parent?,
        };
        match at::stat_if_present(&dir, &name)? {
            Some(found) if found.kind() == FileKind::Symlink => {
                Ok(Some(at::read_link(&dir, &name)?))
            }
            _ => Ok(None),
        }
    }

    /// Returns `path` as a path from this root with the links before its last name followed. Names that are not there are
    /// taken as they are written.
    pub fn resolve_name_inside(&self, path: &Path) -> Result<PathBuf> {
        let Some(name) = path.file_name() else {
            let found = self.resolve_inside(path)?;
            return Ok(found.map_or_else(|| PathBuf::from("/"), |(inside, _)| inside));
        };
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let above = match self.resolve_inside(parent) {
            Ok(Some((above, _))) => above,
            Ok(None) => self.resolve_name_inside(parent)?,
            Err(error) if error.errno() == Some(Errno::NOTDIR) => {
                self.resolve_name_inside(parent)?
            }
            Err(error) => return Err(error),
        };
        Ok(above.join(name))
    }

    /// Reads the regular file that `path` leads to, at most `limit` bytes of it; `None` where there is no such file.
    pub fn read_inside(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        // A FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(fd) = self.find_inside(path)? else {
            return Ok(None);
        };
        if stat::fstat(&fd)?.kind() != FileKind::Regular {
            return Ok(None);
        }
        let Some(fd) = absent(self.open_inside(path, flags, 0))? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = File::from(fd).take(limit).read_to_end(&mut bytes);
        io("read", path, read)?;
        Ok(Some(bytes))
    }

    /// Makes the directories on `path` that are not there, owned by this process's user, mode 0755, and returns those it
    /// made, outermost first. The times of the directory that the first is made in are kept.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `ENOTDIR` where the path passes a file.
    pub fn make_dirs_inside(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let mut made = Vec::new();
        let mut here = PathBuf::from("/");
        for part in path.components() {
            match part {
                Component::Normal(name) => here.push(name),
                Component::ParentDir => return sys("mkdir", path, Err(Errno::INVAL)),
                _ => continue,
            }
            if let Some(found) = self.find_inside(&here)? {
                match stat::fstat(&found)?.kind() {
                    FileKind::Directory => continue,
                    _ => return sys("mkdir", &here, Err(Errno::NOTDIR)),
                }
            }
            self.keeping_times(&here, |dir, name| at::mkdir(dir, name, 0o755))?;
            made.push(here.clone());
        }
        Ok(made)
    }

    /// Makes an empty file at `path`, mode 0644, with the directories on the way; returns what it made, outermost first.
    pub fn make_file_inside(&self, path: &Path) -> Result<Vec<PathBuf>> {
        if self.find_inside(path)?.is_some() {
            return Ok(Vec::new());
        }
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let mut made = self.make_dirs_inside(parent)?;
        self.keeping_times(path, |dir, name| at::create(dir, name, 0o644).map(drop))?;
        made.push(path.to_owned());
        Ok(made)
    }

    fn keeping_times(
        &self,
        path: &Path,
        make: impl FnOnce(&OwnedFd, &Path) -> Result<()>,
    ) -> Result<()> {
        let (dir, name) = self.parent_inside(path)?;
        let before = stat::fstat(&dir)?;
        make(&dir, &name)?;
        at::set_times(&dir, ".", before.atime, before.mtime)
    }
}

/// Walks a path name by name, and returns where it leads to, without links. `link` reads the link at a place on the way, whose path
/// has none; `None` says that none is there.
///
/// # Errors
///
/// What `link` returns; [`Error::Sys`] with `ELOOP` for more links than the kernel follows.
pub fn follow<E: From<Error>>(
    path: &Path,
    mut link: impl FnMut(&Path) -> std::result::Result<Option<PathBuf>, E>,
) -> std::result::Result<PathBuf, E> {
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    let mut names = names(path);
    while let Some(name) = names.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(name);
        let Some(target) = link(&here)? else {
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Ok(sys("openat2", path, Err(Errno::LOOP))?);
        }
        here.pop();
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        names.extend(self::names(&target));
    }
    Ok(here)
}

/// The names of a path, the last first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn absent<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(Error::Sys {
            source: Errno::NOENT,
            ..
        }) => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_on_inside() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(dir.join("run")).unwrap();
        std::fs::write(dir.join("run/file"), "inside").unwrap();
        symlink("/run", dir.join("var")).unwrap();
        symlink("../../../../run/file", dir.join("up")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let root = Root::open(&dir).unwrap();
        let read = |path| root.read_inside(Path::new(path), 100);
        assert_eq!(read("/var/file").unwrap().unwrap(), b"inside");
        assert_eq!(read("/up").unwrap().unwrap(), b"inside");
        assert_eq!(read("/none").unwrap(), None);
        assert_eq!(read("/run").unwrap(), None);
        assert!(read("/loop").is_err());
        let (resolved, _) = root.resolve_inside(Path::new("/up")).unwrap().unwrap();
        assert_eq!(resolved, Path::new("/run/file"));
        symlink("../none/there", dir.join("run/dangling")).unwrap();
        let lead = |path| root.lead_inside(Path::new(path)).unwrap();
        assert_eq!(lead("/var/dangling/new"), Path::new("/none/there/new"));
        assert_eq!(lead("/up/../../x"), Path::new("/x"));
        assert!(root.lead_inside(Path::new("/loop/x")).is_err());
    }

    #[test]
    fn what_is_made_is_told_and_times_stay() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().canonicalize().unwrap();
        std::fs::create_dir(dir.join("a")).unwrap();
        let before = stat::stat(&dir).unwrap().mtime;
        let root = Root::open(&dir).unwrap();
        let made = root.make_dirs_inside(Path::new("/a/b/c")).unwrap();
        assert_eq!(made, [Path::new("/a/b"), Path::new("/a/b/c")]);
        let made = root.make_file_inside(Path::new("/etc/hosts")).unwrap();
        assert_eq!(made, [Path::new("/etc"), Path::new("/etc/hosts")]);
        assert!(
            root.make_file_inside(Path::new("/etc/hosts"))
                .unwrap()
                .is_empty()
        );
        assert_eq!(stat::stat(&dir).unwrap().mtime, before);
        assert!(root.make_dirs_inside(Path::new("/etc/hosts/x")).is_err());
    }
}
