//! What callers say and hear about a snapshot: kinds, facts, filters, options.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cowlab_driver::{Bytes, Durability, Settings, SnapshotId};
use cowlab_sys::IdSource;

/// Labels: names and values that the store keeps and does not read.
pub type Labels = BTreeMap<String, String>;

/// What a snapshot is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Writable; becomes committed or is removed.
    Active,
    /// Read-only, with its parent's content.
    View,
    /// Frozen under a name; only these are parents.
    Committed,
}

impl Kind {
    /// The word for it, as in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::View => "view",
            Self::Committed => "committed",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Active => "active",
            Self::View => "a view",
            Self::Committed => "committed",
        })
    }
}

/// Facts about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Info {
    /// Its key while it is active or a view, its name once it is committed.
    pub key: String,
    /// Its number, the same before and after the commit.
    #[serde(serialize_with = "number")]
    pub id: SnapshotId,
    /// What it is.
    pub kind: Kind,
    /// The committed snapshot that it is built on.
    pub parent: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// When it was prepared or committed, in nanoseconds since 1970.
    pub created: i64,
    /// When it or its labels last changed, in nanoseconds since 1970.
    pub updated: i64,
}

fn number<S: serde::Serializer>(id: &SnapshotId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(id.number())
}

/// Which snapshots [`list`](crate::Store::list) returns: those that match every part given.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Whose key or name starts so.
    pub prefix: Option<String>,
    /// Built directly on this snapshot.
    pub parent: Option<String>,
    /// With this label: any value, or this one.
    pub label: Option<(String, Option<String>)>,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The driver's variant; `None` means the recorded one, or the default for a new store.
    pub variant: Option<String>,
    /// The driver's directory; `None` means the recorded one, or `driver` below the store's root.
    pub driver_root: Option<PathBuf>,
    /// What the driver is told about its place besides the directory. What is not named here is as recorded.
    pub settings: Settings,
    /// Where the UUID of a store that is made comes from.
    pub id_source: IdSource,
    /// How long to wait for another process that writes to the database.
    pub database_timeout: Duration,
    /// How long to wait for another operation on the same snapshot.
    pub lock_timeout: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            variant: None,
            driver_root: None,
            settings: Settings::new(),
            id_source: IdSource::Kernel,
            database_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
        }
    }
}

/// How an active snapshot or a view is made.
#[derive(Debug, Clone, Default)]
pub struct PrepareOptions {
    /// Its labels.
    pub labels: Labels,
    /// The most that it may hold of its own.
    pub size_limit: Option<Bytes>,
    /// What it survives, once it is made: with [`Durability::None`] a power cut may take it away, whole.
    pub durability: Durability,
}

/// How a snapshot is committed.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The labels of the committed snapshot. They replace the active one's, as containerd does.
    pub labels: Labels,
    /// What the committed snapshot survives.
    pub durability: Durability,
    /// How long to wait for a mount that is going away, or for a program that still writes.
    pub wait: Duration,
}
