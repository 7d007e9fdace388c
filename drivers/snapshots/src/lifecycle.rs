//! The life of a snapshot: prepare and view, commit, remove.
//!
//! Each verb writes its intent, does its work in the driver, and writes the outcome: two short
//! transactions with nothing held between them but the snapshot's lock. A verb that fails takes its
//! intent back at once; one whose process dies leaves it to `recovery`.

use std::time::{Duration, Instant};

use cowlab_driver::{Chain, CreateOptions, Durability, MountMatcher, SnapshotId, Usage};
use cowlab_sys::fault::{Fault, is_planted};
use cowlab_sys::holders;
use rusqlite::{Connection, Transaction};

use crate::database::Flush;
use crate::in_use::{self, Uses};
use crate::info::{CommitOptions, Info, Kind, Labels, PrepareOptions};
use crate::locks::{Hold, SnapshotLock};
use crate::row::{self, Operation, Row};
use crate::store::{Store, visible};
use crate::{Error, Result, naming, suspicion};

/// A creation or an apply whose intent is written.
#[derive(Debug)]
pub(crate) struct PendingOperation {
    pub(crate) id: SnapshotId,
    pub(crate) parent: Option<Chain>,
    pub(crate) lock: SnapshotLock,
}

impl PendingOperation {
    /// The chain of the snapshot to be.
    pub(crate) fn chain(&self) -> Chain {
        let ancestors = self.parent.iter().flat_map(Chain::iter).collect();
        Chain::new(self.id, ancestors)
    }
}

