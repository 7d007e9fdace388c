//! The graph database: which layer is whose parent, which image has which layers, which names an image has, and which
//! containers use it.
//!
//! One SQLite file, many processes: as the snapshot store's, WAL (a rollback journal on btrfs and ZFS), `synchronous=FULL`, or `NORMAL`
//! for what may be taken back, writers queue with `BEGIN IMMEDIATE`, and no transaction is held over other work. Foreign keys keep a layer while an image or
//! another layer needs it, and an image while a container does.

mod images;
mod layers;
mod steps;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlab_snapshots::database::{self, Flush, Transactions};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{Error, Result};

pub use images::{ImageRow, ManifestRow, TagRow};
pub use layers::{LayerRow, LayerState};
pub use steps::StepRow;
pub use users::UserRow;

/// The schema version that this program writes and the newest that it reads.
const SCHEMA_VERSION: i64 = 2;

/// "cwgr": marks the file as ours (SQLite file format, "Application ID").
const APPLICATION_ID: i64 = 0x6377_6772;

/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE layers (
    -- The identity: a digest of the diff ids from the base to here.
    chain_id TEXT PRIMARY KEY,
    -- The content: the digest of the uncompressed archive.
    diff_id TEXT NOT NULL,
    -- The local place, random: the name of the snapshot in the store.
    cache_id TEXT NOT NULL UNIQUE,
    parent TEXT REFERENCES layers (chain_id) ON DELETE RESTRICT,
    -- What it came as: the digest of the compressed archive, its type and its size.
    blob TEXT NOT NULL,
    media_type TEXT NOT NULL,
    blob_size INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('unpacking', 'ready')),
    -- Of the uncompressed archive; 0 until it is unpacked.
    size INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX layers_by_parent ON layers (parent);

