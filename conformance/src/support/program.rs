//! What cases about the program have in common: images to begin with, what its documents say, registries.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cowlab_driver::Entry as DriverEntry;
use serde_json::Value;

use crate::context::Result;
use crate::difference::Difference;
use crate::product::Product;
use crate::product::layered::Layered;
use cowlab_tarball::Entry;

/// Registries without TLS are asked only when somebody says so.
pub(crate) const INSECURE: &str = "--tls-verify=false";

/// `user` with the password `secret`: bcrypt at its lowest cost.
pub(crate) const PASSWORDS: &str =
    "user:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// The same as docker writes it: base64 of `user:secret`.
pub(crate) const CREDENTIALS: &str = "dXNlcjpzZWNyZXQ=";

/// A base that compresses badly, and two layers over it.
pub(crate) fn base() -> Vec<Entry> {
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..2 << 20)
        .map(|_| {
            // Knuth's MMIX multiplier; the same bytes in every run.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    vec![
        Entry::dir("etc"),
        Entry::file("etc/base", "base"),
        Entry::file("noise", noise),
    ]
}

/// A layer of one file, which has its name as content.
pub(crate) fn over(name: &str) -> Vec<Entry> {
    vec![Entry::file(name, name)]
}

/// The layers of an image for [`layered`](crate::step::program::layered).
pub(crate) const ONE: &[fn() -> Vec<Entry>] = &[base, || over("one")];

/// The layers of another image of the same base.
pub(crate) const TWO: &[fn() -> Vec<Entry>] = &[base, || over("two")];

/// Loads two images of one base.
pub(crate) fn load_two(product: &Product) -> Result<[Vec<String>; 2]> {
    let (one, two) = ([base(), over("one")], [base(), over("two")]);
    let images = [
        Layered {
            name: "one:1",
            layers: &one,
        },
        Layered {
            name: "two:1",
            layers: &two,
        },
    ];
    product.load_images(&images)?;
    Ok(images.map(|image| image.diff_ids()))
}

/// What an inspection of an image tells.
pub(crate) fn inspect(product: &Product, image: &str) -> Result<Value> {
    let mut all = product.json(&["image", "inspect", image])?;
    Ok(all.get_mut(0).map(Value::take).unwrap_or_default())
}

fn missing(document: &Value, pointer: &str, what: &str) -> Difference {
    Difference::new(pointer, "in the document", what, document)
}

/// The texts in a list of a document.
pub(crate) fn texts(document: &Value, pointer: &str) -> Result<Vec<String>> {
    let list = document.pointer(pointer).and_then(Value::as_array);
    let list = list.ok_or_else(|| missing(document, pointer, "a list"))?;
    let texts = list.iter().filter_map(Value::as_str);
    Ok(texts.map(str::to_owned).collect())
}

/// A text in a document.
pub(crate) fn text(document: &Value, pointer: &str) -> Result<String> {
    let text = document.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or_else(|| missing(document, pointer, "a text"))
}

/// A number in a document, bytes for example.
pub(crate) fn bytes(document: &Value, pointer: &str) -> Result<u64> {
    let number = document.pointer(pointer).and_then(Value::as_u64);
    number.ok_or_else(|| missing(document, pointer, "a number"))
}

/// Sends an image to a registry and returns the digest there.
pub(crate) fn push(product: &Product, image: &str, there: &str) -> Result<String> {
    product.ok(&["tag", image, there])?;
    let said = product.ok(&["push", INSECURE, there])?;
    let digest = said
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let digest = digest.ok_or_else(|| Difference::new("push", "output", "a digest", &said))?;
    Ok(digest.to_owned())
}

/// The digest under which the layer of an image at a depth came.
pub(crate) fn blob(product: &Product, image: &str, depth: usize) -> Result<String> {
    let diff_ids = texts(&inspect(product, image)?, "/RootFS/Layers")?;
    let layers = product.json(&["layer", "ls", "--json"])?;
    let wanted = diff_ids.get(depth).map(String::as_str);
    let found = layers.as_array().and_then(|layers| {
        layers
            .iter()
            .find(|layer| layer["diff_id"].as_str() == wanted)
    });
    let found = found.ok_or_else(|| Difference::new(image, "layer", depth, "none"))?;
    text(found, "/blob")
}

/// What a container is, as `ps` has it.
pub(crate) fn state(product: &Product, name: &str) -> Result<String> {
    let all = product.json(&["ps", "-a", "--json"])?;
    let mut rows = all.as_array().into_iter().flatten();
    let found = rows.find(|row| row["name"] == name);
    let state = found.and_then(|row| row["state"].as_str());
    Ok(state.unwrap_or("none").to_owned())
}

/// A device among what the driver requires that this host keeps from ordinary users.
pub(crate) fn closed_device(entry: &DriverEntry) -> Option<&'static str> {
    let is_closed = |path: &&str| {
        Path::new(path)
            .metadata()
            .is_ok_and(|device| device.permissions().mode() & 0o6 != 0o6)
    };
    let devices = entry.requirements.iter().map(|one| one.what);
    devices
        .filter(|what| what.starts_with("/dev/"))
        .find(is_closed)
}
