//! `cowlab snapshot`: the snapshot store's own verbs, for scripts and outside judges.
//!
//! The words are containerd's, and so are the verbs and the order of their arguments (`ctr snapshots`). What a verb makes
//! is named by a *key* (active, view) or a *name* (committed); both share one namespace. A mount made here stays until
//! `snapshot unmount`.

mod layer;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use cowlab_driver::{Bytes, Durability};
use cowlab_runtime::Root;
use cowlab_snapshots::{CommitOptions, Info, Labels, PrepareOptions, Store};
use serde_json::json;

use crate::exit::{self, Output};
use crate::root::{RootArgs, name_and_value};

/// Work on the snapshot store by hand: prepare, mount, commit, compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    root: RootArgs,
    /// Print JSON, also for an error on stderr.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

impl Args {
    /// How the command speaks.
    pub(crate) const fn output(&self) -> Output {
        match self.json {
            true => Output::Json,
            false => Output::Text,
        }
    }
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Make a writable snapshot, empty or with the content of a committed one. `--json` prints its mounts.
    Prepare {
        /// The key of the new snapshot.
        key: String,
        /// The committed snapshot that it starts from; empty without.
        parent: Option<String>,
        #[command(flatten)]
        labels: LabelArgs,
        /// Limit of what it allocates of its own, such as 512M.
        #[arg(long, value_name = "BYTES")]
        size: Option<Bytes>,
        #[command(flatten)]
        target: TargetArg,
    },
    /// Make a read-only snapshot of a committed one, or an empty one. `--json` prints its mounts.
    View {
        /// The key of the new snapshot.
        key: String,
        /// The committed snapshot that it shows; nothing without.
        parent: Option<String>,
        #[command(flatten)]
        labels: LabelArgs,
        #[command(flatten)]
        target: TargetArg,
    },
    /// Print the mount(8) command line that mounts a snapshot; with `--json` its mounts, as containerd has them.
    Mounts {
        /// The directory to mount it at.
        target: PathBuf,
        /// An active snapshot or a view.
        key: String,
    },
    /// Mount a snapshot and leave it mounted.
    Mount {
        /// An active snapshot or a view.
        key: String,
        /// An existing directory.
        target: PathBuf,
    },
    /// Unmount a snapshot that `mount` mounted, and release its devices.
    Unmount {
        /// The snapshot.
        key: String,
        /// Where it is mounted.
        target: PathBuf,
    },
    /// Freeze an active snapshot under a name.
    Commit {
        /// The name of the committed snapshot.
        name: String,
        /// The active snapshot, whose key becomes free.
        active: String,
        #[command(flatten)]
        labels: LabelArgs,
        #[command(flatten)]
        durability: DurabilityArg,
        /// Time to wait for an unmount in progress, such as 5s or 500ms.
        #[arg(long, value_name = "TIME", value_parser = wait, default_value = "0s")]
        wait: Duration,
    },
    /// Accept a snapshot that may have lost writes, after you have checked its content
    Trust {
        /// Its key
        key: String,
    },
    /// Remove snapshots of any kind; one that has children or is in use is refused.
    #[command(visible_aliases = ["delete", "remove"])]
    Rm {
        /// Keys and names.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// List snapshots.
    #[command(visible_alias = "list")]
    Ls(show::ListArgs),
    /// Draw the snapshots as a tree of parents and children.
    Tree(show::ListArgs),
    /// Print the facts about a snapshot.
    #[command(visible_alias = "stat")]
    Info {
        /// A key or a name.
        key: String,
    },
    /// Set and remove labels of a snapshot; the others stay.
    Label {
        /// A key or a name.
        key: String,
        /// A label to set; without a value, one to remove.
        #[arg(value_name = "NAME=[VALUE]", value_parser = label_change)]
        changes: Vec<(String, Option<String>)>,
    },
    /// Measure what snapshots allocate.
    Usage {
        /// Keys and names; every snapshot without.
        keys: Vec<String>,
    },
    /// List what differs from the parent, or between any two snapshots, or write it as a layer.
    Diff(layer::DiffArgs),
    /// Create a committed snapshot from a parent and a layer: a tar, plain or compressed with gzip or zstd.
    Apply(layer::ApplyArgs),
    /// Print the committed snapshot that has all layers of an image, which `pull` and `load` unpacked.
    Unpack {
        /// An image's name, id or digest.
        image: String,
    },
}

#[derive(Debug, clap::Args)]
struct TargetArg {
    /// Print the mount(8) command line that mounts it at this directory.
    #[arg(long, short, value_name = "DIR")]
    target: Option<PathBuf>,
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
            target,
        } => {
            let options = PrepareOptions {
                labels: labels.labels(),
                size_limit: *size,
                ..PrepareOptions::default()
            };
            let info = store.prepare(key, parent.as_deref(), &options)?;
            made(store, &info, target, &out)?;
        }
        Verb::View {
            key,
            parent,
            labels,
            target,
        } => {
            let options = PrepareOptions {
                labels: labels.labels(),
                ..PrepareOptions::default()
            };
            let info = store.view_with(key, parent.as_deref(), &options)?;
            made(store, &info, target, &out)?;
        }
        Verb::Commit {
            name,
            active,
            labels,
            durability,
            wait,
        } => {
            let options = CommitOptions {
                labels: labels.labels(),
                durability: durability.into(),
                wait: *wait,
            };
            out.info(&store.commit(active, name, &options)?)?;
        }
        Verb::Rm { keys } => return remove(store, keys, &out),
        Verb::Label { key, changes } => {
            let changes = changes.iter().cloned().collect();
            out.facts(&store.update_labels(key, &changes)?)?;
        }
        Verb::Diff(diff) => layer::diff(store, diff, &out)?,
        Verb::Apply(apply) => layer::apply(store, apply, &out)?,
        verb => look(&root, verb, &out)?,
    }
    Ok(exit::OK)
}

