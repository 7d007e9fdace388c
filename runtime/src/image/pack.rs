//! An image as it goes out: a manifest and the blobs that it names, all of which are here.

use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};

use cowlab_layer::Digest;

use super::Image;
use super::plan::{DOCUMENT_LIMIT, MANIFEST_TYPES, Manifest};
use crate::blobs::Stored;
use crate::graph::{LayerRow, ManifestRow};
use crate::{Error, Result, Root, root};

/// An image that is ready to go out.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// The manifest.
    pub(crate) manifest: Vec<u8>,
    /// The manifest's type.
    pub(crate) media_type: String,
    /// The manifest's digest.
    pub(crate) digest: Digest,
    /// The configuration: digest and size.
    pub(crate) config: (Digest, u64),
    /// The layers, base first: digest, size.
    pub(crate) layers: Vec<(Digest, u64)>,
    /// Whether the manifest was made for the occasion.
    pub(crate) fresh: bool,
}

impl Packed {
    /// The configuration and the layers, each once.
    pub(crate) fn blobs(&self) -> Vec<(Digest, u64)> {
        let mut blobs: Vec<_> = self.layers.iter().copied().chain([self.config]).collect();
        blobs.sort();
        blobs.dedup();
        blobs
    }
}

impl Root {
    /// Packs an image with a manifest that it came with, the one of the name if it can be. Where a layer came in another
    /// packing than that manifest's, because it was here already, a manifest is made of what is here. A layer whose blob was
    /// discarded is packed anew; such blobs are told in `made`, for the caller to give back.
    pub(crate) fn packed(
        &self,
        image: &Image,
        tagged: Option<&str>,
        made: &mut Vec<Stored>,
    ) -> Result<Packed> {
        let id = image.id.to_string();
        let preferred = match tagged {
            Some(tagged) => self.graph().tag(tagged)?.map(|tag| tag.manifest),
            None => None,
        };
        let mut manifests = self.graph().manifests(&id)?;
        manifests.sort_by_key(|manifest| Some(&manifest.digest) != preferred.as_ref());
        if let Some(packed) = self.as_one_came(&manifests)? {
            return Ok(packed);
        }
        let before = made.len();
        let layers = self.layer_blobs(image, made)?;
        // What was packed here comes out the same.
        if made.len() > before
            && let Some(packed) = self.as_one_came(&manifests)?
        {
            return Ok(packed);
        }
        self.repacked(image, &layers)
    }

    fn as_one_came(&self, manifests: &[ManifestRow]) -> Result<Option<Packed>> {
        for manifest in manifests {
            if let Some(packed) = self.as_it_came(manifest)? {
                return Ok(Some(packed));
            }
        }
        Ok(None)
    }

    /// The blobs of an image's layers: those that they came as, or new ones.
    fn layer_blobs(&self, image: &Image, made: &mut Vec<Stored>) -> Result<Vec<Descriptor>> {
        let mut descriptors = Vec::new();
        for layer in &image.layers {
            let digest = root::digest(&layer.blob, self.graph())?;
            if let Some(size) = self.blobs().size(&digest)? {
                descriptors.push(described(&layer.media_type, &digest, size)?);
                continue;
            }
            if !self.has_recipe(layer)? {
                return Err(Error::NoBlob {
                    digest: layer.blob.clone(),
                    remedy: "pull or load the image again",
                });
            }
            let blob = self.remake_blob(layer)?;
            made.push(blob);
            let gzip = MediaType::ImageLayerGzip.to_string();
            descriptors.push(described(&gzip, &blob.digest, blob.size)?);
        }
        Ok(descriptors)
    }

    /// Layers as a manifest has them, whether or not their blobs are here.
    pub(crate) fn layer_descriptors(&self, layers: &[LayerRow]) -> Result<Vec<Descriptor>> {
        let describe = |layer: &LayerRow| {
            let digest = root::digest(&layer.blob, self.graph())?;
            described(&layer.media_type, &digest, layer.blob_size)
        };
        layers.iter().map(describe).collect()
    }

    /// The image as a manifest of it says, if every blob is here.
    fn as_it_came(&self, row: &ManifestRow) -> Result<Option<Packed>> {
        let digest = root::digest(&row.digest, self.graph())?;
        if self.blobs().size(&digest)?.is_none() {
            return Ok(None);
        }
        let bytes = self.blobs().document(&digest, DOCUMENT_LIMIT)?;
        let manifest = Manifest::read(&row.digest, &bytes, Some(&row.media_type))?;
        let config = manifest.config()?;
        let plan = manifest.plan(&self.blobs().document(&config.0, DOCUMENT_LIMIT)?)?;
        let layers: Vec<_> = plan.layers.iter().map(|one| (one.blob, one.size)).collect();
        for (digest, size) in &layers {
            if self.blobs().size(digest)? != Some(*size) {
                return Ok(None);
            }
        }
        Ok(Some(Packed {
            manifest: bytes,
            media_type: plan.media_type,
            digest,
            config,
            layers,
            fresh: false,
        }))
    }

    /// The image with a manifest of these layers.
    fn repacked(&self, image: &Image, layers: &[Descriptor]) -> Result<Packed> {
        let bad = |error: oci_spec::OciSpecError| Error::BadImage {
            name: image.shown(),
            reason: format!("no manifest can be made of it: {error}"),
        };
        let size = self.blobs().size(&image.id)?;
        let config = (
            image.id,
            size.ok_or_else(|| Error::NoBlob {
                digest: image.id.to_string(),
                remedy: "pull or load the image again",
            })?,
        );
        let named = |layer: &Descriptor| {
            let digest = root::digest(layer.digest().as_ref(), self.graph())?;
            Ok((digest, layer.size()))
        };
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(Descriptor::new(
                MediaType::ImageConfig,
                config.1,
                spec_digest(&image.id)?,
            ))
            .layers(layers)
            .build()
            .and_then(|manifest| manifest.to_string())
            .map_err(bad)?
            .into_bytes();
        Ok(Packed {
            digest: Digest::of(&manifest),
            manifest,
            media_type: MANIFEST_TYPES[0].to_owned(),
            config,
            layers: layers.iter().map(named).collect::<Result<_>>()?,
            fresh: true,
        })
    }
}

/// A layer as a manifest of the specification's own type has it.
fn described(media_type: &str, digest: &Digest, size: u64) -> Result<Descriptor> {
    let media_type = MediaType::from(oci_layer_type(media_type));
    Ok(Descriptor::new(media_type, size, spec_digest(digest)?))
}

/// A digest as the specification's types have it.
pub(crate) fn spec_digest(digest: &Digest) -> Result<oci_spec::image::Digest> {
    let text = digest.to_string();
    text.parse().map_err(|error| Error::BadImage {
        name: text.clone(),
        reason: format!("its digest is none: {error}"),
    })
}

/// The type that the image specification has for a layer of docker's.
fn oci_layer_type(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            "application/vnd.oci.image.layer.v1.tar+zstd"
        }
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        other => other,
    }
}
