//! What the stages of a build share: the root, the cache, the context, base images, and what is finished.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Instant;

use cowlab_dockerfile::{Base, Globals, Ignore};
use cowlab_layer::Digest;
use cowlab_runtime::Root;
use cowlab_runtime::build::Build;
use cowlab_runtime::graph::LayerRow;
use cowlab_runtime::image::{self, Name};
use cowlab_sys::interrupt;
use serde_json::Value;

use crate::cache::Cache;
use crate::config::Config;
use crate::mutex::lock;
use crate::options::BuildOptions;
use crate::progress::{Event, Progress, Step};
use crate::state::State;
use crate::tree::Tree;
use crate::{Error, Result};

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
    pub(crate) progress: &'a dyn Progress,
    pub(crate) context: OnceLock<Tree>,
    pub(crate) images: Mutex<HashMap<String, Arc<Image>>>,
    pub(crate) finished: Mutex<HashMap<usize, Arc<State>>>,
    pub(crate) news: Condvar,
    pub(crate) has_failed: AtomicBool,
    pub(crate) steps: AtomicUsize,
}

impl Builder<'_> {
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
