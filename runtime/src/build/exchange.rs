//! The build cache outside the root: `--cache-to` and `--cache-from`, a directory that is an OCI layout, or a registry.
//!
//! One manifest names the layers of steps, and as its configuration a document that says of which step each is. A step has the
//! same key in every root, for it is made of digests; a layer that comes in is unpacked on the parent that the key is about, and
//! proves both its digest and its place there.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use cowlab_layer::Digest;
use cowlab_sys::{durability, io, reflink};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Build;
use crate::blobs::{Expected, Stored, hex};
use crate::graph::{LayerRow, StepRow};
use crate::image::document::Descriptor;
use crate::image::layout_dir::{LayoutDir, REF_NAME};
use crate::image::plan::{DOCUMENT_LIMIT, MANIFEST_TYPES};
use crate::image::{Name, Packed, PlannedLayer, chained};
use crate::registry::{RegistryOptions, fetch_blob, fetch_manifest, push_packed};
use crate::{Error, Result, Root, root};

/// The type of the manifest's configuration.
const CONFIG_TYPE: &str = "application/vnd.cowlab.build.cache.v1+json";

/// The name of the manifest in an index.
const CACHE: &str = "cache";

/// Where a cache is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// An OCI layout.
    Directory(PathBuf),
    /// A registry, with repository and tag.
    Registry(Name),
}

impl std::fmt::Display for CachePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "directory `{}`", path.display()),
            Self::Registry(name) => write!(f, "registry `{name}`"),
        }
    }
}

/// The document: every step, by its key.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    steps: BTreeMap<String, Step>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Step {
    text: String,
    created: String,
    nanoseconds: u64,
    /// None where it changed no file.
    layer: Option<Layer>,
    /// The topmost layer after a step that changed none.
    top: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Layer {
    diff_id: String,
    parent: Option<String>,
    blob: String,
    size: u64,
    media_type: String,
}

/// A cache that was opened.
#[derive(Debug)]
pub struct ImportedCache {
    place: CachePlace,
    registry: RegistryOptions,
    document: Document,
}

impl Root {
    /// Writes steps with their layers to a place.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`], [`Error::NoBlob`], and what a registry refuses.
    pub fn export_cache(
        &self,
        place: &CachePlace,
        registry: &RegistryOptions,
        keys: &[String],
    ) -> Result<()> {
        let mut made = Vec::new();
        let (packed, config) = self.pack_cache(keys, &mut made)?;
        match place {
            CachePlace::Directory(dir) => self.write_layout(dir, &packed, &config),
            CachePlace::Registry(name) => {
                made.push(self.blobs().keep_bytes(config.as_bytes())?);
                push_packed(self, name, registry, &packed)
            }
        }?;
        made.retain(|stored| !stored.existed);
        let used = self.graph().used_blobs()?;
        self.blobs().roll_back(&made, &used)
    }

