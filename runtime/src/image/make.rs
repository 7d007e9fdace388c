//! Making images here: of a tar, or of an image and what a snapshot changed.

use std::io::{Read, Write};
use std::time::SystemTime;

use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};
use serde_json::{Value, json};

use cowlab_layer::stream::{self, Compression, LayerReader, Packer, ReadOptions};
use cowlab_layer::{Change, DiffId, DiffOptions, Digest};
use cowlab_sys::io;
use cowlab_units::Timestamp;

use super::compression::{self, Packing};
use super::document;
use super::history::UNTOLD;
use super::pack::spec_digest;
use super::plan::{DOCUMENT_LIMIT, Manifest, Plan};
use super::{Image, Name};
use crate::blobs::Stored;
use crate::graph::{LayerRow, TagRow};
use crate::{Error, Result, Root};

/// A layer that was made here: its blob and the digest of the archive in it.
pub(super) struct Fresh {
    pub(super) blob: Stored,
    pub(super) diff_id: DiffId,
}

impl Root {
    /// Makes an image of one layer: a tar, kept as it is when it is compressed with gzip or zstd, else (plain, xz,
    /// bzip2) compressed with gzip. Returns the image's id.
    ///
    /// # Errors
    ///
    /// [`Error::BadImage`] for what is no tar, [`Error::Unpack`], [`Error::InvalidName`].
    pub fn import(
        &self,
        source: &mut (dyn Read + Send),
        from: &str,
        name: Option<&Name>,
        message: &str,
    ) -> Result<Digest> {
        let adding = self.adding()?;
        let made = self.archive_blob(source, from).and_then(|fresh| {
            let now = Timestamp::from(SystemTime::now()).to_string();
            self.add(
                json!({"created": now}),
                None,
                Some(&fresh),
                name,
                (from, message),
            )
        });
        drop(adding);
        self.discard_blobs()?;
        made
    }

    /// Keeps a tar as a blob, compressed.
    pub(super) fn archive_blob(&self, source: &mut (dyn Read + Send), from: &str) -> Result<Fresh> {
        let unusable = |error: &dyn std::fmt::Display| Error::BadImage {
            name: from.to_owned(),
            reason: error.to_string(),
        };
        let detected = compression::detect(source);
        let (packing, mut whole) = detected.map_err(|error| unusable(&error))?;
        let mut incoming = self.blobs().begin()?;
        let diff_id;
        let blob = if matches!(packing, Packing::Layer(kept) if kept != Compression::None) {
            io("copy", from, std::io::copy(&mut whole, &mut incoming))?;
            let blob = incoming.finish(None, from)?;
            let mut file = self.blobs().file(&blob.digest)?;
            let read = stream::read(&mut file, &ReadOptions::default(), LayerReader::drain);
            diff_id = read.map_err(|error| unusable(&error))?.1.diff_id;
            blob
        } else {
            let failed = |error| Error::packing(from, error);
            let mut packer = Packer::new(&mut incoming, Compression::Gzip).map_err(failed)?;
            let unpacked = compression::unpacked(packing, whole);
            let mut unpacked = unpacked.map_err(|error| unusable(&error))?;
            let digested = stream::read(&mut unpacked, &ReadOptions::default(), |input| {
                loop {
                    let chunk = input.fill()?;
                    if chunk.is_empty() {
                        return Ok(Ok(()));
                    }
                    let count = chunk.len();
                    if let Err(error) = packer.write_all(chunk) {
                        return Ok(Err(error));
                    }
                    input.consume(count);
                }
            });
            let (written, content) = digested.map_err(|error| unusable(&error))?;
            io("compress", from, written)?;
            packer.finish().map_err(failed)?;
            diff_id = content.diff_id;
            incoming.finish(None, from)?
        };
        Ok(Fresh { blob, diff_id })
    }

    /// Makes an image of another and what an active snapshot changed in it: the changes that `select` leaves in their list become a
    /// blob and a layer; the snapshot itself stays as it is. Nobody may write to it meanwhile.
    ///
    /// `config` is the configuration of the image to be; layers and a step of history are added. Returns its id.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], [`Error::NoBlob`], [`Error::InvalidName`].
    pub fn commit(
        &self,
        base: &Image,
        snapshot: &str,
        select: impl FnOnce(&mut Vec<Change>),
        config: Value,
        (name, message): (Option<&Name>, &str),
    ) -> Result<Digest> {
        let adding = self.adding()?;
        let made = self.difference_blob(snapshot, select).and_then(|fresh| {
            let about = (snapshot, message);
            self.add(config, Some(base), fresh.as_ref(), name, about)
        });
        drop(adding);
        self.discard_blobs()?;
        made
    }

    /// Keeps what a snapshot changed as a blob; `None` where that is nothing.
    fn difference_blob(
        &self,
        snapshot: &str,
        select: impl FnOnce(&mut Vec<Change>),
    ) -> Result<Option<Fresh>> {
        let mut incoming = self.blobs().begin()?;
        let packing = |error| Error::packing(snapshot, error);
        let mut packer = Packer::new(&mut incoming, Compression::Gzip).map_err(packing)?;
        let written =
            self.store()
                .diff_of(snapshot, select, &mut packer, &DiffOptions::default())?;
        packer.finish().map_err(packing)?;
        if written.entries == 0 {
            return Ok(None);
        }
        Ok(Some(Fresh {
            blob: incoming.finish(None, snapshot)?,
            diff_id: written.diff_id,
        }))
    }

