//! What recovery does with the intent of a dead process.
//!
//! | operation | same boot | flushed | frozen | |
//! |---|---|---|---|---|
//! | create, apply | any | any | any | roll back: it was never acknowledged |
//! | commit | yes | any | any | finish: the kernel still has everything that was written |
//! | commit | no | yes | any | finish: the content was on the disk before the intent was |
//! | commit | no | no | any | roll back: content may be missing, so the snapshot is active again |
//! | remove | any | any | any | finish: the snapshot is gone for everybody |
//!
//! Whether the driver froze the snapshot changes nothing, for the power may go between the mark and its record: finishing
//! freezes once more and rolling back thaws, and a driver does either any number of times.

use cowlab_driver::Durability;

use crate::row::{Operation, Row};

/// The end of an intent whose process is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The operation is done to its end.
    Finish,
    /// The store becomes as it was before the operation.
    RollBack,
}

/// What is known about the time when an intent was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The machine has run without a stop since.
    pub(crate) same_boot: bool,
    /// The content of the snapshot was on the disk before the intent was.
    pub(crate) flushed: bool,
}

impl Evidence {
    /// Reads it off the row of the intent.
    pub(crate) fn of(row: &Row, boot: &str) -> Self {
        Self {
            same_boot: row.intent_boot.as_deref() == Some(boot),
            // Without a boot it is of a program that wrote the intent first and flushed then.
            flushed: row.intent_boot.is_some()
                && row
                    .target_durability
                    .is_some_and(|durability| durability >= Durability::Commit),
        }
    }
}

/// Looks an intent up in the table.
pub(crate) const fn decide(operation: Operation, evidence: Evidence) -> Decision {
    match (operation, evidence.same_boot, evidence.flushed) {
        (Operation::Create | Operation::Apply, _, _) => Decision::RollBack,
        (Operation::Commit, true, _) | (Operation::Commit, false, true) => Decision::Finish,
        (Operation::Commit, false, false) => Decision::RollBack,
        (Operation::Remove, _, _) => Decision::Finish,
    }
}
