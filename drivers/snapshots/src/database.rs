//! The database file: opening it, its schema, its transactions.
//!
//! Many processes use one file at once: WAL, `synchronous=FULL` (a committed transaction survives a
//! power cut), or `NORMAL` for what may be taken back, writers queue with `BEGIN IMMEDIATE` and a busy timeout.
//! No transaction is held over driver work. The queries live in `row`.
//!
//! On btrfs and ZFS there is a rollback journal instead. WAL shares an index between processes by a mapped file
//! (SQLite, "Write-Ahead Log", section 8), and a write to a mapped page is copied to a new place on disk. On a full
//! btrfs that is SIGBUS and not an error; on a full ZFS pool the page is lost, and the kernel warns of a writeback that
//! returns `ENOSPC` as a positive number (mm/page-writeback.c, `writeback_iter`). Other file systems write in place.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cowlab_sys::fault::{Fault, is_planted};
use cowlab_sys::{btrfs, stat};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::reserve::Reserve;
use crate::{Error, Result};

/// The schema version that this program writes and the newest that it reads.
pub(crate) const SCHEMA_VERSION: i64 = 3;

/// `ZFS_SUPER_MAGIC` (OpenZFS, sys/zfs_vfsops_os.h).
pub(crate) const ZFS_MAGIC: u64 = 0x2fc1_2fc1;

/// "cwlb": marks the file as ours (SQLite file format, "Application ID").
const APPLICATION_ID: i64 = 0x6377_6c62;

/// AUTOINCREMENT never hands out a number twice, even after the newest row is gone (SQLite,
/// "Autoincrement"). The foreign key keeps a parent while it has children, whatever the code does.
const SCHEMA: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 16777215),
    -- The key, or the name once committed.
    name TEXT NOT NULL UNIQUE,
    -- What the snapshot is, or becomes when a creation or an apply under way ends.
    kind TEXT NOT NULL CHECK (kind IN ('active', 'view', 'committed')),
    -- The intent: what is under way, or was when a process died.
    operation TEXT CHECK (operation IN ('create', 'apply', 'commit', 'remove')),
    -- The boot in which the intent was written.
    intent_boot TEXT,
    parent INTEGER REFERENCES snapshots (id) ON DELETE RESTRICT,
    -- Of a commit under way: the name, the labels (JSON) and the durability to come.
    target TEXT UNIQUE,
    target_labels TEXT,
    target_durability TEXT,
    -- The boot in which it was committed without a flush, or null.
    unflushed TEXT,
    -- Of an active snapshot on storage that can refuse writes behind the writer's back: how the storage was before the
    -- first write, in the driver's words, and why content may be missing.
    write_epoch TEXT,
    suspect TEXT,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;

CREATE INDEX snapshots_by_parent ON snapshots (parent);
CREATE INDEX snapshots_by_operation ON snapshots (operation) WHERE operation IS NOT NULL;

CREATE TABLE labels (
    snapshot INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (snapshot, name)
) STRICT, WITHOUT ROWID;
";

/// What version 2 added. An intent without a boot counts as one of another boot.
const FROM_1_TO_2: &str = "
ALTER TABLE snapshots ADD COLUMN intent_boot TEXT;
ALTER TABLE snapshots ADD COLUMN write_epoch TEXT;
ALTER TABLE snapshots ADD COLUMN suspect TEXT;
";

/// What version 3 added: what committed snapshots allocate, measured once.
const USAGES: &str = "
CREATE TABLE usages (
    snapshot INTEGER PRIMARY KEY REFERENCES snapshots (id) ON DELETE CASCADE,
    bytes INTEGER NOT NULL,
    inodes INTEGER NOT NULL,
    -- Null where the driver cannot tell.
    shared_bytes INTEGER,
    shared_inodes INTEGER
) STRICT;
";

/// How many pages the log may have before they are moved into the file. Who opens the database first reads the log, and
/// most commands are first.
const LOG_PAGES: i64 = 200;

/// When a transaction is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// When it is committed: what is promised, and intents.
    Now,
    /// At the next flush. Until then a power cut takes it back, and all that is committed after it (SQLite, "PRAGMA
    /// synchronous").
    Later,
}

