//! The scratch directory of a probe.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Result, make_dir};

/// A directory for a driver's probe to work in, removed at the end.
#[derive(Debug)]
pub struct ProbeDir {
    path: PathBuf,
    is_open: bool,
}

impl ProbeDir {
    /// Makes a fresh directory in `dir`.
    ///
    /// # Errors
    ///
    /// When `dir` cannot be written.
    pub fn make(dir: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".cowlab-probe-{}-{count}", std::process::id()));
        make_dir(&path, 0o700)?;
        Ok(Self {
            path,
            is_open: true,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all in it.
    ///
    /// # Errors
    ///
    /// What could not be removed.
    pub fn close(mut self) -> Result<()> {
        self.is_open = false;
        Ok(cowlab_sys::dir::remove_tree(&self.path)?)
    }
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
