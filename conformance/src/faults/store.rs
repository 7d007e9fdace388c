//! The store as cases see it: the store itself, or one with a fault planted in front of it.
//!
//! A fault in a driver shows that a case watches the driver. What only the store answers for, such as that a removal
//! reaches the disk, needs a fault of its own. What is not listed here is the store's own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::Path;

use cowlab_driver::Usage;
use cowlab_layer::{Change, DiffOptions, Digest, Written};
use cowlab_snapshots::{
    Applied, ApplyOptions, CheckReport, CommitOptions, Filter, Info, Mounted, PrepareOptions,
    Result, Store,
};
use cowlab_sys::io;

use super::Plant;
use super::stream::{self, StreamFault};

/// What a faulty store does in place of one of its methods, or with what that gives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StoreFault {
    Prepare(fn(&Store, &str, Option<&str>, &PrepareOptions) -> Result<Info>),
    View(fn(&Store, &str, &str) -> Result<Info>),
    Commit(fn(&Store, &str, &str, &CommitOptions) -> Result<Info>),
    Remove(fn(&Store, &str) -> Result<()>),
    Stat(fn(&Store, &str) -> Result<Info>),
    List(fn(&Store, &Filter) -> Result<Vec<Info>>),
    UpdateLabels(fn(&Store, &str, &NewLabels) -> Result<Info>),
    Usage(fn(Usage) -> Usage),
    Changes(fn(Vec<Change>) -> Vec<Change>),
    Mount(fn(&Store, &str, &Path) -> Result<Mounted>),
    Check(fn(CheckReport) -> CheckReport),
    Apply(Apply),
    Opened(fn(&Store) -> Result<()>),
}

/// Applies the archive in the bytes.
type Apply = fn(&Store, &str, Option<&str>, &[u8], &ApplyOptions) -> Result<Applied>;

/// Labels and their new values; none removes one.
pub(crate) type NewLabels = BTreeMap<String, Option<String>>;

/// A store, perhaps with a fault.
#[derive(Debug)]
pub struct FaultyStore {
    store: Store,
    fault: Option<Plant>,
}

impl FaultyStore {
    /// Puts a fault in front of a store, or nothing.
    pub(crate) fn new(store: Store, fault: Option<Plant>) -> Result<Self> {
        if let Some(Plant::Store(StoreFault::Opened(instead))) = fault {
            instead(&store)?;
        }
        Ok(Self { store, fault })
    }

    const fn fault(&self) -> Option<StoreFault> {
        match self.fault {
            Some(Plant::Store(fault)) => Some(fault),
            _ => None,
        }
    }

