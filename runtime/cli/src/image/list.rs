//! `cowlab images`.

use std::collections::BTreeMap;
use std::io::Write;

use cowlab_runtime::Root;
use cowlab_runtime::image::{Image, Name, familiar, short};
use cowlab_units::Timestamp;
use serde_json::json;

use crate::filter::{self, Filter, Filters};
use crate::format::{Column, ListFormat, Row, moment};
use crate::root::RootArgs;
use crate::{exit, table};

/// Lists the images, newest first, a line for each name.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// As always: no image is an intermediate one.
    #[arg(long, short, hide = true)]
    all: bool,
    /// Only those that fulfil a condition: dangling, label, before, since, until, reference.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// Print ids alone.
    #[arg(long, short)]
    quiet: bool,
    /// Print ids whole.
    #[arg(long)]
    no_trunc: bool,
    /// Print the digest of the manifest of each name.
    #[arg(long)]
    digests: bool,
    #[command(flatten)]
    format: ListFormat,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
    /// Only names of this repository, this one name, or names that fit a pattern such as `deb*`; without a registry, docker.io's.
    #[arg(value_name = "NAME[:TAG]", value_parser = wanted)]
    name: Option<Wanted>,
}

/// The members of an image for `--format`.
const COLUMNS: [Column; 10] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// Which names are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// All of a repository, with its registry.
    Repository(String),
    /// One, with registry and tag.
    Name(String),
    /// Those that fit a pattern, as the filter `reference` has it.
    Pattern(Filter),
}

/// Reads what docker's `image ls` takes: a text to which no tag can be added has one.
fn wanted(text: &str) -> Result<Wanted, String> {
    if text.contains(['*', '?', '[']) {
        return filter::parse(&format!("reference={text}")).map(Wanted::Pattern);
    }
    let name: Name = text.parse().map_err(|error| format!("{error}"))?;
    let has_tag = format!("{text}:latest").parse::<Name>().is_err();
    match name.tagged() {
        Some(tagged) if has_tag => Ok(Wanted::Name(tagged)),
        Some(_) => Ok(Wanted::Repository(name.repository())),
        None => Err("write NAME or NAME:TAG, without a digest".to_owned()),
    }
}

impl Wanted {
    /// Whether a whole name is wanted.
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Repository(wanted) => {
                let repository = name.rsplit_once(':').map(|(repository, _)| repository);
                repository == Some(wanted)
            }
            Self::Name(wanted) => name == wanted,
            Self::Pattern(_) => true,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ListArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let mut filters = args.filter.clone();
    if let Some(Wanted::Pattern(pattern)) = &args.name {
        filters.push(pattern.clone());
    }
    let mut images = selected(&root, &filters)?;
    if let Some(wanted) = &args.name {
        for image in &mut images {
            image.names.retain(|name| wanted.has(name));
        }
        images.retain(|image| !image.names.is_empty());
    }
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
    let format = &args.format.format;
    if !format.is_default() {
        let mut rows = Vec::new();
        for (image, name) in named(&images) {
            rows.push(formatted(&root, image, name, &id(image))?);
        }
        format.list(&mut out, &COLUMNS, &rows)?;
        return Ok(exit::OK);
    }
    if args.quiet {
        for image in &images {
            writeln!(out, "{}", id(image))?;
        }
        return Ok(exit::OK);
    }
    let mut rows = Vec::new();
    for (image, name) in named(&images) {
        let (repository, tag) = split(name);
        let mut row = vec![repository, tag];
        if args.digests {
            row.push(digest(&root, name)?);
        }
        row.extend([
            id(image),
            table::ago(image.added),
            table::size(image.size()),
        ]);
        rows.push(row);
    }
    let header: &[&str] = match args.digests {
        true => &["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "ADDED", "SIZE"],
        false => &["REPOSITORY", "TAG", "IMAGE ID", "ADDED", "SIZE"],
    };
    table::write(&mut out, header, &rows)?;
    Ok(exit::OK)
}

/// The images that fulfil conditions, with the names that do.
fn selected(root: &Root, given: &[Filter]) -> anyhow::Result<Vec<Image>> {
    const KNOWN: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];
    let filters = Filters::new(given, &KNOWN, &[])?;
    let time = |name: &str| Ok(created(&root.image(name)?));
    let before = filters.read("before", time)?;
    let since = filters.read("since", time)?;
    let (dangling, until) = (filters.flag("dangling")?, filters.until()?);
    let references = filters.globs("reference")?;
    let mut images = root.images()?;
    for image in &mut images {
        image.names.retain(|name| {
            let name = familiar(name);
            let repository = name
                .rsplit_once(':')
                .map_or("", |(repository, _)| repository);
            let fits = |glob: &regex::Regex| glob.is_match(&name) || glob.is_match(repository);
            filter::any(&references, fits)
        });
    }
    images.retain(|image| {
        let time = created(image);
        (references.is_empty() || !image.names.is_empty())
            && dangling.is_none_or(|dangling| image.names.is_empty() == dangling)
            && until.is_none_or(|until| time < until)
            && before.iter().all(|before| time < *before)
            && since.iter().all(|since| time > *since)
            && filters.have_labels(&labels(image))
    });
    Ok(images)
}

