//! `cowlab tag`, `cowlab rmi` and `cowlab history`.

use std::io::Write;

use cowlab_runtime::image::{Line, Name, Removed, familiar, short};
use cowlab_runtime::system::PruneOptions;
use cowlab_units::Timestamp;
use serde_json::json;

use crate::format::{Column, ListFormat, Row};
use crate::root::RootArgs;
use crate::{exit, prune, table};

/// Adds a name to an image. An image that had the name loses it.
#[derive(Debug, clap::Args)]
pub(crate) struct TagArgs {
    /// Name, id or beginning of an id.
    image: String,
    /// The new name.
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
    #[command(flatten)]
    root: RootArgs,
}

/// Removes names of images, and images that have no name left, with the layers that no other image has.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove an image named by its id although it has several names.
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    root: RootArgs,
}

/// Removes images without names that no container uses, with the layers that no other image has.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Images with names too, unless containers use them.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    asked: prune::Args,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

/// Shows the steps that made an image, newest first. A step that changed no file has no layer.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Name, id or beginning of an id.
    image: String,
    /// Print commands and ids whole.
    #[arg(long)]
    no_trunc: bool,
    /// Print ids alone: the image's, and `<missing>` for what it was made of.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    format: ListFormat,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

/// The members of a step of a history for `--format`.
const STEP: [Column; 6] = [
    ("ID", "IMAGE"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

fn step(line: Line, id: &str, no_trunc: bool) -> Row {
    let created = line.created.unwrap_or_default();
    let time = created.parse::<Timestamp>().ok();
    let milliseconds = time.and_then(|time| i64::try_from(time.millis()).ok());
    let since = milliseconds.map(|milliseconds| table::ago(milliseconds.saturating_mul(1_000_000)));
    let mut command = line.created_by.unwrap_or_default();
    if !no_trunc {
        command = table::short(&command, 45);
    }
    Row {
        fields: json!({
            "ID": id,
            "CreatedAt": created,
            "CreatedSince": since.unwrap_or_else(|| "N/A".to_owned()),
            "CreatedBy": command,
            "Size": table::size(line.size),
            "Comment": line.comment.unwrap_or_default(),
        }),
        labels: None,
    }
}

/// Runs `cowlab tag`.
pub(crate) fn tag(args: &TagArgs) -> anyhow::Result<u8> {
    let name: Name = args.name.parse()?;
    let before = args.root.open()?.tag(&args.image, &name)?;
    if let Some(before) = before {
        let before = short(&before);
        writeln!(
            std::io::stderr(),
            "image {before} had the name `{name}` before"
        )?;
    }
    Ok(exit::OK)
}

/// Runs `cowlab rmi`.
///
/// # Errors
///
/// As [`cowlab_runtime::Root::remove_image`], of the first image that could not be removed; others are removed.
pub(crate) fn remove(args: &RemoveArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let mut failed = None;
    for image in &args.images {
        match root.remove_image(image, args.force) {
            Ok(removed) => tell(&removed)?,
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(exit::OK),
    }
}

/// Runs `cowlab image prune`.
pub(super) fn prune(args: &PruneArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let wanted = super::pruned(&root, &args.asked.filter)?;
    args.asked.confirm(match args.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    })?;
    let pruned = root.prune_images(PruneOptions { all: args.all }, wanted)?;
    if args.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_value(&pruned)?)?;
        return Ok(exit::OK);
    }
    tell(&pruned.removed)?;
    prune::tell_reclaimed(&mut std::io::stdout(), pruned.reclaimed)?;
    Ok(exit::OK)
}

/// Tells what was removed, in docker's words.
pub(crate) fn tell(removed: &[Removed]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for one in removed {
        match one {
            Removed::Name(name) => writeln!(out, "Untagged: {}", familiar(name))?,
            Removed::Image(id) => writeln!(out, "Deleted: {id}")?,
            Removed::Layer(id) => writeln!(out, "Deleted layer: {id}")?,
            Removed::Blob(id) => writeln!(out, "Deleted blob: {id}")?,
            Removed::Postponed => writeln!(
                std::io::stderr(),
                "layers and blobs stay for now, because something is being added: `cowlab system prune` removes them"
            )?,
        }
    }
    Ok(())
}

/// Runs `cowlab history`.
pub(crate) fn history(args: &HistoryArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let image = root.image(&args.image)?;
    let lines = image.history();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_value(&lines)?)?;
        return Ok(exit::OK);
    }
    let format = &args.format.format;
    if args.quiet || !format.is_default() {
        let mut ids = vec!["<missing>".to_owned(); lines.len().max(1)];
        ids[0] = match args.no_trunc {
            true => image.id.to_string(),
            false => short(&image.id.to_string()).to_owned(),
        };
        if format.is_default() {
            writeln!(out, "{}", ids.join("\n"))?;
            return Ok(exit::OK);
        }
        let lines = lines.into_iter().zip(ids);
        let rows: Vec<_> = lines
            .map(|(line, id)| step(line, &id, args.no_trunc))
            .collect();
        format.list(&mut out, &STEP, &rows)?;
        return Ok(exit::OK);
    }
    let rows: Vec<_> = lines
        .into_iter()
        .map(|line| {
            let command: String = line.created_by.unwrap_or_default();
            let layer = line.layer.as_deref().unwrap_or("<empty>");
            vec![
                match args.no_trunc {
                    true => layer.to_owned(),
                    false => short(layer).to_owned(),
                },
                line.created.unwrap_or_default(),
                match args.no_trunc {
                    true => command,
                    false => command.chars().take(60).collect(),
                },
                table::size(line.size),
                line.comment.unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
    table::write(&mut out, &header, &rows)?;
    Ok(exit::OK)
}
