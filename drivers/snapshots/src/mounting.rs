//! Mounting snapshots for callers.
//!
//! The store refuses a second mount of an active snapshot, whoever made the first and in whatever
//! mount namespace: overlayfs leaves two mounts of one upper directory undefined, and warns in the
//! kernel log only (overlayfs.rst, "Sharing and copying layers").

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cowlab_driver::{Driver, MountMatcher, SnapshotId};
use cowlab_sys::{Guard, Leak, MountGuard};

use crate::database::Database;
use crate::in_use::{self, Uses};
use crate::info::Kind;
use crate::locks::{Hold, Locks};
use crate::readable::Readable;
use crate::row::Row;
use crate::store::{Store, mountable};
use crate::suspicion;
use crate::{Error, Result};

/// A mounted snapshot. Closing it unmounts it and lets go of what the driver held for the mount.
#[derive(Debug)]
pub struct Mounted {
    mount: Option<MountGuard>,
    /// There until the driver has released what it holds for the mount: the file system that the store is on may be gone when a
    /// closed guard is dropped, and could not be unmounted with the database open.
    database: Option<Arc<Database>>,
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
            if let Some(database) = self.database.take() {
                deactivate((&*self.driver, &database), &self.locks, self.id);
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
        let (row, _lock) = self.hold_to_mount(key)?;
        self.refuse_mounted(&row)?;
        let mount = self
            .activate(&row)?
            .mount_at(target)
            .map_err(Error::driver("mount", key))
            .map_err(|error| self.explained("mount", key, error))?;
        Ok(Mounted {
            mount: Some(mount),
            id: row.id,
            locks: self.locks.clone(),
            driver: Arc::clone(&self.driver),
            database: Some(Arc::clone(&self.database)),
        })
    }

    /// Gives `work` the tree of an active snapshot to write to, by a mount that nobody else sees and that ends with the process.
    /// Meanwhile the snapshot is locked.
    #[tracing::instrument(level = "debug", skip(self, work))]
    pub fn with_writable<T>(&self, key: &str, work: impl FnOnce(&Path) -> T) -> Result<T> {
        let (row, lock) = self.hold_to_mount(key)?;
        self.refuse_mounted(&row)?;
        let done = self.activate(&row).and_then(|activation| {
            let shown = Readable::new(&activation).map_err(Error::driver("mount", key))?;
            Ok(work(shown.path()))
        });
        drop(lock);
        self.release(row.id);
        done
    }

    /// Refuses a committed snapshot, and an active one that is mounted.
    fn refuse_mounted(&self, row: &Row) -> Result<()> {
        mountable(row)?;
        if row.kind != Kind::Active {
            return Ok(());
        }
        let holders = in_use::holders(&self.matchers(row)?, Uses::Mounts)
            .map_err(Error::use_unknown(&row.name))?;
        match holders.is_empty() {
            true => Ok(()),
            false => Err(Error::Busy {
                key: row.name.clone(),
                holders,
            }),
        }
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
        deactivate((&*self.driver, &self.database), &self.locks, id);
    }
}

/// Releases what a mount needed, unless somebody else is at work on the snapshot or uses it: then whoever comes
/// last does it, at the latest the commit or the removal.
fn deactivate((driver, database): (&dyn Driver, &Database), locks: &Locks, id: SnapshotId) {
    let released = (|| {
        let Some(_lock) = locks.try_take(id, Hold::Exclusive)? else {
            return Ok(());
        };
        let matchers = driver.mount_matchers(id).map_err(Error::Unusable)?;
        // Only a device is taken from under a mount.
        let has_device = |matcher: &MountMatcher| matches!(matcher, MountMatcher::Device(_));
        if matchers.iter().any(has_device) && !in_use::mounts(&matchers)?.is_empty() {
            return Ok(());
        }
        driver.deactivate(id).map_err(Error::Unusable)?;
        suspicion::end(driver, database, id).map(drop)
    })();
    match released {
        Ok(()) => {}
        Err(Error::Unusable(cowlab_driver::Error::Busy { reason, .. })) => {
            tracing::debug!(%id, reason, "still in use");
        }
        Err(error) => tracing::warn!(%id, %error, "the mount is gone, not all that it needed"),
    }
}
