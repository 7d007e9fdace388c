//! Places for drivers that need more than a directory of a backing file system.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cowlab_sys::Leak;
use cowlab_sys::guard::Guard;

use crate::Result;
use crate::thin::{Ground, ThinPool};

/// What a driver has to be told about a place, by name.
type Settings = BTreeMap<String, String>;

/// Makes places on a backing file system, as long as that is there.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pools: Option<Arc<Mutex<Pools>>>,
}

/// Thin pools, one a place.
#[derive(Debug)]
struct Pools {
    ground: Ground,
    filesystem: &'static str,
    /// The size of the file system in a snapshot, and of the data of a pool, in bytes.
    bytes: u64,
    used: Vec<ThinPool>,
    /// Of the usual size, and empty.
    free: Vec<ThinPool>,
}

impl Places {
    pub(crate) fn of_pools(ground: Ground, filesystem: &'static str, bytes: u64) -> Self {
        let pools = Pools {
            ground,
            filesystem,
            bytes,
            used: Vec::new(),
            free: Vec::new(),
        };
        Self {
            pools: Some(Arc::new(Mutex::new(pools))),
        }
    }

    fn pools(&self) -> Option<MutexGuard<'_, Pools>> {
        let pools = self.pools.as_ref()?;
        Some(pools.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a place that nobody has used and returns what a driver has to be told about it, by name. Empty where a
    /// directory is all that it takes.
    ///
    /// # Errors
    ///
    /// Returns what could not be made.
    pub fn fresh(&self) -> Result<Settings> {
        let Some(mut pools) = self.pools() else {
            return Ok(Settings::new());
        };
        if pools.free.is_empty() {
            let bytes = pools.bytes;
            let mut pool = pools.make(bytes)?;
            if pools.ground.preallocate {
                pool.preallocate()?;
            }
            pools.free.push(pool);
        }
        let pool = pools.free.pop();
        Ok(pool.map_or_else(Settings::new, |pool| pools.give(pool)))
    }

    /// Makes a place with room for this many bytes only, whatever the snapshots in it may hold; `None` where a place is
    /// a directory and has the room of its file system.
    ///
    /// # Errors
    ///
    /// Returns what could not be made.
    pub fn small(&self, bytes: u64) -> Result<Option<Settings>> {
        let Some(mut pools) = self.pools() else {
            return Ok(None);
        };
        let pool = pools.make(bytes)?;
        Ok(Some(pools.give(pool)))
    }

    /// Gives a place more room: bytes for content, and for what the place itself keeps.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`].
    pub fn grow(&self, settings: &Settings, data: u64, metadata: u64) -> Result<()> {
        match self.pools().as_mut().and_then(|pools| pools.find(settings)) {
            Some(pool) => pool.grow(data, metadata),
            None => Ok(()),
        }
    }

    /// Tells how many bytes are in use in a place; `None` where it is a directory.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`].
    pub fn used(&self, settings: &Settings) -> Result<Option<u64>> {
        let mut pools = self.pools();
        let pool = pools.as_mut().and_then(|pools| pools.find(settings));
        pool.map(|pool| Ok(pool.used()?.0)).transpose()
    }

    /// Takes a place back that nobody needs any more.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`] while something in it is in use.
    pub fn release(&self, settings: &Settings) -> Result<()> {
        let Some(mut pools) = self.pools() else {
            return Ok(());
        };
        let found = pools.position(settings);
        let Some(found) = found else {
            return Ok(());
        };
        let usual = pools.bytes;
        let mut pool = pools.used.swap_remove(found);
        let released = if pool.holds(usual) {
            pool.renew()
        } else {
            pool.close().map_err(Into::into)
        };
        match released {
            Ok(()) if pool.holds(usual) => pools.free.push(pool),
            Ok(()) => {}
            Err(error) => {
                pools.used.push(pool);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Has the kernel forget all places until [`activate`](Self::activate): nothing of them is in any cache.
    pub(crate) fn deactivate(&self) -> Result<()> {
        self.each(ThinPool::deactivate)
    }

    pub(crate) fn activate(&self) -> Result<()> {
        self.each(ThinPool::activate)
    }

    fn each(&self, act: impl Fn(&ThinPool) -> Result<()>) -> Result<()> {
        let Some(pools) = self.pools() else {
            return Ok(());
        };
        pools.used.iter().chain(&pools.free).try_for_each(act)
    }

    /// Takes all places back.
    pub(crate) fn close(&self) -> Result<(), Leak> {
        let Some(mut pools) = self.pools() else {
            return Ok(());
        };
        let Pools { used, free, .. } = &mut *pools;
        for all in [used, free] {
            while let Some(pool) = all.last_mut() {
                pool.close()?;
                all.pop();
            }
        }
        Ok(())
    }

    /// Leaves all places to the run.
    pub(crate) fn keep(&self) {
        if let Some(mut pools) = self.pools() {
            let Pools { used, free, .. } = &mut *pools;
            for pool in used.drain(..).chain(free.drain(..)) {
                pool.keep();
            }
        }
    }
}

impl Pools {
    fn make(&self, bytes: u64) -> Result<ThinPool> {
        let name = self.ground.run.name("pool");
        self.ground.pool(name, bytes)
    }

    /// Notes that a pool is somebody's, and says what there is to know of it.
    fn give(&mut self, pool: ThinPool) -> Settings {
        let settings = Settings::from([
            ("pool".to_owned(), pool.name().to_owned()),
            ("filesystem".to_owned(), self.filesystem.to_owned()),
            ("size".to_owned(), self.bytes.to_string()),
        ]);
        self.used.push(pool);
        settings
    }

    fn position(&self, settings: &Settings) -> Option<usize> {
        let name = settings.get("pool")?;
        self.used.iter().position(|pool| pool.name() == name)
    }

    fn find(&mut self, settings: &Settings) -> Option<&mut ThinPool> {
        let position = self.position(settings)?;
        self.used.get_mut(position)
    }
}
