//! `cowlab where`: which layer a path of a container comes from, and what a write to it copies.

use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_driver::Bytes;
use cowlab_runtime::container::{Containers, Entry, LayerEntry, MountedAt, Origin, Part};
use cowlab_runtime::image::short;

use crate::exit;
use crate::root::RootArgs;

/// Say which layer a path of a container comes from, what lies below it, and what a write to it copies up.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The path in the container.
    path: PathBuf,
    /// The container, running or not.
    #[arg(long, short)]
    container: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs the command.
///
/// # Errors
///
/// When there is no such container, or nothing at the path in any of its layers.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let containers = Containers::open(&root)?;
    let found = containers.find(&args.container)?;
    let origin = containers.origin(&found, &args.path)?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_value(&origin)?)?,
        false => {
            for line in lines(&origin) {
                writeln!(out, "{}", clean(&line))?;
            }
        }
    }
    Ok(exit::OK)
}

/// What a person reads.
fn lines(origin: &Origin) -> Vec<String> {
    let path = origin.path.display();
    if let Some(mount) = &origin.mount {
        return on_mount(&path.to_string(), mount);
    }
    let mut lines = Vec::new();
    let mut rest = origin.layers.iter();
    match &origin.shown {
        Some(shown) => {
            let first = rest.next();
            let layer = first.map_or_else(|| "its layers".to_owned(), named);
            lines.push(format!("{path}: {}, from {layer}", described(shown)));
            lines.extend(first.into_iter().flat_map(places));
        }
        None => lines.push(format!(
            "{path}: not in the container, for a layer removed it"
        )),
    }
    if let Some(place) = &origin.read_from {
        lines.push(format!("  read from: {}", place.display()));
    }
    for layer in rest {
        let what = layer.entry.as_ref().map(described).unwrap_or_default();
        lines.push(match layer.part {
            Part::Shown | Part::Merged => format!("  merged with: {what}, in {}", named(layer)),
            Part::Hidden => format!("  hidden below: {what}, in {}", named(layer)),
            Part::Removes => format!("  removed by {}", named(layer)),
        });
        lines.extend(places(layer).map(|line| format!("  {line}")));
    }
    if let Some(cost) = &origin.would_copy {
        let what = match (cost.bytes, cost.inodes) {
            (0, 0) => "nothing up".to_owned(),
            (bytes, inodes) => format!("up {} and make {}", Bytes(bytes), counted(inodes)),
        };
        lines.push(format!("  a write would copy {what}: {}", cost.because));
    }
    if let Some(done) = &origin.copied {
        let bytes = done
            .bytes
            .map(|bytes| format!("copied up {}, ", Bytes(bytes)));
        let allocated = match done.allocated {
            Some(bytes) => format!("allocates {bytes}"),
            None => "what it allocates cannot be told of one file".to_owned(),
        };
        lines.push(format!(
            "  written: {}{allocated}, {} of its own: {}",
            bytes.unwrap_or_default(),
            counted(done.inodes),
            done.because
        ));
    }
    lines
}

fn counted(inodes: u64) -> String {
    match inodes {
        0 => "no inode".to_owned(),
        1 => "1 inode".to_owned(),
        more => format!("{more} inodes"),
    }
}

fn on_mount(path: &str, mount: &MountedAt) -> Vec<String> {
    let what = match (mount.kind, &mount.name) {
        ("volume", Some(name)) => format!("volume `{name}`"),
        ("bind", _) => "a bind mount".to_owned(),
        ("tmpfs", _) => "a tmpfs mount, in memory".to_owned(),
        _ => "a mount that every container gets".to_owned(),
    };
    let mut lines = vec![format!(
        "{path}: on {what}, mounted at {}",
        mount.target.display()
    )];
    if let Some(place) = &mount.place {
        lines.push(format!("  on the host: {}", place.display()));
    }
    lines.push(match mount.read_only {
        true => "  it is read-only: no write is let through".to_owned(),
        false => "  a write copies nothing up: the layers have no part in it".to_owned(),
    });
    lines
}

fn named(layer: &LayerEntry) -> String {
    match (&layer.chain_id, &layer.step) {
        (None, _) => "the container's own layer".to_owned(),
        (Some(id), Some(step)) => format!("layer {} of the image ({})", short(id), begun(step)),
        (Some(id), None) => format!("layer {} of the image", short(id)),
    }
}

/// The beginning of a command.
fn begun(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn described(entry: &Entry) -> String {
    match entry.kind {
        "file" => format!("file of {}", Bytes(entry.size)),
        kind => kind.to_owned(),
    }
}

fn places(layer: &LayerEntry) -> impl Iterator<Item = String> {
    let shown = |label: &str, path: &Path| format!("  {label}: {}", path.display());
    let place = layer.place.as_deref().map(|path| shown("on disk", path));
    let volume = layer.volume.as_deref().map(|path| shown("in", path));
    place.into_iter().chain(volume)
}

/// Without control characters, for names and commands are others' text.
fn clean(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
