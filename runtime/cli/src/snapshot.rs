//! `cowlab snapshot`: the snapshot store's own verbs, for scripts and outside judges.
//!
//! The words are containerd's. What a verb makes is named by a *key* (active, view) or a *name* (committed); both
//! share one namespace. A mount made here stays until `snapshot unmount`.

mod layer;
mod show;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use cowlab_driver::{Bytes, Durability};
use cowlab_snapshots::{CommitOptions, Labels, PrepareOptions, Store};
use serde_json::json;

use crate::exit;
use crate::root::{RootArgs, name_and_value};

/// Work on the snapshot store by hand: prepare, mount, commit, compare.
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
    /// Make a writable snapshot, empty or with the content of a committed one.
    Prepare {
        /// The key of the new snapshot.
        key: String,
        /// The committed snapshot that it starts from; empty without.
        parent: Option<String>,
        #[command(flatten)]
        labels: LabelArgs,
        /// The most that it may hold of its own, such as 512M.
        #[arg(long, value_name = "BYTES")]
        size: Option<Bytes>,
    },
    /// Make a read-only snapshot of a committed one.
    View {
        /// The key of the new snapshot.
        key: String,
        /// The committed snapshot that it shows.
        parent: String,
    },
    /// Print the mount(8) command line that mounts a snapshot.
    Mounts {
        /// An active snapshot or a view.
        key: String,
        /// The directory to mount it at.
        target: PathBuf,
    },
    /// Mount a snapshot and leave it mounted.
    Mount {
        /// An active snapshot or a view.
        key: String,
        /// An existing directory.
        target: PathBuf,
    },
    /// Unmount what `mount` mounted, and let go of what the mount needed.
    Unmount {
        /// The snapshot.
        key: String,
        /// Where it is mounted.
        target: PathBuf,
    },
    /// Freeze an active snapshot under a name.
    Commit {
        /// The active snapshot; its key is gone then.
        key: String,
        /// The name of the committed snapshot.
        name: String,
        #[command(flatten)]
        labels: LabelArgs,
        #[command(flatten)]
        durability: DurabilityArg,
    },
    /// Remove snapshots of any kind; one with children, or in use, stays.
    Rm {
        /// Keys and names.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// List snapshots.
    Ls(show::ListArgs),
    /// Print the facts about a snapshot.
    Stat {
        /// A key or a name.
        key: String,
    },
    /// Measure what snapshots allocate.
    Usage {
        /// Keys and names; every snapshot without.
        keys: Vec<String>,
    },
    /// List what differs from the parent, or write it as a layer.
    Diff(layer::DiffArgs),
    /// Make a committed snapshot of a parent and a layer: a tar, plain or compressed with gzip or zstd.
    Apply(layer::ApplyArgs),
}

#[derive(Debug, clap::Args)]
struct LabelArgs {
    /// A label of the snapshot; may be given more than once.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = name_and_value)]
    labels: Vec<(String, String)>,
}

impl LabelArgs {
    fn labels(&self) -> Labels {
        self.labels.iter().cloned().collect()
    }
}

#[derive(Debug, clap::Args)]
struct DurabilityArg {
    /// What the committed snapshot survives: a crash of the process (none), a power cut (commit), a power cut with the
    /// driver's bookkeeping flushed as well (full).
    #[arg(long, value_enum, default_value_t = DurabilityWord::Commit)]
    durability: DurabilityWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DurabilityWord {
    None,
    Commit,
    Full,
}

impl From<&DurabilityArg> for Durability {
    fn from(argument: &DurabilityArg) -> Self {
        match argument.durability {
            DurabilityWord::None => Self::None,
            DurabilityWord::Commit => Self::Commit,
            DurabilityWord::Full => Self::Full,
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// What the store refused, or a closed stdout.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    exit::need_root("`cowlab snapshot`")?;
    let root = args.root.open()?;
    let store = root.store();
    let out = show::Printer { json: args.json };
    match &args.verb {
        Verb::Prepare {
            key,
            parent,
            labels,
            size,
        } => {
            let options = PrepareOptions {
                labels: labels.labels(),
                size_limit: *size,
                ..PrepareOptions::default()
            };
            out.info(&store.prepare(key, parent.as_deref(), &options)?)?;
        }
        Verb::View { key, parent } => out.info(&store.view(key, parent)?)?,
        Verb::Mounts { key, target } => out.mounts(&store.mounts(key)?, &absolute(target)?)?,
        Verb::Mount { key, target } => {
            let place = store.mount(key, target)?.keep();
            out.line(
                &json!({"key": key, "target": place}),
                &place.display().to_string(),
            )?;
        }
        Verb::Unmount { key, target } => {
            store.unmount(key, target)?;
            out.line(&json!({"key": key, "unmounted": target}), key)?;
        }
        Verb::Commit {
            key,
            name,
            labels,
            durability,
        } => {
            let options = CommitOptions {
                labels: labels.labels(),
                durability: durability.into(),
            };
            out.info(&store.commit(key, name, &options)?)?;
        }
        Verb::Rm { keys } => return remove(store, keys, &out),
        Verb::Ls(list) => out.list(&store.list(&list.filter())?)?,
        Verb::Stat { key } => out.facts(&store.stat(key)?)?,
        Verb::Usage { keys } => out.usage(store, keys)?,
        Verb::Diff(diff) => layer::diff(store, diff, &out)?,
        Verb::Apply(apply) => layer::apply(store, apply, &out)?,
    }
    Ok(exit::OK)
}

/// Removes one after the other: what can be removed is, whatever cannot.
fn remove(store: &Store, keys: &[String], out: &show::Printer) -> anyhow::Result<u8> {
    let mut first = None;
    for key in keys {
        match store.remove(key) {
            Ok(()) => out.line(&json!({"removed": key}), key)?,
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => writeln!(std::io::stderr(), "cowlab: {error}")?,
        }
    }
    first.map_or(Ok(exit::OK), |error| Err(error.into()))
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(cowlab_sys::io("getcwd", path, std::path::absolute(path))?)
}