    fn pack_cache(&self, keys: &[String], made: &mut Vec<Stored>) -> Result<(Packed, String)> {
        let mut document = Document::default();
        let mut layers = BTreeMap::new();
        for key in keys {
            let Some(step) = self.graph().step(key)? else {
                continue;
            };
            let layer = match step.top.as_ref().filter(|_| step.has_layer) {
                Some(top) => match self.graph().layer(top)? {
                    Some(row) => Some(self.exported(&row, made)?),
                    None => continue,
                },
                None => None,
            };
            if let Some(layer) = &layer {
                layers.insert(layer.blob.clone(), layer.clone());
            }
            let entry = Step {
                text: step.text,
                created: step.created,
                nanoseconds: step.nanoseconds,
                layer,
                top: step.top,
            };
            document.steps.insert(step.key, entry);
        }
        let config = json!(document).to_string();
        let described = |kind: &str, digest: &str, size: u64| json!({"mediaType": kind, "digest": digest, "size": size});
        let id = Digest::of(config.as_bytes());
        let size = config.len() as u64;
        let listed: Vec<Value> = layers
            .values()
            .map(|layer| described(&layer.media_type, &layer.blob, layer.size))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPES[0],
            "config": described(CONFIG_TYPE, &id.to_string(), size),
            "layers": listed,
        })
        .to_string();
        let blobs = layers.values().map(|layer| {
            let digest = root::digest(&layer.blob, self.graph())?;
            Ok((digest, layer.size))
        });
        let packed = Packed {
            digest: Digest::of(manifest.as_bytes()),
            manifest: manifest.into_bytes(),
            media_type: MANIFEST_TYPES[0].to_owned(),
            config: (id, size),
            layers: blobs.collect::<Result<_>>()?,
            fresh: true,
        };
        Ok((packed, config))
    }

    /// A layer as the document has it, with a blob that is here.
    fn exported(&self, row: &LayerRow, made: &mut Vec<Stored>) -> Result<Layer> {
        let mut layer = Layer {
            diff_id: row.diff_id.clone(),
            parent: row.parent.clone(),
            blob: row.blob.clone(),
            size: row.blob_size,
            media_type: row.media_type.clone(),
        };
        let digest = root::digest(&row.blob, self.graph())?;
        if self.blobs().size(&digest)?.is_none() {
            let stored = self.remake_blob(row)?;
            made.push(stored);
            layer.blob = stored.digest.to_string();
            layer.size = stored.size;
            layer.media_type = oci_spec::image::MediaType::ImageLayerGzip.to_string();
        }
        Ok(layer)
    }

    fn write_layout(&self, dir: &Path, packed: &Packed, config: &str) -> Result<()> {
        let blobs = dir.join("blobs/sha256");
        durability::create_dir_all(&blobs)?;
        for (digest, size) in &packed.layers {
            let path = blobs.join(hex(digest));
            let there = std::fs::symlink_metadata(&path);
            if there.is_ok_and(|found| found.is_file() && found.len() == *size) {
                continue;
            }
            replace(&path, |file| {
                reflink::copy_file(&self.blobs().file(digest)?, file)?;
                Ok(())
            })?;
        }
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": packed.media_type,
                "digest": packed.digest.to_string(),
                "size": packed.manifest.len(),
                "annotations": {REF_NAME: CACHE},
            }],
        })
        .to_string();
        let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        // The index comes last: what it names is there.
        for (path, content) in [
            (blobs.join(hex(&packed.config.0)), config.as_bytes()),
            (blobs.join(hex(&packed.digest)), &packed.manifest),
            (dir.join("oci-layout"), layout.as_bytes()),
            (dir.join("index.json"), index.as_bytes()),
        ] {
            replace(&path, |mut file| {
                Ok(io(
                    "write",
                    &path,
                    std::io::Write::write_all(&mut file, content),
                )?)
            })?;
        }
        Ok(())
    }

    /// Opens a cache that was exported; its layers come when a step needs them.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] for a directory that is none, [`Error::BadImage`] for a manifest of something else, and what a registry
    /// refuses.
    pub fn import_cache(
        &self,
        place: &CachePlace,
        registry: &RegistryOptions,
    ) -> Result<ImportedCache> {
        let document = match place {
            CachePlace::Directory(dir) => read_layout(dir)?,
            CachePlace::Registry(name) => {
                let manifest = fetch_manifest(self, name, registry)?;
                let config = config_of(place, &manifest)?;
                fetch_blob(self, name, registry, config)?;
                self.blobs().document(&config.digest, DOCUMENT_LIMIT)?
            }
        };
        let document = serde_json::from_slice(&document).map_err(|error| bad(place, &error))?;
        Ok(ImportedCache {
            place: place.clone(),
            registry: registry.clone(),
            document,
        })
    }
}