impl Flush {
    /// What sets it for the next transaction. A rollback journal that is not flushed can break, so without a log it is always
    /// [`Now`](Self::Now).
    #[must_use]
    fn setting(self, has_log: bool) -> &'static str {
        match self {
            _ if is_planted(Fault::NoFsync) => "PRAGMA synchronous = OFF",
            Self::Later if has_log => "PRAGMA synchronous = NORMAL",
            Self::Now | Self::Later => "PRAGMA synchronous = FULL",
        }
    }
}

/// Empties the log after a write of it failed: what is committed in it goes into the database.
///
/// Where a flush has failed, the kernel takes its pages for clean. Written once more, they reach blocks that ext4 still has
/// marked as unwritten, and a flush that succeeds then loses a commit at the next mount. New pages are to be trusted.
fn empty_failed_log(connection: &Connection, error: &rusqlite::Error) {
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::SystemIoFailure) {
        return;
    }
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()));
    if let Err(error) = emptied {
        tracing::debug!(%error, "the log of a database cannot be emptied after a write of it failed");
    }
}

/// Has a write transaction add to the log whatever else it changes.
///
/// A process that is killed between its last write to the log and its change of the log's index has a transaction that nobody
/// sees while another process has the database open, and everybody once the last of them has closed it: the index is made
/// anew of the whole log then (SQLite, "WAL-mode File Format", section 4.6). The next transaction takes its place in
/// the log, but not one that finds all as it wants it and so writes no page: what it answered for would change later.
fn take_place_in_log(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES ('transactions', '1')
               ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)";
    transaction.prepare_cached(sql)?.execute([]).map(drop)
}

/// This process's connection to a database with a table `meta`, and its transactions.
#[derive(Debug)]
pub struct Transactions {
    has_log: bool,
    connection: Mutex<Connection>,
}

impl Transactions {
    /// Takes a connection to the database at `path` that [`configure`] has set up.
    pub fn new(path: &Path, connection: Connection) -> Result<Self> {
        Ok(Self {
            has_log: journal_of(path)? == LOG,
            connection: Mutex::new(connection),
        })
    }

    /// Runs a transaction, all or nothing; `reason` finds SQLite's error in one of `work`.
    pub fn run<T, E: From<rusqlite::Error>>(
        &self,
        behavior: TransactionBehavior,
        flush: Flush,
        reason: impl FnOnce(&E) -> Option<&rusqlite::Error>,
        work: impl FnOnce(&Transaction<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        // A panic inside a transaction rolled it back, so the connection of a poisoned lock is sound.
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let run = || {
            // Every transaction sets its own, whatever a panic left.
            if matches!(behavior, TransactionBehavior::Immediate) {
                connection.execute_batch(flush.setting(self.has_log))?;
            }
            let transaction = connection.transaction_with_behavior(behavior)?;
            let value = work(&transaction)?;
            if self.has_log && matches!(behavior, TransactionBehavior::Immediate) {
                take_place_in_log(&transaction)?;
            }
            transaction.commit()?;
            Ok(value)
        };
        let done = run();
        if self.has_log
            && let Some(error) = done.as_ref().err().and_then(reason)
        {
            empty_failed_log(&connection, error);
        }
        done
    }
}

/// Sets up a new connection to the database at `path`: its journal, flushes and foreign keys.
pub fn configure(connection: &Connection, path: &Path) -> Result<()> {
    set_journal(connection, journal_of(path)?)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = {LOG_PAGES};"
    ))?;
    // Most commands are one process: each would move its few pages at its end, and flush both files for it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// SQLite's own check of the file: the first findings, empty when sound.
