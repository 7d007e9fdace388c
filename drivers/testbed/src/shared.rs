//! What a run and all that it makes share: its directory and lock, the journal, names, and the room on the disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use cowlab_sys::lock::FileLock;
use cowlab_sys::{Errno, IdSource, io, process, stat};

use crate::journal::{Intent, Journal, Origin, directory_name};
use crate::{Error, Media, Result};

/// The name of the lock file in a run's directory.
pub(crate) const LOCK: &str = "lock";
/// What must remain free on the disk, in bytes.
const DISK_RESERVE: u64 = 512 << 20;
/// What must remain free in memory, in bytes.
const MEMORY_RESERVE: u64 = 1 << 30;

/// What a run and its file systems share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: String,
    id_source: IdSource,
    directory: PathBuf,
    journal: Mutex<Journal>,
    /// The number of the next name.
    pub(crate) next: AtomicU32,
    /// Whether the run is over, so that its file systems have nothing left to take back.
    pub(crate) over: AtomicBool,
    /// Files behind loop devices, with what they lie on and their size in bytes.
    images: Mutex<Vec<(PathBuf, Media, u64)>>,
    /// Held to the end: a free lock tells the sweep that the run is dead.
    _lock: FileLock,
}

impl Shared {
    /// Makes and locks the directory of a run of this id; `None` where the name is taken, or was swept in the moment between
    /// making the directory and locking it, in which it cannot be told from a dead one.
    pub(crate) fn start(base: &Path, id: &str, id_source: IdSource) -> Result<Option<Self>> {
        let directory = base.join(directory_name(id));
        match make_private_dir(&directory) {
            Err(error) if error.errno() == Some(Errno::EXIST) => return Ok(None),
            result => result.map_err(|error| Error::Directory {
                directory: base.to_owned(),
                reason: error.to_string(),
            })?,
        }
        let path = directory.join(LOCK);
        let lock = match FileLock::try_exclusive(&path) {
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(None),
            result => result?,
        };
        let Some(lock) = lock.filter(is_in_place) else {
            return Ok(None);
        };
        let journal = Journal::create(&directory, Origin::of_this_process(id)?)?;
        Ok(Some(Self {
            id: id.to_owned(),
            id_source,
            directory,
            journal: Mutex::new(journal),
            next: AtomicU32::new(1),
            over: AtomicBool::new(false),
            images: Mutex::default(),
            _lock: lock,
        }))
    }

    /// Returns a new name for an object.
    pub(crate) fn name(&self, label: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        format!("{}-{number}-{label}", directory_name(&self.id))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where identifiers of what the run makes come from.
    pub(crate) fn id_source(&self) -> IdSource {
        self.id_source
    }

    /// Tells whether the run is over: closed, or kept.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn record(&self, intent: &Intent) -> Result<()> {
        self.journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(intent)
    }

    /// Checks that `bytes` more can be taken without filling the disk or the memory, and counts a
    /// file of this size that will be at `image`. Sparse files count with their whole size: they
    /// may fill up.
    pub(crate) fn reserve(&self, image: &Path, media: Media, bytes: u64) -> Result<()> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let promised: u64 = images
            .iter()
            .filter(|(_, other, _)| *other == media)
            .filter_map(|(path, _, bytes)| {
                Some(bytes.saturating_sub(stat::lstat(path).ok()?.blocks * 512))
            })
            .sum();
        let more = bytes.saturating_add(promised);
        match media {
            Media::Disk => {
                let available = stat::statfs(&self.directory)?.available_bytes();
                let needed = more.saturating_add(DISK_RESERVE);
                if needed > available {
                    let directory = self.directory.clone();
                    return Err(Error::NoSpace {
                        directory,
                        needed,
                        available,
                    });
                }
            }
            Media::Memory => {
                let available = process::available_memory()?;
                let needed = more.saturating_add(MEMORY_RESERVE);
                if needed > available {
                    return Err(Error::NoMemory { needed, available });
                }
            }
        }
        images.push((image.to_path_buf(), media, bytes));
        Ok(())
    }
}

/// Makes a directory for root alone.
pub(crate) fn make_private_dir(path: &Path) -> cowlab_sys::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    io(
        "mkdir",
        path,
        std::fs::DirBuilder::new().mode(0o700).create(path),
    )
}

/// Tells whether a held lock is that of the file at its path: a sweep may have removed the file
/// between its opening and its locking.
pub(crate) fn is_in_place(lock: &FileLock) -> bool {
    let held = stat::fstat(lock.file()).map(|found| (found.dev, found.ino));
    let there = stat::lstat(lock.path()).map(|found| (found.dev, found.ino));
    matches!((held, there), (Ok(held), Ok(there)) if held == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_lock_file_guards_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(LOCK);
        let lock = FileLock::try_exclusive(&path).unwrap().unwrap();
        assert!(is_in_place(&lock));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_in_place(&lock));
        std::fs::write(&path, "").unwrap();
        assert!(!is_in_place(&lock));
    }
}