impl Build<'_> {
    /// Takes a step of an imported cache into this root's: its layer is fetched, and unpacked on its parent. `None` where the
    /// cache does not have it.
    ///
    /// # Errors
    ///
    /// [`Error::BadBlob`], [`Error::Unpack`] where the cache does not hold what it says.
    pub fn take_imported(&self, cache: &ImportedCache, key: &str) -> Result<Option<StepRow>> {
        let Some(step) = cache.document.steps.get(key) else {
            return Ok(None);
        };
        let top = match &step.layer {
            Some(layer) => Some(self.fetch_layer(cache, layer)?),
            None => step.top.clone(),
        };
        let row = StepRow {
            key: key.to_owned(),
            top,
            has_layer: step.layer.is_some(),
            text: step.text.clone(),
            created: step.created.clone(),
            nanoseconds: step.nanoseconds,
            used: 0,
        };
        self.root().graph().add_step(&row)?;
        Ok(Some(row))
    }

    fn fetch_layer(&self, cache: &ImportedCache, layer: &Layer) -> Result<String> {
        let digest = |text: &str| text.parse().map_err(|error| bad(&cache.place, &error));
        let parent = layer.parent.as_deref().map(digest).transpose()?;
        let diff_id = digest(&layer.diff_id)?;
        let planned = PlannedLayer {
            blob: digest(&layer.blob)?,
            size: layer.size,
            media_type: layer.media_type.clone(),
            diff_id,
            chain_id: chained(parent, diff_id),
            parent,
        };
        let root = self.root();
        if !root.has_layer(&planned)? {
            let expected = Expected {
                digest: planned.blob,
                size: planned.size,
            };
            match &cache.place {
                CachePlace::Directory(dir) => {
                    let mut file = LayoutDir::open(dir)?.blob(&planned.blob)?;
                    let from = cache.place.to_string();
                    root.blobs().keep(&mut file, Some(expected), &from)?;
                }
                CachePlace::Registry(name) => fetch_blob(root, name, &cache.registry, expected)?,
            }
            root.unpack_layer(&cache.place.to_string(), &planned)?;
        }
        Ok(planned.chain_id.to_string())
    }
}

/// What a manifest names as the document.
fn config_of(place: &CachePlace, manifest: &[u8]) -> Result<Expected> {
    let manifest: Value = serde_json::from_slice(manifest).map_err(|error| bad(place, &error))?;
    let config = &manifest["config"];
    if config["mediaType"] != CONFIG_TYPE {
        return Err(bad(
            place,
            &"its manifest is of something else than a build cache",
        ));
    }
    let digest = config["digest"].as_str().unwrap_or_default();
    let size = config["size"].as_u64().unwrap_or_default();
    if size > DOCUMENT_LIMIT {
        return Err(bad(
            place,
            &format!("its document has {size} bytes, and {DOCUMENT_LIMIT} is the limit"),
        ));
    }
    Ok(Expected {
        digest: digest.parse().map_err(|error| bad(place, &error))?,
        size,
    })
}

fn bad(place: &CachePlace, reason: &dyn std::fmt::Display) -> Error {
    match place {
        CachePlace::Directory(dir) => Error::layout(dir, reason),
        CachePlace::Registry(name) => Error::BadImage {
            name: name.to_string(),
            reason: reason.to_string(),
        },
    }
}

/// Reads the document of a layout.
fn read_layout(dir: &Path) -> Result<Vec<u8>> {
    let place = CachePlace::Directory(dir.to_owned());
    let layout = LayoutDir::open(dir)?;
    let is_cache = |entry: &Descriptor| {
        let name = entry.annotations.get(REF_NAME);
        name.is_some_and(|name| name == CACHE)
    };
    let mut entries = layout.entries()?.into_iter().flatten();
    let entry = entries
        .find(is_cache)
        .ok_or_else(|| layout.bad("it has no manifest `cache`, as `--cache-to` writes it"))?;
    let config = config_of(&place, &layout.document(&entry.digest, entry.size)?)?;
    layout.document(&config.digest, config.size)
}

/// Writes a file beside the one that it takes the place of.
fn replace(path: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let made = (|| {
        let file = io("create", &partial, File::create(&partial))?;
        write(&file)?;
        durability::fsync_file(&file, &partial)?;
        Ok(io("rename", path, std::fs::rename(&partial, path))?)
    })();
    if made.is_err() {
        drop(std::fs::remove_file(&partial));
    }
    made
}
