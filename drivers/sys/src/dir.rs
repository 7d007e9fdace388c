//! Directories: reading one, and removing a whole tree safely.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use crate::stat::FileKind;
use crate::{Error, Result, at, sys};

/// Room for entries in one getdents64(2), in bytes.
const BATCH: usize = 64 * 1024;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// The inode number in the directory (`d_ino`), which a union may tell apart from `st_ino`.
    pub inode: u64,
    /// The type; asked of the file itself where the directory does not have it.
    pub kind: FileKind,
}

/// Returns the entries of the directory at `path`, without `.` and `..`, in the directory's order.
pub fn read_dir(path: impl AsRef<Path>) -> Result<Vec<DirEntry>> {
    let path = path.as_ref();
    sys("readdir", path, entries(&open(path)?))
}

/// Opens the directory at `path` for reading.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `ENOTDIR` for anything but a directory.
pub fn open(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    sys(
        "open",
        path,
        rustix::fs::openat(CWD, path, flags, Mode::empty()),
    )
}

/// Returns the entries of an open directory, of an `O_PATH` descriptor as well, from its start.
pub fn read_dir_fd(dir: impl AsFd) -> Result<Vec<DirEntry>> {
    // A descriptor of its own: the offset of the caller's stays where it is.
    let dir = at::open_dir(dir, ".")?;
    sys("readdir", "", entries(&dir))
}

fn entries(dir: &OwnedFd) -> rustix::io::Result<Vec<DirEntry>> {
    let mut found = Vec::new();
    let mut buffer: Vec<u8> = Vec::with_capacity(BATCH);
    let mut batches = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = batches.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let name = OsStr::from_bytes(name).to_os_string();
        let kind = FileKind::from_type(entry.file_type());
        found.push(DirEntry {
            name,
            inode: entry.ino(),
            kind,
        });
    }
    for entry in found
        .iter_mut()
        .filter(|entry| entry.kind == FileKind::Unknown)
    {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(dir, &entry.name, flags) {
            Ok(stat) => entry.kind = FileKind::from_type(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

/// Removes what is at `path` with all below it. Nothing there is no error.
///
/// Symbolic links are removed and never followed. The walk holds a handful of descriptors at any
/// depth. Immutable and append-only marks (`chattr +ia`) are taken off. A mount point, and a
/// subvolume or other file system below `path`, is an error that names it: its content stays, and
/// so does what was not yet removed.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EXDEV` for a mount point or subvolume.
pub fn remove_tree(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let name = path.file_name().ok_or(Errno::INVAL);
    let name = sys("remove", path, name)?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent_fd = match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        result => sys("open", parent, result)?,
    };
    match at::stat_if_present(&parent_fd, name)? {
        None => Ok(()),
        Some(stat) if stat.kind() == FileKind::Directory => Removal {
            place: parent.to_path_buf(),
            here: parent_fd,
            levels: Vec::new(),
        }
        .run(name),
        Some(_) => {
            let removal = Removal {
                place: parent.to_path_buf(),
                here: parent_fd,
                levels: Vec::new(),
            };
            removal.unlink(name)
        }
    }
}

/// A walk that removes. Only the current directory is open; the way up is `..`, and checked.
struct Removal {
    /// The path of `here`, for messages.
    place: PathBuf,
    /// The current directory.
    here: OwnedFd,
    /// The directories that were entered, the current one last.
    levels: Vec<Level>,
}

/// A directory on the way from the top to the current one.
struct Level {
    /// Device and inode of the directory above, to know it again.
    above: (u64, u64),
    /// The name in the directory above.
    name: OsString,
    /// Directories in it that are still to be removed.
    directories: Vec<OsString>,
}

impl Removal {
    /// Removes the directory `top` of the current directory.
    fn run(mut self, top: &OsStr) -> Result<()> {
        self.enter(top.to_os_string())?;
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.directories.pop() {
                self.enter(name)?;
            } else {
                self.leave()?;
            }
        }
        Ok(())
    }

    /// Goes into a directory and removes what is no directory there.
    fn enter(&mut self, name: OsString) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let opened = rustix::fs::openat2(&self.here, &name, flags, Mode::empty(), resolve);
        let dir = match opened {
            Err(Errno::NOENT) => return Ok(()),
            opened => self.named("remove", &name, opened)?,
        };
        let (above, inside) = (at::stat(&self.here, "")?, at::stat(&dir, "")?);
        // RESOLVE_NO_XDEV stops at mounts, but a btrfs subvolume is none. The first directory
        // may be one: the caller asked for it by name.
        if !self.levels.is_empty() && above.dev != inside.dev {
            return self.named("remove", &name, Err(Errno::XDEV));
        }
        self.place.push(&name);
        self.here = dir;
        self.levels.push(Level {
            above: (above.dev, above.ino),
            name,
            directories: Vec::new(),
        });
        let mut directories = Vec::new();
        for entry in sys("readdir", &self.place, entries(&self.here))? {
            if entry.kind == FileKind::Directory {
                directories.push(entry.name);
            } else {
                self.unlink(&entry.name)?;
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.directories = directories;
        }
        Ok(())
    }

    /// Goes up and removes the directory it came from, which is empty now.
    fn leave(&mut self) -> Result<()> {
        let Some(level) = self.levels.pop() else {
            return Ok(());
        };
        let above = self.named("open", OsStr::new(".."), at_parent(&self.here))?;
        let stat = at::stat(&above, "")?;
        if (stat.dev, stat.ino) != level.above {
            // Somebody moved the directory away meanwhile: stop rather than remove elsewhere.
            return sys("remove", &self.place, Err(Errno::STALE));
        }
        self.place.pop();
        self.here = above;
        let remove = || rustix::fs::unlinkat(&self.here, &level.name, at_removedir());
        self.removed("rmdir", &level.name, remove)
    }

    /// Removes an entry that is no directory.
    fn unlink(&self, name: &OsStr) -> Result<()> {
        let remove = || rustix::fs::unlinkat(&self.here, name, rustix::fs::AtFlags::empty());
        self.removed("unlink", name, remove)
    }

    /// Removes an entry; after `EPERM` once more, without the marks that forbid it.
    fn removed(
        &self,
        call: &'static str,
        name: &OsStr,
        remove: impl Fn() -> rustix::io::Result<()>,
    ) -> Result<()> {
        let result = match remove() {
            Err(Errno::PERM) => {
                // Marks on the directory forbid it as well as marks on the file (ioctl_iflags(2)).
                clear_marks(&self.here);
                // No FIFO blocks and no device is opened: only files and directories have marks.
                if let Ok(found) = at::stat(&self.here, name)
                    && matches!(found.kind(), FileKind::Regular | FileKind::Directory)
                    && let Ok(file) = at::open(&self.here, name, OFlags::RDONLY, 0)
                {
                    clear_marks(&file);
                }
                remove()
            }
            result => result,
        };
        match result {
            Err(Errno::NOENT) => Ok(()),
            result => self.named(call, name, result),
        }
    }

    fn named<T>(
        &self,
        call: &'static str,
        name: &OsStr,
        result: rustix::io::Result<T>,
    ) -> Result<T> {
        result.map_err(|source| Error::Sys {
            call,
            path: self.place.join(name),
            source,
        })
    }
}

fn at_parent(dir: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, "..", flags, Mode::empty())
}

