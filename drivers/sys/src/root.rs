//! Confined access to a directory tree: no path given to a [`Root`] leads out of it.
//!
//! openat2(2) resolves each path with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`,
//! `RESOLVE_NO_MAGICLINKS` and `RESOLVE_NO_XDEV`, so a symbolic link planted in the tree is an
//! error and not a way out, whoever changes the tree meanwhile. `..` is refused before that.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Error, Result, sys};

/// An open directory that paths are resolved below.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the directory; symbolic links on the way to it are followed.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `ENOTDIR` for anything but a directory.
    pub fn open(directory: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = sys(
            "open",
            directory,
            rustix::fs::openat(CWD, directory, flags, Mode::empty()),
        )?;
        Ok(Self {
            fd,
            path: directory.to_path_buf(),
        })
    }

    /// Returns the path that the directory was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory that `relative` is in and returns it, an `O_PATH` descriptor, with the
    /// last name of `relative`: what the functions of [`crate::at`] take.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `EINVAL` for a path that is absolute, has `..` or no name; `ELOOP`
    /// where it passes a symbolic link, `EXDEV` where it passes a mount point, `ENOTDIR` where it
    /// passes a file.
    pub fn open_parent(&self, relative: &Path) -> Result<(OwnedFd, OsString)> {
        self.check(relative)?;
        let Some(name) = relative.file_name() else {
            return Err(self.refused(relative, Errno::INVAL));
        };
        let parent = relative.parent().unwrap_or_else(|| Path::new(""));
        Ok((self.dir(parent)?, name.to_os_string()))
    }

    /// Opens the directory at `relative`, as an `O_PATH` descriptor. An empty path is the root.
    pub fn dir(&self, relative: &Path) -> Result<OwnedFd> {
        self.open_at(relative, OFlags::PATH | OFlags::DIRECTORY, 0)
    }

    /// Opens what is at `relative`, with `O_CLOEXEC` added. An empty path is the root.
    ///
    /// # Errors
    ///
    /// As [`Root::open_parent`]; `ELOOP` for a symbolic link as well, unless `flags` has both
    /// `O_PATH` and `O_NOFOLLOW`.
    pub fn open_at(&self, relative: &Path, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        self.check(relative)?;
        let place = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let mode = Mode::from_raw_mode(mode);
        let opened = open_long(&self.fd, place, flags | OFlags::CLOEXEC, mode, resolve);
        opened.map_err(|errno| self.refused(relative, errno))
    }

    /// Opens what `path` leads to for a process that has this directory as its root: symbolic links
    /// are followed, absolute ones and `..` from here (`RESOLVE_IN_ROOT`). `O_NOFOLLOW` in `flags`
    /// holds for the last name. Made for trees of which no one else changes the directories.
    pub fn open_inside(&self, path: &Path, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        let place = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // Unlike open(2), openat2(2) refuses a mode without O_CREAT or O_TMPFILE.
        let mode = Mode::from_raw_mode(mode);
        loop {
            match rustix::fs::openat2(&self.fd, place, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN) => {}
                result => return result.map_err(|errno| self.refused(path, errno)),
            }
        }
    }

    fn check(&self, relative: &Path) -> Result<()> {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if relative.components().all(inside) {
            return Ok(());
        }
        Err(self.refused(relative, Errno::INVAL))
    }

    fn refused(&self, relative: &Path, source: Errno) -> Error {
        // Joined by hand: joining an absolute path would hide the root.
        let mut path = self.path.clone().into_os_string();
        path.push("/");
        path.push(relative);
        Error::Sys {
            call: "openat2",
            path: path.into(),
            source,
        }
    }
}

/// The longest path that one call takes, with the zero at its end (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// Opens a path of any length, below `dir` throughout.
fn open_long(
    dir: impl AsFd,
    mut path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut here: Option<OwnedFd> = None;
    loop {
        let bytes = path.as_os_str().as_bytes();
        let slash = match bytes.len() < PATH_MAX {
            true => None,
            false => bytes[..PATH_MAX].iter().rposition(|byte| *byte == b'/'),
        };
        let from = here.as_ref().map_or(dir.as_fd(), AsFd::as_fd);
        let Some(slash) = slash else {
            return open_beneath(from, path, flags, mode, resolve);
        };
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let part = OsStr::from_bytes(&bytes[..slash]);
        let next = open_beneath(from, Path::new(part), way, Mode::empty(), resolve)?;
        // Not absolute, however many slashes there are.
        let start = bytes[slash..].iter().position(|byte| *byte != b'/');
        let rest = start.map_or(&b"."[..], |start| &bytes[slash + start..]);
        path = Path::new(OsStr::from_bytes(rest));
        here = Some(next);
    }
}

fn open_beneath(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    loop {
        match rustix::fs::openat2(dir, path, flags, mode, resolve) {
            // A rename elsewhere raced with the resolution (openat2(2), EAGAIN).
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("inner");
        std::fs::create_dir_all(inner.join("a/b")).unwrap();
        std::fs::write(place.path().join("outside"), "x").unwrap();
        std::fs::write(inner.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("..", inner.join("up")).unwrap();
        std::os::unix::fs::symlink("/", inner.join("slash")).unwrap();
        std::os::unix::fs::symlink("a", inner.join("within")).unwrap();
        let root = Root::open(&inner).unwrap();
        let errno = |path: &str| root.open_parent(Path::new(path)).unwrap_err().errno();
        assert_eq!(errno("../outside"), Some(Errno::INVAL));
        assert_eq!(errno("/etc/passwd"), Some(Errno::INVAL));
        assert_eq!(errno("a/../../outside"), Some(Errno::INVAL));
        assert_eq!(errno(""), Some(Errno::INVAL));
        assert_eq!(errno("up/outside"), Some(Errno::LOOP));
        assert_eq!(errno("slash/etc"), Some(Errno::LOOP));
        assert_eq!(errno("within/x"), Some(Errno::LOOP));
        assert_eq!(errno("file/x"), Some(Errno::NOTDIR));
        assert_eq!(errno("none/x"), Some(Errno::NOENT));
        let (dir, name) = root.open_parent(Path::new("a/b")).unwrap();
        assert_eq!(name, "b");
        crate::at::create(&dir, "new", 0o600).unwrap();
        assert!(inner.join("a/new").exists());
        assert!(root.dir(Path::new("")).is_ok());
        let long = "./".repeat(3000);
        assert!(root.dir(Path::new(&format!("{long}a/{long}b"))).is_ok());
        let out = root.dir(Path::new(&format!("{long}up/{long}inner")));
        assert_eq!(out.unwrap_err().errno(), Some(Errno::LOOP));
        assert!(root.open_at(Path::new("up"), OFlags::RDONLY, 0).is_err());
        let error = root.dir(Path::new("/x")).unwrap_err().to_string();
        assert!(error.contains("inner//x"), "{error}");
    }
}
