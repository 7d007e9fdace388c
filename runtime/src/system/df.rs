//! What the root takes on disk, measured: each layer counts once, whatever number of images share it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cowlab_driver::{Allocation, Bytes};
use cowlab_snapshots::{Error as StoreError, Filter, Kind};

use crate::container::Containers;
use crate::{Result, Root};

/// One kind of thing, and what it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// How many there are.
    pub total: usize,
    /// How many something needs.
    pub active: usize,
    /// What they take.
    pub size: Allocation,
    /// What removing those that nothing needs would free.
    pub reclaimable: Allocation,
}

/// What a root takes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct DiskUse {
    /// Images with their layers, unpacked; active are those that containers use.
    pub images: Share,
    /// Writable snapshots and views, those of containers for example; active are all.
    pub snapshots: Share,
    /// Blobs: manifests, configurations and layers as they came; active are those that an image names.
    pub blobs: Share,
    /// Recipes of layers whose blobs were discarded; active are those whose layer an image has.
    pub recipes: Share,
    /// Volumes; active are those that containers use.
    pub volumes: Share,
    /// The build cache: steps, whose layers count where no image has them, and directories of `RUN --mount=type=cache`; active
    /// are steps whose layer an image has, and directories that a step uses.
    pub build_cache: Share,
}

fn measured(path: &Path) -> Result<Allocation> {
    cowlab_driver::tree::allocation(path).map_err(|error| StoreError::Unusable(error).into())
}

impl Root {
    /// Measures what the root takes. Costs up to O(entries of all layers).
    ///
    /// # Errors
    ///
    /// What the store, the graph and the volumes say.
    pub fn disk_use(&self) -> crate::container::Result<DiskUse> {
        Ok(DiskUse {
            images: self.image_share()?,
            snapshots: self.snapshot_share()?,
            blobs: self.blob_share()?,
            recipes: self.recipe_share()?,
            volumes: self.volume_share()?,
            build_cache: self.build_share()?,
        })
    }

    pub(super) fn image_share(&self) -> Result<Share> {
        let users = self.users(None)?;
        let used: BTreeSet<_> = users.into_iter().map(|user| user.image).collect();
        let images = self.layer_images()?;
        let mut share = Share {
            total: self.graph().images()?.len(),
            active: used.len(),
            ..Share::default()
        };
        let cached = self.cached_layers()?;
        for layer in self.graph().layers()? {
            if cached.contains(&layer.chain_id) && !images.contains_key(&layer.chain_id) {
                continue;
            }
            let Ok(usage) = self.layer_usage(&layer) else {
                // A layer that is being unpacked has no snapshot yet.
                continue;
            };
            share.size = share.size + usage;
            let needed = images
                .get(&layer.chain_id)
                .is_some_and(|images| images.iter().any(|image| used.contains(image)));
            if !needed {
                share.reclaimable = share.reclaimable + usage;
            }
        }
        Ok(share)
    }

    /// The layers that the build cache has, with those below them.
    fn cached_layers(&self) -> Result<BTreeSet<String>> {
        let steps = self.graph().steps()?;
        let mut cached: BTreeSet<String> = steps.into_iter().filter_map(|step| step.top).collect();
        // Parents come before children.
        for layer in self.graph().layers()?.into_iter().rev() {
            if cached.contains(&layer.chain_id) {
                cached.extend(layer.parent);
            }
        }
        Ok(cached)
    }

    pub(super) fn build_share(&self) -> Result<Share> {
        let images = self.layer_images()?;
        let mut share = Share::default();
        let is_needed =
            |top: &Option<String>| top.as_ref().is_some_and(|top| images.contains_key(top));
        for step in self.graph().steps()? {
            share.total += 1;
            share.active += usize::from(is_needed(&step.top));
        }
        for chain_id in self.cached_layers()? {
            let layer = self.graph().layer(&chain_id)?;
            if let Some(layer) = layer.filter(|layer| !images.contains_key(&layer.chain_id))
                && let Ok(usage) = self.layer_usage(&layer)
            {
                share.size = share.size + usage;
                share.reclaimable = share.reclaimable + usage;
            }
        }
        for dir in self.cache_dirs()? {
            share.total += 1;
            share.size = share.size + dir.size;
            match dir.in_use {
                true => share.active += 1,
                false => share.reclaimable = share.reclaimable + dir.size,
            }
        }
        Ok(share)
    }

    pub(super) fn recipe_share(&self) -> Result<Share> {
        let images = self.layer_images()?;
        let mut share = Share::default();
        for layer in self.graph().layers()? {
            if !self.has_recipe(&layer)? {
                continue;
            }
            let stat = cowlab_sys::stat::lstat(self.recipe_path(&layer.chain_id))?;
            let part = Allocation {
                bytes: Bytes(stat.blocks * 512),
                inodes: 1,
            };
            share.total += 1;
            share.size = share.size + part;
            match images.contains_key(&layer.chain_id) {
                true => share.active += 1,
                false => share.reclaimable = share.reclaimable + part,
            }
        }
        Ok(share)
    }

    fn volume_share(&self) -> crate::container::Result<Share> {
        let containers = Containers::open(self)?;
        let mut share = Share::default();
        for volume in containers.volumes().list()? {
            let part = measured(&volume.mountpoint)?;
            share.total += 1;
            share.size = share.size + part;
            // Where a container's record cannot be read, it may have the volume.
            let users = containers.users_of_volume(&volume.name);
            match users.is_ok_and(|users| users.is_empty()) {
                true => share.reclaimable = share.reclaimable + part,
                false => share.active += 1,
            }
        }
        Ok(share)
    }

    fn snapshot_share(&self) -> Result<Share> {
        let mut share = Share::default();
        for kind in [Kind::Active, Kind::View] {
            let filter = Filter {
                kind: Some(kind),
                ..Filter::default()
            };
            for info in self.store().list(&filter)? {
                share.total += 1;
                share.active += 1;
                share.size = share.size + self.store().usage(&info.key)?.exclusive;
            }
        }
        Ok(share)
    }

    pub(super) fn blob_share(&self) -> Result<Share> {
        let used = self.graph().used_blobs()?;
        let blobs: BTreeMap<_, _> = self.blobs().list()?.into_iter().collect();
        let mut share = Share::default();
        for (digest, size) in blobs {
            let part = Allocation {
                bytes: Bytes(size),
                inodes: 1,
            };
            share.total += 1;
            share.size = share.size + part;
            match used.contains(&digest.to_string()) {
                true => share.active += 1,
                false => share.reclaimable = share.reclaimable + part,
            }
        }
        Ok(share)
    }
}