impl Store {
    /// Makes a writable snapshot, empty or with the content of a committed one.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::NotFound`] or [`Error::WrongKind`] for the parent,
    /// [`Error::InvalidKey`], [`Error::Driver`]. Then nothing is there.
    #[tracing::instrument(level = "debug", skip(self, options))]
    pub fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &PrepareOptions,
    ) -> Result<Info> {
        self.create(Kind::Active, key, parent, options)
    }

    /// Makes a read-only snapshot with the content of a committed one.
    pub fn view(&self, key: &str, parent: &str) -> Result<Info> {
        self.view_with(key, Some(parent), &PrepareOptions::default())
    }

    /// Makes a read-only snapshot, empty or with the content of a committed one.
    #[tracing::instrument(level = "debug", skip(self, options))]
    pub fn view_with(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &PrepareOptions,
    ) -> Result<Info> {
        self.create(Kind::View, key, parent, options)
    }

    fn create(
        &self,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        options: &PrepareOptions,
    ) -> Result<Info> {
        let explained = |error| self.explained("prepare", key, error);
        let pending = self
            .begin(Operation::Create, kind, key, parent, &options.labels)
            .map_err(explained)?;
        self.warn_of_health();
        let create_options = CreateOptions {
            size_limit: options.size_limit,
            durability: options.durability,
        };
        let made = self
            .driver
            .create(pending.id, pending.parent.as_ref(), &create_options)
            .map_err(Error::driver("prepare", key))
            .and_then(|()| {
                // Taken back, it is an intent again, and the next open removes it.
                let flush = match options.durability {
                    Durability::None => Flush::Later,
                    Durability::Commit | Durability::Full => Flush::Now,
                };
                self.end(&pending, Durability::Commit, flush, None)
            });
        let made = made.map_err(explained);
        made.inspect_err(|error| self.roll_back(pending, error))
    }

    /// Writes the intent to make a snapshot and takes its lock.
    pub(crate) fn begin(
        &self,
        operation: Operation,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<PendingOperation> {
        naming::check_key(key)?;
        naming::check_labels(labels)?;
        self.settle_claim(key)?;
        if let Some(parent) = parent {
            self.settle_claim(parent)?;
        }
        self.database.write(|tx| {
            unclaimed(tx, key)?;
            let parent = match parent {
                Some(parent) => Some(row::chain(tx, committed(tx, parent)?.id)?),
                None => None,
            };
            let id = row::next_id(tx)?;
            // Before others can see the row, or recovery could take the intent for a dead process's.
            let lock = self.locks.take(id, Hold::Exclusive)?;
            let lock = lock.ok_or_else(|| Error::in_progress(key))?;
            let head = parent.as_ref().map(Chain::head);
            row::insert(tx, id, key, (operation, kind), head, &self.boot)?;
            row::add_labels(tx, id, labels)?;
            Ok(PendingOperation { id, parent, lock })
        })
    }

    /// Writes that what was begun is there.
    fn end(
        &self,
        pending: &PendingOperation,
        durability: Durability,
        flush: Flush,
        usage: Option<&Usage>,
    ) -> Result<Info> {
        self.database.write_flushed(flush, |tx| {
            row::appear(tx, pending.id, self.unflushed(durability))?;
            if let Some(usage) = usage {
                row::record_usage(tx, pending.id, usage)?;
            }
            let row = row::by_id(tx, pending.id)?;
            row::info(
                tx,
                &row.ok_or_else(|| Error::not_found("the new snapshot"))?,
            )
        })
    }

    /// Writes that what was applied is there, and what it allocates.
    pub(crate) fn end_apply(
        &self,
        pending: &PendingOperation,
        durability: Durability,
    ) -> Result<Info> {
        let usage = self.measured(pending.id, durability);
        self.end(pending, durability, Flush::Now, usage.as_ref())
    }

    /// Removes whatever a failed creation or apply made, and its intent.
    ///
    /// Where that fails too, for want of space for example, the intent stays for the next open.
    pub(crate) fn roll_back(&self, pending: PendingOperation, error: &Error) {
        let undone = match error {
            // Somebody else's data has the number, as after a database was taken from a backup: it is
            // not ours to delete. `check` moves it away.
            Error::Driver { reason, .. } if matches!(**reason, cowlab_driver::Error::Exists(_)) => {
                let forget = |tx: &Transaction<'_>| row::delete(tx, pending.id);
                self.database.write_at_last(Flush::Now, forget)
            }
            _ => self.undo_creation(pending.id),
        };
        match undone {
            Ok(()) => pending.lock.retire(),
            Err(error) => tracing::error!(
                key = self.name_of(pending.id), %error,
                "what failed is left on disk; the next open of the store removes it"
            ),
        }
    }

    /// Freezes an active snapshot and gives it a name; the key is gone. With the default durability
    /// nothing that was acknowledged is lost in a power cut.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while it is mounted anywhere or open for writing, [`Error::Exists`] for the
    /// name, [`Error::NotFound`], [`Error::WrongKind`], [`Error::Driver`]. Then it is active as before.
    #[tracing::instrument(level = "debug", skip(self, options))]
    pub fn commit(&self, key: &str, name: &str, options: &CommitOptions) -> Result<Info> {
        /// How long an end goes unseen that nothing reports: that of a mount in no mount table.
        const UNSEEN: Duration = Duration::from_millis(50);
        let end = Instant::now() + options.wait;
        loop {
            let error = match self.commit_as(key, name, options) {
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !error.is_busy() {
                return Err(self.explained("commit", key, error));
            }
            holders::wait_for_change(error.holders(), left.min(UNSEEN))?;
        }
    }

    fn commit_as(&self, key: &str, name: &str, options: &CommitOptions) -> Result<Info> {
        naming::check_key(name)?;
        naming::check_labels(&options.labels)?;
        self.settle_claim(name)?;
        let (row, _lock) = self.hold(key, Hold::Exclusive)?;
        if row.kind != Kind::Active {
            return Err(Error::WrongKind {
                key: key.to_owned(),
                kind: row.kind,
                needed: "only active snapshots are committed",
            });
        }
        self.database.read(|tx| unclaimed(tx, name))?;
        self.refuse_writers(&row)?;
        let durability = options.durability;
        let intend = || {
            self.database.write(|tx| {
                unclaimed(tx, name)?;
                row::intend_commit(tx, row.id, name, &options.labels, durability, &self.boot)
            })
        };
        let end = |usage: Option<Usage>| {
            self.database.write_at_last(Flush::Now, |tx| {
                row::end_commit(tx, row.id, self.unflushed(durability))?;
                if let Some(usage) = &usage {
                    row::record_usage(tx, row.id, usage)?;
                }
                row::info(tx, &visible(row::by_id(tx, row.id)?, name)?)
            })
        };
        if is_planted(Fault::IntentBeforeFlush) {
            intend()?;
            self.flush(&row, durability)?;
        } else {
            // The intent says that the content is on the disk: recovery relies on it in another boot.
            self.flush(&row, durability)?;
            intend()?;
        }
        if is_planted(Fault::RowBeforeFreeze) {
            let info = end(None)?;
            self.freeze(&row)?;
            return Ok(info);
        }
        self.freeze(&row)?;
        self.warn_of_health();
        end(self.measured(row.id, durability))
    }

    /// Has the driver write the content of a snapshot to the disk, and refuses one that may have lost some.
    pub(crate) fn flush(&self, row: &Row, durability: Durability) -> Result<()> {
        // A flush writes as well: the journal may have to be replayed.
        suspicion::begin(&*self.driver, &self.database, row)?;
        let flushed = self
            .driver
            .flush(row.id, durability)
            .map_err(Error::driver("commit", &row.name));
        // Also where it failed, perhaps before a write: what the pool does until the next attempt says nothing of this snapshot.
        let suspect = suspicion::end(&*self.driver, &self.database, row.id);
        let is_damaged = matches!(&flushed, Err(Error::Driver { reason, .. })
            if matches!(**reason, cowlab_driver::Error::Damaged { .. }));
        if flushed.is_ok() || is_damaged {
            // Damage may come of what was refused, which is the better reason.
            suspicion::refuse(&row.name, suspect?)?;
        }
        flushed
    }

    /// Freezes a snapshot whose intent to commit is written. Where the driver fails, the commit is rolled back.
    pub(crate) fn freeze(&self, row: &Row) -> Result<()> {
        self.driver.freeze(row.id).map_err(|reason| {
            if let Err(error) = self.cancel_commit(row) {
                tracing::error!(key = row.name, %error, "the next open rolls the commit back");
            }
            // Recovery freezes as well.
            self.explained(
                "commit",
                &row.name,
                Error::driver("commit", &row.name)(reason),
            )
        })
    }

    /// Rolls a commit back: the snapshot is active under its key.
    pub(crate) fn cancel_commit(&self, row: &Row) -> Result<()> {
        self.driver
            .thaw(row.id)
            .map_err(Error::driver("roll back the commit of", &row.name))?;
        self.database
            .write_at_last(Flush::Now, |tx| row::cancel_commit(tx, row.id))
    }

    /// What is recorded about a snapshot frozen in this boot: without a flush it is whole only as long
    /// as the boot lasts.
    pub(crate) fn unflushed(&self, durability: Durability) -> Option<&str> {
        (durability == Durability::None).then_some(self.boot.as_str())
    }

    /// Removes a snapshot that has no children.
    ///
    /// # Errors
    ///
    /// [`Error::HasChildren`], [`Error::Busy`] while it is mounted anywhere or an active one is open
    /// for writing, [`Error::NotFound`]. After [`Error::Driver`] it is gone for everybody, and the
    /// next open, or another `remove`, goes on deleting what is left.
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn remove(&self, key: &str) -> Result<()> {
        if let Some(row) = self.database.read(|tx| row::find(tx, key))?
            && row.operation == Some(Operation::Remove)
            && self.settle_if_free(row.id)?
        {
            return Ok(());
        }
        let (row, lock) = self.hold(key, Hold::Exclusive)?;
        self.database.read(|tx| childless(tx, &row))?;
        self.refuse_in_use(&row)?;
        self.database.write_at_last(Flush::Now, |tx| {
            childless(tx, &row)?;
            row::intend_removal(tx, row.id, &self.boot)
        })?;
        self.finish_removal(&row)?;
        lock.retire();
        Ok(())
    }

    /// Refuses to freeze a snapshot that somebody can still write to, and releases what its last
    /// mount needed.
    pub(crate) fn refuse_writers(&self, row: &Row) -> Result<()> {
        let uses = match row.kind {
            Kind::Active => Uses::MountsAndWriters,
            Kind::View | Kind::Committed => Uses::Mounts,
        };
        self.refuse_users(row, uses)?;
        self.driver
            .deactivate(row.id)
            .map_err(Error::driver("deactivate", &row.name))
    }

    /// Refuses to remove a snapshot that is in use. A file that is open without a mount is as one that is removed by name: who has it
    /// keeps it (unlink(2)).
    ///
    /// A snapshot that is damaged can be removed all the same: only a driver that says that it is busy is believed.
    fn refuse_in_use(&self, row: &Row) -> Result<()> {
        self.refuse_users(row, Uses::Mounts)?;
        match self.driver.deactivate(row.id) {
            Err(reason @ cowlab_driver::Error::Busy { .. }) => {
                Err(Error::driver("remove", &row.name)(reason))
            }
            Err(error) => {
                tracing::debug!(key = row.name, %error, "cannot be deactivated");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Refuses a snapshot that is in use in any mount namespace. The caller holds its lock alone.
    pub(crate) fn refuse_users(&self, row: &Row, uses: Uses) -> Result<()> {
        let holders =
            in_use::holders(&self.matchers(row)?, uses).map_err(Error::use_unknown(&row.name))?;
        if holders.is_empty() {
            return Ok(());
        }
        Err(Error::Busy {
            key: row.name.clone(),
            holders,
        })
    }

    /// How the mounts of a snapshot are recognised.
    pub(crate) fn matchers(&self, row: &Row) -> Result<Vec<MountMatcher>> {
        self.driver
            .mount_matchers(row.id)
            .map_err(Error::driver("look for mounts of", &row.name))
    }
}

/// Refuses a key or name that is in use, or will be when a commit under way ends.
fn unclaimed(connection: &Connection, name: &str) -> Result<()> {
    match row::find_claim(connection, name)? {
        Some(_) => Err(Error::exists(name)),
        None => Ok(()),
    }
}

/// The row of a parent to be.
fn committed(connection: &Connection, name: &str) -> Result<Row> {
    let row = visible(row::find(connection, name)?, name)?;
    if row.kind == Kind::Committed {
        return Ok(row);
    }
    Err(Error::WrongKind {
        key: name.to_owned(),
        kind: row.kind,
        needed: "only committed snapshots are parents",
    })
}

fn childless(connection: &Connection, row: &Row) -> Result<()> {
    let (children, count) = row::children(connection, row.id)?;
    if count == 0 {
        return Ok(());
    }
    Err(Error::HasChildren {
        key: row.name.clone(),
        children,
        count,
    })
}