    /// As [`Store::prepare`].
    pub fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &PrepareOptions,
    ) -> Result<Info> {
        match self.fault() {
            Some(StoreFault::Prepare(instead)) => instead(&self.store, key, parent, options),
            _ => self.store.prepare(key, parent, options),
        }
    }

    /// As [`Store::view`].
    pub fn view(&self, key: &str, parent: &str) -> Result<Info> {
        match self.fault() {
            Some(StoreFault::View(instead)) => instead(&self.store, key, parent),
            _ => self.store.view(key, parent),
        }
    }

    /// As [`Store::commit`].
    pub fn commit(&self, key: &str, name: &str, options: &CommitOptions) -> Result<Info> {
        match self.fault() {
            Some(StoreFault::Commit(instead)) => instead(&self.store, key, name, options),
            _ => self.store.commit(key, name, options),
        }
    }

    /// As [`Store::remove`].
    pub fn remove(&self, key: &str) -> Result<()> {
        match self.fault() {
            Some(StoreFault::Remove(instead)) => instead(&self.store, key),
            _ => self.store.remove(key),
        }
    }

    /// As [`Store::stat`].
    pub fn stat(&self, key: &str) -> Result<Info> {
        match self.fault() {
            Some(StoreFault::Stat(instead)) => instead(&self.store, key),
            _ => self.store.stat(key),
        }
    }

    /// As [`Store::list`].
    pub fn list(&self, filter: &Filter) -> Result<Vec<Info>> {
        match self.fault() {
            Some(StoreFault::List(instead)) => instead(&self.store, filter),
            _ => self.store.list(filter),
        }
    }

    /// As [`Store::update_labels`].
    pub fn update_labels(&self, key: &str, labels: &NewLabels) -> Result<Info> {
        match self.fault() {
            Some(StoreFault::UpdateLabels(instead)) => instead(&self.store, key, labels),
            _ => self.store.update_labels(key, labels),
        }
    }

    /// As [`Store::usage`].
    pub fn usage(&self, key: &str) -> Result<Usage> {
        let usage = self.store.usage(key)?;
        Ok(match self.fault() {
            Some(StoreFault::Usage(change)) => change(usage),
            _ => usage,
        })
    }

    /// As [`Store::changes`].
    pub fn changes(&self, key: &str) -> Result<Vec<Change>> {
        let changes = self.store.changes(key)?;
        Ok(match self.fault() {
            Some(StoreFault::Changes(change)) => change(changes),
            _ => changes,
        })
    }

    /// As [`Store::mount`].
    pub fn mount(&self, key: &str, target: &Path) -> Result<Mounted> {
        match self.fault() {
            Some(StoreFault::Mount(instead)) => instead(&self.store, key, target),
            _ => self.store.mount(key, target),
        }
    }

    /// As [`Store::check`].
    pub fn check(&self) -> Result<CheckReport> {
        let report = self.store.check()?;
        Ok(match self.fault() {
            Some(StoreFault::Check(change)) => change(report),
            _ => report,
        })
    }

    /// As [`Store::apply`]. What is asked of the archive and told of it is about the one that was given.
    pub fn apply(
        &self,
        name: &str,
        parent: Option<&str>,
        source: &mut (dyn Read + Send),
        options: &ApplyOptions,
    ) -> Result<Applied> {
        let (filter, instead) = match self.fault {
            Some(Plant::Stream(StreamFault::Applied(filter))) => (Some(filter), None),
            Some(Plant::Store(StoreFault::Apply(instead))) => (None, Some(instead)),
            _ => return self.store.apply(name, parent, source, options),
        };
        let mut given = Vec::new();
        io("read", name, source.read_to_end(&mut given))?;
        if let Some(instead) = instead {
            return instead(&self.store, name, parent, &given, options);
        }
        let taken = filter.map_or_else(
            || given.clone(),
            |filter| stream::pass(given.clone(), filter),
        );
        if taken == given {
            return self
                .store
                .apply(name, parent, &mut given.as_slice(), options);
        }
        let (was, is) = (Digest::of(&given), Digest::of(&taken));
        let moved =
            |asked: Option<Digest>| asked.map(|asked| if asked == was { is } else { asked });
        let options = ApplyOptions {
            digest: moved(options.digest),
            diff_id: moved(options.diff_id),
            ..options.clone()
        };
        let applied = self
            .store
            .apply(name, parent, &mut taken.as_slice(), &options)?;
        Ok(Applied {
            digest: was,
            diff_id: was,
            size: u64::try_from(given.len()).unwrap_or(u64::MAX),
            ..applied
        })
    }

    /// As [`Store::diff`].
    pub fn diff(&self, key: &str, sink: &mut dyn Write, options: &DiffOptions) -> Result<Written> {
        let Some(Plant::Stream(StreamFault::Made(filter))) = self.fault else {
            return self.store.diff(key, sink, options);
        };
        let mut made = Vec::new();
        let written = self.store.diff(key, &mut made, options)?;
        let given = stream::pass(made, filter);
        io("write", key, sink.write_all(&given))?;
        Ok(Written {
            diff_id: Digest::of(&given),
            size: u64::try_from(given.len()).unwrap_or(u64::MAX),
            ..written
        })
    }
}

impl Deref for FaultyStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
