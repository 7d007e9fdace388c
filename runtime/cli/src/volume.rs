//! `cowlab volume`: directories that outlive containers.

use std::io::Write;

use clap::Subcommand;
use cowlab_runtime::container::{Containers, volume::Volume};
use serde_json::{Value, json};

use crate::exit;
use crate::format::{self, Column, Format, ListFormat, ObjectFormat, Row};
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
enum Verb {
    /// Make a volume.
    Create {
        /// A label; may be given more than once.
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        label: Vec<(String, String)>,
        /// Its name; by default random digits.
        name: Option<String>,
    },
    /// List volumes.
    Ls {
        /// Print names only.
        #[arg(long, short)]
        quiet: bool,
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
    Rm {
        /// One that is not there is no error.
        #[arg(long, short)]
        force: bool,
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove the anonymous volumes that no container has.
    Prune {
        /// Named volumes too.
        #[arg(long, short)]
        all: bool,
        /// Do not ask.
        #[arg(long, short)]
        force: bool,
    },
}

/// Runs the command.
///
/// # Errors
///
/// What the volumes refused.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let root = args.root.open()?;
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
        Verb::Ls { quiet, format } => {
            let all = volumes.list()?;
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
            for name in names {
                match volumes.remove(name, &containers) {
                    Err(cowlab_runtime::container::Error::NotFound { .. }) if *force => {}
                    removed => {
                        removed?;
                        match args.json {
                            true => writeln!(out, "{}", json!({"removed": name}))?,
                            false => writeln!(out, "{name}")?,
                        }
                    }
                }
            }
        }
        Verb::Prune { all, force } => {
            if !force && !crate::sweep::confirmed()? {
                writeln!(
                    std::io::stderr(),
                    "nothing removed; `--force` removes without asking"
                )?;
                return Ok(exit::FINDING);
            }
            let removed = volumes.prune(*all, &containers)?;
            match args.json {
                true => writeln!(out, "{}", json!({"removed": removed}))?,
                false => removed
                    .iter()
                    .try_for_each(|name| writeln!(out, "{name}"))?,
            }
        }
    }
    Ok(exit::OK)
}

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
            "Driver": "local",
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
        "Driver": "local",
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
