//! What can go wrong in the store, by kind.
//!
//! A message names the object by the name its caller used and holds the whole reason, so that no
//! chain of sources has to be printed beside it.

use std::fmt;
use std::path::PathBuf;

use cowlab_driver::SnapshotId;
use cowlab_layer::LayerError;

use crate::{Holder, Kind};

/// An error of the snapshot store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key or name is taken: keys and names share one namespace.
    #[error("`{key}` already exists: choose another name or remove it first")]
    Exists {
        /// The key or name.
        key: String,
    },
    /// There is no such snapshot.
    #[error("snapshot `{key}` does not exist")]
    NotFound {
        /// The key or name.
        key: String,
    },
    /// The snapshot is of a kind that the operation does not take.
    #[error("snapshot `{key}` is {kind}, and {needed}")]
    WrongKind {
        /// The key or name.
        key: String,
        /// What it is.
        kind: Kind,
        /// What it should be, and for what.
        needed: &'static str,
    },
    /// Other snapshots are built on this one.
    #[error("snapshot `{key}` has children, remove them first: {}", names(children, *count))]
    HasChildren {
        /// The name.
        key: String,
        /// Some of the children.
        children: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// The snapshot is mounted or open for writing.
    #[error("snapshot `{key}` is in use: {}", list(holders))]
    Busy {
        /// The key or name.
        key: String,
        /// Who holds it, and how.
        holders: Vec<Holder>,
    },
    /// Whether the snapshot is in use cannot be found out.
    #[error("cannot tell whether snapshot `{key}` is in use, so it stays as it is: {reason}")]
    UseUnknown {
        /// The key or name.
        key: String,
        /// What could not be read.
        reason: cowlab_sys::Error,
    },
    /// The storage may have refused writes to the snapshot.
    #[error(
        "content of snapshot `{key}` may be missing, for {reason}: remove it and make it again, or mount it and look, and \
         if nothing is missing run `cowlab snapshot trust {key}`"
    )]
    Suspect {
        /// The key.
        key: String,
        /// What happened.
        reason: String,
    },
    /// Another operation on the snapshot is under way, in this process or another.
    #[error("snapshot `{key}` is locked by another operation: wait for it to end")]
    InProgress {
        /// The key or name.
        key: String,
    },
    /// The text cannot be a key or a name.
    #[error("`{}` cannot name a snapshot: {reason}", key.escape_debug())]
    InvalidKey {
        /// The text.
        key: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The text cannot be a label.
    #[error("`{}` cannot be a label: {reason}", label.escape_debug())]
    InvalidLabel {
        /// The label's name.
        label: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The text is no filter.
    #[error("filter `{}`, column {column}: {reason}", filter.escape_debug())]
    InvalidFilter {
        /// The text.
        filter: String,
        /// Where it is wrong, counted in characters from 1.
        column: usize,
        /// What is wrong, or what belongs there.
        reason: String,
    },
    /// A setting that cannot be recorded.
    #[error("`{}` cannot be a setting: {reason}", name.escape_debug())]
    InvalidSetting {
        /// The setting's name.
        name: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A limit of the store.
    #[error(
        "the store has used all {limit} snapshot numbers, which are never reused: make a new store"
    )]
    Limit {
        /// How many there are.
        limit: u32,
    },
    /// A newer program made the store.
    #[error(
        "store `{}` has schema version {found}, and this program knows up to version {known}: use a newer cowlab",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that this program reads.
        known: i64,
    },
    /// The file is no database of a store.
    #[error("`{}` is not a snapshot store: {reason}", path.display())]
    NotAStore {
        /// The database.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The store was made with another driver, variant, driver root or setting.
    #[error(
        "store `{}` was made with {what} `{recorded}`, not `{asked}`: open it with `{recorded}`, or make another store",
        path.display()
    )]
    Recorded {
        /// The store's root.
        path: PathBuf,
        /// What differs: driver, variant, driver root or setting.
        what: &'static str,
        /// What the store recorded.
        recorded: String,
        /// What was asked for.
        asked: String,
    },
    /// The driver has no variant of that name.
    #[error("driver `{driver}` has no variant `{variant}`: it has {known}")]
    UnknownVariant {
        /// The driver.
        driver: &'static str,
        /// What was asked for.
        variant: String,
        /// What there is.
        known: String,
    },
    /// The driver's directory belongs to another store.
    #[error(
        "driver root `{}` belongs to store {owner}, not to store {opener}: give each store its own",
        root.display()
    )]
    ForeignRoot {
        /// The driver's directory.
        root: PathBuf,
        /// The store that made it.
        owner: String,
        /// The store that tried to open it.
        opener: String,
    },
    /// The driver failed.
    #[error("{action} `{key}`: {}", reason.naming(snapshot))]
    Driver {
        /// What was being done, as a verb.
        action: &'static str,
        /// The key or name.
        key: String,
        /// The key or name of the snapshot that the driver speaks of: this one, or one below it.
        snapshot: String,
        /// Why it failed.
        reason: Box<cowlab_driver::Error>,
    },
    /// The driver could not be opened, or could not list what it keeps.
    #[error(transparent)]
    Unusable(cowlab_driver::Error),
    /// A layer could not be read or written.
    #[error("{action} `{key}`: {reason}")]
    Layer {
        /// What was being done, as a verb.
        action: &'static str,
        /// The key or name.
        key: String,
        /// Why it failed.
        reason: Box<LayerError>,
    },
    /// The database failed.
    #[error("database `{}`: {reason}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        reason: rusqlite::Error,
    },
    /// The system refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

