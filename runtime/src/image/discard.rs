//! Layers that are kept without their blobs: a recipe stands in, which makes the layer's archive again from its snapshot.
//!
//! A blob goes only when that was tried: the archive made again had the layer's diff id. What is lost is the packing: an
//! archive that is compressed anew has another digest than the one that came, and so have the manifests that name it.
//! Recipes lie in `layers/<chain id>/recipe`, compressed with zstd.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use cowlab_layer::stream::{Compression, Packer};
use cowlab_layer::{Digest, Rebuilt};
use cowlab_sys::io;

use super::plan::{DOCUMENT_LIMIT, Manifest};
use crate::blobs::{Incoming, Stored};
use crate::graph::LayerRow;
use crate::{Error, Result, Root, root};

/// zstd's own default.
const LEVEL: i32 = 3;

/// A recipe that is being written.
pub(super) struct NewRecipe<'r> {
    encoder: zstd::Encoder<'static, BufWriter<Incoming<'r>>>,
    path: PathBuf,
}

impl<'r> NewRecipe<'r> {
    /// Begins the recipe of a layer.
    pub(super) fn begin(root: &'r Root, chain_id: &str) -> Result<Self> {
        let path = root.recipe_path(chain_id);
        let file = BufWriter::new(root.blobs().begin()?);
        Ok(Self {
            encoder: io("compress", &path, zstd::Encoder::new(file, LEVEL))?,
            path,
        })
    }

    /// What the recipe is written to.
    pub(super) fn sink(&mut self) -> &mut dyn Write {
        &mut self.encoder
    }

    /// Tries the recipe on the layer and keeps it if it gives the diff id; tells whether it did.
    pub(super) fn end(self, root: &Root, layer: &LayerRow) -> Result<bool> {
        let path = self.path;
        let file = io("compress", &path, self.encoder.finish())?;
        let file = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        let incoming = io("write", &path, file)?;
        let rebuilt = root.rebuild_from(layer, incoming.path(), &mut std::io::sink())?;
        if rebuilt.diff_id.to_string() != layer.diff_id {
            tracing::warn!(
                layer = layer.chain_id,
                "cannot be made again: its blob is kept"
            );
            return Ok(false);
        }
        incoming.place(&path)?;
        Ok(true)
    }
}

impl Root {
    /// Whether a layer can be made again without its blob.
    pub fn has_recipe(&self, layer: &LayerRow) -> Result<bool> {
        let path = self.recipe_path(&layer.chain_id);
        Ok(io("stat", &path, path.try_exists())?)
    }

    /// Makes the archive of a layer again by its recipe, whatever becomes of it.
    pub(crate) fn rebuild(&self, layer: &LayerRow, sink: &mut dyn Write) -> Result<Rebuilt> {
        self.rebuild_from(layer, &self.recipe_path(&layer.chain_id), sink)
    }

    fn rebuild_from(
        &self,
        layer: &LayerRow,
        recipe: &Path,
        sink: &mut dyn Write,
    ) -> Result<Rebuilt> {
        let file = BufReader::new(io("open", recipe, File::open(recipe))?);
        let mut recipe = io("decompress", recipe, zstd::Decoder::with_buffer(file))?;
        let recipe: &mut dyn Read = &mut recipe;
        Ok(self.store().rebuild(&layer.cache_id, recipe, sink)?)
    }

    /// Packs a layer anew whose blob was discarded, with gzip. The caller gives the blob back when it is done with it.
    pub(crate) fn remake_blob(&self, layer: &LayerRow) -> Result<Stored> {
        let mut incoming = self.blobs().begin()?;
        let packing = |error| Error::packing(&layer.chain_id, error);
        let mut packer = Packer::new(&mut incoming, Compression::Gzip).map_err(packing)?;
        let rebuilt = self.rebuild(layer, &mut packer)?;
        packer.finish().map_err(packing)?;
        if rebuilt.diff_id.to_string() == layer.diff_id {
            return incoming.finish(None, &layer.chain_id);
        }
        let lost: Vec<_> = rebuilt.lost.iter().take(3).collect();
        let lost: Vec<String> = lost
            .iter()
            .map(|change| format!("`{}`", change.path.display().to_string().escape_debug()))
            .collect();
        Err(Error::Lost {
            layer: layer.chain_id.clone(),
            lost: match lost.is_empty() {
                true => "its archive".to_owned(),
                false => lost.join(", "),
            },
        })
    }

    /// Removes blobs that were made for the occasion, unless somebody else may have found them meanwhile: then the next prune
    /// does it. The caller holds no lock on the content.
    pub(crate) fn give_back(&self, made: &[Stored]) -> Result<()> {
        match self.removing()? {
            Some(_removing) => self.blobs().roll_back(made, &BTreeSet::new()),
            None => Ok(()),
        }
    }

    /// Where the root keeps no blobs of layers, removes those that recipes stand in for, unless somebody adds something:
    /// then the next call does it. The caller holds no lock on the content.
    pub(crate) fn discard_blobs(&self) -> Result<()> {
        if !self.discards_blobs() {
            return Ok(());
        }
        let Some(_removing) = self.removing()? else {
            return Ok(());
        };
        let (mut replaced, mut needed) = (BTreeSet::new(), BTreeSet::new());
        for (layer, blob) in self.packings()? {
            match self.has_recipe(&layer)? {
                true => replaced.insert(blob),
                false => needed.insert(blob),
            };
        }
        for blob in replaced.difference(&needed) {
            self.blobs().remove(blob)?;
        }
        Ok(())
    }

    /// Every layer with each of the blobs that it came as, by its own row and by the manifests of images.
    fn packings(&self) -> Result<Vec<(LayerRow, Digest)>> {
        let mut packings = Vec::new();
        for layer in self.graph().layers()? {
            let blob = root::digest(&layer.blob, self.graph())?;
            packings.push((layer, blob));
        }
        for image in self.images()? {
            for row in self.graph().manifests(&image.id.to_string())? {
                let digest = root::digest(&row.digest, self.graph())?;
                let document = self.blobs().document(&digest, DOCUMENT_LIMIT)?;
                let config = self.blobs().document(&image.id, DOCUMENT_LIMIT)?;
                let manifest = Manifest::read(&row.digest, &document, Some(&row.media_type))?;
                let planned = manifest.plan(&config)?.layers;
                let blobs = planned.iter().map(|layer| layer.blob);
                packings.extend(image.layers.iter().cloned().zip(blobs));
            }
        }
        Ok(packings)
    }
}
