//! What a manifest and a configuration say, checked against each other before anything is unpacked.

use cowlab_layer::{DiffId, Digest};

use super::document::{self, Descriptor, ManifestDocument};
use crate::graph::ManifestRow;
use crate::{Error, Result};

/// The largest document that is read: containerd's limit for a manifest is 8 MiB.
pub(crate) const DOCUMENT_LIMIT: u64 = 8 << 20;

/// The most layers of an image: a multiple of what any driver mounts, and a bound for what a hostile manifest costs.
const LAYER_LIMIT: usize = 1000;

/// The types of a manifest: OCI's and docker's.
pub(crate) const MANIFEST_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The types of a list of manifests: OCI's and docker's.
pub(crate) const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// An image as its manifest describes it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// For messages: the name or the manifest's digest.
    pub name: String,
    /// The digest of the configuration: the image's id.
    pub id: Digest,
    /// The manifest.
    pub manifest: Digest,
    /// The manifest's type.
    pub media_type: String,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The layers, base first.
    pub layers: Vec<PlannedLayer>,
}

/// A layer of a plan.
#[derive(Debug, Clone)]
pub struct PlannedLayer {
    /// The digest of its archive as it comes.
    pub blob: Digest,
    /// The size of that, in bytes.
    pub size: u64,
    /// Its type.
    pub media_type: String,
    /// The digest of the uncompressed archive.
    pub diff_id: DiffId,
    /// The digest of the diff ids from the base to here.
    pub chain_id: Digest,
    /// The chain id of the layer below.
    pub parent: Option<Digest>,
}

/// The chain id of a layer on a parent.
pub(crate) fn chained(parent: Option<Digest>, diff_id: Digest) -> Digest {
    parent.map_or(diff_id, |parent| {
        Digest::of(format!("{parent} {diff_id}").as_bytes())
    })
}

/// A manifest that is read: what it says is to be fetched.
#[derive(Debug)]
pub(crate) struct Manifest {
    name: String,
    digest: Digest,
    media_type: String,
    size: u64,
    document: ManifestDocument,
}

