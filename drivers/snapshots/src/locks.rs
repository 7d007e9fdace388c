//! One lock per snapshot, held by an operation to its end.
//!
//! The locks are OFD locks (`fcntl(2)`, "Open file description locks") on `locks/<id>`: they end with
//! the process, however it ends, and two threads of one process exclude each other like two
//! processes. An operation that changes a snapshot holds it exclusively, one that reads its files
//! shares it. Recovery takes an intent only with its lock, so it never meets a live operation.
//!
//! Removing a lock file is a race in general: one process may wait on the removed inode while another
//! locks a new file of the same name, and both hold "the" lock. Here the race has no effect, by two
//! rules. A lock file is removed only by who holds it exclusively, when its number was given out and
//! its row is gone: since numbers are never reused, no row of that number comes again. And everybody
//! reads the row again under the lock: who locked the removed inode finds none and does nothing. The
//! file of a number not yet given out belongs to who is about to give it out, and stays.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlab_driver::SnapshotId;
use cowlab_sys::lock::FileLock;

use crate::Result;

/// How the lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Together with others that share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// The lock of a snapshot, held until dropped.
#[derive(Debug)]
pub(crate) struct SnapshotLock {
    _file: FileLock,
    path: PathBuf,
}

impl SnapshotLock {
    /// Lets go of the lock of a snapshot whose row is gone, and removes its file.
    pub(crate) fn retire(self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                // One empty file is left; `Store::check` removes it.
                tracing::warn!(path = %self.path.display(), %error, "lock file is left");
            }
            _ => {}
        }
    }
}

/// The lock files of a store.
#[derive(Debug, Clone)]
pub(crate) struct Locks {
    dir: PathBuf,
    timeout: Duration,
}

impl Locks {
    pub(crate) fn new(dir: &Path, timeout: Duration) -> Self {
        Self {
            dir: dir.to_owned(),
            timeout,
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_take(&self, id: SnapshotId, hold: Hold) -> Result<Option<SnapshotLock>> {
        let path = self.dir.join(id.to_string());
        let file = match hold {
            Hold::Shared => FileLock::try_shared(&path)?,
            Hold::Exclusive => FileLock::try_exclusive(&path)?,
        };
        Ok(file.map(|file| SnapshotLock { _file: file, path }))
    }

    /// Takes the lock, waiting up to the timeout; `None` when it is still held then.
    ///
    /// It asks again and again rather than block: a blocking wait has no timeout (`fcntl(2)`), and an
    /// apply may hold a lock for minutes.
    pub(crate) fn take(&self, id: SnapshotId, hold: Hold) -> Result<Option<SnapshotLock>> {
        self.wait(|| self.try_take(id, hold))
    }

    /// Takes the lock of having the driver make a snapshot mountable that others share: of two that make one device at the
    /// same time, the second would freeze what the first is about to mount.
    pub(crate) fn activation(&self) -> Result<Option<FileLock>> {
        let path = self.dir.join("activation");
        self.wait(|| Ok(FileLock::try_exclusive(&path)?))
    }

    fn wait<T>(&self, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(20);
        let end = Instant::now() + self.timeout;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = attempt()? {
                return Ok(Some(lock));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The numbers that have a lock file.
    pub(crate) fn ids(&self) -> Result<Vec<SnapshotId>> {
        let mut ids = Vec::new();
        for entry in cowlab_sys::io("readdir", &self.dir, std::fs::read_dir(&self.dir))? {
            let name = cowlab_sys::io("readdir", &self.dir, entry)?.file_name();
            ids.extend(
                name.to_str()
                    .and_then(|name| name.parse::<SnapshotId>().ok()),
            );
        }
        Ok(ids)
    }
}
