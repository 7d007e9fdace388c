//! A build as a whole: its stages in their order, as many at the same time as do not need each other, and the image.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cowlab_dockerfile::{Base, Globals, Ignore, Plan, Planned, Platform};
use cowlab_layer::Digest;
use cowlab_runtime::Root;
use cowlab_runtime::build::{Build, ImportedCache, timestamp};
use cowlab_runtime::graph::LayerRow;
use cowlab_runtime::image::{self, Name};
use cowlab_sys::interrupt;
use serde_json::Value;

use crate::advise::{self, StepReport};
use crate::cache::Cache;
use crate::config::Config;
use crate::options::BuildOptions;
use crate::progress::{Event, Progress, Step};
use crate::stage::{Stage, State};
use crate::tree::Tree;
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

/// A base image that is here.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) config: Value,
    pub(crate) layers: Vec<LayerRow>,
}

/// What the stages of a build share.
pub(crate) struct Builder<'a> {
    pub(crate) root: &'a Root,
    pub(crate) build: &'a Build<'a>,
    pub(crate) options: &'a BuildOptions,
    pub(crate) cache: Cache<'a, 'a>,
    pub(crate) globals: Globals,
    progress: &'a dyn Progress,
    context: OnceLock<Tree>,
    images: Mutex<HashMap<String, Arc<Image>>>,
    finished: Mutex<HashMap<usize, Arc<State>>>,
    news: Condvar,
    has_failed: AtomicBool,
    steps: AtomicUsize,
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

    /// Refuses to go on once another stage has failed, or a signal asked to stop.
    pub(crate) fn go_on(&self) -> Result<()> {
        if interrupt::requested() {
            return Err(cowlab_runtime::Error::Interrupted.into());
        }
        match self.has_failed.load(Ordering::Relaxed) {
            true => Err(Error::GivenUp),
            false => Ok(()),
        }
    }

    /// A stage that was built before.
    pub(crate) fn stage(&self, number: usize) -> Result<Arc<State>> {
        let found = lock(&self.finished).get(&number).cloned();
        found.ok_or_else(|| {
            Error::refused(format!(
                "stage {number} is not built before it is needed: put it before this one"
            ))
        })
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

    pub(crate) fn tell(&self, event: Event<'_>) {
        self.progress.event(event);
    }

    /// The number of the next step.
    pub(crate) fn next_number(&self) -> usize {
        self.steps.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The context, opened once.
    pub(crate) fn context(&self) -> Result<&Tree> {
        if let Some(context) = self.context.get() {
            return Ok(context);
        }
        let Some(dir) = &self.options.context else {
            return Err(Error::refused(
                "the build has no context to copy files from",
            ));
        };
        let unusable = |reason: String| Error::Context {
            path: dir.clone(),
            reason,
        };
        let whole = dir
            .canonicalize()
            .map_err(|error| unusable(error.to_string()))?;
        if !whole.is_dir() {
            return Err(unusable("it is no directory".to_owned()));
        }
        let mut tree = Tree::open(
            &whole,
            "the build context".to_owned(),
            self.options.ignore.clone(),
        )?;
        tree.keeps_owners = false;
        Ok(self.context.get_or_init(|| tree))
    }

    /// An image by its name, pulled where it is not here.
    pub(crate) fn image(&self, name: &str, step: Option<&Step>) -> Result<Arc<Image>> {
        // Held while it is pulled: another stage may want the same.
        let mut images = lock(&self.images);
        if let Some(known) = images.get(name) {
            return Ok(known.clone());
        }
        let here = self.root.image(name);
        let found = match here {
            Ok(found) if !self.options.pull => found,
            Err(error) if !matches!(error, cowlab_runtime::Error::NotFound { .. }) => {
                return Err(error.into());
            }
            _ => {
                if let Some(step) = step {
                    tracing::debug!(name, number = step.number, "pulled");
                }
                let parsed: Name = name.parse()?;
                let pulled = self
                    .root
                    .pull(&parsed, &self.options.registry, &|_, _| {})?;
                self.root.image(&pulled.id.to_string())?
            }
        };
        self.tell_moved(name, &found.id)?;
        let image = Arc::new(Image {
            config: self.root.configuration_of(&found)?,
            layers: found.layers,
        });
        images.insert(name.to_owned(), image.clone());
        Ok(image)
    }

    /// Tells where a name stands for another image than in the last build.
    fn tell_moved(&self, name: &str, id: &Digest) -> Result<()> {
        let key = format!("build_base {name}");
        let id = id.to_string();
        let before = self.root.graph().meta(&key)?;
        if let Some(before) = before.as_ref().filter(|before| **before != id) {
            let (before, now) = (image::short(before), image::short(&id));
            self.tell(Event::Warning(&format!(
                "base image `{name}` is another than in the last build: it was {before} and is {now}"
            )));
        }
        match before.as_ref() == Some(&id) {
            true => Ok(()),
            false => Ok(self.root.graph().set_meta(&[(&key, &id)])?),
        }
    }

    /// What a stage begins with.
    pub(crate) fn base(&self, base: &Base, step: &Step) -> Result<State> {
        match base {
            Base::Scratch => Ok(State::new(Config::new(None), Vec::new(), &self.globals)),
            Base::Stage(number) => Ok((*self.stage(*number)?).clone()),
            Base::Image(name) => {
                let begin = Instant::now();
                self.tell(Event::Started(step));
                let image = self.image(name, Some(step)).inspect_err(|_| {
                    let elapsed = begin.elapsed();
                    self.tell(Event::Failed { step, elapsed });
                })?;
                let elapsed = begin.elapsed();
                self.tell(Event::Done { step, elapsed });
                let config = Config::new(Some(image.config.clone()));
                Ok(State::new(config, image.layers.clone(), &self.globals))
            }
        }
    }

    /// Gives `work` the tree that files of a stage or an image are taken from.
    pub(crate) fn with_layers<T>(
        &self,
        layers: &[LayerRow],
        what: String,
        work: impl FnOnce(&Tree) -> Result<T>,
    ) -> Result<T> {
        let Some(top) = layers.last() else {
            return Err(Error::refused(format!("{what} has no files")));
        };
        let done = self.root.store().with_content(&top.cache_id, |place| {
            work(&Tree::open(place, what, Ignore::default())?)
        });
        done.map_err(cowlab_runtime::Error::from)?
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
