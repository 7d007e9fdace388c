//! A worker: one of the processes that are killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use cowlab_driver::Mounts;
use cowlab_snapshots::{Error, Filter, Info, Kind, Store};

use crate::layer::{Random, archive_of, write_layer};
use crate::{Outcome, Plan, chain};

/// Snapshots that a worker keeps before it removes more than it makes.
const KEPT: usize = 8;
/// Beyond this a chain gets no children.
const DEEPEST: usize = 5;

/// One worker: operations on snapshots of its own, on a base that all share, and on one key that all
/// fight for, until it is killed.
pub(crate) fn work(plan: &Plan, number: usize) -> Outcome<()> {
    // Its mounts end with it.
    if cowlab_sys::process::is_root() {
        cowlab_sys::process::unshare_mounts()?;
    }
    let store = plan.open()?;
    let mut worker = Worker {
        journal: fs::OpenOptions::new()
            .append(true)
            .open(plan.journal(number))?,
        target: plan.dir.join(format!("mount-{number}")),
        prefix: format!("w{number}/"),
        random: Random(plan.seed),
        seed: plan.seed,
        store: &store,
        made: 0,
    };
    while !plan.dir.join("stop").exists() {
        if let Err(error) = worker.step() {
            let note = plan.dir.join(format!("harmed-{number}"));
            fs::write(note, format!("worker {number}: {error}\n"))?;
            return Err(error);
        }
    }
    Ok(())
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
    fn step(&mut self) -> Outcome<()> {
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
    fn note(&mut self, what: &str, name: &str) -> Outcome<()> {
        Ok(self
            .journal
            .write_all(format!("{what} {name}\n").as_bytes())?)
    }

    fn parent(&mut self, own: &[Info]) -> Outcome<Option<String>> {
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

    fn remove(&mut self, name: &str) -> Outcome<()> {
        self.note("remove", name)?;
        match self.store.remove(name) {
            Ok(()) => self.note("removed", name),
            Err(Error::HasChildren { .. }) => self.note("kept", name),
            Err(error) => Err(error.into()),
        }
    }

    fn apply(&mut self, name: &str, parent: Option<&str>) -> Outcome<()> {
        self.note("apply", name)?;
        let archive = archive_of(name);
        self.store
            .apply(name, parent, &mut archive.as_slice(), &Default::default())?;
        self.note("committed", name)
    }

    fn commit(&mut self, name: &str, parent: Option<&str>) -> Outcome<()> {
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
    fn fight(&mut self) -> Outcome<()> {
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
