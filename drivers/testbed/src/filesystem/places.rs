//! Places for drivers that need more than a directory of a backing file system.

pub(super) mod zpools;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cowlab_sys::Leak;
use cowlab_sys::guard::Guard;

use self::zpools::Zpools;
use crate::Result;
use crate::thin::{Ground, ThinPool};

/// What a driver has to be told about a place, by name.
type Settings = BTreeMap<String, String>;

/// Makes places on a backing file system, as long as that is there.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pools: Option<Arc<Mutex<Pools>>>,
    zpools: Option<Arc<Mutex<Zpools>>>,
}

/// A place with little room.
#[derive(Clone, Debug)]
pub struct Small {
    /// The pool that the room is in.
    pub pool: String,
    /// Bytes for content, before what the pool keeps for itself.
    pub bytes: u64,
    /// What a driver has to be told about the place.
    pub settings: Settings,
    /// The directory that lies in the place, where that of the backing file system does not do.
    pub directory: Option<PathBuf>,
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
            zpools: None,
        }
    }

    pub(crate) fn of_zpools(zpools: Zpools) -> Self {
        Self {
            pools: None,
            zpools: Some(Arc::new(Mutex::new(zpools))),
        }
    }

    fn zpools(&self) -> Option<MutexGuard<'_, Zpools>> {
        let zpools = self.zpools.as_ref()?;
        Some(zpools.lock().unwrap_or_else(PoisonError::into_inner))
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

    /// Makes a place with room for this many bytes only, whatever the snapshots in it may hold; `None` where nothing but
    /// the backing file system is the room.
    ///
    /// # Errors
    ///
    /// Returns what could not be made.
    pub fn small(&self, bytes: u64) -> Result<Option<Small>> {
        if let Some(mut zpools) = self.zpools() {
            return zpools.small(bytes).map(Some);
        }
        let Some(mut pools) = self.pools() else {
            return Ok(None);
        };
        let pool = pools.make(bytes)?;
        Ok(Some(Small {
            pool: pool.name().to_owned(),
            bytes,
            settings: pools.give(pool),
            directory: None,
        }))
    }

    /// Gives a small place more room: bytes for content, and for what the place itself keeps. A thin pool is not told, a ZFS
    /// pool is.
    pub fn grow(&self, small: &Small, data: u64, metadata: u64) -> Result<()> {
        if let Some(mut zpools) = self.zpools() {
            return zpools.grow(&small.pool, data);
        }
        match self
            .pools()
            .as_mut()
            .and_then(|pools| pools.find(&small.settings))
        {
            Some(pool) => pool.grow(data, metadata),
            None => Ok(()),
        }
    }

    /// Tells how many bytes are in use in a small place, once everything is written.
    pub fn used_small(&self, small: &Small) -> Result<u64> {
        match self.zpools() {
            Some(_) => crate::zpool::used(&small.pool),
            None => Ok(self.used(&small.settings)?.unwrap_or(0)),
        }
    }

    /// Takes a small place back.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`] while something in it is in use.
    pub fn release_small(&self, small: &Small) -> Result<()> {
        match self.zpools() {
            Some(mut zpools) => zpools.release(&small.pool),
            None => self.release(&small.settings),
        }
    }

    /// Tells how many bytes are in use in a place, once everything is written; `None` where only the backing file
    /// system knows.
    pub fn used(&self, settings: &Settings) -> Result<Option<u64>> {
        if let Some(zpools) = self.zpools() {
            return zpools.used().map(Some);
        }
        let mut pools = self.pools();
        let pool = pools.as_mut().and_then(|pools| pools.find(settings));
        pool.map(|pool| Ok(pool.used()?.0)).transpose()
    }

    /// Tells how many bytes of content were ever written to the devices of a place; `None` where it has none to itself.
    pub fn written(&self, settings: &Settings) -> Result<Option<u64>> {
        let mut pools = self.pools();
        let pool = pools.as_mut().and_then(|pools| pools.find(settings));
        pool.map(|pool| pool.written()).transpose()
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
        if let Some(mut zpools) = self.zpools() {
            zpools.close()?;
        }
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
        if let Some(mut zpools) = self.zpools() {
            zpools.keep();
        }
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
            ("loop-devices".to_owned(), "for-tests".to_owned()),
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
