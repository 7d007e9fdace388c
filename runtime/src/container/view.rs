//! A container's tree as its program will see it: the root with what is going to be mounted into it.
//!
//! A path is walked name by name, so that a link leads on from a mount into another as it will in the container. Every look is
//! confined to the root, or to the source of a mount, by openat2(2) with `RESOLVE_IN_ROOT`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cowlab_sys::{Errno, FileKind, Root, at, inside, stat};

use super::{Error, Result};

/// A root and what is mounted into it, the last on top.
#[derive(Debug)]
pub(super) struct View<'a> {
    root: &'a Root,
    mounts: Vec<Mounted>,
}

#[derive(Debug)]
struct Mounted {
    target: PathBuf,
    content: Content,
    read_only: bool,
}

/// What a mount brings.
#[derive(Debug)]
pub(super) enum Content {
    /// A directory of the host.
    Directory(Root),
    /// A file of the host: its directory, its name in it, and what it is.
    File(Root, OsString, Entry),
    /// An empty directory in memory.
    Memory,
    /// What the kernel has there, which nobody knows before.
    Kernel,
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: FileKind,
    /// Its permissions; those of a mount in memory are nobody's business.
    pub(super) mode: u32,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Without links and without `..`.
    pub(super) path: PathBuf,
    /// What is there; `None` for nothing, which a link may dangle to.
    pub(super) entry: Option<Entry>,
    /// Every place on the way, links as well.
    pub(super) passed: Vec<PathBuf>,
}

const DIRECTORY: Entry = Entry {
    kind: FileKind::Directory,
    mode: 0o755,
};

impl Content {
    /// What a bind mount of `source` brings.
    pub(super) fn of(source: &Path) -> Result<Self> {
        let found = stat::stat(source)?;
        Ok(match found.kind() {
            FileKind::Directory => Self::Directory(Root::open(source)?),
            kind => {
                let whole = cowlab_sys::io("realpath", source, source.canonicalize())?;
                let dir = Root::open(whole.parent().unwrap_or(&whole))?;
                let name = whole.file_name().unwrap_or_default().to_owned();
                let mode = found.permissions();
                Self::File(dir, name, Entry { kind, mode })
            }
        })
    }

    /// What kind of file it is mounted over.
    pub(super) fn kind(&self) -> FileKind {
        match self {
            Self::File(..) => FileKind::Regular,
            _ => FileKind::Directory,
        }
    }
}

impl<'a> View<'a> {
    /// A root alone.
    pub(super) fn new(root: &'a Root) -> Self {
        Self {
            root,
            mounts: Vec::new(),
        }
    }

    /// Adds a mount on top. `target` is a place.
    pub(super) fn add(&mut self, target: &Path, content: Content, read_only: bool) {
        self.mounts.push(Mounted {
            target: target.to_owned(),
            content,
            read_only,
        });
    }

    /// Whether a place is in a file system of the kernel's.
    pub(super) fn is_kernels(&self, place: &Path) -> bool {
        let covering = self.covering(place);
        covering.is_some_and(|(mounted, _)| matches!(mounted.content, Content::Kernel))
    }

    /// Finds where a path leads.
    ///
    /// # Errors
    ///
    /// `ELOOP` for too many links, `ENOTDIR` for a path through a file.
    pub(super) fn find(&self, path: &Path) -> Result<Place> {
        let mut passed = Vec::new();
        let here = inside::follow(path, |here| {
            passed.push(here.to_owned());
            self.link(here)
        })?;
        let entry = self.entry(&here)?;
        Ok(Place {
            path: here,
            entry,
            passed,
        })
    }

    /// The mount that a place is on, with the path in it.
    fn covering<'p>(&self, place: &'p Path) -> Option<(&Mounted, &'p Path)> {
        let mut mounts = self.mounts.iter().rev();
        mounts.find_map(|one| Some((one, place.strip_prefix(&one.target).ok()?)))
    }

    /// The directory that has a place, if one does, and the place in it.
    fn holder<'p>(&'p self, place: &'p Path) -> Option<(&'p Root, &'p Path)> {
        match self.covering(place) {
            None => Some((self.root, place)),
            Some((mounted, below)) => match &mounted.content {
                Content::Directory(root) => Some((root, below)),
                Content::File(dir, name, _) => Some((dir, Path::new(name))),
                Content::Memory | Content::Kernel => None,
            },
        }
    }

    fn link(&self, place: &Path) -> Result<Option<PathBuf>> {
        let covering = self.covering(place);
        let is_mount = covering.is_some_and(|(_, below)| below.as_os_str().is_empty());
        let Some((root, below)) = self.holder(place).filter(|_| !is_mount) else {
            return Ok(None);
        };
        let Some(name) = below.file_name() else {
            return Ok(None);
        };
        let Some((dir, _)) = absent(root.parent_inside(below))? else {
            return Ok(None);
        };
        match absent(at::stat_if_present(&dir, name))?.flatten() {
            Some(found) if found.kind() == FileKind::Symlink => {
                Ok(Some(at::read_link(&dir, name)?))
            }
            _ => Ok(None),
        }
    }

    /// What is at a place without links.
    fn entry(&self, place: &Path) -> Result<Option<Entry>> {
        if let Some((mounted, below)) = self.covering(place) {
            match (&mounted.content, below.as_os_str().is_empty()) {
                (Content::File(_, _, entry), true) => return Ok(Some(*entry)),
                (Content::File(..), false) => return Err(failed(place, Errno::NOTDIR)),
                (_, true) => return Ok(Some(DIRECTORY)),
                (Content::Memory | Content::Kernel, false) => return Ok(None),
                (Content::Directory(_), false) => {}
            }
        }
        let Some((root, below)) = self.holder(place) else {
            return Ok(None);
        };
        let Some(found) = root.find_inside(below)? else {
            return Ok(None);
        };
        let found = stat::fstat(&found)?;
        Ok(Some(Entry {
            kind: found.kind(),
            mode: found.permissions(),
        }))
    }

    /// Reads the file that a path leads to, at most `limit` bytes of it; `None` where there is no such file.
    pub(super) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let place = self.find(path)?.path;
        match self.holder(&place) {
            Some((root, below)) => Ok(root.read_inside(below, limit)?),
            None => Ok(None),
        }
    }

    /// Makes what is not there at a place, a directory or an empty file, with the directories on the way. In memory and in the
    /// kernel's file systems nothing is made: libcontainer does when it has mounted them. Returns what was made in the root
    /// itself, outermost first.
    ///
    /// # Errors
    ///
    /// `EROFS` where the place is on a mount that cannot be written.
    pub(super) fn make(&self, place: &Path, kind: FileKind) -> Result<Vec<PathBuf>> {
        let covering = self.covering(place);
        if covering.is_some_and(|(mounted, _)| mounted.read_only) {
            return Err(failed(place, Errno::ROFS));
        }
        let Some((root, below)) = self.holder(place) else {
            return Ok(Vec::new());
        };
        let made = match kind {
            FileKind::Directory => root.make_dirs_inside(below)?,
            _ => root.make_file_inside(below)?,
        };
        Ok(match covering {
            None => made,
            Some(_) => Vec::new(),
        })
    }

    /// The directory of a place, to change what is in it, with its name; `None` where it is no file's.
    pub(super) fn parent(&self, place: &Path) -> Result<Option<(std::os::fd::OwnedFd, PathBuf)>> {
        match self.holder(place) {
            Some((root, below)) => Ok(Some(root.parent_inside(below)?)),
            None => Ok(None),
        }
    }
}

