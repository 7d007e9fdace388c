//! What can go wrong in a driver, by kind.

use std::path::PathBuf;

use crate::SnapshotId;

/// An error of a storage driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The snapshot is already there.
    #[error("snapshot `{0}` already exists")]
    Exists(SnapshotId),
    /// The snapshot is not there.
    #[error("snapshot `{0}` does not exist")]
    NotFound(SnapshotId),
    /// The snapshot is in use.
    #[error("snapshot `{id}` is busy: {reason}")]
    Busy {
        /// The snapshot.
        id: SnapshotId,
        /// Who holds it, and how.
        reason: String,
    },
    /// The snapshot is frozen, and a change was asked for.
    #[error("snapshot `{0}` is frozen: make a new snapshot with it as the parent")]
    Frozen(SnapshotId),
    /// The snapshot's content cannot be trusted.
    #[error("snapshot `{id}` is damaged: {reason}")]
    Damaged {
        /// The snapshot.
        id: SnapshotId,
        /// What happened to it, and what to do.
        reason: String,
    },
    /// The driver was asked for something that it does not do.
    #[error("driver `{driver}` does not support {what}: {remedy}")]
    Unsupported {
        /// The driver's name.
        driver: &'static str,
        /// What was asked for.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// A limit of the driver or the kernel.
    #[error("{what} is {value}, and at most {limit} works: {because}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// What was asked for.
        value: usize,
        /// What is allowed.
        limit: usize,
        /// Where the limit comes from.
        because: &'static str,
    },
    /// The pool that the snapshots lie in is full, failed, gone or not ours.
    #[error("pool `{pool}` {state}: {remedy}")]
    Pool {
        /// The pool's name.
        pool: String,
        /// How it is, with its numbers; goes on from the name.
        state: String,
        /// What to do.
        remedy: String,
    },
    /// The driver's directory belongs to another store.
    #[error("driver root `{}` belongs to store {owner}, not to store {opener}", root.display())]
    ForeignRoot {
        /// The driver's directory.
        root: PathBuf,
        /// The store that made it.
        owner: String,
        /// The store that tried to open it.
        opener: String,
    },
    /// The driver cannot run here.
    #[error(transparent)]
    Unavailable(#[from] Missing),
    /// The system refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

impl Error {
    /// Makes the error of what this host lacks, with how to get it.
    #[must_use]
    pub fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unavailable(Missing {
            what: what.into(),
            remedy: remedy.into(),
        })
    }

    /// The snapshot that it is about.
    #[must_use]
    pub const fn snapshot(&self) -> Option<SnapshotId> {
        match self {
            Self::Exists(id)
            | Self::NotFound(id)
            | Self::Frozen(id)
            | Self::Busy { id, .. }
            | Self::Damaged { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The message with the name that the caller knows the snapshot by.
    #[must_use]
    pub fn naming(&self, name: &str) -> String {
        match self {
            Self::Exists(_) => format!("data of a snapshot `{name}` already exists"),
            Self::NotFound(_) => format!("the data of snapshot `{name}` does not exist"),
            Self::Frozen(_) => {
                format!("snapshot `{name}` is frozen: make a new snapshot with it as the parent")
            }
            Self::Busy { reason, .. } => format!("snapshot `{name}` is busy: {reason}"),
            Self::Damaged { reason, .. } => format!("snapshot `{name}` is damaged: {reason}"),
            other => other.to_string(),
        }
    }
}

/// Something that is not here: a skip, not a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is missing: {remedy}")]
pub struct Missing {
    /// What is missing, with what was tried.
    pub what: String,
    /// How to get it.
    pub remedy: String,
}

/// Something that still works and soon will not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pool `{pool}` {state}: {remedy}")]
pub struct Warning {
    /// The pool's name.
    pub pool: String,
    /// How it is, with its numbers; goes on from the name.
    pub state: String,
    /// What to do.
    pub remedy: String,
}

/// The result of a driver's method.
pub type Result<T> = std::result::Result<T, Error>;