pub fn findings(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut findings: Vec<String> = connection
        .prepare("PRAGMA quick_check(10)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    findings.retain(|text| text != "ok");
    Ok(findings)
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    reserve: Reserve,
    transactions: Transactions,
}

impl Database {
    /// Opens the database, making it if it is not there. The caller holds the store's opening lock.
    pub(crate) fn open(path: &Path, timeout: Duration) -> Result<Self> {
        let reserve = Reserve::new(path.parent().unwrap_or(path));
        let mut connection = connect(path, timeout);
        if connection
            .as_ref()
            .is_err_and(|error| is_full(error, &reserve))
            && reserve.spend()
        {
            connection = connect(path, timeout);
        }
        let connection = connection.map_err(|error| at(path, error))?;
        reserve.fill();
        Ok(Self {
            transactions: Transactions::new(path, connection)?,
            path: path.to_owned(),
            reserve,
        })
    }

    /// Reads one consistent state.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.transaction(TransactionBehavior::Deferred, Flush::Now, work)
    }

    /// Writes all or nothing; durable when it returns.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.write_flushed(Flush::Now, work)
    }

    /// Writes all or nothing.
    pub(crate) fn write_flushed<T>(
        &self,
        flush: Flush,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.transaction(TransactionBehavior::Immediate, flush, work)
    }

    /// Writes as [`write_flushed`](Self::write_flushed), on a full file system too: what frees space, and what an operation
    /// past its point of no return still has to write.
    pub(crate) fn write_at_last<T>(
        &self,
        flush: Flush,
        work: impl Fn(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.write_flushed(flush, &work) {
            Err(error) if is_full(&error, &self.reserve) && self.reserve.spend() => {
                self.write_flushed(flush, &work)
            }
            Err(error) => Err(error),
            Ok(value) => {
                self.reserve.fill();
                Ok(value)
            }
        }
    }

    fn transaction<T>(
        &self,
        behavior: TransactionBehavior,
        flush: Flush,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let done = self.transactions.run(behavior, flush, reason_of, work);
        done.map_err(|error| at(&self.path, error))
    }

    /// A value of the `meta` table.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<String>> {
        self.read(|tx| Ok(meta(tx, name)?))
    }

    /// Sets a value of the `meta` table.
    pub(crate) fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        self.write(|tx| Ok(set_meta(tx, name, value)?))
    }

    /// As [`findings`], and rows that refer to nothing.
    pub(crate) fn findings(&self) -> Result<Vec<String>> {
        self.read(|tx| {
            let mut findings = findings(tx)?;
            let orphans: i64 =
                tx.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
                    row.get(0)
                })?;
            if orphans > 0 {
                findings.push(format!("{orphans} rows refer to rows that are not there"));
            }
            Ok(findings)
        })
    }
}

/// A value of the `meta` table.
pub fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Sets a value of the `meta` table.
pub fn set_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2)
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.execute(sql, [name, value]).map(drop)
}

fn connect(path: &Path, timeout: Duration) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(timeout)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        return Err(Error::Newer {
            path: path.to_owned(),
            found: version,
            known: SCHEMA_VERSION,
        });
    }
    if version == 0 {
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 {
            return Err(not_a_store(path, "it is a database of something else"));
        }
    } else {
        let application: i64 =
            connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        if application != APPLICATION_ID {
            return Err(not_a_store(path, "it is a database of something else"));
        }
    }
    configure(&connection, path)?;
    if version < SCHEMA_VERSION {
        migrate(&mut connection)?;
    }
    Ok(connection)
}

/// Makes the tables, or brings those of an older program up to date.
fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it meanwhile.
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => {
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(USAGES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        1 => {
            transaction.execute_batch(FROM_1_TO_2)?;
            transaction.execute_batch(USAGES)?;
        }
        2 => transaction.execute_batch(USAGES)?,
        _ => return Ok(()),
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

/// The journal mode with a log.
const LOG: &str = "wal";

/// The journal mode for a database at `path`: a log, or a rollback journal on the file systems that lose a mapped index when they
/// are full.
fn journal_of(path: &Path) -> Result<&'static str> {
    let dir = path.parent().unwrap_or(path);
    let magic = stat::statfs(dir)?.fstype_magic;
    Ok(if [btrfs::MAGIC, ZFS_MAGIC].contains(&magic) {
        "persist"
    } else {
        LOG
    })
}

/// Sets the journal mode unless it is so already: a change needs the database for itself.
fn set_journal(connection: &Connection, mode: &str) -> Result<()> {
    let current: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    // What is no WAL is per connection.
    if current != mode {
        connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(()))?;
    }
    Ok(())
}

