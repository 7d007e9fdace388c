//! `cowlab layer ls|tree|show`: from images down to directories on this disk.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cowlab_runtime::Root;
use cowlab_runtime::graph::{LayerRow, LayerState};
use cowlab_runtime::image::{Image, short};
use serde_json::json;

use crate::format::{Column, ListFormat, Row};
use crate::image::driver_data;
use crate::root::RootArgs;
use crate::{exit, table};

/// Shows layers: whose parent each is, where it lies, which images have it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    /// List the layers, parents before children.
    #[command(visible_alias = "list")]
    Ls(RowArgs),
    /// Draw the layers as a tree, with the images on top: what images share is drawn once.
    Tree(ListArgs),
    /// Show everything about a layer, as JSON.
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print ids whole.
    #[arg(long)]
    no_trunc: bool,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
struct RowArgs {
    #[command(flatten)]
    format: ListFormat,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// A chain id, or a beginning of it that no other has.
    layer: String,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs the command.
///
/// # Errors
///
/// When the root cannot be opened, there is no such layer, or stdout is closed.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        Command::Ls(args) => list(args),
        Command::Tree(args) => tree(args),
        Command::Show(args) => show(args),
    }
}

/// The members of a layer for `--format`, and its columns.
const COLUMNS: [Column; 8] = [
    ("ChainID", "CHAIN ID"),
    ("DiffID", "DIFF ID"),
    ("CacheID", "CACHE ID"),
    ("Parent", "PARENT"),
    ("Blob", "BLOB"),
    ("Packed", "PACKED"),
    ("Size", "SIZE"),
    ("Images", "IMAGES"),
];

fn list(RowArgs { format, list: args }: &RowArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let layers = root.graph().layers()?;
    let users = root.layer_images()?;
    let mut out = io::stdout().lock();
    if args.json {
        return print_json(&mut out, &layers, &users);
    }
    let id = |id: &str| args.shown(id);
    let rows: Vec<_> = layers
        .iter()
        .map(|layer| {
            let images = users.get(&layer.chain_id).map_or(0, Vec::len);
            vec![
                id(&layer.chain_id),
                id(&layer.diff_id),
                id(&layer.cache_id),
                layer
                    .parent
                    .as_deref()
                    .map_or_else(|| "<base>".to_owned(), id),
                id(&layer.blob),
                table::size(layer.blob_size),
                size(layer),
                images.to_string(),
            ]
        })
        .collect();
    let format = &format.format;
    if format.is_default() {
        table::write(&mut out, &COLUMNS.map(|(_, column)| column), &rows)?;
        return Ok(exit::OK);
    }
    let objects = rows.into_iter().map(|cells| Row {
        fields: COLUMNS.iter().map(|(name, _)| *name).zip(cells).collect(),
        labels: None,
    });
    format.list(&mut out, &COLUMNS, &objects.collect::<Vec<_>>())?;
    Ok(exit::OK)
}

impl ListArgs {
    fn shown(&self, id: &str) -> String {
        match self.no_trunc {
            true => id.to_owned(),
            false => short(id).to_owned(),
        }
    }
}

fn size(layer: &LayerRow) -> String {
    match layer.state {
        LayerState::Ready => table::size(layer.size),
        LayerState::Unpacking => "(unfinished)".to_owned(),
    }
}

fn print_json(
    out: &mut impl Write,
    layers: &[LayerRow],
    users: &BTreeMap<String, Vec<String>>,
) -> anyhow::Result<u8> {
    let mut rows = Vec::new();
    for layer in layers {
        let mut row = serde_json::to_value(layer)?;
        row["images"] = json!(users.get(&layer.chain_id).cloned().unwrap_or_default());
        rows.push(row);
    }
    writeln!(out, "{}", serde_json::Value::from(rows))?;
    Ok(exit::OK)
}

fn tree(args: &ListArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let layers = root.graph().layers()?;
    let images = root.images()?;
    let mut out = io::stdout().lock();
    if args.json {
        return print_json(&mut out, &layers, &root.layer_images()?);
    }
    let forest = Forest::new(args, &layers, &images);
    for base in forest.children("") {
        forest.draw(&mut out, base, "", "")?;
    }
    Ok(exit::OK)
}

