//! Installing an image whose blobs are there: layers unpacked, base first, then the image recorded.
//!
//! A layer's row says `unpacking` before its snapshot is made and `ready` after it is whole. What a dead process left
//! `unpacking` is unpacked again by the next that needs it.

use cowlab_layer::Digest;
use cowlab_snapshots::{ApplyOptions, Error as StoreError};
use cowlab_sys::IdSource;

use super::discard::NewRecipe;
use super::plan::{Plan, PlannedLayer};
use crate::graph::{LayerRow, LayerState, TagRow};
use crate::{Error, Result, Root};

/// What happens to the layers of an image, for people who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was there already: neither fetched nor unpacked.
    Exists,
    /// It is being fetched.
    Fetching,
    /// It goes on after these many bytes, which an earlier try left.
    Resumed(u64),
    /// It is fetched, and its digest proved.
    Fetched,
    /// It is being unpacked.
    Unpacking,
    /// It is whole.
    Complete,
}

/// Takes steps of layers, by the digest of the compressed layer. Called from several threads.
pub type Progress<'a> = &'a (dyn Fn(&PlannedLayer, Step) + Sync);

impl Root {
    /// Whether a layer is there, whole.
    pub(crate) fn has_layer(&self, layer: &PlannedLayer) -> Result<bool> {
        let row = self.graph().layer(&layer.chain_id.to_string())?;
        Ok(row.is_some_and(|row| row.state == LayerState::Ready))
    }

    /// Unpacks a layer whose blob is there and whose parent is unpacked; tells whether it was there before.
    pub(crate) fn unpack_layer(&self, image: &str, layer: &PlannedLayer) -> Result<bool> {
        self.unpack_blob(image, layer, &layer.blob)
    }

    /// Records that a layer is being unpacked, unless it is there already, and returns its record.
    pub(super) fn begin_layer(&self, layer: &PlannedLayer) -> Result<LayerRow> {
        self.graph().begin_layer(&LayerRow {
            chain_id: layer.chain_id.to_string(),
            diff_id: layer.diff_id.to_string(),
            cache_id: IdSource::Kernel.uuid("cache id")?.replace('-', ""),
            parent: layer.parent.map(|parent| parent.to_string()),
            blob: layer.blob.to_string(),
            media_type: layer.media_type.clone(),
            blob_size: layer.size,
            state: LayerState::Unpacking,
            size: 0,
        })
    }

    /// As [`unpack_layer`](Self::unpack_layer), of a blob that need not be the one that the layer came as.
    pub(crate) fn unpack_blob(
        &self,
        image: &str,
        layer: &PlannedLayer,
        blob: &Digest,
    ) -> Result<bool> {
        let _lock = self.lock_layer(&layer.chain_id)?;
        let parent = match &layer.parent {
            Some(parent) => Some(self.ready_layer(&parent.to_string())?),
            None => None,
        };
        let row = self.begin_layer(layer)?;
        if row.state == LayerState::Ready {
            return Ok(true);
        }
        // What a process left that died between the two databases.
        match self.store().remove(&row.cache_id) {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let options = ApplyOptions {
            digest: Some(*blob),
            diff_id: Some(layer.diff_id),
            duplicates: self.duplicates(),
            labels: [("cowlab/chain-id".to_owned(), row.chain_id.clone())].into(),
            ..ApplyOptions::default()
        };
        let mut recipe = match self.discards_blobs() {
            true => Some(NewRecipe::begin(self, &row.chain_id)?),
            false => None,
        };
        let mut source = self.blobs().file(blob)?;
        let parent = parent.as_ref().map(|row| row.cache_id.as_str());
        let applied = self.store().apply_recorded(
            &row.cache_id,
            parent,
            &mut source,
            &options,
            recipe.as_mut().map(NewRecipe::sink),
        );
        let applied = match applied {
            Ok(applied) => applied,
            Err(reason) => {
                self.graph().remove_layer(&row.chain_id)?;
                return Err(Error::Unpack {
                    image: image.to_owned(),
                    layer: blob.to_string(),
                    reason: Box::new(reason),
                });
            }
        };
        if let Some(recipe) = recipe {
            recipe.end(self, &row)?;
        }
        self.graph()
            .end_layer(&row.chain_id, applied.content.uncompressed_size)?;
        self.describe_layer(&row)?;
        Ok(false)
    }

    fn ready_layer(&self, chain_id: &str) -> Result<LayerRow> {
        let row = self.graph().layer(chain_id)?;
        row.filter(|row| row.state == LayerState::Ready)
            .ok_or_else(|| Error::NotFound {
                kind: "layer",
                name: chain_id.to_owned(),
                remedy: "it went away while a layer above it was unpacked: try again",
            })
    }

    /// Refuses an image that no container could be made of, before any of it is unpacked.
    pub(crate) fn refuse_too_deep(&self, plan: &Plan) -> Result<()> {
        let depth = plan.layers.len();
        match self.store().driver().info().depth_limit {
            Some(limit) if depth > limit => Err(Error::BadImage {
                name: plan.name.clone(),
                reason: format!(
                    "it has {depth} layers, and driver `{}` mounts {limit} at most: squash it, or use another driver",
                    self.store().identity().driver
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Unpacks what is not there of an image whose blobs are, then records it.
    pub(crate) fn install(&self, plan: &Plan, progress: Progress<'_>) -> Result<()> {
        self.refuse_too_deep(plan)?;
        for layer in &plan.layers {
            if self.has_layer(layer)? {
                progress(layer, Step::Exists);
                continue;
            }
            progress(layer, Step::Unpacking);
            self.unpack_layer(&plan.name, layer)?;
            progress(layer, Step::Complete);
        }
        self.record(plan)
    }

    /// Records an image whose layers are unpacked.
    pub(crate) fn record(&self, plan: &Plan) -> Result<()> {
        let top = plan.layers.last().map(|layer| layer.chain_id.to_string());
        let id = plan.id.to_string();
        self.graph()
            .add_image(&id, top.as_deref(), &plan.manifest_row(), &plan.blobs())?;
        self.describe_image(&plan.id)
    }

    /// Gives an image a name; returns the id of the image that had it, where it was another.
    pub(crate) fn name_image(&self, tagged: &str, plan: &Plan) -> Result<Option<String>> {
        let id = plan.id.to_string();
        let before = self.graph().set_tag(&TagRow {
            name: tagged.to_owned(),
            image: id.clone(),
            manifest: plan.manifest.to_string(),
        })?;
        Ok(before.filter(|before| *before != id))
    }
}