/// Orders mounts so that each is mounted after those that its path leads through, by name or by a link; else the shorter
/// path comes first, as docker has it. `view` is the root alone.
pub(super) fn ordered<T>(
    view: &View<'_>,
    mounts: Vec<T>,
    target: impl Fn(&T) -> &Path,
) -> Result<Vec<T>> {
    let mut waiting = Vec::new();
    for mount in mounts {
        let place = view.find(target(&mount))?;
        waiting.push((place, mount));
    }
    waiting.sort_by_cached_key(|(_, mount)| target(mount).components().count());
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let is_free = |(index, (place, _)): &(usize, &(Place, T))| {
            let mut others = waiting.iter().enumerate();
            !others.any(|(other, (above, _))| {
                other != *index && above.path != place.path && place.passed.contains(&above.path)
            })
        };
        let next = waiting.iter().enumerate().find(is_free);
        // Two that lead through one another come as they are.
        let next = next.map_or(0, |(index, _)| index);
        ordered.push(waiting.remove(next).1);
    }
    Ok(ordered)
}

fn failed(path: &Path, errno: Errno) -> Error {
    let path = path.to_owned();
    let (call, source) = ("openat2", errno);
    cowlab_sys::Error::Sys { call, path, source }.into()
}

fn absent<T>(found: cowlab_sys::Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
        found => Ok(Some(found?)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_from_mount_to_mount() {
        let place = tempfile::tempdir().unwrap();
        for dir in ["root/run", "root/var", "volume/deep"] {
            std::fs::create_dir_all(place.path().join(dir)).unwrap();
        }
        let (dir, volume) = (place.path().join("root"), place.path().join("volume"));
        symlink("/run", dir.join("var/run")).unwrap();
        symlink("/data/out", dir.join("into")).unwrap();
        symlink("../../../run/none", volume.join("out")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        std::fs::write(place.path().join("file"), "content").unwrap();
        let root = Root::open(&dir).unwrap();
        let mut view = View::new(&root);
        let path = |view: &View<'_>, text: &str| view.find(Path::new(text)).unwrap().path;
        assert_eq!(path(&view, "/var/run/x"), Path::new("/run/x"));
        assert!(view.find(Path::new("/loop")).is_err());
        view.add(Path::new("/data"), Content::of(&volume).unwrap(), true);
        assert_eq!(path(&view, "/into"), Path::new("/run/none"));
        assert!(
            view.make(Path::new("/data/new"), FileKind::Directory)
                .is_err()
        );
        let file = Content::of(&place.path().join("file")).unwrap();
        view.add(Path::new("/single"), file, true);
        let read = view.read(Path::new("/single"), 100).unwrap();
        assert_eq!(read.as_deref(), Some(&b"content"[..]));
        view.add(Path::new("/run"), Content::Memory, false);
        let found = view.find(Path::new("/data/../var/run/a/../b")).unwrap();
        assert_eq!(
            (found.path.as_path(), found.entry),
            (Path::new("/run/b"), None)
        );
    }

    #[test]
    fn mounts_follow_those_that_they_lead_through() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        std::fs::create_dir_all(dir.join("z/y")).unwrap();
        std::fs::create_dir_all(dir.join("var")).unwrap();
        std::fs::create_dir_all(dir.join("run")).unwrap();
        symlink("/z/y", dir.join("a")).unwrap();
        symlink("/run", dir.join("var/run")).unwrap();
        let root = Root::open(dir).unwrap();
        let order = |mounts: &[&'static str]| {
            let found = ordered(&View::new(&root), mounts.to_vec(), |one| Path::new(*one));
            found.unwrap()
        };
        assert_eq!(order(&["/a/x", "/z/y"]), ["/z/y", "/a/x"]);
        assert_eq!(order(&["/var/run/x", "/var"]), ["/var", "/var/run/x"]);
        assert_eq!(order(&["/var/run/x/y", "/run"]), ["/run", "/var/run/x/y"]);
    }
}
