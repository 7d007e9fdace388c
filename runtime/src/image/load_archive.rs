//! Loading images from archives: with an OCI image layout, or with docker's `manifest.json`.
//!
//! An archive with both is read as a layout: there the layers are as they were pulled.

use std::io::Read;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};

use cowlab_layer::Digest;
use cowlab_layer::stream::Compression;
use cowlab_sys::io;

use super::archive::Members;
use super::compression::{self, Packing};
use super::document;
use super::install::Progress;
use super::load::{Loaded, name_of};
use super::name::Name;
use super::pack::spec_digest;
use super::plan::{DOCUMENT_LIMIT, Manifest, Plan};
use super::platform::search;
use crate::blobs::{Stored, hex};
use crate::{Error, Result, Root};

/// An image in docker's `manifest.json`.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl Root {
    /// Loads every image of an archive, plain or compressed, from a file or a pipe; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`Error::Archive`] for what is no image archive, [`Error::BadImage`], [`Error::BadBlob`], [`Error::Unpack`].
    pub fn load_archive(
        &self,
        path: &Path,
        source: &mut (dyn Read + Send),
        progress: Progress<'_>,
    ) -> Result<Vec<Loaded>> {
        let adding = self.adding()?;
        let members = Members::read(self, path, source)?;
        let mut repacked = Vec::new();
        let loaded = self.load_members(&members, &mut repacked, progress);
        // The rest of the archive, or all of it when loading failed.
        members.forget(self)?;
        self.blobs()
            .roll_back(&repacked, &self.graph().used_blobs()?)?;
        drop(adding);
        self.discard_blobs()?;
        loaded
    }

    fn load_members(
        &self,
        members: &Members,
        repacked: &mut Vec<Stored>,
        progress: Progress<'_>,
    ) -> Result<Vec<Loaded>> {
        let mut plans = Vec::new();
        if let Some(index) = members.file("index.json") {
            let index = self.blobs().document(&index.digest, DOCUMENT_LIMIT)?;
            let entries = document::index(&index)
                .map_err(|reason| members.bad(format!("`index.json`: {reason}")))?;
            let mut passed = None;
            for descriptor in entries {
                let descriptor = descriptor.map_err(|reason| members.bad(reason))?;
                let name = name_of(&descriptor);
                match self.plan_of_layout(members, &descriptor, name.as_deref()) {
                    // Signatures and the like lie beside images.
                    Err(artifact @ Error::Artifact { .. }) => passed = Some(artifact),
                    plan => plans.push((plan?, name.into_iter().collect())),
                }
            }
            if let Some(artifact) = passed.filter(|_| plans.is_empty()) {
                return Err(artifact);
            }
        } else if let Some(manifest) = members.file("manifest.json") {
            let manifest = self.blobs().document(&manifest.digest, DOCUMENT_LIMIT)?;
            let entries: Vec<Entry> = serde_json::from_slice(&manifest)
                .map_err(|error| members.bad(format!("`manifest.json` is malformed: {error}")))?;
            for entry in &entries {
                plans.push(self.plan_of_docker(members, entry, repacked)?);
            }
        } else {
            let reason = "it has neither `index.json` nor `manifest.json`; image archives are what `save` of cowlab, docker and podman write; a tar of a root file system is taken by `import`";
            return Err(members.bad(reason.to_owned()));
        }
        let mut loaded = Vec::new();
        for (plan, names) in plans {
            self.install(&plan, progress)?;
            for name in &names {
                self.name_image(name, &plan)?;
            }
            let mut names: Vec<Option<String>> = names.into_iter().map(Some).collect();
            if names.is_empty() {
                names.push(None);
            }
            loaded.extend(names.into_iter().map(|name| Loaded {
                id: plan.id,
                manifest: plan.manifest,
                name,
            }));
        }
        Ok(loaded)
    }

    /// What a manifest of a layout in an archive says, when everything that it names is in the archive.
    fn plan_of_layout(
        &self,
        members: &Members,
        descriptor: &document::Descriptor,
        name: Option<&str>,
    ) -> Result<Plan> {
        let blob = |digest: &Digest, size: u64| {
            let stored = members.file(&format!("blobs/sha256/{}", hex(digest)));
            let stored = stored.ok_or_else(|| members.bad(format!("it lacks blob `{digest}`")))?;
            if stored.digest == *digest && stored.size == size {
                return Ok(stored);
            }
            Err(Error::BadBlob {
                from: format!("archive `{}`", members.path.display()),
                expected: digest.to_string(),
                found: format!("the digest `{}` and {} bytes", stored.digest, stored.size),
            })
        };
        let shown = name.map_or_else(|| descriptor.digest.to_string(), str::to_owned);
        let (manifest, _) = search(&shown, descriptor, |wanted| {
            let found = blob(&wanted.digest, wanted.size)?;
            self.blobs().document(&found.digest, DOCUMENT_LIMIT)
        })?;
        let (config, size) = manifest.config()?;
        blob(&config, size)?;
        let plan = manifest.plan(&self.blobs().document(&config, DOCUMENT_LIMIT)?)?;
        for layer in &plan.layers {
            blob(&layer.blob, layer.size)?;
        }
        Ok(plan)
    }

    /// What an image of docker's `manifest.json` is, with a manifest of its own, for it has none; and its names.
    fn plan_of_docker(
        &self,
        members: &Members,
        entry: &Entry,
        repacked: &mut Vec<Stored>,
    ) -> Result<(Plan, Vec<String>)> {
        let file = |name: &String| {
            let lacks = || members.bad(format!("it lacks `{}`", name.escape_debug()));
            members.file(name).ok_or_else(lacks)
        };
        let config = file(&entry.config)?;
        let mut layers = Vec::new();
        for name in entry.layers.iter().flatten() {
            let stored = self.as_a_layer(file(name)?, repacked)?;
            layers.push(Descriptor::new(
                self.layer_type(&stored)?,
                stored.size,
                spec_digest(&stored.digest)?,
            ));
        }
        let config_type = MediaType::ImageConfig;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(Descriptor::new(
                config_type,
                config.size,
                spec_digest(&config.digest)?,
            ))
            .layers(layers)
            .build()
            .and_then(|manifest| manifest.to_string())
            .map_err(|error| members.bad(format!("no manifest can be made of it: {error}")))?;
        let mut names = Vec::new();
        for text in entry.repo_tags.iter().flatten() {
            names.extend(text.parse::<Name>()?.tagged());
        }
        let shown = names
            .first()
            .map_or_else(|| config.digest.to_string(), String::clone);
        self.blobs().keep_bytes(manifest.as_bytes())?;
        let document = self.blobs().document(&config.digest, DOCUMENT_LIMIT)?;
        let plan = Manifest::read(&shown, manifest.as_bytes(), None)?.plan(&document)?;
        Ok((plan, names))
    }

    /// A layer in a packing that manifests can name: one of xz or bzip2 is packed anew, and told in `repacked`.
    fn as_a_layer(&self, stored: Stored, repacked: &mut Vec<Stored>) -> Result<Stored> {
        let path = self.blobs().path(&stored.digest);
        let file = self.blobs().file(&stored.digest)?;
        let (packing, mut whole) = io("read", &path, compression::detect(file))?;
        if matches!(packing, Packing::Layer(_)) {
            return Ok(stored);
        }
        let layer = self.archive_blob(&mut whole, &stored.digest.to_string())?;
        repacked.push(layer.blob);
        Ok(layer.blob)
    }

    /// The type of a layer, by its first bytes.
    pub(super) fn layer_type(&self, stored: &Stored) -> Result<MediaType> {
        let path = self.blobs().path(&stored.digest);
        let mut start = Vec::new();
        let read = self
            .blobs()
            .file(&stored.digest)?
            .take(4)
            .read_to_end(&mut start);
        cowlab_sys::io("read", &path, read)?;
        let compression = Compression::detect(&start).map_err(|error| Error::BadImage {
            name: stored.digest.to_string(),
            reason: error.to_string(),
        })?;
        Ok(match compression {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_own_names_are_read() {
        let text = r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["x/layer.tar"],"Other":1},
                       {"Config":"d.json","RepoTags":null,"Layers":[]}]"#;
        let entries: Vec<Entry> = serde_json::from_str(text).unwrap();
        assert_eq!(entries[0].layers.as_deref().unwrap(), ["x/layer.tar"]);
        assert!(entries[1].repo_tags.is_none());
    }
}
