//! A blob while it is written: locked, digested, and renamed when it is whole.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cowlab_layer::Digest;
use cowlab_sys::durability::{self, fsync_dir, fsync_file};
use cowlab_sys::io;
use cowlab_sys::lock::FileLock;
use sha2::{Digest as _, Sha256};

use super::{Blobs, Expected, PIECE, Stored};
use crate::{Error, Result};

/// What becomes of an unfinished blob when its writer gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftover {
    Removed,
    Kept,
}

/// A blob that is being written. Its file is locked, which tells a live writer's from a dead one's.
#[derive(Debug)]
pub struct Incoming<'b> {
    blobs: &'b Blobs,
    lock: FileLock,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
    leftover: Leftover,
}

impl<'b> Incoming<'b> {
    /// Makes or takes over a file, or returns `None` while somebody else writes it.
    pub(super) fn attempt(
        blobs: &'b Blobs,
        path: PathBuf,
        leftover: Leftover,
    ) -> Result<Option<Self>> {
        let Some(lock) = FileLock::try_exclusive(&path)? else {
            return Ok(None);
        };
        // Whoever held the lock before may have finished, and renamed the file.
        let held = io("stat", &path, lock.file().metadata())?;
        let same = |there: fs::Metadata| (there.dev(), there.ino()) == (held.dev(), held.ino());
        if !fs::symlink_metadata(&path).is_ok_and(same) {
            return Ok(None);
        }
        Ok(Some(Self {
            blobs,
            lock,
            path,
            hasher: Sha256::new(),
            size: 0,
            leftover,
        }))
    }

    /// Goes on with what is there, unless that is too much already.
    pub(super) fn take_over(&mut self, expected: &Expected) -> Result<()> {
        let there = io("stat", &self.path, self.file().metadata())?.len();
        if there > expected.size {
            return self.restart();
        }
        let mut file = io("dup", &self.path, self.file().try_clone())?;
        hash_rest(&mut file, &self.path, &mut self.hasher)?;
        self.size = there;
        Ok(())
    }

    fn file(&self) -> &File {
        self.lock.file()
    }

    /// How many bytes are there, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Throws away what is there.
    pub fn restart(&mut self) -> Result<()> {
        io("ftruncate", &self.path, self.file().set_len(0))?;
        io(
            "lseek",
            &self.path,
            self.lock.file().seek(SeekFrom::Start(0)),
        )?;
        self.hasher = Sha256::new();
        self.size = 0;
        Ok(())
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`], a full file system for example.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        io("write", &self.path, self.lock.file().write_all(bytes))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Proves the digest, flushes the blob and gives it its name.
    ///
    /// # Errors
    ///
    /// [`Error::BadBlob`]: then it is gone, unless bytes are missing of a download, which can be resumed.
    pub fn finish(mut self, expected: Option<Expected>, from: &str) -> Result<Stored> {
        let digest = Digest::from_hasher(std::mem::take(&mut self.hasher));
        if let Some(expected) = expected {
            if self.size < expected.size {
                return Err(Error::BadBlob {
                    from: from.to_owned(),
                    expected: expected.digest.to_string(),
                    found: format!("{} of {} bytes", self.size, expected.size),
                });
            }
            self.leftover = Leftover::Removed;
            if self.size > expected.size {
                return Err(too_long(expected, from));
            }
            if digest != expected.digest {
                return Err(Error::BadBlob {
                    from: from.to_owned(),
                    expected: expected.digest.to_string(),
                    found: format!("the digest `{digest}`"),
                });
            }
        }
        let size = self.size;
        let path = self.blobs.path(&digest);
        if self.blobs.size(&digest)? == Some(size) {
            self.leftover = Leftover::Removed;
            let existed = true;
            return Ok(Stored {
                digest,
                size,
                existed,
            });
        }
        fsync_file(self.file(), &self.path)?;
        io("rename", &path, fs::rename(&self.path, &path))?;
        // The name is gone: there is nothing left to remove.
        self.leftover = Leftover::Kept;
        fsync_dir(&self.blobs.dir)?;
        Ok(Stored {
            digest,
            size,
            existed: false,
        })
    }
}

impl Incoming<'_> {
    /// Where it is while it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes what is there and gives it a name outside the blobs, in the same file system.
    pub(crate) fn place(mut self, path: &Path) -> Result<()> {
        let parent = path.parent().unwrap_or(path);
        durability::create_dir_all(parent)?;
        fsync_file(self.file(), &self.path)?;
        io("rename", path, fs::rename(&self.path, path))?;
        // The name is gone: there is nothing left to remove.
        self.leftover = Leftover::Kept;
        // Not by `create_dir_all` alone: the directory may have been made without a flush, for people.
        for dir in [Some(parent), parent.parent()].into_iter().flatten() {
            fsync_dir(dir)?;
        }
        Ok(())
    }
}

impl Write for Incoming<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.lock.file().write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.lock.file().flush()
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        if self.leftover == Leftover::Kept {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished blob stays");
        }
    }
}

pub(super) fn too_long(expected: Expected, from: &str) -> Error {
    Error::BadBlob {
        from: from.to_owned(),
        expected: expected.digest.to_string(),
        found: format!("more than its {} bytes", expected.size),
    }
}

pub(super) fn hash_rest(file: &mut File, path: &Path, hasher: &mut Sha256) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match io("read", path, file.read(&mut buffer))? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