/// The result of the store's methods.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<rusqlite::Error> for Error {
    /// Leaves the path open: `Database` fills it in.
    fn from(reason: rusqlite::Error) -> Self {
        Self::Database {
            path: PathBuf::new(),
            reason,
        }
    }
}

impl Error {
    /// A driver's error about a snapshot, with the name that the caller knows.
    pub(crate) fn driver(
        action: &'static str,
        key: &str,
    ) -> impl FnOnce(cowlab_driver::Error) -> Self {
        move |reason| Self::Driver {
            action,
            key: key.to_owned(),
            snapshot: key.to_owned(),
            reason: Box::new(reason),
        }
    }

    /// An error about layer data, with the snapshot's name.
    pub(crate) fn layer(action: &'static str, key: &str) -> impl FnOnce(LayerError) -> Self {
        move |reason| Self::Layer {
            action,
            key: key.to_owned(),
            reason: Box::new(reason),
        }
    }

    /// An error of looking for who uses a snapshot.
    pub(crate) fn use_unknown(key: &str) -> impl FnOnce(cowlab_sys::Error) -> Self {
        move |reason| Self::UseUnknown {
            key: key.to_owned(),
            reason,
        }
    }

    /// The error of opening a driver.
    pub(crate) fn opening(error: cowlab_driver::Error) -> Self {
        match error {
            cowlab_driver::Error::ForeignRoot {
                root,
                owner,
                opener,
            } => Self::ForeignRoot {
                root,
                owner,
                opener,
            },
            other => Self::Unusable(other),
        }
    }

    /// Whether the snapshot is in use: mounted, or open for writing.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Driver { reason, .. } => matches!(**reason, cowlab_driver::Error::Busy { .. }),
            _ => false,
        }
    }

    /// Who is known to use the snapshot.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        match self {
            Self::Busy { holders, .. } => holders,
            _ => &[],
        }
    }

    /// The key or name of the snapshot that it is about.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Exists { key }
            | Self::NotFound { key }
            | Self::WrongKind { key, .. }
            | Self::HasChildren { key, .. }
            | Self::Busy { key, .. }
            | Self::InProgress { key }
            | Self::InvalidKey { key, .. }
            | Self::Driver { key, .. }
            | Self::Layer { key, .. } => Some(key),
            _ => None,
        }
    }

    pub(crate) fn exists(key: &str) -> Self {
        Self::Exists {
            key: key.to_owned(),
        }
    }

    pub(crate) fn not_found(key: &str) -> Self {
        Self::NotFound {
            key: key.to_owned(),
        }
    }

    pub(crate) fn in_progress(key: &str) -> Self {
        Self::InProgress {
            key: key.to_owned(),
        }
    }

    pub(crate) const fn used_up() -> Self {
        Self::Limit {
            limit: SnapshotId::MAX.number(),
        }
    }
}

fn list(items: &[impl fmt::Display]) -> String {
    let texts: Vec<_> = items.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn names(some: &[String], count: usize) -> String {
    let mut texts: Vec<_> = some.iter().map(|name| format!("`{name}`")).collect();
    if count > some.len() {
        texts.push(format!("and {} more", count - some.len()));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_named_and_counted() {
        let error = Error::HasChildren {
            key: "base".into(),
            children: vec!["a".into(), "b".into()],
            count: 5,
        };
        assert_eq!(
            error.to_string(),
            "snapshot `base` has children, remove them first: `a`, `b`, and 3 more"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let error = Error::InvalidKey {
            key: "a\u{1b}[31m".into(),
            reason: "it holds a control character",
        };
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
