//! Blobs, kept byte for byte under their digest: `blobs/sha256/<hex>`.
//!
//! A blob appears whole, checked and flushed, or not at all: it is written beside the others in `blobs/incoming`, and
//! renamed. A download that was cut off stays there under its digest and is resumed ([`Blobs::try_resume`]); everything else in
//! that directory is rubbish when nobody holds its lock, which the kernel drops with the process.

mod incoming;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use cowlab_layer::Digest;
use cowlab_sys::lock::FileLock;
use cowlab_sys::{IdSource, dir, durability, io};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

pub use incoming::Incoming;
use incoming::{Leftover, hash_rest, too_long};

/// How much is copied at a time, in bytes.
const PIECE: usize = 256 << 10;

/// What a blob has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A blob that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was there before.
    pub existed: bool,
}

/// The blobs of a root.
#[derive(Debug)]
pub struct Blobs {
    dir: PathBuf,
    incoming: PathBuf,
}

impl Blobs {
    /// Opens the directory, making it if it is not there.
    pub fn open(dir: &Path) -> Result<Self> {
        let blobs = Self {
            dir: dir.join("sha256"),
            incoming: dir.join("incoming"),
        };
        for dir in [&blobs.dir, &blobs.incoming] {
            durability::create_dir_all(dir)?;
        }
        Ok(blobs)
    }

    /// Where a blob is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(hex(digest))
    }

    /// The size of a blob in bytes, or `None` where it is not kept.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Ok(io("stat", &path, Err(error))?),
        }
    }

    /// Opens a blob. Its digest was proved when it came; what changed since is [`verify`](Self::verify)'s to find.
    ///
    /// # Errors
    ///
    /// [`Error::NoBlob`].
    pub fn file(&self, digest: &Digest) -> Result<File> {
        if self.size(digest)?.is_none() {
            return Err(Error::NoBlob {
                digest: digest.to_string(),
                remedy: "pull or load the image again",
            });
        }
        let path = self.path(digest);
        Ok(io("open", &path, File::open(&path))?)
    }

    /// Reads a document whole and proves its digest.
    ///
    /// # Errors
    ///
    /// [`Error::NoBlob`], [`Error::BadBlob`] when it changed since it came or is longer than `limit` bytes.
    pub fn document(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let path = self.path(digest);
        let file = self.file(digest)?;
        io("read", &path, file.take(limit + 1).read_to_end(&mut bytes))?;
        let bad = |found: String| Error::BadBlob {
            from: path.display().to_string(),
            expected: digest.to_string(),
            found,
        };
        if bytes.len() as u64 > limit {
            return Err(bad(format!(
                "more than {limit} bytes, too many for a document,"
            )));
        }
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(bad(format!("the digest `{found}`")));
        }
        Ok(bytes)
    }

    /// Whether a kept blob still has its digest.
    ///
    /// # Errors
    ///
    /// [`Error::NoBlob`], [`Error::Sys`].
    pub fn verify(&self, digest: &Digest) -> Result<bool> {
        let mut hasher = Sha256::new();
        let mut file = self.file(digest)?;
        hash_rest(&mut file, &self.path(digest), &mut hasher)?;
        Ok(Digest::from_hasher(hasher) == *digest)
    }

    /// Keeps what `source` gives, to its end.
    ///
    /// # Errors
    ///
    /// [`Error::BadBlob`] when it is not what was expected; `from` says whose fault that is. Then nothing is kept.
    pub fn keep(
        &self,
        source: &mut dyn Read,
        expected: Option<Expected>,
        from: &str,
    ) -> Result<Stored> {
        if let Some(expected) = expected
            && self.size(&expected.digest)? == Some(expected.size)
        {
            return Ok(Stored {
                digest: expected.digest,
                size: expected.size,
                existed: true,
            });
        }
        let mut incoming = self.begin()?;
        let mut buffer = vec![0; PIECE];
        loop {
            let count = match source.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => io("read", from, result)?,
            };
            if count == 0 {
                return incoming.finish(expected, from);
            }
            incoming.take(&buffer[..count])?;
            if let Some(expected) = expected
                && incoming.size() > expected.size
            {
                return Err(too_long(expected, from));
            }
        }
    }

    /// Keeps some bytes.
    pub fn keep_bytes(&self, bytes: &[u8]) -> Result<Stored> {
        let expected = Expected {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        self.keep(&mut &*bytes, Some(expected), "memory")
    }

    /// Begins a blob of unknown digest.
    pub fn begin(&self) -> Result<Incoming<'_>> {
        let name = IdSource::Kernel.uuid("blob")?;
        let path = self.incoming.join(name);
        let incoming = Incoming::attempt(self, path, Leftover::Removed)?;
        // The name was drawn this moment.
        incoming.ok_or_else(|| Error::NoBlob {
            digest: "(a new one)".to_owned(),
            remedy: "something else writes into the directory of incoming blobs",
        })
    }

    /// Begins a download, or goes on with what an earlier one of the same digest left: see
    /// [`size`](Incoming::size). `None` while another process downloads it.
    pub fn try_resume(&self, expected: &Expected) -> Result<Option<Incoming<'_>>> {
        let path = self.incoming.join(hex(&expected.digest));
        let Some(mut incoming) = Incoming::attempt(self, path, Leftover::Kept)? else {
            return Ok(None);
        };
        incoming.take_over(expected)?;
        Ok(Some(incoming))
    }

    /// Removes a blob. One that is not there is no error.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Ok(io("unlink", &path, Err(error))?)
            }
            _ => Ok(()),
        }
    }

    /// Removes those of some blobs that were not there before and that are not in `used`: after what needed them failed.
    pub(crate) fn roll_back(&self, stored: &[Stored], used: &BTreeSet<String>) -> Result<()> {
        for one in stored {
            if !one.existed && !used.contains(&one.digest.to_string()) {
                self.remove(&one.digest)?;
            }
        }
        Ok(())
    }

    /// Lists the blobs with their sizes, in the order of their digests. What is no blob is left out.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut list = Vec::new();
        for entry in dir::read_dir(&self.dir)? {
            let digest = entry.name.to_str().map(|name| format!("sha256:{name}"));
            let Some(Ok(digest)) = digest.map(|text| text.parse::<Digest>()) else {
                continue;
            };
            if let Some(size) = self.size(&digest)? {
                list.push((digest, size));
            }
        }
        list.sort();
        Ok(list)
    }

    /// Removes what dead processes left half written, cut-off downloads included; returns how many bytes that were.
    pub fn remove_unfinished(&self) -> Result<u64> {
        let mut freed = 0;
        for entry in dir::read_dir(&self.incoming)? {
            let path = self.incoming.join(&entry.name);
            if let Some(_lock) = FileLock::try_exclusive(&path)? {
                freed += io("stat", &path, fs::symlink_metadata(&path))?.len();
                io("unlink", &path, fs::remove_file(&path))?;
            }
        }
        Ok(freed)
    }
}

