//! The scratch directory of a probe.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cowlab_sys::lock::DirLock;
use cowlab_sys::{mount, mountinfo};

use crate::{Result, make_dir};

/// What the name of a probe's directory begins with.
const PREFIX: &str = ".cowlab-probe-";

/// A directory for a driver's probe to work in, removed at the end. Its lock is held as long as its process lives.
#[derive(Debug)]
pub struct ProbeDir {
    path: PathBuf,
    is_open: bool,
    _lock: DirLock,
}

impl ProbeDir {
    /// Makes a fresh directory in `dir`.
    ///
    /// # Errors
    ///
    /// When `dir` cannot be written.
    pub fn make(dir: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{PREFIX}{}-{count}", std::process::id()));
            make_dir(&path, 0o700)?;
            // A sweep may come before the lock; then it removes the directory, and the next one is tried.
            if let Some(lock) = DirLock::try_exclusive(&path)?
                && path.exists()
            {
                return Ok(Self {
                    path,
                    is_open: true,
                    _lock: lock,
                });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all in it.
    pub fn close(mut self) -> Result<()> {
        self.is_open = false;
        Ok(cowlab_sys::dir::remove_tree(&self.path)?)
    }

    /// Removes the directories in `dir` that probes left whose process is dead, with their mounts. One that cannot be
    /// removed stays and is logged.
    ///
    /// # Errors
    ///
    /// When `dir` cannot be read.
    pub fn sweep(dir: &Path) -> Result<()> {
        for entry in cowlab_sys::dir::read_dir(dir)? {
            if !entry.name.to_string_lossy().starts_with(PREFIX) {
                continue;
            }
            let path = dir.join(&entry.name);
            if let Err(error) = remove_left(&path) {
                tracing::warn!(path = %path.display(), %error, "what a dead probe left stays");
            }
        }
        Ok(())
    }
}

fn remove_left(path: &Path) -> Result<()> {
    let Some(_lock) = DirLock::try_exclusive(path)? else {
        return Ok(());
    };
    let mounts = mountinfo::read_self()?;
    for left in mountinfo::at_or_below(&mounts, path).into_iter().rev() {
        mount::unmount(&left.mount_point)?;
    }
    Ok(cowlab_sys::dir::remove_tree(path)?)
}

impl Drop for ProbeDir {
    fn drop(&mut self) {
        if self.is_open
            && let Err(error) = cowlab_sys::dir::remove_tree(&self.path)
        {
            tracing::error!(%error, "the directory of a probe is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_removes_what_the_dead_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        // The process number is in use again, by this very process, which made no such directory.
        let left = dir
            .path()
            .join(format!("{PREFIX}{}-900", std::process::id()));
        std::fs::create_dir_all(left.join("driver/1/diff")).unwrap();
        std::fs::create_dir(dir.path().join("other")).unwrap();
        let alive = ProbeDir::make(dir.path()).unwrap();
        ProbeDir::sweep(dir.path()).unwrap();
        assert!(!left.exists());
        assert!(alive.path().exists() && dir.path().join("other").exists());
        alive.close().unwrap();
    }
}
