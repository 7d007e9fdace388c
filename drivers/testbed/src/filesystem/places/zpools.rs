//! Places on a ZFS pool: directories of it, and small pools beside it.

use std::sync::Arc;

use cowlab_sys::{Guard, Leak};

use super::Small;
use crate::shared::Shared;
use crate::{Backing, BackingFs, BackingOptions, Result, zpool};

/// A pool, and the small ones that were made like it.
#[derive(Debug)]
pub(crate) struct Zpools {
    pub(crate) run: Arc<Shared>,
    /// The name of the pool.
    pub(crate) name: String,
    pub(crate) options: BackingOptions,
    pub(crate) small: Vec<BackingFs>,
}

impl Zpools {
    pub(crate) fn small(&mut self, bytes: u64) -> Result<Small> {
        let bytes = bytes.max(Backing::Zfs.least_bytes());
        let options = BackingOptions {
            bytes,
            ..self.options.clone()
        };
        let made = BackingFs::make(Arc::clone(&self.run), Backing::Zfs, &options, None)?;
        let small = Small {
            pool: made.name().to_owned(),
            bytes,
            settings: Default::default(),
            directory: Some(made.mount_point().to_owned()),
        };
        self.small.push(made);
        Ok(small)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.small.iter().position(|small| small.name() == name)
    }

    pub(crate) fn grow(&mut self, name: &str, bytes: u64) -> Result<()> {
        match self.position(name) {
            Some(position) => self.small[position].grow(bytes),
            None => Ok(()),
        }
    }

    pub(crate) fn release(&mut self, name: &str) -> Result<()> {
        if let Some(position) = self.position(name) {
            self.small[position].close()?;
            self.small.swap_remove(position);
        }
        Ok(())
    }

    /// What of the pool is in use. Data sets that are destroyed count until the kernel has freed them.
    pub(crate) fn used(&self) -> Result<u64> {
        zpool::used(&self.name)
    }

    pub(crate) fn close(&mut self) -> std::result::Result<(), Leak> {
        while let Some(last) = self.small.last_mut() {
            last.close()?;
            self.small.pop();
        }
        Ok(())
    }

    /// Leaves all to the run, which is over.
    pub(crate) fn keep(&mut self) {
        self.small.clear();
    }
}
