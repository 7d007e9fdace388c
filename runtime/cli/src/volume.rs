//! `cowlab volume`: directories that outlive containers.

use std::io::Write;

use clap::Subcommand;
use cowlab_runtime::container::{Containers, Pruned, volume::Volume};
use serde_json::{Value, json};

use crate::exit;
use crate::filter::{self, Filter, Filters};
use crate::format::{self, Column, Format, ListFormat, ObjectFormat, Row};
use crate::prune;
use crate::root::{RootArgs, name_and_value};

/// Work with volumes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    root: RootArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Create a volume.
    Create {
        /// A label; may be given more than once.
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        label: Vec<(String, String)>,
        /// Its name; by default random digits.
        name: Option<String>,
    },
    /// List volumes.
    #[command(alias = "list")]
    Ls {
        /// Print names only.
        #[arg(long, short)]
        quiet: bool,
        /// Only those that fulfil a condition: dangling, driver, label, name.
        #[arg(long, short, value_name = "NAME=VALUE", value_parser = filter::parse)]
        filter: Vec<Filter>,
        #[command(flatten)]
        format: ListFormat,
    },
    /// Print all that is known about volumes, as JSON.
    Inspect {
        #[command(flatten)]
        format: ObjectFormat,
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove volumes with their content.
    #[command(alias = "remove")]
    Rm {
        /// Ignore volumes that do not exist.
        #[arg(long, short)]
        force: bool,
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove the anonymous volumes that no container uses.
    Prune {
        /// Named volumes too.
        #[arg(long, short)]
        all: bool,
        #[command(flatten)]
        args: prune::Args,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let root = match &args.verb {
        // Of docker's flag `--driver` the only driver of volumes that is here.
        Verb::Create { .. } => args.root.without_driver(DRIVER).open()?,
        _ => args.root.open()?,
    };
    let containers = Containers::open(&root)?;
    let volumes = containers.volumes();
    let mut out = std::io::stdout().lock();
    match &args.verb {
        Verb::Create { label, name } => {
            let volume = volumes.create(name.as_deref(), label.iter().cloned().collect())?;
            match args.json {
                true => writeln!(out, "{}", serde_json::to_value(&volume)?)?,
                false => writeln!(out, "{}", volume.name)?,
            }
        }
        Verb::Ls {
            quiet,
            filter,
            format,
        } => {
            let all = selected(&containers, filter)?;
            match format.format.is_default() {
                true => list(&all, *quiet, args.json, &mut out)?,
                false => print(&all, &format.format, &mut out)?,
            }
        }
        Verb::Inspect { names, format } => {
            let format = &format.format;
            let found = names
                .iter()
                .map(|name| document(&volumes.get(name)?, format));
            let found: Vec<_> = found.collect::<anyhow::Result<_>>()?;
            format.documents(&mut out, &found)?;
        }
        Verb::Rm { force, names } => {
            remove(&containers, names, *force, args.json, &mut out)?;
        }
        Verb::Prune { all, args: asked } => {
            drop(out);
            let kind = if *all { "all" } else { "anonymous" };
            asked.confirm(&format!(
                "{kind} local volumes not used by at least one container"
            ))?;
            let pruned = prune(&containers, &asked.filter, *all)?;
            prune::tell("Volumes", &pruned, args.json)?;
        }
    }
    Ok(exit::OK)
}

/// docker's name for volumes that are directories of the host.
const DRIVER: &str = "local";

/// The members of a volume for `--format` of `ls`.
const COLUMNS: [Column; 10] = [
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Labels", "LABELS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Scope", "SCOPE"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

fn row(volume: &Volume) -> Row {
    // docker's words for what is not measured, and for what clusters alone have.
    let unknown = "N/A";
    Row {
        fields: json!({
            "Driver": DRIVER,
            "Name": volume.name,
            "Labels": format::labels(&volume.labels),
            "Mountpoint": volume.mountpoint,
            "Scope": "local",
            "Links": unknown,
            "Size": unknown,
            "Availability": unknown,
            "Group": unknown,
            "Status": unknown,
        }),
        labels: Some(volume.labels.clone()),
    }
}

fn remove(
    containers: &Containers<'_>,
    names: &[String],
    force: bool,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for name in names {
        match containers.volumes().remove(name, containers) {
            Err(cowlab_runtime::container::Error::NotFound { .. }) if force => continue,
            removed => removed?,
        }
        match json {
            true => writeln!(out, "{}", json!({"removed": name}))?,
            false => writeln!(out, "{name}")?,
        }
    }
    Ok(())
}

/// Removes the volumes that nobody has and that fulfil conditions: the anonymous ones, or with `all` the named ones too.
fn prune(containers: &Containers<'_>, given: &[Filter], all: bool) -> anyhow::Result<Pruned> {
    let filters = Filters::new(given, &["all", "label", "label!"], &[])?;
    let all = all || filters.flag("all")?.unwrap_or(false);
    let volumes = containers.volumes();
    Ok(volumes.prune(containers, |volume| {
        (all || volume.anonymous) && filters.have_labels(&volume.labels)
    })?)
}

/// The volumes that fulfil conditions.
fn selected(containers: &Containers<'_>, given: &[Filter]) -> anyhow::Result<Vec<Volume>> {
    let filters = Filters::new(given, &["dangling", "driver", "label", "name"], &[])?;
    let names = filters.patterns("name")?;
    let drivers = filters.read("driver", |driver| Ok(driver.to_owned()))?;
    let dangling = filters.flag("dangling")?;
    let mut all = containers.volumes().list()?;
    all.retain(|volume| {
        filters.have_labels(&volume.labels)
            && filter::any(&names, |name| name.is_match(&volume.name))
            && filter::any(&drivers, |driver| driver == DRIVER)
    });
    if let Some(dangling) = dangling {
        let mut fit = Vec::new();
        for volume in all {
            if containers.users_of_volume(&volume.name)?.is_empty() == dangling {
                fit.push(volume);
            }
        }
        return Ok(fit);
    }
    Ok(all)
}

/// All that is known about a volume; for a format, with docker's members.
///
/// # Errors
///
/// None that is known.
pub(crate) fn document(volume: &Volume, format: &Format) -> anyhow::Result<Value> {
    if format.is_default() {
        return Ok(serde_json::to_value(volume)?);
    }
    Ok(json!({
        "CreatedAt": volume.created,
        "Driver": DRIVER,
        "Labels": volume.labels,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
    }))
}

fn print(all: &[Volume], format: &Format, out: &mut impl Write) -> anyhow::Result<()> {
    let rows: Vec<_> = all.iter().map(row).collect();
    format.list(out, &COLUMNS, &rows)
}

fn list(all: &[Volume], quiet: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_value(all)?)?);
    }
    if !quiet {
        writeln!(out, "{:<9}  VOLUME NAME", "KIND")?;
    }
    for volume in all {
        match quiet {
            true => writeln!(out, "{}", volume.name)?,
            false => writeln!(out, "{:<9}  {}", kind(volume), volume.name)?,
        }
    }
    Ok(())
}

const fn kind(volume: &Volume) -> &'static str {
    if volume.anonymous {
        "anonymous"
    } else {
        "named"
    }
}
