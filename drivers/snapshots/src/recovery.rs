//! What dead processes left: settling their intents, and the full check.
//!
//! An intent belongs to a live operation as long as its lock is held; recovery touches it only with
//! the lock. The table in `decision` says whether it finishes an operation or rolls it back. So a commit
//! that was never acknowledged may come true, as with any database.
//!
//! Opening a store settles intents only, which costs one query. The full check compares the driver's
//! inventory with the rows; it runs at the first open after a reboot, and when asked for.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cowlab_driver::{Durability, SnapshotId};
use rusqlite::Transaction;

use crate::database::Flush;
use crate::decision::{Decision, Evidence, decide};
use crate::in_use::Uses;
use crate::locks::Hold;
use crate::report::{CheckReport, Recovery};
use crate::row::{self, Operation, Row};
use crate::store::Store;
use crate::{Error, Result};

/// The boot in which the store was last checked.
const CHECKED: &str = "checked_boot";

impl Store {
    /// Settles what is left, and checks everything after a reboot.
    pub(crate) fn recover(&self) -> Result<Recovery> {
        if self.database.meta(CHECKED)?.as_deref() == Some(&self.boot) {
            return self.settle_intents();
        }
        let mut report = self.check()?;
        self.database.set_meta(CHECKED, &self.boot)?;
        let mut recovery = std::mem::take(&mut report.recovery);
        recovery.check = Some(Box::new(report));
        Ok(recovery)
    }