/// Runs a verb that changes no snapshot.
fn look(root: &Root, verb: &Verb, out: &show::Printer) -> anyhow::Result<()> {
    let store = root.store();
    match verb {
        Verb::Mounts { target, key } => out.mounts(store.mount_data(key)?, &absolute(target)?),
        Verb::Mount { key, target } => {
            let place = store.mount(key, target)?.keep();
            out.line(
                &json!({"key": key, "target": place}),
                &place.display().to_string(),
            )
        }
        Verb::Unmount { key, target } => {
            store.unmount(key, target)?;
            out.line(&json!({"key": key, "unmounted": target}), key)
        }
        Verb::Trust { key } => {
            store.trust(key)?;
            out.line(&json!({"key": key, "trusted": true}), key)
        }
        Verb::Ls(list) => out.list(&list.read(store)?),
        Verb::Tree(list) => out.tree(&list.read(store)?),
        Verb::Info { key } => out.facts(&store.stat(key)?),
        Verb::Usage { keys } => out.usage(store, keys),
        Verb::Unpack { image } => {
            let image = root.image(image)?;
            let top = image.snapshot().ok_or_else(|| exit::Stop {
                code: exit::USAGE,
                message: format!("image `{}` has no layers", image.shown()),
            })?;
            out.info(&store.stat(top)?)
        }
        _ => Ok(()),
    }
}

/// Prints what was made: how it is mounted where that was asked for.
fn made(store: &Store, info: &Info, target: &TargetArg, out: &show::Printer) -> anyhow::Result<()> {
    if !out.json && target.target.is_none() {
        return out.info(info);
    }
    // Who gets an error has nothing to remove.
    let mounts = store.mount_data(&info.key).inspect_err(|_| {
        if let Err(error) = store.remove(&info.key) {
            tracing::warn!(key = info.key, %error, "left behind");
        }
    })?;
    let target = target.target.as_deref().unwrap_or(Path::new("TARGET"));
    out.mounts(mounts, &absolute(target)?)
}

/// Removes one after the other: what can be removed is, whatever cannot.
fn remove(store: &Store, keys: &[String], out: &show::Printer) -> anyhow::Result<u8> {
    let mut first = None;
    for key in keys {
        match store.remove(key) {
            Ok(()) => out.line(&json!({"removed": key}), key)?,
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => out.error(&error.into())?,
        }
    }
    first.map_or(Ok(exit::OK), |error| Err(error.into()))
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(cowlab_sys::io("getcwd", path, std::path::absolute(path))?)
}

/// Reads a label to set, or one to remove, which has no value.
fn label_change(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| "write NAME=VALUE to set a label, NAME= to remove it".to_owned())?;
    let value = (!value.is_empty()).then(|| value.to_owned());
    Ok((name.to_owned(), value))
}

/// Reads a time to wait.
fn wait(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let factor = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let time = number
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    time.map(Duration::from_millis)
        .ok_or_else(|| "a time is a number of seconds, or one with the unit ms, s or m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed() {
        let change =
            |name: &str, value: Option<&str>| Ok((name.to_owned(), value.map(str::to_owned)));
        assert_eq!(label_change("a=b=c"), change("a", Some("b=c")));
        assert_eq!(label_change("a="), change("a", None));
        assert!(label_change("a").is_err());
        assert!(label_change("=a").is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(wait("3"), Ok(Duration::from_secs(3)));
        assert_eq!(wait("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(wait("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "s", "1h", "-1", "1.5s", "99999999999999999m"] {
            assert!(wait(text).is_err(), "{text}");
        }
    }
}
