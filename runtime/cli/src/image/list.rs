//! `cowlab images`.

use std::io::Write;

use cowlab_runtime::image::{Image, familiar, short};
use serde_json::json;

use crate::root::RootArgs;
use crate::{exit, table};

/// Lists the images, newest first, a line for each name.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Print ids alone.
    #[arg(long, short)]
    quiet: bool,
    /// Print ids whole.
    #[arg(long)]
    no_trunc: bool,
    /// Print the digest of the manifest of each name.
    #[arg(long)]
    digests: bool,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs the command.
///
/// # Errors
///
/// What the runtime says, and when stdout is closed.
pub(crate) fn run(args: &ListArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let images = root.images()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let rows: Vec<_> = images.iter().map(row).collect();
        writeln!(out, "{}", serde_json::Value::from(rows))?;
        return Ok(exit::OK);
    }
    let id = |image: &Image| {
        let id = image.id.to_string();
        match args.no_trunc {
            true => id,
            false => short(&id).to_owned(),
        }
    };
    if args.quiet {
        for image in &images {
            writeln!(out, "{}", id(image))?;
        }
        return Ok(exit::OK);
    }
    let mut rows = Vec::new();
    for image in &images {
        let mut names: Vec<Option<&str>> = image.names.iter().map(|name| Some(&**name)).collect();
        if names.is_empty() {
            names.push(None);
        }
        for name in names {
            let (repository, tag) = split(name);
            let mut row = vec![repository, tag];
            if args.digests {
                let tag = name.map(|name| root.graph().tag(name)).transpose()?;
                let digest = tag.flatten().map(|tag| tag.manifest);
                row.push(digest.unwrap_or_else(|| "<none>".to_owned()));
            }
            row.extend([
                id(image),
                table::ago(image.added),
                table::size(image.size()),
            ]);
            rows.push(row);
        }
    }
    let header: &[&str] = match args.digests {
        true => &["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "ADDED", "SIZE"],
        false => &["REPOSITORY", "TAG", "IMAGE ID", "ADDED", "SIZE"],
    };
    table::write(&mut out, header, &rows)?;
    Ok(exit::OK)
}

fn split(name: Option<&str>) -> (String, String) {
    let name = name.map(familiar);
    match name.as_deref().and_then(|name| name.rsplit_once(':')) {
        Some((repository, tag)) => (repository.to_owned(), tag.to_owned()),
        None => ("<none>".to_owned(), "<none>".to_owned()),
    }
}

fn row(image: &Image) -> serde_json::Value {
    let names: Vec<_> = image.names.iter().map(|name| familiar(name)).collect();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": names,
        "Added": image.added,
        "Created": image.config.created(),
        "Size": image.size(),
        "Layers": image.layers.iter().map(|layer| &layer.chain_id).collect::<Vec<_>>(),
    })
}