fn not_a_store(path: &Path, reason: &str) -> Error {
    Error::NotAStore {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Whether SQLite had no room. It reports a journal or an index that cannot grow as failed I/O, as it does a broken disk:
/// then it has to be tried.
fn is_full(error: &Error, reserve: &Reserve) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
    let Error::Database { reason, .. } = error else {
        return false;
    };
    match reason.sqlite_error_code() {
        Some(DiskFull) => true,
        Some(SystemIoFailure | CannotOpen) => reserve.is_needed(),
        _ => false,
    }
}

/// SQLite's error within one of the store.
fn reason_of(error: &Error) -> Option<&rusqlite::Error> {
    match error {
        Error::Database { reason, .. } => Some(reason),
        _ => None,
    }
}

/// Names the file in an error of SQLite.
fn at(path: &Path, error: Error) -> Error {
    match error {
        Error::Database { reason, .. }
            if reason.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) =>
        {
            not_a_store(path, "it is no SQLite database")
        }
        Error::Database { reason, .. } => Error::Database {
            path: path.to_owned(),
            reason,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Result<Database> {
        Database::open(&dir.path().join("snapshots.db"), Duration::from_secs(1))
    }

    #[test]
    fn a_newer_schema_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&dir).unwrap());
        let raw = Connection::open(dir.path().join("snapshots.db")).unwrap();
        raw.pragma_update(None, "user_version", 7).unwrap();
        drop(raw);
        let refused = open(&dir).unwrap_err();
        assert!(matches!(
            refused,
            Error::Newer {
                found: 7,
                known: SCHEMA_VERSION,
                ..
            }
        ));
    }

    #[test]
    fn other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshots.db");
        std::fs::write(
            &path,
            "no database, but long enough to have a header".repeat(40),
        )
        .unwrap();
        assert!(matches!(open(&dir), Err(Error::NotAStore { .. })));
        std::fs::remove_file(&path).unwrap();
        let raw = Connection::open(&path).unwrap();
        raw.execute_batch("CREATE TABLE other (a)").unwrap();
        drop(raw);
        assert!(matches!(open(&dir), Err(Error::NotAStore { .. })));
    }

    #[test]
    fn failed_io_on_a_disk_with_room_spends_no_reserve() {
        use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_FSYNC};
        let dir = tempfile::tempdir().unwrap();
        let database = open(&dir).unwrap();
        let refuse = |code| {
            database.write_at_last(Flush::Now, |_| -> Result<()> {
                Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None).into())
            })
        };
        let reserve = dir.path().join("reserve");
        let text = refuse(SQLITE_IOERR_FSYNC).unwrap_err().to_string();
        assert!(text.contains("I/O"), "{text}");
        assert!(reserve.exists());
        refuse(SQLITE_FULL).unwrap_err();
        assert!(!reserve.exists());
    }

    #[test]
    fn version_1_is_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let raw = Connection::open(dir.path().join("snapshots.db")).unwrap();
        // What version 2 added is in no line of version 1.
        let added = [
            "intent_boot",
            "write_epoch",
            "suspect",
            "first write, in",
            "-- Of an active",
        ];
        let is_old = |line: &&str| !added.iter().any(|word| line.contains(word));
        let lines: Vec<_> = SCHEMA.lines().filter(is_old).collect();
        raw.execute_batch(&lines.join("\n")).unwrap();
        raw.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        raw.pragma_update(None, "user_version", 1).unwrap();
        raw.execute(
            "INSERT INTO snapshots (name, kind, operation, created, updated)
             VALUES ('key', 'active', 'commit', 1, 1)",
            [],
        )
        .unwrap();
        drop(raw);
        let database = open(&dir).unwrap();
        let row = database.read(|tx| crate::row::find(tx, "key")).unwrap();
        assert_eq!(row.unwrap().intent_boot, None);
        drop(database);
        let columns = |schema: &Connection| -> Vec<String> {
            let mut statement = schema
                .prepare("SELECT name FROM pragma_table_info('snapshots') ORDER BY name")
                .unwrap();
            let names = statement.query_map([], |row| row.get(0)).unwrap();
            names.map(rusqlite::Result::unwrap).collect()
        };
        let fresh = tempfile::tempdir().unwrap();
        drop(open(&fresh).unwrap());
        let [old, new] =
            [&dir, &fresh].map(|dir| Connection::open(dir.path().join("snapshots.db")).unwrap());
        assert_eq!(columns(&old), columns(&new));
    }

    #[test]
    fn a_failed_transaction_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let database = open(&dir).unwrap();
        let failed: Result<()> = database.write(|tx| {
            set_meta(tx, "a", "1")?;
            Err(Error::not_found("x"))
        });
        assert!(failed.is_err());
        assert_eq!(database.meta("a").unwrap(), None);
        assert!(database.findings().unwrap().is_empty());
    }
}
