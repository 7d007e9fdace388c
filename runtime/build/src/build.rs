//! A build as a whole: its stages in their order, as many at the same time as do not need each other, and the image.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cowlab_dockerfile::{Globals, Plan, Planned, Platform};
use cowlab_layer::Digest;
use cowlab_runtime::Root;
use cowlab_runtime::build::{ImportedCache, timestamp};
use cowlab_runtime::image;

use crate::advise::{self, StepReport};
use crate::builder::Builder;
use crate::cache::Cache;
use crate::mutex::lock;
use crate::options::BuildOptions;
use crate::progress::{Event, Progress};
use crate::stage::Stage;
use crate::state::State;
use crate::{Error, Result};

/// How often a stage that waits looks whether to stop.
const LOOK_UP: Duration = Duration::from_millis(200);

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its id.
    pub id: Digest,
    /// What became of its steps, by stages.
    pub steps: Vec<StepReport>,
}

/// Builds an image and gives it its names.
///
/// # Errors
///
/// The first that a stage meets. What it built before stays in the cache; nothing else of it does.
pub fn build(root: &Root, options: &BuildOptions, progress: &dyn Progress) -> Result<Built> {
    let file = &options.dockerfile;
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: image::architecture(),
        variant: None,
    };
    let target = options.target.as_deref();
    let globals = Globals::new(file, options.build_args.clone(), &platform, target)?;
    let plan = Plan::new(file, &globals, target)?;
    for name in globals.unused(file) {
        progress.event(Event::Warning(&format!(
            "build argument `{name}` is declared by no ARG, and is not used"
        )));
    }
    let begun = root.begin_build()?;
    let imported = import(root, options, progress);
    let builder = Builder {
        root,
        build: &begun,
        options,
        cache: Cache::new(&begun, options.no_cache, imported),
        globals,
        progress,
        context: OnceLock::new(),
        images: Mutex::default(),
        finished: Mutex::default(),
        news: Condvar::new(),
        has_failed: AtomicBool::new(false),
        steps: AtomicUsize::new(0),
    };
    let built = builder.run(&plan);
    drop(builder);
    begun.end()?;
    built
}

/// Opens the caches that are imported; one that is not there is told, and the build goes on without it, as docker's does.
fn import(root: &Root, options: &BuildOptions, progress: &dyn Progress) -> Vec<ImportedCache> {
    let open = |place| match root.import_cache(place, &options.registry) {
        Ok(cache) => Some(cache),
        Err(error) => {
            progress.event(Event::Warning(&format!(
                "the cache in {place} is not used: {error}"
            )));
            None
        }
    };
    options.cache_from.iter().filter_map(open).collect()
}

impl Builder<'_> {
    fn run(&self, plan: &Plan) -> Result<Built> {
        match &plan.stages[..] {
            [one] => self.run_stage(one)?,
            all => self.run_stages(all)?,
        }
        self.cache.finish()?;
        let mut finished = std::mem::take(&mut *lock(&self.finished));
        let in_order = plan
            .stages
            .iter()
            .filter_map(|one| finished.get(&one.stage));
        let steps: Vec<_> = in_order.flat_map(|state| state.reports.clone()).collect();
        let state = finished.remove(&plan.target).ok_or(Error::GivenUp)?;
        let id = self.assemble(Arc::unwrap_or_clone(state))?;
        let built = Built { id, steps };
        advise::remember(self.root, self.options, &built.steps)?;
        for place in &self.options.cache_to {
            let keys = self.cache.exported();
            self.root
                .export_cache(place, &self.options.registry, &keys)?;
        }
        Ok(built)
    }

    fn run_stages(&self, stages: &[Planned]) -> Result<()> {
        let failures = std::thread::scope(|scope| {
            let run = |planned| scope.spawn(move || self.run_stage(planned));
            let threads: Vec<_> = stages.iter().map(run).collect();
            let ended = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            ended.filter_map(Result::err).collect::<Vec<_>>()
        });
        let (given_up, mut failed): (Vec<_>, Vec<_>) = failures
            .into_iter()
            .partition(|error| matches!(error, Error::GivenUp));
        match (failed.is_empty(), given_up.is_empty()) {
            (false, _) => Err(failed.remove(0)),
            (true, false) => Err(Error::GivenUp),
            (true, true) => Ok(()),
        }
    }

    fn run_stage(&self, planned: &Planned) -> Result<()> {
        let done = self
            .wait_for(&planned.needs)
            .and_then(|()| Stage::new(self, planned).run());
        match done {
            Ok(state) => {
                lock(&self.finished).insert(planned.stage, Arc::new(state));
                self.news.notify_all();
                Ok(())
            }
            Err(error) => {
                // Under the lock, or who is about to wait would not be woken.
                let _finished = lock(&self.finished);
                self.has_failed.store(true, Ordering::Relaxed);
                self.news.notify_all();
                Err(error)
            }
        }
    }

    fn wait_for(&self, stages: &[usize]) -> Result<()> {
        let mut finished = lock(&self.finished);
        while !stages.iter().all(|stage| finished.contains_key(stage)) {
            self.go_on()?;
            let woken = self.news.wait_timeout(finished, LOOK_UP);
            finished = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn assemble(&self, mut state: State) -> Result<Digest> {
        state.config.add_labels(self.options.labels.clone());
        let diff_ids: Vec<&str> = state
            .layers
            .iter()
            .map(|layer| layer.diff_id.as_str())
            .collect();
        let created = state
            .created
            .unwrap_or_else(|| timestamp(self.options.epoch));
        let config = state.config.finish(&diff_ids, &state.history, &created);
        let from = &*self.options.dockerfile.file;
        Ok(self
            .root
            .assemble(config, &state.layers, &self.options.names, from)?)
    }
}
