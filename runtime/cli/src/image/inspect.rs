//! `cowlab image inspect`: docker's document about an image, with what its layers are on this disk.

use cowlab_driver::Mounts;
use cowlab_runtime::Root;
use cowlab_runtime::image::{Image, familiar};
use cowlab_sys::MountOption;
use serde_json::{Map, Value, json};

use crate::exit;
use crate::format::{self, Format, ObjectFormat};
use crate::root::RootArgs;

/// Shows everything about images: one JSON array.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    format: ObjectFormat,
    #[command(flatten)]
    root: RootArgs,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let documents = args
        .images
        .iter()
        .map(|image| document(&root, image, &args.format.format))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let format = &args.format.format;
    format.documents(&mut std::io::stdout().lock(), &documents)?;
    Ok(exit::OK)
}

/// Everything about an image; for a format, with docker's empty values for what it leaves out.
///
/// # Errors
///
/// As [`Root::image`], and when its layers cannot be measured.
pub(crate) fn document(root: &Root, name: &str, format: &Format) -> anyhow::Result<Value> {
    let image = root.image(name)?;
    let id = image.id.to_string();
    let footprint = root.footprint(&image)?;
    let digests: Vec<String> = root
        .graph()
        .repository_digests(Some(&id))?
        .into_iter()
        .map(|(repository, digest, _)| format!("{}@{digest}", familiar(&repository)))
        .collect();
    let manifests: Vec<String> = root
        .graph()
        .manifests(&id)?
        .into_iter()
        .map(|manifest| manifest.digest)
        .collect();
    let data = match image.layers.last() {
        Some(top) => driver_data(&root.layer_mounts(top)?),
        None => Value::Null,
    };
    let identity = root.store().identity();
    let names: Vec<_> = image.names.iter().map(|name| familiar(name)).collect();
    let mut document = json!({
        "Id": id,
        "RepoTags": names,
        "RepoDigests": digests,
        "Manifests": manifests,
        "Created": image.config.created(),
        "Author": image.config.author(),
        "Architecture": image.config.architecture(),
        "Os": image.config.os(),
        "Config": configuration(root, &image)?,
        "Size": image.size(),
        "SharedSize": footprint.shared,
        "OwnSize": footprint.own,
        "GraphDriver": {
            "Name": identity.driver,
            "Variant": identity.variant,
            "Data": data,
        },
        "RootFS": {
            "Type": "layers",
            "Layers": image.config.rootfs().diff_ids(),
        },
        "Layers": image.layers,
    });
    if !format.is_default() {
        fill(&mut document);
    }
    Ok(document)
}

/// The `config` of an image, with docker's members that the image specification does not have.
fn configuration(root: &Root, image: &Image) -> anyhow::Result<Value> {
    let mut config = serde_json::to_value(image.config.config())?;
    let whole = root.configuration_of(image)?;
    for member in ["Healthcheck", "OnBuild", "Shell"] {
        let value = whole.pointer(&format!("/config/{member}"));
        if let Some(value) = value.filter(|value| !value.is_null()) {
            config[member] = value.clone();
        }
    }
    Ok(config)
}

fn fill(document: &mut Value) {
    format::fill(document, [("Author", json!("")), ("Config", json!({}))]);
    format::fill(
        &mut document["Config"],
        [
            ("User", json!("")),
            ("WorkingDir", json!("")),
            ("StopSignal", json!("")),
            ("Env", json!([])),
            ("Cmd", json!([])),
            ("Entrypoint", json!([])),
            ("ExposedPorts", json!({})),
            ("Volumes", json!({})),
            ("Labels", json!({})),
        ],
    );
}

/// Where a driver keeps what is mounted, in docker's words where it has them.
pub(crate) fn driver_data(mounts: &Mounts) -> Value {
    let mut data = Map::new();
    let text = |value: &std::ffi::OsStr| Value::from(value.to_string_lossy());
    match mounts {
        Mounts::Bind { source, .. } => {
            data.insert("Directory".to_owned(), text(source.as_os_str()));
        }
        Mounts::FileSystem(spec) => {
            data.insert("FileSystem".to_owned(), Value::from(spec.fstype.clone()));
            let mut lowers: Vec<Value> = Vec::new();
            for option in &spec.options {
                let MountOption::Text(name, value) = option else {
                    continue;
                };
                match name.as_str() {
                    "lowerdir" | "lowerdir+" => lowers.push(text(value)),
                    "upperdir" => drop(data.insert("UpperDir".to_owned(), text(value))),
                    "workdir" => drop(data.insert("WorkDir".to_owned(), text(value))),
                    _ => {}
                }
            }
            // The source of a file system that is made of directories is no device.
            if let Some(source) = spec.source.as_ref().filter(|_| lowers.is_empty()) {
                data.insert("Device".to_owned(), text(source.as_ref()));
            }
            if !lowers.is_empty() {
                data.insert("LowerDirs".to_owned(), Value::from(lowers));
            }
        }
    }
    Value::Object(data)
}
