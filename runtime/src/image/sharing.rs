//! What images share: which layer is whose, and what that is worth on disk.

use std::collections::BTreeMap;

use cowlab_driver::{Allocation, Bytes, Mounts, Usage};

use super::Image;
use crate::graph::LayerRow;
use crate::{Result, Root};

/// What an image allocates, measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Footprint {
    /// In layers that other images have too.
    pub shared: Allocation,
    /// In layers that no other image has: what removing it would free.
    pub own: Allocation,
}

impl Root {
    /// The ids of the images that have each layer, by chain id.
    pub fn layer_images(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for image in self.graph().images()? {
            let Some(top) = &image.top else { continue };
            for layer in self.graph().chain(top)? {
                users
                    .entry(layer.chain_id)
                    .or_default()
                    .push(image.id.clone());
            }
        }
        Ok(users)
    }

    /// Measures what an image's layers allocate. Costs up to O(entries of the image).
    pub fn footprint(&self, image: &Image) -> Result<Footprint> {
        let users = self.layer_images()?;
        let mut footprint = Footprint::default();
        for layer in &image.layers {
            let usage = self.layer_usage(layer)?;
            let others = users.get(&layer.chain_id).map_or(0, Vec::len);
            let part = match others > 1 {
                true => &mut footprint.shared,
                false => &mut footprint.own,
            };
            *part = *part + usage;
        }
        Ok(footprint)
    }

    /// Measures what a layer adds to those below it. What layers hold together, where a driver has blocks shared, counts once,
    /// in the lowest: nobody has it exclusively, and it would be freed with the last of them.
    pub(crate) fn layer_usage(&self, layer: &LayerRow) -> Result<Allocation> {
        let held = |usage: &Usage| usage.exclusive + usage.shared.unwrap_or_default();
        let usage = self.store().usage(&layer.cache_id)?;
        let shares = usage.shared.is_some_and(|shared| shared.bytes.0 > 0);
        let below = match &layer.parent {
            _ if !shares => return Ok(usage.exclusive),
            Some(parent) => self.graph().layer(parent)?,
            None => None,
        };
        let Some(below) = below else {
            return Ok(held(&usage));
        };
        let (all, below) = (held(&usage), held(&self.store().usage(&below.cache_id)?));
        // A layer that removes much holds less than its parent, and still what it has alone.
        let added = |all: u64, below: u64, own: u64| all.saturating_sub(below).max(own);
        Ok(Allocation {
            bytes: Bytes(added(all.bytes.0, below.bytes.0, usage.exclusive.bytes.0)),
            inodes: added(all.inodes, below.inodes, usage.exclusive.inodes),
        })
    }

    /// Says how a layer with those below it is mounted, read-only: what a person needs to look at it on disk.
    pub fn layer_mounts(&self, layer: &LayerRow) -> Result<Mounts> {
        Ok(self.store().describe_mount(&layer.cache_id)?)
    }
}