fn at_removedir() -> rustix::fs::AtFlags {
    rustix::fs::AtFlags::REMOVEDIR
}

/// Takes immutable and append-only marks off. Where that fails, the removal that follows reports
/// why it was refused.
fn clear_marks(file: &OwnedFd) {
    let marks = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(file)
        && flags.intersects(marks)
        && let Err(error) = rustix::fs::ioctl_setflags(file, flags - marks)
    {
        tracing::debug!(%error, "an immutable or append-only mark stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_deep_wide_and_linked_trees() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir_all(top.join("wide")).unwrap();
        for index in 0..5000 {
            std::fs::write(top.join(format!("wide/{index}")), "").unwrap();
        }
        std::fs::write(place.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../kept", top.join("link")).unwrap();
        std::os::unix::fs::symlink("..", top.join("wide/up")).unwrap();
        // Deeper than PATH_MAX allows a path to be: made step by step.
        let mut dir = at::open_dir(CWD, &top).unwrap();
        let name = "d".repeat(100);
        for _ in 0..300 {
            at::mkdir(&dir, &name, 0o700).unwrap();
            dir = at::open_dir(&dir, &name).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        assert!(place.path().join("kept").exists());
        remove_tree(&top).unwrap();
        remove_tree(place.path().join("none/none")).unwrap();
        remove_tree(place.path().join("kept")).unwrap();
        assert_eq!(read_dir(place.path()).unwrap(), []);
    }

    #[test]
    fn lists_entries_with_kinds() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("x", place.path().join("link")).unwrap();
        let dir = at::open_path(CWD, place.path()).unwrap();
        for _ in 0..2 {
            let mut entries = read_dir_fd(&dir).unwrap();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
            assert_eq!(kinds, [FileKind::Regular, FileKind::Symlink]);
        }
    }
}