/// The digits of a digest, without the algorithm.
pub(crate) fn hex(digest: &Digest) -> String {
    digest.to_string().split_off("sha256:".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        (dir, blobs)
    }

    fn expected(bytes: &[u8]) -> Expected {
        Expected {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }

    #[test]
    fn a_blob_is_kept_once_and_under_its_digest() {
        let (_dir, blobs) = blobs();
        let first = blobs.keep_bytes(b"content").unwrap();
        assert!(!first.existed && blobs.keep_bytes(b"content").unwrap().existed);
        assert_eq!(blobs.list().unwrap(), [(Digest::of(b"content"), 7)]);
        assert_eq!(blobs.document(&first.digest, 7).unwrap(), b"content");
        assert!(blobs.document(&first.digest, 6).is_err());
        fs::write(blobs.path(&first.digest), "changed").unwrap();
        assert!(!blobs.verify(&first.digest).unwrap());
        assert!(blobs.document(&first.digest, 7).is_err());
        blobs.remove(&first.digest).unwrap();
        blobs.remove(&first.digest).unwrap();
        assert!(blobs.file(&first.digest).is_err());
    }

    #[test]
    fn what_is_not_as_expected_is_not_kept() {
        let (_dir, blobs) = blobs();
        for wrong in ["conten", "content!", "CONTENT"] {
            let kept = blobs.keep(&mut wrong.as_bytes(), Some(expected(b"content")), "test");
            assert!(matches!(kept, Err(Error::BadBlob { .. })), "{wrong}");
        }
        assert!(blobs.list().unwrap().is_empty());
        assert_eq!(dir::read_dir(&blobs.incoming).unwrap(), []);
    }

    #[test]
    fn a_download_goes_on_where_it_broke_off() {
        let (_dir, blobs) = blobs();
        let expected = expected(b"content");
        let mut first = blobs.try_resume(&expected).unwrap().unwrap();
        assert!(blobs.try_resume(&expected).unwrap().is_none());
        first.take(b"con").unwrap();
        assert!(first.finish(Some(expected), "test").is_err());
        let mut second = blobs.try_resume(&expected).unwrap().unwrap();
        assert_eq!(second.size(), 3);
        second.take(b"tent").unwrap();
        assert!(!second.finish(Some(expected), "test").unwrap().existed);
        assert!(blobs.verify(&expected.digest).unwrap());
        let mut third = blobs.try_resume(&expected).unwrap().unwrap();
        third.take(b"CONTENT").unwrap();
        assert!(third.finish(Some(expected), "test").is_err());
        assert_eq!(blobs.remove_unfinished().unwrap(), 0);
        assert_eq!(dir::read_dir(&blobs.incoming).unwrap(), []);
    }
}