    /// Settles what dead processes left and compares what the database has with what is on disk.
    /// Other processes may work on the store meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] when the driver cannot list its snapshots, [`Error::Database`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn check(&self) -> Result<CheckReport> {
        let mut report = CheckReport {
            recovery: self.settle_intents()?,
            ..CheckReport::default()
        };
        // The inventory before the rows: a row is written before its data and deleted after it, so
        // data without a row is unknown for certain, or gone by now.
        let inventory = self.inventory()?;
        if let Some(last) = inventory.last() {
            // A database from a backup would give out numbers that are in use.
            self.database.write(|tx| row::skip_ids(tx, *last))?;
        }
        let (rows, last) = self
            .database
            .read(|tx| Ok((row::every(tx)?, row::last_id(tx)?)))?;
        let known: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        for id in inventory.difference(&known) {
            report.quarantined.extend(self.quarantine(*id)?);
        }
        report.missing = self.missing(&rows, &inventory)?;
        report.doubtful = rows
            .iter()
            .filter(|row| {
                row.unflushed
                    .as_ref()
                    .is_some_and(|boot| *boot != self.boot)
            })
            .map(|row| row.name.clone())
            .collect();
        report.database = self.database.findings()?;
        match self.driver_health() {
            Ok(warnings) => report.warnings = warnings,
            Err(error) => report.stuck = Some(error),
        }
        report.snapshots = rows.len();
        self.remove_stale_locks(&known, last)?;
        if !report.is_sound() {
            tracing::warn!(?report, "the store is not sound");
        }
        Ok(report)
    }

    fn inventory(&self) -> Result<BTreeSet<SnapshotId>> {
        let ids = self.driver.inventory().map_err(Error::Unusable)?;
        Ok(ids.into_iter().collect())
    }

    /// The snapshots that are nowhere on disk.
    fn missing(&self, rows: &[Row], inventory: &BTreeSet<SnapshotId>) -> Result<Vec<String>> {
        let absent = |row: &&Row| row.operation.is_none() && !inventory.contains(&row.id);
        let suspects: Vec<_> = rows.iter().filter(absent).collect();
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // Some were only made after the first inventory, some removed since the rows were read.
        let inventory = self.inventory()?;
        self.database.read(|tx| {
            let mut missing = Vec::new();
            for suspect in suspects {
                let row = row::by_id(tx, suspect.id)?;
                missing.extend(row.filter(|row| absent(&row) && !inventory.contains(&row.id)));
            }
            Ok(missing.into_iter().map(|row| row.name).collect())
        })
    }

    /// Moves an object that no row knows out of the way; `None` if it was known or gone after all.
    fn quarantine(&self, id: SnapshotId) -> Result<Option<(SnapshotId, PathBuf)>> {
        let Some(lock) = self.locks.try_take(id, Hold::Exclusive)? else {
            return Ok(None);
        };
        if self.database.read(|tx| row::by_id(tx, id))?.is_some() {
            return Ok(None);
        }
        let Some(quarantine) = self.driver.quarantine() else {
            tracing::warn!(%id, "no snapshot owns this object; the driver cannot put it aside, so it stays");
            return Ok(None);
        };
        let moved = match quarantine.put_aside(id) {
            Ok(path) => {
                tracing::warn!(%id, path = %path.display(), "moved what no snapshot owns");
                Some((id, path))
            }
            Err(cowlab_driver::Error::NotFound(_)) => None,
            Err(error) => return Err(Error::Unusable(error)),
        };
        lock.retire();
        Ok(moved)
    }

    /// Removes lock files that processes left when they died at the very end of a removal. Numbers up to
    /// `last` were given out; the file of a later one belongs to a creation that is about to begin.
    fn remove_stale_locks(&self, known: &BTreeSet<SnapshotId>, last: u32) -> Result<()> {
        for id in self.locks.ids()? {
            if known.contains(&id) || id.number() > last {
                continue;
            }
            if let Some(lock) = self.locks.try_take(id, Hold::Exclusive)?
                && self.database.read(|tx| row::by_id(tx, id))?.is_none()
            {
                lock.retire();
            }
        }
        Ok(())
    }

    /// Settles every intent whose lock is free.
    fn settle_intents(&self) -> Result<Recovery> {
        let mut recovery = Recovery::default();
        for row in self.database.read(|tx| row::intents(tx))? {
            let key = row.name.clone();
            match self.settle_if_free(row.id) {
                Ok(false) => recovery.in_progress.push(key),
                Ok(true) => match self.decide(&row) {
                    Some(Decision::RollBack) => recovery.rolled_back.push(key),
                    Some(Decision::Finish) | None => recovery.completed.push(key),
                },
                Err(error) => {
                    tracing::warn!(key, %error, "what a dead process left stays for now");
                    recovery.failed.push((key, error));
                }
            }
        }
        Ok(recovery)
    }

    /// Settles the intent that claims a key or name, if its process is dead.
    pub(crate) fn settle_claim(&self, name: &str) -> Result<()> {
        match self.database.read(|tx| row::find_claim(tx, name))? {
            Some(row) if row.operation.is_some() => self.settle_if_free(row.id).map(drop),
            _ => Ok(()),
        }
    }

    /// Settles an intent, unless its operation is still under way: then it returns false.
    pub(crate) fn settle_if_free(&self, id: SnapshotId) -> Result<bool> {
        let Some(lock) = self.locks.try_take(id, Hold::Exclusive)? else {
            return Ok(false);
        };
        let Some(row) = self.database.read(|tx| row::by_id(tx, id))? else {
            lock.retire();
            return Ok(true);
        };
        let Some((operation, decision)) = row.operation.zip(self.decide(&row)) else {
            return Ok(true);
        };
        match (operation, decision) {
            (Operation::Commit, Decision::Finish) => self.finish_commit(&row)?,
            (Operation::Commit, Decision::RollBack) => self.cancel_commit(&row)?,
            (Operation::Create | Operation::Apply, _) => {
                self.refuse_users(&row, Uses::Mounts)?;
                self.undo_creation(id)?;
                lock.retire();
            }
            (Operation::Remove, _) => {
                // It may have been mounted by hand since.
                self.refuse_users(&row, Uses::Mounts)?;
                self.finish_removal(&row)?;
                lock.retire();
            }
        }
        tracing::debug!(key = row.name, ?operation, ?decision, "settled");
        Ok(true)
    }

    /// What is to be done with the intent of a row, if it has one.
    fn decide(&self, row: &Row) -> Option<Decision> {
        let evidence = Evidence::of(row, &self.boot);
        Some(decide(row.operation?, evidence))
    }

    /// Removes what a creation or an apply made, then its row.
    pub(crate) fn undo_creation(&self, id: SnapshotId) -> Result<()> {
        let undo =
            |reason| Error::driver("roll back the unfinished snapshot", &self.name_of(id))(reason);
        // Half made, it may not be there to be deactivated.
        if let Err(error) = self.driver.deactivate(id) {
            tracing::debug!(%id, %error, "cannot be deactivated");
        }
        self.driver.destroy(id).map_err(undo)?;
        self.forget(id)
    }

    /// Deletes the row of a snapshot whose data is gone. Taken back by a power cut, its intent has the next open do the
    /// same once more.
    fn forget(&self, id: SnapshotId) -> Result<()> {
        let delete = |tx: &Transaction<'_>| row::delete(tx, id);
        self.database.write_at_last(Flush::Later, delete)
    }

    /// Finishes a commit. The checks are made again, and the flush: somebody may have mounted it by hand.
    fn finish_commit(&self, row: &Row) -> Result<()> {
        self.refuse_writers(row)?;
        let durability = row.target_durability.unwrap_or(Durability::Full);
        self.flush(row, durability)?;
        self.freeze(row)?;
        let unflushed = self.unflushed(durability);
        let end = |tx: &Transaction<'_>| row::end_commit(tx, row.id, unflushed);
        self.database.write_at_last(Flush::Now, end)
    }

    /// Deletes the data of a snapshot whose removal is decided, then its row.
    pub(crate) fn finish_removal(&self, row: &Row) -> Result<()> {
        self.driver
            .destroy(row.id)
            .map_err(Error::driver("remove", &row.name))?;
        self.forget(row.id)
    }
}
