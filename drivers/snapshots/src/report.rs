//! What recovery did, and what a check of a store found.

use std::path::PathBuf;

use cowlab_driver::{SnapshotId, Warning};

use crate::Error;

/// What settling the intents of dead processes did.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Operations that were rolled back, by key: a creation or an apply is removed, a snapshot whose commit was cut off
    /// before its content was on the disk is active.
    pub rolled_back: Vec<String>,
    /// Operations that were finished, by key.
    pub completed: Vec<String>,
    /// Operations in progress in live processes, by key: not touched.
    pub in_progress: Vec<String>,
    /// Intents that could not be settled: they stay, and the next open tries again.
    pub failed: Vec<(String, Error)>,
    /// The full check, where one was due.
    pub check: Option<Box<CheckReport>>,
}

/// What a full check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// How many snapshots the database has.
    pub snapshots: usize,
    /// Snapshots whose data is not there, by key.
    pub missing: Vec<String>,
    /// What lay in the driver's root and no row knows; it was moved here, not deleted.
    pub quarantined: Vec<(SnapshotId, PathBuf)>,
    /// Snapshots committed without a flush before the last reboot: they may not be whole.
    pub doubtful: Vec<String>,
    /// What will hurt soon, a pool that is nearly full for example.
    pub warnings: Vec<Warning>,
    /// Why no change can be made: a full pool, for example.
    pub stuck: Option<cowlab_driver::Error>,
    /// What SQLite finds wrong with its file.
    pub database: Vec<String>,
    /// What happened to intents.
    pub recovery: Recovery,
}

impl CheckReport {
    /// Whether everything is as it should be.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.missing.is_empty()
            && self.quarantined.is_empty()
            && self.doubtful.is_empty()
            && self.stuck.is_none()
            && self.database.is_empty()
            && self.recovery.failed.is_empty()
    }
}