/// The layers with what is on top of each.
struct Forest<'a> {
    args: &'a ListArgs,
    children: BTreeMap<String, Vec<&'a LayerRow>>,
    tops: BTreeMap<&'a str, Vec<&'a Image>>,
    commands: BTreeMap<&'a str, &'a str>,
}

impl<'a> Forest<'a> {
    fn new(args: &'a ListArgs, layers: &'a [LayerRow], images: &'a [Image]) -> Self {
        let mut forest = Self {
            args,
            children: BTreeMap::new(),
            tops: BTreeMap::new(),
            commands: BTreeMap::new(),
        };
        for layer in layers {
            let siblings = forest
                .children
                .entry(layer.parent.clone().unwrap_or_default());
            siblings.or_default().push(layer);
        }
        for image in images {
            if let Some(top) = image.layers.last() {
                forest.tops.entry(&top.chain_id).or_default().push(image);
            }
            // Steps of the history that made no layer are not counted (image specification, `config.md`, "history").
            let history = image.config.history().iter().flatten();
            let steps = history.filter(|step| !step.empty_layer().unwrap_or(false));
            for (layer, step) in image.layers.iter().zip(steps) {
                if let Some(command) = step.created_by() {
                    forest.commands.insert(&layer.chain_id, command);
                }
            }
        }
        forest
    }

    /// The layers on top of one; of the empty id, the base layers.
    fn children(&self, of: &str) -> &[&'a LayerRow] {
        self.children.get(of).map_or(&[], Vec::as_slice)
    }

    /// Draws a layer behind `first`, and what is on top of it behind `rest`. A chain without branches goes straight
    /// down, for images have more layers than a terminal has columns.
    fn draw(
        &self,
        out: &mut impl Write,
        layer: &LayerRow,
        first: &str,
        rest: &str,
    ) -> io::Result<()> {
        let (mut layer, mut first) = (layer, first.to_owned());
        loop {
            self.line(out, layer, &first)?;
            let children = self.children(&layer.chain_id);
            match children {
                [] => return Ok(()),
                [only] => {
                    layer = only;
                    first = rest.to_owned();
                }
                [others @ .., last] => {
                    for child in others {
                        self.draw(out, child, &format!("{rest}├─ "), &format!("{rest}│  "))?;
                    }
                    return self.draw(out, last, &format!("{rest}└─ "), &format!("{rest}   "));
                }
            }
        }
    }

    fn line(&self, out: &mut impl Write, layer: &LayerRow, first: &str) -> io::Result<()> {
        let mut line = format!(
            "{first}{}  {}",
            self.args.shown(&layer.chain_id),
            size(layer)
        );
        if let Some(command) = self.commands.get(layer.chain_id.as_str()) {
            let command: String = command
                .chars()
                .filter(|c| !c.is_control())
                .take(60)
                .collect();
            line.push_str(&format!("  {command}"));
        }
        for image in self.tops.get(layer.chain_id.as_str()).into_iter().flatten() {
            let names = match image.names.is_empty() {
                true => vec![image.shown()],
                false => image
                    .names
                    .iter()
                    .map(|name| cowlab_runtime::image::familiar(name))
                    .collect(),
            };
            line.push_str(&format!("  <= {}", names.join(", ")));
        }
        writeln!(out, "{line}")
    }
}

fn show(args: &ShowArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let layer = root.layer(&args.layer)?;
    let document = document(&root, &layer)?;
    let text = serde_json::to_string_pretty(&document)?;
    writeln!(io::stdout(), "{text}")?;
    Ok(exit::OK)
}

fn document(root: &Root, layer: &LayerRow) -> anyhow::Result<serde_json::Value> {
    let mut document = serde_json::to_value(layer)?;
    let images = root.layer_images()?.remove(&layer.chain_id);
    document["images"] = json!(images.unwrap_or_default());
    let chain = root.graph().chain(&layer.chain_id)?;
    let chain: Vec<_> = chain.iter().map(|layer| &layer.chain_id).collect();
    document["chain"] = json!(chain);
    if layer.state == LayerState::Ready {
        document["usage"] = serde_json::to_value(root.store().usage(&layer.cache_id)?)?;
        document["snapshot"] = serde_json::to_value(root.store().stat(&layer.cache_id)?)?;
        document["data"] = driver_data(&root.layer_mounts(layer)?);
    }
    Ok(document)
}
