//! Snapshots made readable for the store's own work.
//!
//! Mounts are detached ones: nobody else sees them, and they end with the process, so a crash leaves
//! nothing to unmount. A directory that shows the snapshot by itself is read where it is.

use std::path::{Path, PathBuf};

use cowlab_driver::Mounts;
use cowlab_sys::mount::DetachedMount;

/// A directory that shows a snapshot as long as this lives.
#[derive(Debug)]
pub(crate) struct Shown {
    path: PathBuf,
    _mount: Option<DetachedMount>,
}

impl Shown {
    /// Makes mount data readable.
    pub(crate) fn new(mounts: &Mounts) -> cowlab_driver::Result<Self> {
        let (path, mount) = match mounts {
            Mounts::Bind { source, .. } => (source.clone(), None),
            Mounts::FileSystem(spec) => {
                let mount = DetachedMount::new(spec)?;
                (mount.path().to_owned(), Some(mount))
            }
        };
        Ok(Self {
            path,
            _mount: mount,
        })
    }

    /// Where it can be read in this process.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
