//! Making a layer of an active snapshot without unpacking anything: its blob is written from it, then the snapshot itself
//! is committed as the layer.
//!
//! The order is that of unpacking: the blob, the row `unpacking`, the snapshot, the row `ready`. What a process leaves that
//! dies in between is an active snapshot of a dead build, a blob that nothing names, or a row whose layer is made anew by the
//! next that needs it; `prune` removes each.

use std::time::Duration;

use cowlab_layer::DiffOptions;
use cowlab_layer::apply;
use cowlab_layer::stream::{Compression, Packer, ReadOptions};
use cowlab_snapshots::{CommitOptions, Error as StoreError};

use super::discard::NewRecipe;
use super::make::Fresh;
use super::plan::{PlannedLayer, chained};
use crate::graph::{LayerRow, LayerState};
use crate::{Error, Result, Root, root};

/// How long a program may still write, or a mount be there, that is about to end.
const WAIT: Duration = Duration::from_secs(10);

impl Root {
    /// Makes a layer of what an active snapshot changed in its parent's; `None` where that is nothing. The snapshot is gone
    /// afterwards. The caller keeps the content from being collected, and nobody has the snapshot mounted.
    pub(crate) fn adopt(
        &self,
        snapshot: &str,
        parent: Option<&LayerRow>,
        diff: &DiffOptions,
    ) -> Result<Option<LayerRow>> {
        let Some((fresh, size)) = self.layer_blob(snapshot, diff)? else {
            self.store().remove(snapshot)?;
            return Ok(None);
        };
        let planned = self.planned_on(parent, &fresh)?;
        let _lock = self.lock_layer(&planned.chain_id)?;
        let row = self.begin_layer(&planned)?;
        if row.state == LayerState::Ready {
            self.store().remove(snapshot)?;
            return Ok(Some(row));
        }
        // What a process left that died between the two databases.
        match self.store().remove(&row.cache_id) {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let options = CommitOptions {
            labels: [("cowlab/chain-id".to_owned(), row.chain_id.clone())].into(),
            wait: WAIT,
            ..CommitOptions::default()
        };
        if let Err(error) = self.store().commit(snapshot, &row.cache_id, &options) {
            self.graph().remove_layer(&row.chain_id)?;
            return Err(error.into());
        }
        if self.discards_blobs() {
            self.record_recipe(&row, &planned)?;
        }
        self.graph().end_layer(&row.chain_id, size)?;
        self.describe_layer(&row)?;
        Ok(Some(LayerRow {
            state: LayerState::Ready,
            size,
            ..row
        }))
    }

    /// Writes what a snapshot changed as a blob, and tells the size of the archive in it.
    fn layer_blob(&self, snapshot: &str, diff: &DiffOptions) -> Result<Option<(Fresh, u64)>> {
        let mut incoming = self.blobs().begin()?;
        let packing = |error| Error::packing(snapshot, error);
        let mut packer = Packer::new(&mut incoming, Compression::Gzip).map_err(packing)?;
        let written = self.store().diff(snapshot, &mut packer, diff)?;
        packer.finish().map_err(packing)?;
        if written.entries == 0 {
            return Ok(None);
        }
        let fresh = Fresh {
            blob: incoming.finish(None, snapshot)?,
            diff_id: written.diff_id,
        };
        Ok(Some((fresh, written.size)))
    }

    /// Writes the blob of a layer that was made here anew; false where its snapshot does not give it any more.
    pub(crate) fn repack_layer(&self, layer: &LayerRow) -> Result<bool> {
        for sparse in [true, false] {
            let diff = DiffOptions {
                sparse,
                ..DiffOptions::default()
            };
            let made = self.layer_blob(&layer.cache_id, &diff)?;
            if made.is_some_and(|(fresh, _)| fresh.blob.digest.to_string() == layer.blob) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A new layer on a parent.
    fn planned_on(&self, parent: Option<&LayerRow>, fresh: &Fresh) -> Result<PlannedLayer> {
        let parent = match parent {
            Some(parent) => Some(root::digest(&parent.chain_id, self.graph())?),
            None => None,
        };
        Ok(PlannedLayer {
            blob: fresh.blob.digest,
            size: fresh.blob.size,
            media_type: self.layer_type(&fresh.blob)?.to_string(),
            diff_id: fresh.diff_id,
            chain_id: chained(parent, fresh.diff_id),
            parent,
        })
    }

    /// Applies a layer that is here to another parent, and returns the layer that comes of it: `COPY --link`.
    pub(crate) fn rebase_layer(&self, layer: &LayerRow, parent: &LayerRow) -> Result<LayerRow> {
        let digest = |text: &str| root::digest(text, self.graph());
        let diff_id = digest(&layer.diff_id)?;
        let parent = digest(&parent.chain_id)?;
        let planned = PlannedLayer {
            blob: digest(&layer.blob)?,
            size: layer.blob_size,
            media_type: layer.media_type.clone(),
            diff_id,
            chain_id: chained(Some(parent), diff_id),
            parent: Some(parent),
        };
        let mut blob = planned.blob;
        if self.blobs().size(&blob)?.is_none() {
            blob = self.remake_blob(layer)?.digest;
        }
        self.unpack_blob("the layer of a step with --link", &planned, &blob)?;
        let id = planned.chain_id.to_string();
        let row = self.graph().layer(&id)?;
        row.ok_or(Error::NotFound {
            kind: "layer",
            name: id,
            remedy: "it was removed while it was made: build again",
        })
    }

    fn record_recipe(&self, row: &LayerRow, planned: &PlannedLayer) -> Result<()> {
        let mut recipe = NewRecipe::begin(self, &row.chain_id)?;
        let options = ReadOptions {
            diff_id: Some(planned.diff_id),
            ..ReadOptions::default()
        };
        let mut blob = self.blobs().file(&planned.blob)?;
        apply::record(&mut blob, &options, recipe.sink())
            .map_err(|error| Error::packing(&row.chain_id, error))?;
        recipe.end(self, row).map(drop)
    }
}
