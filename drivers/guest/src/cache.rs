//! The cache of guest images: a directory outside every checkout, one directory an image.
//!
//! `<release>-<key>/` is an image, whole or not there; `locks/<release>-<key>` is held shared by whoever uses it and
//! alone by whoever makes or prunes it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cowlab_sys::io;
use cowlab_sys::lock::FileLock;

use crate::image::MANIFEST;
use crate::{Error, Image, Release, Result};

/// The cache of guest images.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache of this user: `$XDG_CACHE_HOME/cowlab/guest`, else `~/.cache/cowlab/guest`. It is made where missing.
    ///
    /// # Errors
    ///
    /// [`Error::NoCacheDirectory`] and [`Error::Sys`].
    pub fn open() -> Result<Self> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        // XDG Base Directory Specification: a relative path is to be ignored.
        let base = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .ok_or(Error::NoCacheDirectory)?;
        Self::at(&base.join("cowlab/guest"))
    }

    /// Opens the cache in this directory.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`].
    pub fn at(root: &Path) -> Result<Self> {
        let locks = root.join("locks");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&locks);
        io("mkdir", &locks, made)?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    /// Returns the directory of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns every usable image, newest first; one that another process makes or prunes at the moment is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`]. An image that is damaged or of another format is logged and left out.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for entry in io("readdir", &self.root, std::fs::read_dir(&self.root))? {
            let dir = io("readdir", &self.root, entry)?.path();
            if !dir.join(MANIFEST).is_file() {
                continue;
            }
            match self.image(&dir) {
                Ok(Some(image)) => images.push(image),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a guest image is left out"),
            }
        }
        images.sort_by_key(|image| std::cmp::Reverse(image.manifest.created));
        Ok(images)
    }

    /// Returns the newest image of `release`; without one, the newest image of the newest release.
    ///
    /// # Errors
    ///
    /// As [`images`](Self::images).
    pub fn find(&self, release: Option<Release>) -> Result<Option<Image>> {
        let images = self.images()?;
        let release = release.or_else(|| images.iter().map(|i| i.manifest.release).max());
        Ok(images
            .into_iter()
            .find(|image| Some(image.manifest.release) == release))
    }

    fn image(&self, dir: &Path) -> Result<Option<Image>> {
        let Some(name) = dir.file_name() else {
            return Ok(None);
        };
        match FileLock::try_shared(&self.root.join("locks").join(name))? {
            Some(lock) => Image::open(dir, lock).map(Some),
            None => Ok(None),
        }
    }
}