CREATE TABLE images (
    -- The digest of the configuration.
    id TEXT PRIMARY KEY,
    -- The chain id of the topmost layer; null of an image without layers.
    top TEXT REFERENCES layers (chain_id) ON DELETE RESTRICT,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX images_by_top ON images (top);

CREATE TABLE manifests (
    digest TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_by_image ON manifests (image);

-- What a manifest is made of besides itself: its configuration and its layers.
CREATE TABLE manifest_blobs (
    manifest TEXT NOT NULL REFERENCES manifests (digest) ON DELETE CASCADE,
    blob TEXT NOT NULL,
    PRIMARY KEY (manifest, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_blobs_by_blob ON manifest_blobs (blob);

CREATE TABLE tags (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    manifest TEXT NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags (image);

-- Under which digest a repository knows an image: what was pulled or pushed.
CREATE TABLE repository_digests (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_digests_by_image ON repository_digests (image);

-- The containers that use an image.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (id) ON DELETE RESTRICT,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX users_by_image ON users (image);
";

/// What version 2 added: the build cache.
const BUILD_CACHE: &str = "
CREATE TABLE build_steps (
    -- A digest of everything that the step's result depends on.
    key TEXT PRIMARY KEY,
    -- The topmost layer after the step; null where there is none yet.
    top TEXT REFERENCES layers (chain_id) ON DELETE CASCADE,
    -- Whether the step made that layer.
    has_layer INTEGER NOT NULL,
    -- The instruction, for people.
    text TEXT NOT NULL,
    -- When it was run, as the history of images tells, and how long that took.
    created TEXT NOT NULL,
    nanoseconds INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX build_steps_by_top ON build_steps (top);
";

/// An open graph database.
#[derive(Debug)]
pub struct Graph {
    path: PathBuf,
    transactions: Transactions,
}

impl Graph {
    /// Opens the database, making it if it is not there. Two first opens are kept apart by the caller.
    ///
    /// # Errors
    ///
    /// [`Error::Graph`] for a file of something else or of a newer program, [`Error::Database`].
    pub fn open(path: &Path) -> Result<Self> {
        let connection = connect(path)?;
        Ok(Self {
            transactions: Transactions::new(path, connection)?,
            path: path.to_owned(),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value of the `meta` table.
    pub fn meta(&self, name: &str) -> Result<Option<String>> {
        self.read(|tx| database::meta(tx, name))
    }

    /// Sets values of the `meta` table, all or none.
    pub fn set_meta(&self, values: &[(&str, &str)]) -> Result<()> {
        self.write(|tx| {
            let mut values = values.iter();
            values.try_for_each(|(name, value)| database::set_meta(tx, name, value))
        })
    }

    /// SQLite's own check of the file: the first findings, empty when sound.
    pub fn findings(&self) -> Result<Vec<String>> {
        self.read(|tx| database::findings(tx))
    }

    /// Reads one consistent state.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.transaction(TransactionBehavior::Deferred, Flush::Now, work)
    }

    /// Writes all or nothing; durable when it returns.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.transaction(TransactionBehavior::Immediate, Flush::Now, work)
    }

    /// Writes all or nothing; until something else is flushed a power cut may take it back, whole.
    pub(crate) fn write_unflushed<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.transaction(TransactionBehavior::Immediate, Flush::Later, work)
    }

    fn transaction<T>(
        &self,
        behavior: TransactionBehavior,
        flush: Flush,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let done = self
            .transactions
            .run(behavior, flush, |reason| Some(reason), work);
        done.map_err(|reason| at(&self.path, reason))
    }
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

fn connect(path: &Path) -> Result<Connection> {
    let failed = |reason| at(path, reason);
    let unusable = |reason: String| Error::Graph {
        path: path.to_owned(),
        reason,
    };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    let pragma = |name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    let version = pragma("user_version").map_err(failed)?;
    let application = pragma("application_id").map_err(failed)?;
    if version > SCHEMA_VERSION {
        return Err(unusable(format!(
            "it has schema version {version}, and this program knows up to {SCHEMA_VERSION}: use a newer cowlab"
        )));
    }
    if version != 0 && application != APPLICATION_ID {
        return Err(unusable("it is a database of something else".to_owned()));
    }
    database::configure(&connection, path).map_err(|error| match error {
        cowlab_snapshots::Error::Database { reason, .. } => at(path, reason),
        other => other.into(),
    })?;
    if version < SCHEMA_VERSION {
        let make = |connection: &mut Connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have migrated it meanwhile.
            let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if version == 0 {
                tx.execute_batch(SCHEMA)?;
            }
            if version < 2 {
                tx.execute_batch(BUILD_CACHE)?;
            }
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            tx.commit()
        };
        make(&mut connection).map_err(failed)?;
    }
    Ok(connection)
}

/// Names the file in an error of SQLite.
fn at(path: &Path, reason: rusqlite::Error) -> Error {
    let path = path.to_owned();
    if reason.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        return Error::Graph {
            path,
            reason: "it is no SQLite database".to_owned(),
        };
    }
    Error::Database { path, reason }
}

/// A size as SQLite keeps it, which has no unsigned integers.
fn stored(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A size as [`stored`] wrote it.
fn count(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let size: i64 = row.get(column)?;
    u64::try_from(size)
        .ok()
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, size))
}

/// Rows of a query.
pub(crate) fn rows<T>(
    tx: &Transaction<'_>,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    tx.prepare_cached(sql)?
        .query_map(parameters, read)?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_and_newer_schemas_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph.db");
        std::fs::write(&path, "no database at all, ".repeat(100)).unwrap();
        assert!(matches!(Graph::open(&path), Err(Error::Graph { .. })));
        std::fs::remove_file(&path).unwrap();
        let graph = Graph::open(&path).unwrap();
        graph.set_meta(&[("a", "1"), ("a", "2")]).unwrap();
        assert_eq!(graph.meta("a").unwrap().as_deref(), Some("2"));
        assert!(graph.findings().unwrap().is_empty());
        drop(graph);
        let raw = Connection::open(&path).unwrap();
        raw.pragma_update(None, "user_version", 9).unwrap();
        drop(raw);
        let refused = Graph::open(&path).unwrap_err().to_string();
        assert!(refused.contains("schema version 9"), "{refused}");
    }

    #[test]
    fn a_database_of_the_first_version_gets_the_build_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph.db");
        let raw = Connection::open(&path).unwrap();
        raw.execute_batch(SCHEMA).unwrap();
        raw.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        raw.pragma_update(None, "user_version", 1).unwrap();
        drop(raw);
        let graph = Graph::open(&path).unwrap();
        assert!(graph.steps().unwrap().is_empty());
        drop(graph);
        assert!(Graph::open(&path).is_ok());
    }

    /// The index of the log gets back what it had before a transaction: so a process leaves it that is killed in between.
    #[test]
    fn a_write_that_changes_nothing_outlives_one_that_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph.db");
        let index = dir.path().join("graph.db-shm");
        let holder = Graph::open(&path).unwrap();
        holder.set_meta(&[("a", "1")]).unwrap();
        let before = std::fs::read(&index).unwrap();
        Graph::open(&path).unwrap().set_meta(&[("a", "2")]).unwrap();
        let file = std::fs::File::options().write(true).open(&index).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &before, 0).unwrap();
        let value = |graph: &Graph| graph.meta("a").unwrap();
        assert_eq!(value(&holder).as_deref(), Some("1"), "it was not killed");
        // It finds all as it wants it.
        Graph::open(&path).unwrap().set_meta(&[("a", "1")]).unwrap();
        drop(holder);
        assert_eq!(value(&Graph::open(&path).unwrap()).as_deref(), Some("1"));
    }
}
