//! Locks between processes: open-file-description locks on files that stay.
//!
//! The lock belongs to the open description: it ends when the last descriptor of it is closed, at
//! the latest with the process, and two threads that open the file twice exclude each other
//! (fcntl_locking(2)). The file is never removed, for a lock on a removed file guards nothing.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::raw::{LockKind, ofd_lock};
use crate::{Result, io, sys};

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Waits for the lock, for this owner alone. The file is made with mode 0600 where missing.
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::wait(path, LockKind::Exclusive)
    }

    /// Waits for the lock, together with other shared owners.
    pub fn shared(path: &Path) -> Result<Self> {
        Self::wait(path, LockKind::Shared)
    }

    /// Takes the lock for this owner alone, or returns `None` where another has it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::attempt(path, LockKind::Exclusive)
    }

    /// Takes the lock together with other shared owners, or returns `None` where another has it
    /// alone.
    pub fn try_shared(path: &Path) -> Result<Option<Self>> {
        Self::attempt(path, LockKind::Shared)
    }

    /// Waits for the lock, for this owner alone, and returns `None` where another still has it after `time`.
    ///
    /// The kernel's own wait has no time limit (fcntl_locking(2)), so the lock is tried again and again.
    pub fn exclusive_within(path: &Path, time: Duration) -> Result<Option<Self>> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(20);
        let end = Instant::now() + time;
        let mut pause = Duration::from_millis(1);
        loop {
            let lock = Self::try_exclusive(path)?;
            if lock.is_some() || Instant::now() >= end {
                return Ok(lock);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Returns the path of the lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the lock file, to leave a note in.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn wait(path: &Path, kind: LockKind) -> Result<Self> {
        let file = open(path)?;
        let result = loop {
            match ofd_lock(&file, kind, true) {
                Err(Errno::INTR) => {}
                result => break result,
            }
        };
        sys("lock", path, result)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    fn attempt(path: &Path, kind: LockKind) -> Result<Option<Self>> {
        let file = open(path)?;
        match ofd_lock(&file, kind, false) {
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            result => {
                sys("lock", path, result)?;
                Ok(Some(Self {
                    file,
                    path: path.to_path_buf(),
                }))
            }
        }
    }
}

impl Drop for FileLock {
    /// Does not leave it to the last descriptor: a program that another thread starts at this moment has copies of all
    /// of them between fork(2) and execve(2), and would hold the lock for that long.
    fn drop(&mut self) {
        if let Err(error) = ofd_lock(&self.file, LockKind::Released, false) {
            tracing::error!(path = %self.path.display(), %error, "a lock is released only with its last descriptor");
        }
    }
}

/// A held lock of a directory (flock(2)), which leaves no file in it; dropping it releases it.
#[derive(Debug)]
pub struct DirLock {
    _dir: OwnedFd,
}

impl DirLock {
    /// Takes the lock of the directory at `path`, or returns `None` where another has it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty());
        let dir = sys("open", path, opened)?;
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => Ok(None),
            result => {
                sys("flock", path, result)?;
                Ok(Some(Self { _dir: dir }))
            }
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW);
    io("open", path, options.open(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_within_one_process() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let shared = FileLock::shared(&path).unwrap();
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        let second = FileLock::try_shared(&path).unwrap();
        assert!(second.is_some());
        drop((shared, second));
        let held = FileLock::exclusive(&path).unwrap();
        assert!(FileLock::try_shared(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
        assert!(path.exists());
    }

    #[test]
    fn bounded_wait_ends_without_the_lock() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let held = FileLock::shared(&path).unwrap();
        let time = Duration::from_millis(30);
        assert!(FileLock::exclusive_within(&path, time).unwrap().is_none());
        let holders = crate::holders::lock_holders(&path).unwrap();
        let pids: Vec<_> = holders.iter().map(|holder| holder.pid).collect();
        assert_eq!(pids, [std::process::id()], "{holders:?}");
        drop(held);
        assert!(FileLock::exclusive_within(&path, time).unwrap().is_some());
        assert!(crate::holders::lock_holders(&path).unwrap().is_empty());
    }

    #[test]
    fn is_released_while_a_program_that_starts_has_a_copy() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let held = FileLock::exclusive(&path).unwrap();
        let copy = held.file().try_clone().unwrap();
        drop(held);
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
        drop(copy);
    }
}
