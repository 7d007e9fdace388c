//! Unpacks an image into a snapshot store, one committed snapshot per layer.
//!
//! A layer's snapshot is named by its chain id (image specification, `config.md`, "Layer ChainID"), so that
//! two images with a common base share its snapshots and a second unpack writes nothing.

use cowlab_layer::DiffId;
use cowlab_snapshots::{ApplyOptions, Error as StoreError, Store};

use crate::image::chained;
use crate::layout::{Image, Layer, Layout};
use crate::{Error, Result};

/// What became of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedLayer {
    /// The snapshot's name in the store.
    pub chain_id: String,
    /// The digest of the uncompressed tar.
    pub diff_id: String,
    /// The compressed size in bytes.
    pub size: u64,
    /// Whether the store had it before.
    pub existed: bool,
}

/// Names the snapshots of a list of layers, base first.
#[must_use]
pub fn chain_ids<'a>(diff_ids: impl IntoIterator<Item = &'a DiffId>) -> Vec<String> {
    let mut top = None;
    let chain = diff_ids.into_iter().map(|diff_id| {
        let id = chained(top, *diff_id);
        top = Some(id);
        id.to_string()
    });
    chain.collect()
}

/// Unpacks every layer of `image` that `store` does not have, base first, and tells `progress` about each.
///
/// # Errors
///
/// The first layer that cannot be applied: the layers below it stay, the layer itself is not there.
pub fn unpack(
    store: &Store,
    layout: &Layout,
    image: &Image,
    mut progress: impl FnMut(&UnpackedLayer),
) -> Result<Vec<UnpackedLayer>> {
    let names = chain_ids(image.layers.iter().map(|layer| &layer.diff_id));
    let mut unpacked: Vec<UnpackedLayer> = Vec::new();
    for (layer, chain_id) in image.layers.iter().zip(names) {
        let existed = match store.stat(&chain_id) {
            Ok(_) => true,
            Err(StoreError::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !existed {
            let parent = unpacked.last().map(|layer| layer.chain_id.as_str());
            apply(store, layout, layer, &chain_id, parent)?;
        }
        let layer = UnpackedLayer {
            chain_id,
            diff_id: layer.diff_id.to_string(),
            size: layer.blob.size(),
            existed,
        };
        progress(&layer);
        unpacked.push(layer);
    }
    Ok(unpacked)
}

/// Applies one layer of a layout under a name, checking both digests.
pub(crate) fn apply(
    store: &Store,
    layout: &Layout,
    layer: &Layer,
    name: &str,
    parent: Option<&str>,
) -> Result<()> {
    let digest = layer.blob.digest().to_string();
    let options = ApplyOptions {
        digest: Some(
            digest
                .parse()
                .map_err(|error| Error::layout(layout.dir(), error))?,
        ),
        diff_id: Some(layer.diff_id),
        ..ApplyOptions::default()
    };
    store.apply(name, parent, &mut layout.open_blob(&layer.blob)?, &options)?;
    Ok(())
}
