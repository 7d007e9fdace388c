//! What callers say and hear about a snapshot: kinds, facts, filters, options.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cowlab_driver::{Bytes, Durability, Settings, SnapshotId};
use cowlab_sys::Chance;

use crate::{Error, Result};

/// Labels: names and values that the store keeps and does not read.
pub type Labels = BTreeMap<String, String>;

/// The most a key or name may take, in bytes.
pub const KEY_MAX: usize = 1024;

/// The most a label's name and value may take together, in bytes (containerd's limit).
pub const LABEL_MAX: usize = 4096;

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
    pub chance: Chance,
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
            chance: Chance::Kernel,
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

/// Refuses what cannot be a key or a name.
pub(crate) fn check_key(key: &str) -> Result<()> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > KEY_MAX {
        "it is longer than 1024 bytes"
    } else if key.chars().any(char::is_control) {
        "it holds a control character"
    } else if key.trim() != key {
        "it starts or ends with white space"
    } else {
        return Ok(());
    };
    Err(Error::InvalidKey {
        key: key.chars().take(80).collect(),
        reason,
    })
}

/// Refuses what cannot be a label.
pub(crate) fn check_label(label: &str, value: &str) -> Result<()> {
    let reason = if label.is_empty() {
        "its name is empty"
    } else if label.contains('=') {
        "its name holds a `=`, which ends a name wherever labels are written"
    } else if label.len() + value.len() > LABEL_MAX {
        "its name and value are longer than 4096 bytes"
    } else if label.chars().any(char::is_control) {
        "its name holds a control character"
    } else {
        return Ok(());
    };
    Err(Error::InvalidLabel {
        label: label.chars().take(80).collect(),
        reason,
    })
}

/// Refuses labels of which one is none.
pub(crate) fn check_labels(labels: &Labels) -> Result<()> {
    labels
        .iter()
        .try_for_each(|(label, value)| check_label(label, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_containerd_are_keys() {
        for key in ["a", "k8s.io/12/sha256:00", "ä/ö 1", &"x".repeat(KEY_MAX)] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", " a", "a\n", "a\0b", &"x".repeat(KEY_MAX + 1)] {
            assert!(check_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        assert!(check_label("a", &"v".repeat(LABEL_MAX - 1)).is_ok());
        assert!(check_label("a", &"v".repeat(LABEL_MAX)).is_err());
        assert!(check_label("", "v").is_err());
        assert!(check_label("a=b", "v").is_err());
        assert!(check_label("a", "b=v").is_ok());
    }
}