/// The labels that an image gives its containers.
pub(crate) fn labels(image: &Image) -> BTreeMap<String, String> {
    let config = image.config.config().as_ref();
    let labels = config.and_then(|config| config.labels().clone());
    labels.into_iter().flatten().collect()
}

/// Conditions on images that are pruned: `label`, `label!`, `until`.
///
/// # Errors
///
/// For the first call: a condition that does not exist.
pub(crate) fn pruned<'a>(
    root: &'a Root,
    given: &'a [Filter],
) -> anyhow::Result<impl Fn(&str) -> cowlab_runtime::Result<bool> + 'a> {
    let filters = Filters::new(given, &["label", "label!", "until"], &[])?;
    let until = filters.until()?;
    Ok(move |id: &str| {
        if filters.is_empty() {
            return Ok(true);
        }
        let image = root.image(id)?;
        Ok(until.is_none_or(|until| created(&image) < until)
            && filters.have_labels(&labels(&image)))
    })
}

/// A line for each name of each image, and one for an image without a name.
fn named(images: &[Image]) -> impl Iterator<Item = (&Image, Option<&str>)> {
    images.iter().flat_map(|image| {
        let nameless = image.names.is_empty().then_some((image, None));
        let names = image.names.iter().map(move |name| (image, Some(&**name)));
        names.chain(nameless)
    })
}

/// The digest of the manifest that came with a name.
fn digest(root: &Root, name: Option<&str>) -> anyhow::Result<String> {
    let tag = name.map(|name| root.graph().tag(name)).transpose()?;
    let digest = tag.flatten().map(|tag| tag.manifest);
    Ok(digest.unwrap_or_else(|| "<none>".to_owned()))
}

/// When an image was made, as it says itself; where it says nothing, when it came here.
fn created(image: &Image) -> Timestamp {
    let said = image.config.created().as_ref();
    said.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        Timestamp::from_millis(u64::try_from(image.added / 1_000_000).unwrap_or(0))
    })
}

fn formatted(root: &Root, image: &Image, name: Option<&str>, id: &str) -> anyhow::Result<Row> {
    let (repository, tag) = split(name);
    let created = created(image);
    let nanoseconds = i64::try_from(created.millis())
        .unwrap_or(0)
        .saturating_mul(1_000_000);
    Ok(Row {
        fields: json!({
            "Repository": repository,
            "Tag": tag,
            "Digest": digest(root, name)?,
            "ID": id,
            "CreatedSince": table::ago(nanoseconds),
            "CreatedAt": moment(created),
            "Size": table::size(image.size()),
            "Containers": root.users(Some(&image.id.to_string()))?.len().to_string(),
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
        }),
        labels: None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_its_names_and_no_others() {
        let is_listed = |text: &str, name: &str| wanted(text).unwrap().has(name);
        let (debian, other) = ("docker.io/library/debian:12", "localhost:5000/debian:12");
        for text in ["debian", "debian:12", "docker.io/library/debian"] {
            assert!(is_listed(text, debian), "{text}");
            assert!(!is_listed(text, other), "{text}");
        }
        for text in ["localhost:5000/debian", "localhost:5000/debian:12"] {
            assert!(is_listed(text, other), "{text}");
            assert!(!is_listed(text, debian), "{text}");
        }
        for text in ["deb", "debian:1", "debian:latest", "library"] {
            assert!(!is_listed(text, debian), "{text}");
        }
        let digest = format!("debian@sha256:{}", "a".repeat(64));
        for text in ["", "debian:", "Debian", &digest] {
            assert!(wanted(text).is_err(), "{text}");
        }
    }
}
