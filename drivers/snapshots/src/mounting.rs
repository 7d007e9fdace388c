//! Mounting snapshots for callers.
//!
//! The store refuses a second mount of an active snapshot, whoever made the first and in whatever
//! mount namespace: overlayfs leaves two mounts of one upper directory undefined, and warns in the
//! kernel log only (overlayfs.rst, "Sharing and copying layers").

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cowlab_driver::{Driver, SnapshotId};
use cowlab_sys::{Guard, Leak, MountGuard};

use crate::busy::Marks;
use crate::info::Kind;
use crate::locks::{Hold, Locks};
use crate::store::{Store, mountable};
use crate::{Error, Result};

/// A mounted snapshot. Closing it unmounts it and lets go of what the driver held for the mount.
#[derive(Debug)]
pub struct Mounted {
    mount: Option<MountGuard>,
    /// Whether the driver still holds something for the mount.
    is_active: bool,
    id: SnapshotId,
    locks: Locks,
    driver: Arc<dyn Driver>,
}

impl Mounted {
    /// Where it is mounted.
    ///
    /// # Panics
    ///
    /// Never: only [`keep`](Self::keep) takes the mount away, together with the guard.
    #[must_use]
    pub fn target(&self) -> &Path {
        self.mount
            .as_ref()
            .expect("the mount is there until the guard is")
            .target()
    }

    /// Leaves the mount behind and returns its place; [`Store::unmount`] ends it.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.mount.take().map(MountGuard::keep).unwrap_or_default()
    }
}

impl Guard for Mounted {
    fn describe(&self) -> String {
        format!("mount of a snapshot at `{}`", self.target().display())
    }

    fn close(&mut self) -> Result<(), Leak> {
        if let Some(mount) = &mut self.mount {
            mount.close()?;
            // Once: the file system that the store is on may be gone when a closed guard is dropped.
            if std::mem::take(&mut self.is_active) {
                deactivate(&*self.driver, &self.locks, self.id);
            }
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mount.is_some()
            && let Err(leak) = self.close()
        {
            tracing::error!(what = leak.what, error = %leak.source, "left behind");
        }
    }
}

impl Store {
    /// Mounts an active snapshot, or a view, at `target`, an existing directory.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when an active snapshot is mounted already, in any mount namespace,
    /// [`Error::NotFound`], [`Error::WrongKind`] for a committed snapshot, [`Error::Driver`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn mount(&self, key: &str, target: &Path) -> Result<Mounted> {
        let hold = match self.stat(key)?.kind {
            Kind::Active => Hold::Exclusive,
            Kind::View | Kind::Committed => Hold::Shared,
        };
        let (row, _lock) = self.hold(key, hold)?;
        mountable(&row)?;
        let mounts = self.activate(&row)?;
        if row.kind == Kind::Active {
            let holders = Marks::of(&mounts)?.mounters()?;
            if !holders.is_empty() {
                return Err(Error::Busy {
                    key: key.to_owned(),
                    holders,
                });
            }
        }
        let mount = mounts
            .mount_at(target)
            .map_err(Error::driver("mount", key))
            .map_err(|error| self.explained("mount", key, error))?;
        Ok(Mounted {
            mount: Some(mount),
            is_active: true,
            id: row.id,
            locks: self.locks.clone(),
            driver: Arc::clone(&self.driver),
        })
    }

    /// Ends a mount that was [kept](Mounted::keep), perhaps by another process.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the key; [`Error::Sys`] when `target` is no mount point, or in use.
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn unmount(&self, key: &str, target: &Path) -> Result<()> {
        let id = self.stat(key)?.id;
        cowlab_sys::mount::unmount(target)?;
        self.release(id);
        Ok(())
    }

    /// Lets go of what a mount needed that ended by itself, with its mount namespace. Where something still uses it, the
    /// commit or the removal does so at the latest.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn deactivate(&self, key: &str) -> Result<()> {
        let id = self.stat(key)?.id;
        self.release(id);
        Ok(())
    }

    /// Lets go of what a mount of the snapshot needed.
    pub(crate) fn release(&self, id: SnapshotId) {
        deactivate(&*self.driver, &self.locks, id);
    }
}

/// Lets go of what a mount needed, unless somebody else is at work on the snapshot: then whoever comes
/// last does it, at the latest the commit or the removal.
fn deactivate(driver: &dyn Driver, locks: &Locks, id: SnapshotId) {
    use cowlab_driver::Error as DriverError;
    let done = match locks.try_take(id, Hold::Exclusive) {
        Ok(Some(_lock)) => driver.deactivate(id),
        Ok(None) => return,
        Err(Error::Sys(error)) => Err(error.into()),
        Err(_) => return,
    };
    match done {
        Ok(()) => {}
        Err(DriverError::Busy { reason, .. }) => tracing::debug!(%id, reason, "still in use"),
        Err(error) => tracing::warn!(%id, %error, "the mount is gone, not all that it needed"),
    }
}