impl Manifest {
    /// Reads a manifest whose digest is proved.
    pub(crate) fn read(name: &str, bytes: &[u8], declared: Option<&str>) -> Result<Self> {
        let digest = Digest::of(bytes);
        let bad = |reason: String| Error::BadImage {
            name: name.to_owned(),
            reason: format!("manifest `{digest}`: {reason}"),
        };
        let document = document::manifest(bytes).map_err(bad)?;
        if document.schema_version != 2 {
            let version = document.schema_version;
            return Err(bad(format!(
                "`schemaVersion` is {version}, and only 2 is known"
            )));
        }
        let own = Some(document.media_type.as_str()).filter(|own| !own.is_empty());
        let media_type = own.or(declared).unwrap_or(MANIFEST_TYPES[0]).to_owned();
        if !MANIFEST_TYPES.contains(&media_type.as_str()) {
            return Err(bad(format!(
                "`mediaType` `{media_type}` is no type of an image's manifest"
            )));
        }
        if let Some(reason) = document.artifact() {
            return Err(Error::Artifact {
                name: name.to_owned(),
                reason: format!("manifest `{digest}`: {reason}"),
            });
        }
        if document.layers.len() > LAYER_LIMIT {
            let count = document.layers.len();
            return Err(bad(format!(
                "it has {count} layers, and {LAYER_LIMIT} is the limit"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            digest,
            media_type,
            size: bytes.len() as u64,
            document,
        })
    }

    /// What the manifest names as the configuration: digest and size.
    pub(crate) fn config(&self) -> Result<(Digest, u64)> {
        let Descriptor { digest, size, .. } = self.document.config;
        if size > DOCUMENT_LIMIT {
            return Err(self.bad(format!(
                "its configuration has {size} bytes, and {DOCUMENT_LIMIT} is the limit"
            )));
        }
        Ok((digest, size))
    }

    /// Joins the manifest with its configuration, whose digest is proved.
    pub(crate) fn plan(&self, config: &[u8]) -> Result<Plan> {
        let id = Digest::of(config);
        let config = document::configuration(config)
            .map_err(|reason| self.bad(format!("configuration `{id}`: {reason}")))?;
        let diff_ids = config.rootfs().diff_ids();
        let blobs = &self.document.layers;
        if diff_ids.len() != blobs.len() {
            return Err(self.bad(format!(
                "manifest `{}` has {} layers and configuration `{id}` {} diff ids",
                self.digest,
                blobs.len(),
                diff_ids.len()
            )));
        }
        let parse = |text: &str| {
            text.parse::<Digest>().map_err(|error| {
                self.bad(format!("configuration `{id}`: `rootfs.diff_ids`: {error}"))
            })
        };
        let diff_ids: Vec<DiffId> = diff_ids
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_>>()?;
        let mut layers: Vec<PlannedLayer> = Vec::new();
        for (blob, diff_id) in blobs.iter().zip(diff_ids) {
            let parent = layers.last().map(|layer| layer.chain_id);
            layers.push(PlannedLayer {
                blob: blob.digest,
                size: blob.size,
                media_type: blob.media_type.clone(),
                diff_id,
                chain_id: chained(parent, diff_id),
                parent,
            });
        }
        Ok(Plan {
            name: self.name.clone(),
            id,
            manifest: self.digest,
            media_type: self.media_type.clone(),
            size: self.size,
            layers,
        })
    }

    fn bad(&self, reason: String) -> Error {
        Error::BadImage {
            name: self.name.clone(),
            reason,
        }
    }
}

impl Plan {
    /// The row of the manifest.
    pub(crate) fn manifest_row(&self) -> ManifestRow {
        ManifestRow {
            digest: self.manifest.to_string(),
            image: self.id.to_string(),
            media_type: self.media_type.clone(),
            size: self.size,
        }
    }

    /// Every blob that the manifest names.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let layers = self.layers.iter().map(|layer| layer.blob);
        layers
            .chain([self.id])
            .map(|digest| digest.to_string())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(layers: &str, extra: &str) -> String {
        let config = Digest::of(b"x");
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"","digest":"{config}","size":1}},"layers":[{layers}]}}"#
        )
    }

    fn layer() -> String {
        format!(
            r#"{{"mediaType":"a/b","digest":"{}","size":3}}"#,
            Digest::of(b"l")
        )
    }

    #[test]
    fn a_manifest_and_a_configuration_have_to_agree() {
        let diff_id = Digest::of(b"d");
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let one = Manifest::read("i", manifest(&layer(), "").as_bytes(), None).unwrap();
        let plan = one.plan(config.as_bytes()).unwrap();
        assert_eq!(plan.layers[0].chain_id, diff_id);
        assert_eq!((plan.layers[0].size, plan.layers[0].parent), (3, None));
        let none = Manifest::read("i", manifest("", "").as_bytes(), None).unwrap();
        let refused = none.plan(config.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("0 layers"), "{refused}");
        assert!(one.plan(b"{}").is_err());
    }

    #[test]
    fn what_is_no_manifest_of_an_image_is_refused() {
        let index = manifest(
            "",
            r#""mediaType":"application/vnd.oci.image.index.v1+json","#,
        );
        assert!(Manifest::read("i", index.as_bytes(), None).is_err());
        let old = manifest("", "").replace("\"schemaVersion\":2", "\"schemaVersion\":1");
        assert!(Manifest::read("i", old.as_bytes(), None).is_err());
        assert!(Manifest::read("i", b"{", None).is_err());
        let many = vec![layer(); LAYER_LIMIT + 1].join(",");
        assert!(Manifest::read("i", manifest(&many, "").as_bytes(), None).is_err());
    }
}
