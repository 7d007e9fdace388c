//! Getting what was written onto the disk: one file, one directory, one file system.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::fault::{Fault, is_planted};
use crate::{Result, io, raw, sys};

/// Flushes the content and the attributes of the file at `path`.
pub fn fsync(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let file = io("open", path, File::open(path))?;
    fsync_file(&file, path)
}

/// Flushes the content and the attributes of an open file; `path` names it in errors.
pub fn fsync_file(file: &File, path: impl AsRef<Path>) -> Result<()> {
    if is_planted(Fault::NoFsync) {
        return Ok(());
    }
    io("fsync", path, file.sync_all())
}

/// Flushes the entries of the directory at `path`: what was created, renamed or removed in it.
pub fn fsync_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = sys(
        "open",
        path,
        rustix::fs::openat(CWD, path, flags, Mode::empty()),
    )?;
    if is_planted(Fault::NoFsync) {
        return Ok(());
    }
    sys("fsync", path, rustix::fs::fsync(&dir))
}

/// Makes a directory and those above it that are missing, as `mkdir -p` does, and flushes the entry of each in the
/// directory above.
pub fn create_dir_all(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let above: Vec<_> = path.ancestors().take_while(missing).collect();
    io("mkdir", path, std::fs::create_dir_all(path))?;
    for made in above.into_iter().rev() {
        let parent = made
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        fsync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Flushes the whole file system that `path` is on, and no other. Errors of earlier writes that
/// nobody has seen yet are reported (syncfs(2), since Linux 5.8).
pub fn syncfs(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = sys(
        "open",
        path,
        rustix::fs::openat(CWD, path, flags, Mode::empty()),
    )?;
    if is_planted(Fault::NoSyncfs) {
        return Ok(());
    }
    sys("syncfs", path, rustix::fs::syncfs(&fd))
}

/// Starts to write what waits of an open file, and waits for nothing. This promises nothing: neither attributes nor the
/// disk's own cache are written (sync_file_range(2)).
pub fn start_writing(file: impl AsFd) -> Result<()> {
    sys("sync_file_range", "", raw::start_writing(file.as_fd()))
}

/// Flushes an open directory or file.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EBADF` for an `O_PATH` descriptor.
pub fn fsync_fd(fd: impl AsFd) -> Result<()> {
    if is_planted(Fault::NoFsync) {
        return Ok(());
    }
    sys("fsync", "", rustix::fs::fsync(fd))
}
