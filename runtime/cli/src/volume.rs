//! `cowlab volume`: directories that outlive containers.

use std::io::Write;

use clap::Subcommand;
use cowlab_runtime::container::{Containers, volume::Volume};
use serde_json::json;

use crate::exit;
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
    },
    /// Print all that is known about volumes, as JSON.
    Inspect {
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
        Verb::Ls { quiet } => list(&volumes.list()?, *quiet, args.json, &mut out)?,
        Verb::Inspect { names } => {
            let found: Result<Vec<_>, _> = names.iter().map(|name| volumes.get(name)).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&found?)?)?;
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
            if args.json {
                writeln!(out, "{}", json!({"removed": removed}))?;
            } else {
                for name in removed {
                    writeln!(out, "{name}")?;
                }
            }
        }
    }
    Ok(exit::OK)
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
