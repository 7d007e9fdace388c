//! The keys of steps, and what the build cache has for them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use cowlab_layer::Digest;
use cowlab_runtime::build::{Build, ImportedCache};
use cowlab_runtime::graph::{LayerRow, StepRow};
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::mutex::lock;
use crate::tree::put;

/// What the result of a step depends on, as it is added.
#[derive(Clone)]
pub(crate) struct Key(Sha256);

impl Key {
    /// Begins the key of a step on a layer, or on none. `epoch` bounds the times of what it makes.
    pub(crate) fn new(what: &str, parent: Option<&LayerRow>, epoch: Option<i64>) -> Self {
        let mut key = Self(Sha256::new());
        // Another version makes other layers of the same.
        key.add("step 2").add(what);
        key.add(parent.map_or("", |layer| &layer.chain_id));
        key.add(epoch.map_or(String::new(), |epoch| epoch.to_string()));
        key
    }

    /// Adds a part.
    pub(crate) fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        put(&mut self.0, part.as_ref());
        self
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::from_hasher(self.0)
    }
}

/// What a step made.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Its layer; `None` where it changed nothing.
    pub(crate) layer: Option<LayerRow>,
    /// When it was run, for the history.
    pub(crate) created: String,
    /// How long that took.
    pub(crate) nanoseconds: u64,
    pub(crate) is_cached: bool,
}

/// The cache of a root as a build uses it.
#[derive(Debug)]
pub(crate) struct Cache<'b, 'r> {
    build: &'b Build<'r>,
    is_off: bool,
    imported: Vec<ImportedCache>,
    used: Mutex<Vec<String>>,
    /// Of which steps was told that an imported cache does not have what it says: each is looked for twice, without its lock and
    /// with it.
    told: Mutex<BTreeSet<String>>,
    /// What an exported cache gets.
    exported: Mutex<BTreeSet<String>>,
}

impl<'b, 'r> Cache<'b, 'r> {
    pub(crate) fn new(build: &'b Build<'r>, is_off: bool, imported: Vec<ImportedCache>) -> Self {
        Self {
            build,
            is_off,
            imported,
            used: Mutex::default(),
            told: Mutex::default(),
            exported: Mutex::default(),
        }
    }

    /// What an earlier build made of a step, if all of it is here or an imported cache has it.
    pub(crate) fn find(&self, key: &Digest, tell: impl Fn(&str)) -> Result<Option<Outcome>> {
        if self.is_off {
            return Ok(None);
        }
        let key = key.to_string();
        if let Some(step) = self.build.root().graph().step(&key)?
            && let Some(found) = self.outcome(&step)?
        {
            return Ok(Some(found));
        }
        for cache in &self.imported {
            match self.build.take_imported(cache, &key) {
                Ok(Some(step)) => return self.outcome(&step),
                Ok(None) => {}
                Err(error) if lock(&self.told).insert(key.clone()) => tell(&format!(
                    "the imported cache is not used for a step: {error}"
                )),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn outcome(&self, step: &StepRow) -> Result<Option<Outcome>> {
        let layer = match (&step.top, step.has_layer) {
            (Some(top), true) => match self.build.usable_layer(top)? {
                Some(layer) => Some(layer),
                None => return Ok(None),
            },
            _ => None,
        };
        lock(&self.used).push(step.key.clone());
        Ok(Some(Outcome {
            layer,
            created: step.created.clone(),
            nanoseconds: step.nanoseconds,
            is_cached: true,
        }))
    }

    /// Has an exported cache get a step.
    pub(crate) fn export(&self, key: &Digest) {
        lock(&self.exported).insert(key.to_string());
    }

    /// The keys of the steps that an exported cache gets.
    pub(crate) fn exported(&self) -> Vec<String> {
        lock(&self.exported).iter().cloned().collect()
    }

    /// Records what a step made of its parent.
    pub(crate) fn add(
        &self,
        key: &Digest,
        parent: Option<&LayerRow>,
        outcome: &Outcome,
        text: &str,
    ) -> Result<()> {
        let top = outcome.layer.as_ref().or(parent);
        Ok(self.build.root().graph().add_step(&StepRow {
            key: key.to_string(),
            top: top.map(|layer| layer.chain_id.clone()),
            has_layer: outcome.layer.is_some(),
            text: text.to_owned(),
            created: outcome.created.clone(),
            nanoseconds: outcome.nanoseconds,
            used: 0,
        })?)
    }

    /// Records what was used: what nobody uses is pruned first.
    pub(crate) fn finish(&self) -> Result<()> {
        let used = lock(&self.used);
        match used.is_empty() {
            true => Ok(()),
            false => Ok(self.build.root().graph().use_steps(&used)?),
        }
    }
}
