//! Snapshots made readable for the store's own work.
//!
//! Mounts are detached ones: nobody else sees them, and they end with the process, so a crash leaves
//! nothing to unmount. A directory that shows the snapshot by itself is read where it is.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use cowlab_driver::{Access, Mounts};
use cowlab_sys::mount::DetachedMount;

use crate::in_use::{self, Found};
use crate::info::Kind;
use crate::locks::Hold;
use crate::row::Row;
use crate::store::Store;
use crate::{Error, Result};

/// A directory in which a snapshot can be read as long as this lives.
#[derive(Debug)]
pub(crate) struct Readable {
    path: PathBuf,
    /// Whether somebody has it mounted, and may write to it meanwhile.
    pub(crate) is_mounted: bool,
    _held: Held,
}

#[derive(Debug)]
enum Held {
    Nothing,
    Mount { _mount: DetachedMount },
    Directory { _open: File },
}

impl Readable {
    /// Makes mount data readable.
    pub(crate) fn new(mounts: &Mounts) -> cowlab_driver::Result<Self> {
        let (path, held) = match mounts {
            Mounts::Bind { source, .. } => (source.clone(), Held::Nothing),
            Mounts::FileSystem(spec) => {
                let mount = DetachedMount::new(spec)?;
                (mount.path().to_owned(), Held::Mount { _mount: mount })
            }
        };
        Ok(Self {
            path,
            is_mounted: false,
            _held: held,
        })
    }

    /// Shows what is mounted already; `None` where the mount cannot be reached. Held open, it cannot be
    /// unmounted meanwhile.
    fn through(found: &Found) -> Option<Self> {
        let open = File::open(found.path()).ok()?;
        // Another mount may lie over it, and the namespace may be that of a single thread.
        if mount_id(&open) != Some(found.entry.mount_id) {
            return None;
        }
        if !found.ours
            // A container has other mounts on this one, which are no part of the snapshot.
            && let Ok(mount) = DetachedMount::copy_from(&open, found.pid)
        {
            return Some(Self {
                path: mount.path().to_owned(),
                is_mounted: true,
                _held: Held::Mount { _mount: mount },
            });
        }
        Some(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())),
            is_mounted: true,
            _held: Held::Directory { _open: open },
        })
    }

    /// Where it can be read in this process.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Shows the tree of a snapshot to `work`, read-only.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Driver`], [`Error::Busy`] where an active snapshot is mounted out of reach.
    pub fn with_content<T>(&self, key: &str, work: impl FnOnce(&Path) -> T) -> Result<T> {
        let (row, lock) = self.hold(key, Hold::Shared)?;
        let done = self.open_readable(&row).map(|shown| work(shown.path()));
        drop(lock);
        self.release(row.id);
        done
    }

    /// Makes a snapshot readable. The caller holds its lock, or that of a child.
    ///
    /// An active snapshot that is mounted as a file system of its own is read through that mount, in
    /// whatever mount namespace: a second mount of an overlay's upper directory is undefined, even a
    /// read-only one (overlayfs.rst, "Sharing and copying layers"). Where the mount cannot be reached
    /// the snapshot is busy.
    pub(crate) fn open_readable(&self, row: &Row) -> Result<Readable> {
        let failed = || Error::driver("read", &row.name);
        let mounts = self.activate_for("read", row, &self.chain(row)?, Access::ReadOnly)?;
        let found = match row.kind {
            Kind::Active => {
                in_use::mounts(&self.matchers(row)?).map_err(Error::use_unknown(&row.name))?
            }
            Kind::View | Kind::Committed => Vec::new(),
        };
        if found.is_empty() || matches!(*mounts, Mounts::Bind { .. }) {
            return Ok(Readable {
                is_mounted: !found.is_empty(),
                ..Readable::new(&mounts).map_err(failed())?
            });
        }
        let whole = |found: &&Found| found.entry.root == Path::new("/");
        let reached = found.iter().filter(whole).find_map(Readable::through);
        reached.ok_or_else(|| Error::Busy {
            key: row.name.clone(),
            holders: found.into_iter().map(Found::into_holder).collect(),
        })
    }
}

/// The mount that an open file is on (proc_pid_fdinfo(5)).
fn mount_id(file: &File) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    number.trim().parse().ok()
}
