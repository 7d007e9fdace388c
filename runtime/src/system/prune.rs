//! Removing what nothing needs.

use cowlab_snapshots::{Error as StoreError, Filter};

use super::check::FRESH;
use crate::image::Removed;
use crate::{Result, Root};

/// What is pruned besides what is nameless and unused.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneOptions {
    /// Images that have names, too, unless a container uses them.
    pub all: bool,
}

/// What was pruned of the build cache.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PrunedBuilds {
    /// The keys of steps.
    pub steps: Vec<String>,
    /// The ids of directories of `RUN --mount=type=cache`.
    pub dirs: Vec<String>,
    /// Layers and blobs that only these steps had.
    pub removed: Vec<Removed>,
    /// Bytes that all of it allocated.
    pub reclaimed: u64,
}

/// What was pruned.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Pruned {
    /// What was removed.
    pub removed: Vec<Removed>,
    /// Bytes of cut-off downloads and other unfinished blobs.
    pub unfinished: u64,
    /// Bytes that all of it allocated.
    pub reclaimed: u64,
}

impl Root {
    /// Removes the images that `wanted` takes by their ids, of those that have no name and that no container uses; then the steps of
    /// the build cache that no image needs, layers and blobs that neither has, then what dead processes left half written. Containers and volumes stay.
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store), [`Error::Database`](crate::Error::Database); what is removed by then stays so.
    pub fn prune(
        &self,
        options: PruneOptions,
        wanted: impl Fn(&str) -> Result<bool>,
    ) -> Result<Pruned> {
        let before = self.stored()?;
        let mut pruned = Pruned {
            removed: self.remove_unused(options, wanted)?,
            ..Pruned::default()
        };
        self.remove_dead_builds()?;
        self.forget_builds(options)?;
        let blobs = self.blobs().list()?;
        let blobs = blobs.into_iter().map(|(digest, _)| digest.to_string());
        let rest = self.collect(|_| true, &blobs.collect())?;
        if !rest.contains(&Removed::Postponed) {
            pruned.unfinished = self.blobs().remove_unfinished()?;
        }
        pruned.removed.extend(rest);
        self.remove_strays()?;
        pruned.reclaimed = before.saturating_sub(self.stored()?) + pruned.unfinished;
        Ok(pruned)
    }

    /// Removes the steps of the build cache that no image needs, with `all` those of images as well, whose layers stay; then the
    /// layers and blobs that only these had, and directories of `RUN --mount=type=cache` that nobody uses.
    pub fn prune_builds(&self, options: PruneOptions) -> Result<PrunedBuilds> {
        let before = self.stored()?;
        self.remove_dead_builds()?;
        let (steps, dirs) = self.forget_builds(options)?;
        let blobs = self.blobs().list()?;
        let blobs = blobs.into_iter().map(|(digest, _)| digest.to_string());
        Ok(PrunedBuilds {
            steps,
            dirs,
            removed: self.collect(|_| true, &blobs.collect())?,
            reclaimed: before.saturating_sub(self.stored()?),
        })
    }

    fn forget_builds(&self, options: PruneOptions) -> Result<(Vec<String>, Vec<String>)> {
        let images = self.layer_images()?;
        let mut steps = Vec::new();
        for step in self.graph().steps()? {
            let is_needed = step.top.is_some_and(|top| images.contains_key(&top));
            if options.all || !is_needed {
                steps.push(step.key);
            }
        }
        if !steps.is_empty() {
            self.graph().remove_steps(&steps)?;
        }
        let place = self.dir().join("build");
        if self.graph().steps()?.is_empty() {
            // What builds told of their steps, for advice.
            cowlab_sys::dir::remove_tree(place.join("last"))?;
        }
        let mut dirs = Vec::new();
        for dir in self.cache_dirs()? {
            if self.remove_cache_dir(&dir)? {
                dirs.push(dir.id);
            }
        }
        // Whoever builds makes them again.
        for empty in [place.join("cache"), place] {
            std::fs::remove_dir(empty).ok();
        }
        Ok((steps, dirs))
    }

    /// Removes images as [`Self::prune`] does, with what only they have.
    pub fn prune_images(
        &self,
        options: PruneOptions,
        wanted: impl Fn(&str) -> Result<bool>,
    ) -> Result<Pruned> {
        let before = self.stored()?;
        let removed = self.remove_unused(options, wanted)?;
        Ok(Pruned {
            removed,
            unfinished: 0,
            reclaimed: before.saturating_sub(self.stored()?),
        })
    }

    fn remove_unused(
        &self,
        options: PruneOptions,
        wanted: impl Fn(&str) -> Result<bool>,
    ) -> Result<Vec<Removed>> {
        let mut removed = Vec::new();
        for image in self.graph().images()? {
            let named = !self.graph().tags(Some(&image.id))?.is_empty();
            let used = !self.users(Some(&image.id))?.is_empty();
            if !used && (options.all || !named) && wanted(&image.id)? {
                removed.extend(self.remove_whole(&image.id)?);
            }
        }
        Ok(removed)
    }

    /// What layers, their recipes and blobs and the build cache allocate, in bytes.
    fn stored(&self) -> Result<u64> {
        let shares = [
            self.image_share()?,
            self.recipe_share()?,
            self.blob_share()?,
            self.build_share()?,
        ];
        Ok(shares.iter().map(|share| share.size.bytes.0).sum())
    }

    /// Removes what killed removals and checks left: descriptions of images and layers that are gone, and layers that were
    /// unpacked to be compared. Whoever makes such things holds what is taken here.
    fn remove_strays(&self) -> Result<()> {
        let Some(_removing) = self.removing()? else {
            return Ok(());
        };
        for id in self.described_images()? {
            if self.graph().image(&id)?.is_none() {
                self.forget_image(&id)?;
            }
        }
        for chain_id in self.described_layers()? {
            if self.graph().layer(&chain_id)?.is_none() {
                self.forget_layer(&chain_id)?;
            }
        }
        let fresh = Filter {
            prefix: Some(FRESH.to_owned()),
            ..Filter::default()
        };
        for info in self.store().list(&fresh)? {
            match self.store().remove(&info.key) {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
