//! A worker: one of the processes that are killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::PathBuf;

use cowlab_driver::Mounts;
use cowlab_engine::exit;
use cowlab_random::Random;
use cowlab_snapshots::{Error, Filter, Info, Kind, Store};

use super::layer::{archive_of, write_layer};
use super::{Bench, WORKERS, WorkerArgs};
use crate::store::chain;

/// Snapshots that a worker keeps before it removes more than it makes.
const KEPT: usize = 8;
/// Beyond this a chain gets no children.
const DEEPEST: usize = 5;

/// One worker: operations on snapshots of its own, on a base that all share, and on one key that all fight for, until it
/// is killed.
///
/// # Errors
///
/// The first error that no caller has to expect.
pub(crate) fn work(args: &WorkerArgs) -> anyhow::Result<u8> {
    // Its mounts end with it.
    cowlab_sys::process::unshare_mounts()?;
    let bench = Bench {
        dir: args.place.clone(),
        driver: args.driver,
        workers: WORKERS,
    };
    let store = bench.open()?;
    let mut worker = Worker {
        journal: fs::OpenOptions::new()
            .append(true)
            .open(bench.journal(args.number))?,
        target: bench.mount_point(args.number),
        prefix: format!("w{}/", args.number),
        random: Random::new(args.seed),
        seed: args.seed,
        store: &store,
        made: 0,
    };
    let parent = parent_id();
    // Nobody is left to stop the orphan of a proof that was killed itself.
    while !bench.stop().exists() && parent_id() == parent {
        if let Err(error) = worker.step() {
            let note = format!("worker {}: {error:#}\n", args.number);
            fs::write(bench.note(args.number), note)?;
            return Err(error);
        }
    }
    Ok(exit::OK)
}

struct Worker<'store> {
    store: &'store Store,
    journal: fs::File,
    target: PathBuf,
    prefix: String,
    random: Random,
    seed: u64,
    made: u32,
}

impl Worker<'_> {
    fn step(&mut self) -> anyhow::Result<()> {
        let own = self.store.list(&Filter {
            prefix: Some(self.prefix.clone()),
            ..Filter::default()
        })?;
        let choice = self.random.below(10);
        if own.len() > KEPT || choice < 3 {
            // Now and then one that has children.
            let parents: BTreeSet<_> = own.iter().filter_map(|info| info.parent.clone()).collect();
            let any = self.random.below(8) == 0;
            let fit: Vec<_> = own
                .iter()
                .filter(|info| any || !parents.contains(&info.key))
                .collect();
            let Some(doomed) = fit.get(self.random.below(fit.len())) else {
                return Ok(());
            };
            return self.remove(&doomed.key);
        }
        self.made += 1;
        let name = format!("{}{:x}-{}", self.prefix, self.seed, self.made);
        let parent = self.parent(&own)?;
        match choice {
            3..=5 => self.apply(&name, parent.as_deref()),
            6..=8 => self.commit(&name, parent.as_deref()),
            _ => self.fight(),
        }
    }

    /// Writes to the journal, in one write, which a kill does not divide.
    fn note(&mut self, what: &str, name: &str) -> anyhow::Result<()> {
        Ok(self
            .journal
            .write_all(format!("{what} {name}\n").as_bytes())?)
    }

    fn parent(&mut self, own: &[Info]) -> anyhow::Result<Option<String>> {
        let fit: Vec<_> = own
            .iter()
            .filter(|info| info.kind == Kind::Committed)
            .collect();
        let Some(parent) = fit.get(self.random.below(fit.len() + 1)) else {
            return Ok(Some("base".to_owned()));
        };
        let deep = chain(self.store, &parent.key)?.len() >= DEEPEST;
        Ok(if deep { None } else { Some(parent.key.clone()) })
    }

    fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.note("remove", name)?;
        match self.store.remove(name) {
            Ok(()) => self.note("removed", name),
            Err(Error::HasChildren { .. }) => self.note("kept", name),
            Err(error) => Err(error.into()),
        }
    }

    fn apply(&mut self, name: &str, parent: Option<&str>) -> anyhow::Result<()> {
        self.note("apply", name)?;
        let archive = archive_of(name)?;
        self.store
            .apply(name, parent, &mut archive.as_slice(), &Default::default())?;
        self.note("committed", name)
    }

    fn commit(&mut self, name: &str, parent: Option<&str>) -> anyhow::Result<()> {
        let key = format!("{name}-active");
        self.note("prepare", &key)?;
        self.store.prepare(&key, parent, &Default::default())?;
        self.note("write", &key)?;
        if let Mounts::Bind { source, .. } = self.store.mounts(&key)? {
            write_layer(&source, name)?;
        } else {
            let mut mounted = self.store.mount(&key, &self.target)?;
            write_layer(mounted.target(), name)?;
            cowlab_sys::Guard::close(&mut mounted)?;
        }
        self.note("commit", name)?;
        self.store.commit(&key, name, &Default::default())?;
        self.note("committed", name)
    }

    /// Prepares or removes what the others prepare and remove: one wins, the others are told.
    fn fight(&mut self) -> anyhow::Result<()> {
        self.note("fight", "shared")?;
        let result = if self.random.below(2) == 0 {
            let made = self
                .store
                .prepare("shared", Some("base"), &Default::default());
            made.map(drop)
        } else {
            self.store.remove("shared")
        };
        match result {
            Ok(())
            | Err(Error::Exists { .. } | Error::NotFound { .. } | Error::InProgress { .. }) => {
                self.note("fought", "shared")
            }
            Err(error) => Err(error.into()),
        }
    }
}
