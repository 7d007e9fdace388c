//! One guest image in the cache and its manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cowlab_sys::io;
use cowlab_sys::lock::FileLock;
use serde::{Deserialize, Serialize};

use crate::{Error, FORMAT, Release, Result, digest};

/// The manifest's file name.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The parts of an image, whose checksums are in its manifest.
pub(crate) const PARTS: [&str; 2] = ["vmlinux", "initrd"];

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the directory, [`FORMAT`].
    pub format: u64,
    /// The Debian release.
    pub release: Release,
    /// The kernel's release, as `uname -r` has it.
    pub kernel: String,
    /// The version of the ZFS modules and tools, as `zfs version` has it.
    pub zfs: String,
    /// The recipe and package versions in a few letters: the same key means the same image.
    pub key: String,
    /// When it was built, in seconds since 1970.
    pub created: u64,
    /// What its files take together, in bytes.
    pub bytes: u64,
    /// The version of every package it is made of.
    pub packages: BTreeMap<String, String>,
    /// The SHA-256 of `vmlinux` and `initrd`, in hexadecimal.
    pub digests: BTreeMap<String, String>,
}

/// A guest image in the cache. While the value lives, nobody prunes the image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The directory: `vmlinux`, `initrd` and `manifest.json`.
    pub dir: PathBuf,
    /// What it is made of.
    pub manifest: Manifest,
    _in_use: Arc<FileLock>,
}

impl Image {
    /// Opens the image in `dir`, whose shared lock is `in_use`.
    pub(crate) fn open(dir: &Path, in_use: FileLock) -> Result<Self> {
        let manifest = Manifest::read(dir)?;
        for part in PARTS {
            if !dir.join(part).exists() {
                return Err(Error::Damaged {
                    path: dir.to_path_buf(),
                    reason: format!("it lacks `{part}`"),
                });
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            manifest,
            _in_use: Arc::new(in_use),
        })
    }

    /// Reads what is booted and compares it with the manifest's checksums.
    pub(crate) fn check(&self) -> Result<()> {
        for part in PARTS {
            let sum = digest::of(&self.dir.join(part))?;
            if self.manifest.digests.get(part) != Some(&sum.sha256) {
                return Err(Error::Damaged {
                    path: self.dir.clone(),
                    reason: format!("its `{part}` is not what was built"),
                });
            }
        }
        Ok(())
    }

    /// Returns the kernel: an ELF file with a PVH entry, for `qemu -kernel`.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// Returns the initrd, which holds the whole root file system.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd")
    }
}

impl Manifest {
    /// Returns the name of the image's directory.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.release, self.key)
    }

    /// Reads the manifest of the image in `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] for one of another version, [`Error::Damaged`] for what is none.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        let text = io("read", &path, std::fs::read(&path))?;
        Self::parse(dir, &text)
    }

    /// Reads the text of the manifest of the image `path`.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        // The format first: a later one may have other fields.
        #[derive(Deserialize)]
        struct Header {
            format: u64,
        }
        let damaged = |error: serde_json::Error| Error::Damaged {
            path: path.to_path_buf(),
            reason: format!("its {MANIFEST} is not readable: {error}"),
        };
        let header: Header = serde_json::from_slice(text).map_err(damaged)?;
        if header.format != FORMAT {
            return Err(Error::Format {
                path: path.to_path_buf(),
                found: header.format,
            });
        }
        serde_json::from_slice(text).map_err(damaged)
    }
}
