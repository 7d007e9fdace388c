//! The store as cases see it: the store itself, or one with a fault planted in front of it.
//!
//! A fault in a driver shows that a case watches the driver. What only the store answers for, such as that a removal
//! reaches the disk, needs a fault of its own.

use std::ops::Deref;
use std::path::PathBuf;

use cowlab_driver::Usage;
use cowlab_snapshots::{Result, Store};
use cowlab_sys::io;

/// What a faulty store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreFault {
    /// Says that nothing is allocated.
    NoUsage,
    /// Forgets a snapshot and leaves its data on disk.
    KeepRemoved,
}

/// A store, perhaps with a fault. What is not listed here is the store's own.
#[derive(Debug)]
pub struct FaultyStore {
    store: Store,
    fault: Option<StoreFault>,
}

impl FaultyStore {
    /// Puts a fault in front of a store, or nothing.
    pub(crate) const fn new(store: Store, fault: Option<StoreFault>) -> Self {
        Self { store, fault }
    }

    /// Measures what a snapshot allocates, as [`Store::usage`].
    pub fn usage(&self, key: &str) -> Result<Usage> {
        let usage = self.store.usage(key)?;
        Ok(match self.fault {
            Some(StoreFault::NoUsage) => Usage::default(),
            _ => usage,
        })
    }

    /// Removes a snapshot, as [`Store::remove`].
    pub fn remove(&self, key: &str) -> Result<()> {
        if self.fault != Some(StoreFault::KeepRemoved) {
            return self.store.remove(key);
        }
        // Out of the way for the time of the removal, for which an absent snapshot is a removed one.
        let data = self.data_of(key)?;
        let aside = data.with_extension("kept");
        io("rename", &data, std::fs::rename(&data, &aside))?;
        let removed = self.store.remove(key);
        io("rename", &aside, std::fs::rename(&aside, &data))?;
        removed
    }

    /// Where a driver that keeps its snapshots in directories has this one.
    fn data_of(&self, key: &str) -> Result<PathBuf> {
        let id = self.store.stat(key)?.id;
        Ok(self.store.driver().root().join(id.to_string()))
    }
}

impl Deref for FaultyStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
