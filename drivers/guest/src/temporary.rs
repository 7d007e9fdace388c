//! Places where images are made, which a killed process leaves and the next one removes.
//!
//! A place is a directory in the `tmp/` of the cache with a locked file `lock`. Unpacked packages do not fit there: other user
//! ids own them, who may not be able to reach this user's cache. They lie in a scratch directory, whose path is in the
//! place's file `scratch` before it exists.

use std::fs::DirBuilder;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cowlab_sys::lock::FileLock;
use cowlab_sys::{Cmd, dir, io, process};

use crate::Result;

/// What every scratch directory's name begins with.
const PREFIX: &str = "cowlab-guest-";

/// A place to make an image in; it is removed at the end.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    sweep: PathBuf,
    lock: Option<FileLock>,
}

impl Temporary {
    pub(crate) fn make(cache: &Path) -> Result<Self> {
        let path = cache.join("tmp").join(unique());
        // Nobody sweeps between the directory and its lock.
        let pause = FileLock::shared(&cache.join("locks/sweep"))?;
        io("mkdir", &path, std::fs::create_dir(&path))?;
        let lock = FileLock::exclusive(&path.join("lock"))?;
        drop(pause);
        Ok(Self {
            path,
            sweep: cache.join("locks/sweep"),
            lock: Some(lock),
        })
    }

    /// Returns the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the scratch directory in `base`, where other users can pass.
    pub(crate) fn scratch(&mut self, base: &Path) -> Result<PathBuf> {
        let path = base.join(format!("{PREFIX}{}", unique()));
        let note = self.path.join("scratch");
        io(
            "write",
            &note,
            std::fs::write(&note, path.as_os_str().as_bytes()),
        )?;
        // Fails where the name exists: nobody can have prepared it in a directory that all may write to.
        io("mkdir", &path, DirBuilder::new().mode(0o711).create(&path))?;
        Ok(path)
    }

    /// Removes everything.
    pub(crate) fn close(mut self) -> Result<()> {
        let lock = self.lock.take();
        let result = self.remove();
        drop(lock);
        result
    }

    fn remove(&self) -> Result<()> {
        // A sweep would make the lock file anew while we remove it.
        let _pause = FileLock::shared(&self.sweep)?;
        remove(&self.path)
    }

    /// Leaves everything as a killed process does.
    #[cfg(test)]
    pub(crate) fn abandon(mut self) {
        self.lock = None;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(_lock) = self.lock.take() else {
            return;
        };
        if let Err(error) = self.remove() {
            tracing::error!(path = %self.path.display(), %error, "could not be removed; the next run tries again");
        }
    }
}

/// Moves a directory of the cache out of sight and removes it.
pub(crate) fn discard(cache: &Path, path: &Path) -> Result<()> {
    let temporary = Temporary::make(cache)?;
    let target = temporary.path().join("discarded");
    io("rename", path, std::fs::rename(path, &target))?;
    temporary.close()
}

/// Removes the places of processes that are gone.
pub(crate) fn sweep(cache: &Path) -> Result<()> {
    // Whoever holds it makes a place or sweeps already.
    let Some(_alone) = FileLock::try_exclusive(&cache.join("locks/sweep"))? else {
        return Ok(());
    };
    let tmp = cache.join("tmp");
    for entry in dir::read_dir(&tmp)? {
        let path = tmp.join(&entry.name);
        if !path.is_dir() {
            continue;
        }
        let Some(_lock) = FileLock::try_exclusive(&path.join("lock"))? else {
            continue;
        };
        if let Err(error) = remove(&path) {
            // A compiler that outlived its build may still write; the next run tries again.
            tracing::warn!(path = %path.display(), %error, "what a killed build left could not be removed");
        }
    }
    Ok(())
}

fn remove(place: &Path) -> Result<()> {
    if let Ok(bytes) = std::fs::read(place.join("scratch")) {
        let scratch = PathBuf::from(std::ffi::OsString::from_vec(bytes));
        let named = scratch
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
        // Not another's directory of this name, and no link to anywhere.
        let ours = scratch
            .symlink_metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == process::effective_uid());
        if named && ours {
            remove_scratch(&scratch)?;
        }
    }
    Ok(dir::remove_tree(place)?)
}

fn remove_scratch(scratch: &Path) -> Result<()> {
    if process::is_root() {
        return Ok(dir::remove_tree(scratch)?);
    }
    for entry in dir::read_dir(scratch)? {
        let path = scratch.join(entry.name);
        let Err(refused) = dir::remove_tree(&path) else {
            continue;
        };
        // Unpacked packages belong to other user ids. Only within the user namespace that made them can we remove them,
        // and only from outside the directory itself, which is ours.
        tracing::debug!(path = %path.display(), %refused, "removed in a user namespace");
        Cmd::new("mmdebstrap")
            .args(["--unshare-helper", "find"])
            .arg(&path)
            .args(["-mindepth", "1", "-delete"])
            .run()?;
        io("rmdir", &path, std::fs::remove_dir(&path))?;
    }
    Ok(io("rmdir", scratch, std::fs::remove_dir(scratch))?)
}

/// A name that no other place has: process numbers come again, so the time is in it too.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{now:x}-{count}", std::process::id())
}
