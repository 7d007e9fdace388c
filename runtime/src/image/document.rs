//! Documents of images as makers write them: read as Go's decoder reads them for docker and podman. `null` is a member that
//! is not there, a list that is not there is empty, and of a member that stands twice the last counts. What cannot be read is
//! named by its place in the document.

use std::collections::BTreeMap;

use oci_spec::image::{Arch, ImageConfiguration};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use cowlab_layer::Digest;

/// The types of an image's configuration: OCI's and docker's.
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// What a manifest or an index names (image specification, `descriptor.md`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(deserialize_with = "digest")]
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) artifact_type: String,
}

/// What an image is for (image specification, `image-index.md`); empty where it does not say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: String,
}

/// A manifest (image specification, `manifest.md`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManifestDocument {
    #[serde(default)]
    pub(crate) schema_version: u64,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) artifact_type: String,
}

impl ManifestDocument {
    /// Why this is the manifest of something else than an image, if it is: a chart, a signature, an attestation.
    pub(crate) fn artifact(&self) -> Option<String> {
        let of_image = |kind: &str| CONFIG_TYPES.contains(&kind);
        if !self.artifact_type.is_empty() && !of_image(&self.artifact_type) {
            return Some(format!("its `artifactType` is `{}`", self.artifact_type));
        }
        let config = self.config.media_type.as_str();
        // Early registries had no type for it, or the one of any file.
        if !config.is_empty() && !of_image(config) && config != "application/octet-stream" {
            return Some(format!("its `config.mediaType` is `{config}`"));
        }
        let is_document = |layer: &&Descriptor| layer.media_type.ends_with("+json");
        let document = self.layers.iter().find(is_document)?;
        let kind = &document.media_type;
        Some(format!("a `mediaType` of its `layers` is `{kind}`"))
    }
}

/// The entries of an index. One that cannot be read does not matter to the others.
pub(crate) type Entries = Vec<Result<Descriptor, String>>;

/// Reads an index, or what docker calls a manifest list.
pub(crate) fn index(bytes: &[u8]) -> Result<Entries, String> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Value>,
    }
    let index: Index = parse(json(bytes)?)?;
    let entries = index.manifests.into_iter().enumerate();
    Ok(entries
        .map(|(number, entry)| {
            parse(entry).map_err(|reason| format!("`manifests[{number}]`: {reason}"))
        })
        .collect())
}

/// Reads a manifest.
pub(crate) fn manifest(bytes: &[u8]) -> Result<ManifestDocument, String> {
    parse(json(bytes)?)
}

/// Whether a document is an index, which need not say its type (image specification, `image-index.md`).
pub(crate) fn is_index(bytes: &[u8]) -> Result<bool, String> {
    let value = json(bytes)?;
    Ok(value.get("manifests").is_some() && value.get("config").is_none())
}

/// Reads a configuration. What it does not say of the platform is this machine's, as docker and podman have it.
pub(crate) fn configuration(bytes: &[u8]) -> Result<ImageConfiguration, String> {
    let mut value = whole(bytes)?;
    if let Some(config) = value.get_mut("config").and_then(Value::as_object_mut) {
        amend_settings(config);
    }
    drop_nulls(&mut value);
    let members = value.as_object_mut().ok_or("it is no JSON object")?;
    amend_platform(members);
    let rootfs = members.entry("rootfs").or_insert_with(|| json!({}));
    if let Some(rootfs) = rootfs.as_object_mut() {
        rootfs.entry("type").or_insert_with(|| json!("layers"));
        rootfs.entry("diff_ids").or_insert_with(|| json!([]));
    }
    parse(value)
}

/// Adds what every configuration has to say and this one does not (image specification, `config.md`).
pub(crate) fn amend_platform(members: &mut Map<String, Value>) {
    let here = Arch::default().to_string();
    for (name, value) in [("architecture", here.as_str()), ("os", "linux")] {
        let member = members.entry(name).or_insert(Value::Null);
        if member.is_null() || member == "" {
            *member = json!(value);
        }
    }
}

/// Writes settings as the specification has them: a command may be one text (docker's `StrSlice`), and in Go the `null` of
/// a set's member is an empty object, that of a label an empty text.
fn amend_settings(config: &mut Map<String, Value>) {
    for name in ["Cmd", "Entrypoint"] {
        if let Some(command) = config.get_mut(name).filter(|value| value.is_string()) {
            *command = json!([command.take()]);
        }
    }
    for (name, empty) in [
        ("ExposedPorts", json!({})),
        ("Volumes", json!({})),
        ("Labels", json!("")),
    ] {
        let members = config.get_mut(name).and_then(Value::as_object_mut);
        for value in members.into_iter().flat_map(Map::values_mut) {
            if value.is_null() {
                *value = empty.clone();
            }
        }
    }
}

/// Reads a document as it is.
pub(crate) fn whole(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    let mut value = whole(bytes)?;
    drop_nulls(&mut value);
    Ok(value)
}

/// Removes members that are `null`. The parser bounds how deep a document may be.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Reads what has no `null`, and names the member that is wrong.
fn parse<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        match place.as_str() {
            "." => error.into_inner().to_string(),
            place => format!("`{place}`: {}", error.inner()),
        }
    })
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}
