//! The cache of guest images: a directory outside every checkout, one directory an image.
//!
//! - `<release>-<key>/` is an image, whole or not there.
//! - `locks/<release>-<key>` is held shared by whoever uses the image, and alone by whoever removes it;
//!   `locks/<release>-<key>.make` is held alone by whoever makes it, so that a second one waits and then finds it.
//! - `tmp/` is where images are made and removed; the next [`Cache::open`] clears what nobody holds any more.
//! - `default` names the image that runs when no release is asked for: the newest that was seen to start.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cowlab_sys::lock::FileLock;
use cowlab_sys::{dir, io};

use crate::image::MANIFEST;
use crate::temporary::{self, Temporary};
use crate::{Error, Image, Manifest, Release, Result};

/// The cache of guest images.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache of this user: `$XDG_CACHE_HOME/cowlab/guest`, else `~/.cache/cowlab/guest`. It is made where
    /// missing, and what a killed build left in it is removed.
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
    pub fn at(root: &Path) -> Result<Self> {
        for part in ["locks", "tmp"] {
            let path = root.join(part);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            io("mkdir", &path, made)?;
        }
        let cache = Self {
            root: root.to_path_buf(),
        };
        temporary::sweep(&cache.root)?;
        Ok(cache)
    }

    /// Returns the directory of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns every usable image, newest first; one that another process makes or removes at the moment is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`]. An image that is damaged or of another format is logged and left out.
    pub fn images(&self) -> Result<Vec<Image>> {
        let (images, unusable) = self.survey()?;
        for error in unusable {
            tracing::warn!("a guest image is left out: {error}");
        }
        Ok(images)
    }

    /// Returns the newest image of `release`; without one, the image that is remembered to start, and else that of the
    /// newest release in the cache but unstable, which runs only by its name.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`]; where there is nothing but images that cannot be used, why the first of them cannot.
    pub fn find(&self, release: Option<Release>) -> Result<Option<Image>> {
        let (images, mut unusable) = self.survey()?;
        let of = |release| {
            images
                .iter()
                .find(|image| image.manifest.release == release)
        };
        let found = match release {
            Some(release) => of(release).cloned(),
            None => self.preferred().ok().flatten().or_else(|| {
                let stable = Release::CANDIDATES.into_iter();
                stable.filter_map(of).next().cloned()
            }),
        };
        match found {
            Some(image) => Ok(Some(image)),
            None if release.is_none() && !unusable.is_empty() => Err(unusable.swap_remove(0)),
            None => Ok(None),
        }
    }

    /// Removes every image that a newer one of its release replaces and those of older formats, except what somebody uses
    /// right now. Returns what was removed.
    pub fn prune(&self) -> Result<Vec<String>> {
        let (images, unusable) = self.survey()?;
        let mut seen = Vec::new();
        let mut old = Vec::new();
        for image in &images {
            if seen.contains(&image.manifest.release) {
                old.push(image.dir.clone());
            }
            seen.push(image.manifest.release);
        }
        // Our own locks are in the way of removing.
        drop(images);
        old.extend(unusable.into_iter().filter_map(|error| match error {
            Error::Format { path, found } if found < crate::FORMAT => Some(path),
            _ => None,
        }));
        let mut removed = Vec::new();
        for dir in old {
            if self.remove(&dir)? {
                let name = dir.file_name().unwrap_or_default();
                removed.push(name.to_string_lossy().into_owned());
            }
        }
        Ok(removed)
    }

    /// Opens the image of this name, if it is there.
    pub(crate) fn image(&self, name: &str) -> Result<Option<Image>> {
        let dir = self.root.join(name);
        if !dir.join(MANIFEST).is_file() {
            return Ok(None);
        }
        match FileLock::try_shared(&self.lock_path(name))? {
            Some(lock) => Image::open(&dir, lock).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the right to make the image of this name; calls `waiting` where another process has it.
    pub(crate) fn lock_making(&self, name: &str, waiting: impl FnOnce()) -> Result<FileLock> {
        let path = self.lock_path(&format!("{name}.make"));
        if let Some(lock) = FileLock::try_exclusive(&path)? {
            return Ok(lock);
        }
        waiting();
        Ok(FileLock::exclusive(&path)?)
    }

    /// Makes the image whose parts lie in `parts`, a directory inside `temporary`, part of the cache.
    pub(crate) fn adopt(&self, parts: &Path, manifest: &Manifest) -> Result<Image> {
        let name = manifest.name();
        let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
        let path = parts.join(MANIFEST);
        io("write", &path, std::fs::write(&path, text))?;
        // All of it is on disk before its name is: a power cut leaves no half image that looks whole.
        cowlab_sys::durability::syncfs(parts)?;
        let lock = FileLock::shared(&self.lock_path(&name))?;
        let target = self.root.join(&name);
        if target.exists() {
            // Nobody uses what cannot be opened.
            temporary::discard(&self.root, &target)?;
        }
        io("rename", &target, std::fs::rename(parts, &target))?;
        cowlab_sys::durability::fsync_dir(&self.root)?;
        Image::open(&target, lock)
    }

    /// Prepares a place to make an image in.
    pub(crate) fn temporary(&self) -> Result<Temporary> {
        Temporary::make(&self.root)
    }

    fn remove(&self, dir: &Path) -> Result<bool> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let Some(_alone) = FileLock::try_exclusive(&self.lock_path(&name))? else {
            return Ok(false);
        };
        temporary::discard(&self.root, dir)?;
        Ok(true)
    }

    fn survey(&self) -> Result<(Vec<Image>, Vec<Error>)> {
        let (mut images, mut unusable) = (Vec::new(), Vec::new());
        for entry in dir::read_dir(&self.root)? {
            match self.image(&entry.name.to_string_lossy()) {
                Ok(image) => images.extend(image),
                Err(error) => unusable.push(error),
            }
        }
        images.sort_by_key(|image| std::cmp::Reverse(image.manifest.created));
        Ok((images, unusable))
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn manifest(release: Release, key: &str, created: u64) -> Manifest {
        Manifest {
            format: crate::FORMAT,
            release,
            kernel: "6.12".into(),
            zfs: "2.3".into(),
            key: key.into(),
            created,
            bytes: 0,
            packages: BTreeMap::new(),
            digests: BTreeMap::new(),
        }
    }

    fn add(cache: &Cache, manifest: &Manifest) -> Image {
        let temporary = cache.temporary().unwrap();
        let parts = temporary.path().join("out");
        std::fs::create_dir(&parts).unwrap();
        for part in crate::image::PARTS {
            std::fs::write(parts.join(part), part).unwrap();
        }
        let image = cache.adopt(&parts, manifest).unwrap();
        temporary.close().unwrap();
        image
    }

    #[test]
    fn the_newest_image_of_the_right_release_is_found() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        assert!(cache.find(None).unwrap().is_none());
        drop(add(&cache, &manifest(Release::Bookworm, "a", 30)));
        drop(add(&cache, &manifest(Release::Trixie, "b", 10)));
        drop(add(&cache, &manifest(Release::Trixie, "c", 20)));
        let key = |release| cache.find(release).unwrap().unwrap().manifest.key;
        assert_eq!(key(None), "c");
        assert_eq!(key(Some(Release::Bookworm)), "a");
        assert!(
            cache
                .find(Some(Release::BookwormBackports))
                .unwrap()
                .is_none()
        );
        drop(add(&cache, &manifest(Release::Sid, "d", 40)));
        assert_eq!(key(None), "c");
        // One that was seen to start goes before a newer one that was not.
        cache
            .prefer(&cache.find(Some(Release::Bookworm)).unwrap().unwrap())
            .unwrap();
        assert_eq!(key(None), "a");
        cache
            .prefer(&cache.find(Some(Release::Sid)).unwrap().unwrap())
            .unwrap();
        assert_eq!(key(None), "a");
        cache
            .prefer(&cache.find(Some(Release::Trixie)).unwrap().unwrap())
            .unwrap();
        cache
            .prefer(&cache.find(Some(Release::Bookworm)).unwrap().unwrap())
            .unwrap();
        assert_eq!(key(None), "c");
    }

    #[test]
    fn pruning_keeps_the_newest_and_what_is_in_use() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        let used = add(&cache, &manifest(Release::Trixie, "a", 10));
        drop(add(&cache, &manifest(Release::Trixie, "b", 20)));
        drop(add(&cache, &manifest(Release::Trixie, "c", 30)));
        drop(add(&cache, &manifest(Release::Sid, "d", 1)));
        assert_eq!(cache.prune().unwrap(), ["trixie-b"]);
        drop(used);
        assert_eq!(cache.prune().unwrap(), ["trixie-a"]);
        assert_eq!(cache.prune().unwrap(), [""; 0]);
        assert_eq!(cache.images().unwrap().len(), 2);
    }

    #[test]
    fn an_image_of_another_version_is_named_and_one_of_an_older_is_pruned() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        let image = add(&cache, &manifest(Release::Trixie, "a", 10));
        let file = image.dir.join(MANIFEST);
        drop(image);
        std::fs::write(&file, "{\"format\": 99}").unwrap();
        let error = cache.find(None).unwrap_err().to_string();
        assert!(
            error.contains("format 99") && error.contains("trixie-a"),
            "{error}"
        );
        assert!(cache.prune().unwrap().is_empty());
        std::fs::write(&file, "{\"format\": 0}").unwrap();
        assert_eq!(cache.prune().unwrap(), ["trixie-a"]);
    }

    #[test]
    fn what_a_killed_build_left_is_gone_at_the_next_opening() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        let mut temporary = cache.temporary().unwrap();
        let scratch = temporary.scratch(place.path()).unwrap();
        std::fs::write(scratch.join("file"), "x").unwrap();
        let path = temporary.path().to_path_buf();
        drop(Cache::at(place.path()).unwrap());
        assert!(path.exists() && scratch.exists());
        temporary.abandon();
        drop(Cache::at(place.path()).unwrap());
        assert!(!path.exists() && !scratch.exists());
    }
}
