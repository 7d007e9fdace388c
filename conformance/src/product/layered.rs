//! Images of several layers, made entry by entry.

use std::io::Write;

use cowlab_layer::Digest;
use cowlab_layer::stream::{Compression, Packer};
use serde_json::{Value, json};

use crate::context::Result;
use crate::difference::Difference;
use cowlab_tarball::{Entry, archive};

/// An image to be: its name and its layers, base first.
#[derive(Debug)]
pub struct Layered<'a> {
    /// The name with its tag.
    pub name: &'a str,
    /// The entries of each layer.
    pub layers: &'a [Vec<Entry>],
}

impl Layered<'_> {
    /// The digests of its layers' archives.
    #[must_use]
    pub fn diff_ids(&self) -> Vec<String> {
        let digest = |layer: &Vec<Entry>| Digest::of(&archive(layer)).to_string();
        self.layers.iter().map(digest).collect()
    }

    /// The configuration of the image specification.
    #[must_use]
    pub fn configuration(&self, architecture: &str) -> Value {
        let step = json!({"created_by": format!("made for {}", self.name)});
        json!({
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids()},
            "history": vec![step; self.layers.len()],
        })
    }

    /// Its layers, compressed.
    ///
    /// # Errors
    ///
    /// None that memory does not make.
    pub fn blobs(&self) -> Result<Vec<Vec<u8>>> {
        self.layers
            .iter()
            .map(|layer| gzip(&archive(layer)))
            .collect()
    }
}

/// This machine's architecture, as images call it.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Compresses as a registry has layers.
///
/// # Errors
///
/// None that memory does not make.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let failed = |error| Difference::new("gzip", "compress", "ok", error);
    let mut packer = Packer::new(Vec::new(), Compression::Gzip).map_err(failed)?;
    packer.write_all(bytes)?;
    Ok(packer.finish().map_err(failed)?.0)
}

/// An archive of images as docker writes it, with compressed layers.
pub fn docker_archive(images: &[Layered<'_>]) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    let mut manifest = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let mut names = Vec::new();
        for (depth, blob) in image.blobs()?.into_iter().enumerate() {
            let name = format!("{number}-{depth}.tar");
            entries.push(Entry::file(&name, blob));
            names.push(name);
        }
        let config = format!("{number}.json");
        entries.push(Entry::file(
            &config,
            image.configuration(architecture()).to_string(),
        ));
        manifest.push(json!({"Config": config, "RepoTags": [image.name], "Layers": names}));
    }
    entries.push(Entry::file(
        "manifest.json",
        Value::from(manifest).to_string(),
    ));
    Ok(archive(&entries))
}

/// An archive with an OCI image layout of one image, which a list of manifests offers for each of these architectures.
pub fn oci_archive(image: &Layered<'_>, architectures: &[&str]) -> Result<Vec<u8>> {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let mut entries = vec![Entry::file(
        "oci-layout",
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )];
    let mut keep = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        let path = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
        entries.push(Entry::file(path, bytes));
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    };
    let blobs = image.blobs()?;
    let layers: Vec<Value> = blobs
        .iter()
        .map(|blob| keep("application/vnd.oci.image.layer.v1.tar+gzip", blob))
        .collect();
    let mut manifests = Vec::new();
    for architecture in architectures {
        let config = image.configuration(architecture).to_string();
        let config = keep(
            "application/vnd.oci.image.config.v1+json",
            config.as_bytes(),
        );
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut manifest = keep(kind, manifest.to_string().as_bytes());
        manifest["platform"] = json!({"os": "linux", "architecture": architecture});
        manifests.push(manifest);
    }
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let mut list = keep(INDEX, list.to_string().as_bytes());
    list["annotations"] = json!({"io.containerd.image.name": image.name});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [list]});
    entries.push(Entry::file("index.json", index.to_string()));
    Ok(archive(&entries))
}
