//! Getting what was written onto the disk: one file, one directory, one file system.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::{Result, io, sys};

/// Flushes the content and the attributes of the file at `path`.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`].
pub fn fsync(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let file = io("open", path, File::open(path))?;
    io("fsync", path, file.sync_all())
}

/// Flushes the entries of the directory at `path`: what was created, renamed or removed in it.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`].
pub fn fsync_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = sys(
        "open",
        path,
        rustix::fs::openat(CWD, path, flags, Mode::empty()),
    )?;
    sys("fsync", path, rustix::fs::fsync(&dir))
}

/// Flushes the whole file system that `path` is on, and no other. Errors of earlier writes that
/// nobody has seen yet are reported (syncfs(2), since Linux 5.8).
///
/// # Errors
///
/// Returns [`crate::Error::Sys`].
pub fn syncfs(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = sys(
        "open",
        path,
        rustix::fs::openat(CWD, path, flags, Mode::empty()),
    )?;
    sys("syncfs", path, rustix::fs::syncfs(&fd))
}

/// Flushes an open directory or file.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EBADF` for an `O_PATH` descriptor.
pub fn fsync_fd(fd: impl AsFd) -> Result<()> {
    sys("fsync", "", rustix::fs::fsync(fd))
}