    /// Makes the image of a new layer on those of a base.
    fn add(
        &self,
        config: Value,
        base: Option<&Image>,
        fresh: Option<&Fresh>,
        name: Option<&Name>,
        (from, message): (&str, &str),
    ) -> Result<Digest> {
        let mut layers: Vec<Descriptor> = match base {
            Some(base) => self.layer_descriptors(&base.layers)?,
            None => Vec::new(),
        };
        if let Some(fresh) = fresh {
            layers.push(Descriptor::new(
                self.layer_type(&fresh.blob)?,
                fresh.blob.size,
                spec_digest(&fresh.blob.digest)?,
            ));
        }
        let config = configuration(config, base, fresh, message);
        let names: Vec<Name> = name.into_iter().cloned().collect();
        self.write_image(&config, layers, fresh.map(|fresh| fresh.blob), &names, from)
    }

    /// Makes an image of layers that are here, with a configuration that tells of them, and gives it names. Returns its id.
    ///
    /// # Errors
    ///
    /// [`Error::BadImage`] for a configuration that is of other layers, [`Error::InvalidName`].
    pub fn assemble(
        &self,
        mut config: Value,
        layers: &[LayerRow],
        names: &[Name],
        from: &str,
    ) -> Result<Digest> {
        if let Some(members) = config.as_object_mut() {
            document::amend_platform(members);
        }
        let layers = self.layer_descriptors(layers)?;
        self.write_image(&config, layers, None, names, from)
    }

    /// Writes configuration and manifest of a new image, unpacks its new layer and records it.
    fn write_image(
        &self,
        config: &Value,
        layers: Vec<Descriptor>,
        fresh: Option<Stored>,
        names: &[Name],
        from: &str,
    ) -> Result<Digest> {
        let bad = |error: oci_spec::OciSpecError| Error::BadImage {
            name: from.to_owned(),
            reason: format!("no image can be made of it: {error}"),
        };
        let config = self.blobs().keep_bytes(config.to_string().as_bytes())?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(Descriptor::new(
                MediaType::ImageConfig,
                config.size,
                spec_digest(&config.digest)?,
            ))
            .layers(layers)
            .build()
            .and_then(|manifest| manifest.to_string())
            .map_err(bad)?;
        let mut stored = vec![config, self.blobs().keep_bytes(manifest.as_bytes())?];
        stored.extend(fresh);
        let document = self.blobs().document(&config.digest, DOCUMENT_LIMIT)?;
        let plan = Manifest::read(from, manifest.as_bytes(), None)?.plan(&document)?;
        if !self.is_recorded(&plan)? {
            let installed = self.install(&plan, &|_, _| {});
            if installed.is_err() {
                let used = self.graph().used_blobs()?;
                self.blobs().roll_back(&stored, &used)?;
            }
            installed?;
        }
        for tagged in names.iter().filter_map(Name::tagged) {
            let before = self.graph().tag(&tagged)?;
            let is_new = |tag: &TagRow| {
                tag.image != plan.id.to_string() || tag.manifest != plan.manifest.to_string()
            };
            if before.as_ref().is_none_or(is_new) {
                self.name_image(&tagged, &plan)?;
            }
        }
        Ok(plan.id)
    }

    /// Whether an image is here with this manifest: then nothing has to be written.
    fn is_recorded(&self, plan: &Plan) -> Result<bool> {
        let of_manifest = self.graph().image_of_manifest(&plan.manifest.to_string())?;
        Ok(of_manifest.is_some_and(|image| image == plan.id.to_string()))
    }
}

/// The configuration of a new image: this one, whatever it has, with one more step after those of the base.
fn configuration(
    mut config: Value,
    base: Option<&Image>,
    fresh: Option<&Fresh>,
    message: &str,
) -> Value {
    let diff_ids = base.map(|base| base.config.rootfs().diff_ids().clone());
    let mut diff_ids = diff_ids.unwrap_or_default();
    let mut history = match config["history"].take() {
        Value::Array(history) => history,
        _ => Vec::new(),
    };
    let is_told = |step: &&Value| step["empty_layer"] != true;
    let told = history.iter().filter(is_told).count();
    // A history with fewer steps than there are layers would tell of the wrong ones, and podman refuses it.
    let untold = diff_ids.len().saturating_sub(told);
    history.extend(std::iter::repeat_n(json!({"comment": UNTOLD}), untold));
    diff_ids.extend(fresh.map(|fresh| fresh.diff_id.to_string()));
    let mut step = json!({"created_by": message, "empty_layer": fresh.is_none()});
    if config["created"].is_string() {
        step["created"] = config["created"].clone();
    }
    history.push(step);
    config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
    config["history"] = json!(history);
    if let Some(members) = config.as_object_mut() {
        document::amend_platform(members);
    }
    config
}
