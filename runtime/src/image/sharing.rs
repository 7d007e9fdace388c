//! What images share: which layer is whose, and what that is worth on disk.

use std::collections::BTreeMap;

use cowlab_driver::{Access, Allocation, Chain, Mounts};
use cowlab_snapshots::Error as StoreError;

use super::Image;
use crate::graph::LayerRow;
use crate::{Error, Result, Root};

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
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
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
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn footprint(&self, image: &Image) -> Result<Footprint> {
        let users = self.layer_images()?;
        let mut footprint = Footprint::default();
        for layer in &image.layers {
            let usage = self.store().usage(&layer.cache_id)?.exclusive;
            let others = users.get(&layer.chain_id).map_or(0, Vec::len);
            let part = match others > 1 {
                true => &mut footprint.shared,
                false => &mut footprint.own,
            };
            *part = *part + usage;
        }
        Ok(footprint)
    }

    /// Says how a layer with those below it is mounted, read-only: what a person needs to look at it on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn layer_mounts(&self, layer: &LayerRow) -> Result<Mounts> {
        let mut ids = Vec::new();
        for below in self.graph().chain(&layer.chain_id)?.iter().rev() {
            ids.push(self.store().stat(&below.cache_id)?.id);
        }
        let Some((head, ancestors)) = ids.split_first() else {
            return Err(Error::Store(StoreError::NotFound {
                key: layer.cache_id.clone(),
            }));
        };
        let driver = self.store().driver();
        let unusable = |error| Error::Store(StoreError::Unusable(error));
        let mounts = driver
            .activate(&Chain::new(*head, ancestors.to_vec()), Access::ReadOnly)
            .map_err(unusable)?;
        // A device that was made for the answer goes again; one that somebody uses stays.
        match driver.deactivate(*head) {
            Ok(()) | Err(cowlab_driver::Error::Busy { .. }) => Ok(mounts),
            Err(error) => Err(unusable(error)),
        }
    }
}
