//! Rows of the `snapshots` and `labels` tables: every query of the store.
//!
//! A row with an [`Operation`] is an intent: the operation is under way, or its process died.
//! Callers other than the operation itself see such a row as the outcome that is certain: a
//! creation, an apply and a removal as absent, a commit as still active.

use cowlab_driver::{Allocation, Bytes, Chain, Durability, SnapshotId, Usage};
use cowlab_sys::Time;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use crate::info::{Filter, Info, Kind, Labels};
use crate::{Error, Result};

/// What is under way on a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Apply,
    Commit,
    Remove,
}

impl Operation {
    const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Commit => "commit",
            Self::Remove => "remove",
        }
    }
}

/// A snapshot as the database has it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: SnapshotId,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) operation: Option<Operation>,
    /// The boot in which the intent was written.
    pub(crate) intent_boot: Option<String>,
    pub(crate) parent: Option<SnapshotId>,
    pub(crate) target_durability: Option<Durability>,
    pub(crate) unflushed: Option<String>,
    /// How the storage was before the snapshot became writable, as its driver has it.
    pub(crate) write_epoch: Option<String>,
    /// Why content may be missing.
    pub(crate) suspect: Option<String>,
    created: i64,
    updated: i64,
}

impl Row {
    /// When the snapshot was made, on the clock that file systems stamp from. Everything in a committed snapshot has this
    /// change time or an earlier one, and everything written to a child has this one or a later one.
    pub(crate) fn created(&self) -> Time {
        const SECOND: i64 = 1_000_000_000;
        Time {
            sec: self.created.div_euclid(SECOND),
            nsec: u32::try_from(self.created.rem_euclid(SECOND)).unwrap_or_default(),
        }
    }

    /// Whether callers see it.
    pub(crate) const fn is_visible(&self) -> bool {
        matches!(self.operation, None | Some(Operation::Commit))
    }
}

const COLUMNS: &str = "id, name, kind, operation, parent, target_durability, unflushed, created, updated, intent_boot, \
     write_epoch, suspect";

fn parse(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: snapshot_id(row, 0)?,
        name: row.get(1)?,
        kind: word(row, 2, |text| {
            [Kind::Active, Kind::View, Kind::Committed]
                .into_iter()
                .find(|kind| kind.word() == text)
        })?,
        operation: optional_word(row, 3, |text| {
            [
                Operation::Create,
                Operation::Apply,
                Operation::Commit,
                Operation::Remove,
            ]
            .into_iter()
            .find(|operation| operation.word() == text)
        })?,
        parent: match row.get::<_, Option<u32>>(4)? {
            Some(_) => Some(snapshot_id(row, 4)?),
            None => None,
        },
        target_durability: optional_word(row, 5, |text| {
            [Durability::None, Durability::Commit, Durability::Full]
                .into_iter()
                .find(|durability| durability_word(*durability) == text)
        })?,
        unflushed: row.get(6)?,
        created: row.get(7)?,
        updated: row.get(8)?,
        intent_boot: row.get(9)?,
        write_epoch: row.get(10)?,
        suspect: row.get(11)?,
    })
}

const fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::None => "none",
        Durability::Commit => "commit",
        Durability::Full => "full",
    }
}

fn snapshot_id(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<SnapshotId> {
    let number: u32 = row.get(column)?;
    SnapshotId::new(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(
        column,
        number.into(),
    ))
}

fn word<T>(
    row: &SqlRow<'_>,
    column: usize,
    read: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    optional_word(row, column, read)?.ok_or(rusqlite::Error::InvalidColumnType(
        column,
        String::new(),
        Type::Null,
    ))
}

fn optional_word<T>(
    row: &SqlRow<'_>,
    column: usize,
    read: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else {
        return Ok(None);
    };
    match read(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(rusqlite::Error::InvalidColumnType(column, text, Type::Text)),
    }
}

/// The row of a key or name.
pub(crate) fn find(connection: &Connection, name: &str) -> Result<Option<Row>> {
    one(connection, "WHERE name = ?1", name)
}

/// The row whose key or name this is or, when a commit under way ends, will be.
pub(crate) fn find_claim(connection: &Connection, name: &str) -> Result<Option<Row>> {
    one(connection, "WHERE name = ?1 OR target = ?1", name)
}

/// The row of a number.
pub(crate) fn by_id(connection: &Connection, id: SnapshotId) -> Result<Option<Row>> {
    one(connection, "WHERE id = ?1", id.number())
}

fn one(
    connection: &Connection,
    clause: &str,
    parameter: impl rusqlite::ToSql,
) -> Result<Option<Row>> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM snapshots {clause}"))?
        .query_row([parameter], parse)
        .optional()?)
}

/// The rows with an intent.
pub(crate) fn intents(connection: &Connection) -> Result<Vec<Row>> {
    all(connection, "WHERE operation IS NOT NULL ORDER BY id DESC")
}

/// Every row.
pub(crate) fn every(connection: &Connection) -> Result<Vec<Row>> {
    all(connection, "ORDER BY id")
}

fn all(connection: &Connection, clause: &str) -> Result<Vec<Row>> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM snapshots {clause}"))?
        .query_map([], parse)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The last number that was given out, or 0.
pub(crate) fn last_id(connection: &Connection) -> Result<u32> {
    let last: Option<u32> = connection
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// The number that the next [`insert`] gives.
pub(crate) fn next_id(connection: &Connection) -> Result<SnapshotId> {
    let next = last_id(connection)?.saturating_add(1);
    SnapshotId::new(next).ok_or_else(Error::used_up)
}

/// Skips numbers up to `used`, so that [`insert`] never gives them.
pub(crate) fn skip_ids(connection: &Connection, used: SnapshotId) -> Result<()> {
    if next_id(connection).is_ok_and(|next| next <= used) {
        let changed = connection.execute(
            "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'snapshots'",
            [used.number()],
        )?;
        if changed == 0 {
            connection.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('snapshots', ?1)",
                [used.number()],
            )?;
        }
    }
    Ok(())
}

/// Writes the intent to make a snapshot.
pub(crate) fn insert(
    connection: &Connection,
    id: SnapshotId,
    name: &str,
    (operation, kind): (Operation, Kind),
    parent: Option<SnapshotId>,
    boot: &str,
) -> Result<()> {
    connection.execute(
        "INSERT INTO snapshots (id, name, kind, operation, parent, created, updated, intent_boot)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
        params![
            id.number(),
            name,
            kind.word(),
            operation.word(),
            parent.map(SnapshotId::number),
            now(),
            boot,
        ],
    )?;
    Ok(())
}

/// Ends a creation or an apply: the snapshot is there.
pub(crate) fn appear(
    connection: &Connection,
    id: SnapshotId,
    unflushed: Option<&str>,
) -> Result<()> {
    connection.execute(
        "UPDATE snapshots SET operation = NULL, intent_boot = NULL, unflushed = ?2, created = ?3,
                updated = ?3 WHERE id = ?1",
        params![id.number(), unflushed, now()],
    )?;
    Ok(())
}

/// Writes the intent to commit.
pub(crate) fn intend_commit(
    connection: &Connection,
    id: SnapshotId,
    name: &str,
    labels: &Labels,
    durability: Durability,
    boot: &str,
) -> Result<()> {
    // A map of strings always has a JSON form.
    let labels = serde_json::to_string(labels).expect("text labels have a JSON form");
    connection.execute(
        "UPDATE snapshots SET operation = 'commit', target = ?2, target_labels = ?3,
                target_durability = ?4, intent_boot = ?5 WHERE id = ?1",
        params![id.number(), name, labels, durability_word(durability), boot],
    )?;
    Ok(())
}

/// Takes back the intent to commit: the snapshot is still active.
pub(crate) fn cancel_commit(connection: &Connection, id: SnapshotId) -> Result<()> {
    connection.execute(
        "UPDATE snapshots SET operation = NULL, target = NULL, target_labels = NULL,
                target_durability = NULL, intent_boot = NULL WHERE id = ?1",
        [id.number()],
    )?;
    Ok(())
}

/// Ends a commit: the snapshot has its name.
pub(crate) fn end_commit(
    connection: &Connection,
    id: SnapshotId,
    unflushed: Option<&str>,
) -> Result<()> {
    let labels: Option<String> = connection.query_row(
        "SELECT target_labels FROM snapshots WHERE id = ?1",
        [id.number()],
        |row| row.get(0),
    )?;
    let labels = match labels.as_deref().map(serde_json::from_str::<Labels>) {
        None => Labels::new(),
        Some(Ok(labels)) => labels,
        Some(Err(error)) => {
            return Err(
                rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)).into(),
            );
        }
    };
    connection.execute(
        "UPDATE snapshots SET name = target, kind = 'committed', operation = NULL, target = NULL,
                target_labels = NULL, target_durability = NULL, intent_boot = NULL, unflushed = ?2,
                write_epoch = NULL, created = ?3, updated = ?3 WHERE id = ?1",
        params![id.number(), unflushed, now()],
    )?;
    connection.execute("DELETE FROM labels WHERE snapshot = ?1", [id.number()])?;
    add_labels(connection, id, &labels)
}

/// Records what a committed snapshot allocates.
pub(crate) fn record_usage(connection: &Connection, id: SnapshotId, usage: &Usage) -> Result<()> {
    let Usage { exclusive, shared } = usage;
    connection.execute(
        "INSERT OR REPLACE INTO usages (snapshot, bytes, inodes, shared_bytes, shared_inodes)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            id.number(),
            signed(exclusive.bytes.0),
            signed(exclusive.inodes),
            shared.map(|shared| signed(shared.bytes.0)),
            shared.map(|shared| signed(shared.inodes)),
        ],
    )?;
    Ok(())
}

/// What was recorded of a snapshot's usage.
pub(crate) fn usage(connection: &Connection, id: SnapshotId) -> Result<Option<Usage>> {
    let allocation = |row: &SqlRow<'_>, first: usize| -> rusqlite::Result<Option<Allocation>> {
        let (bytes, inodes): (Option<i64>, Option<i64>) = (row.get(first)?, row.get(first + 1)?);
        Ok(bytes.zip(inodes).map(|(bytes, inodes)| Allocation {
            bytes: Bytes(bytes.unsigned_abs()),
            inodes: inodes.unsigned_abs(),
        }))
    };
    let usage = connection
        .prepare_cached(
            "SELECT bytes, inodes, shared_bytes, shared_inodes FROM usages WHERE snapshot = ?1",
        )?
        .query_row([id.number()], |row| {
            Ok(Usage {
                exclusive: allocation(row, 0)?.unwrap_or_default(),
                shared: allocation(row, 2)?,
            })
        });
    Ok(usage.optional()?)
}

/// SQLite's numbers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Notes how the storage is while a snapshot is writable, and why content of it may be missing.
pub(crate) fn set_watch(
    connection: &Connection,
    id: SnapshotId,
    epoch: Option<&str>,
    suspect: Option<&str>,
) -> Result<()> {
    connection.execute(
        "UPDATE snapshots SET write_epoch = ?2, suspect = ?3 WHERE id = ?1",
        params![id.number(), epoch, suspect],
    )?;
    Ok(())
}

/// Writes the intent to remove.
pub(crate) fn intend_removal(connection: &Connection, id: SnapshotId, boot: &str) -> Result<()> {
    connection.execute(
        "UPDATE snapshots SET operation = 'remove', intent_boot = ?2 WHERE id = ?1",
        params![id.number(), boot],
    )?;
    Ok(())
}

/// Ends a removal, or a creation that is taken back.
pub(crate) fn delete(connection: &Connection, id: SnapshotId) -> Result<()> {
    connection.execute("DELETE FROM snapshots WHERE id = ?1", [id.number()])?;
    Ok(())
}

/// The snapshot and its ancestors, newest first.
pub(crate) fn chain(connection: &Connection, id: SnapshotId) -> Result<Chain> {
    let mut ids = connection
        .prepare_cached(
            "WITH RECURSIVE chain (id, parent, depth) AS (
                 SELECT id, parent, 0 FROM snapshots WHERE id = ?1
                 UNION ALL
                 SELECT s.id, s.parent, c.depth + 1
                 FROM snapshots s JOIN chain c ON s.id = c.parent
             ) SELECT id FROM chain ORDER BY depth",
        )?
        .query_map([id.number()], |row| snapshot_id(row, 0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    ids.retain(|member| *member != id);
    Ok(Chain::new(id, ids))
}

/// Some children, by name, and their number.
pub(crate) fn children(connection: &Connection, id: SnapshotId) -> Result<(Vec<String>, usize)> {
    const NAMED: u32 = 8;
    let count: i64 = connection.query_row(
        "SELECT count(*) FROM snapshots WHERE parent = ?1",
        [id.number()],
        |row| row.get(0),
    )?;
    let some = connection
        .prepare_cached("SELECT name FROM snapshots WHERE parent = ?1 ORDER BY name LIMIT ?2")?
        .query_map([id.number(), NAMED], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok((some, usize::try_from(count).unwrap_or(usize::MAX)))
}

/// Adds labels; those that are there take the new value.
pub(crate) fn add_labels(connection: &Connection, id: SnapshotId, labels: &Labels) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO labels (snapshot, name, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (snapshot, name) DO UPDATE SET value = excluded.value",
    )?;
    for (name, value) in labels {
        statement.execute(params![id.number(), name, value])?;
    }
    Ok(())
}

/// Removes a label.
pub(crate) fn remove_label(connection: &Connection, id: SnapshotId, name: &str) -> Result<()> {
    connection.execute(
        "DELETE FROM labels WHERE snapshot = ?1 AND name = ?2",
        params![id.number(), name],
    )?;
    Ok(())
}

/// Notes that the snapshot's labels changed now.
pub(crate) fn touch(connection: &Connection, id: SnapshotId) -> Result<()> {
    connection.execute(
        "UPDATE snapshots SET updated = max(updated + 1, ?2) WHERE id = ?1",
        params![id.number(), now()],
    )?;
    Ok(())
}

/// The facts that callers see.
pub(crate) fn info(connection: &Connection, row: &Row) -> Result<Info> {
    let parent = match row.parent {
        None => None,
        Some(parent) => connection
            .prepare_cached("SELECT name FROM snapshots WHERE id = ?1")?
            .query_row([parent.number()], |row| row.get(0))?,
    };
    let labels = connection
        .prepare_cached("SELECT name, value FROM labels WHERE snapshot = ?1")?
        .query_map([row.id.number()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Info {
        key: row.name.clone(),
        id: row.id,
        kind: row.kind,
        parent,
        labels,
        created: row.created,
        updated: row.updated,
    })
}

/// The visible snapshots that match, by key.
pub(crate) fn list(connection: &Connection, filter: &Filter) -> Result<Vec<Info>> {
    let (label, value) = match &filter.label {
        None => (None, None),
        Some((label, value)) => (Some(label), value.as_ref()),
    };
    let rows = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM snapshots AS s
             WHERE (operation IS NULL OR operation = 'commit')
               AND (?1 IS NULL OR kind = ?1)
               AND (?2 IS NULL OR substr(name, 1, length(?2)) = ?2)
               AND (?3 IS NULL OR parent = (SELECT p.id FROM snapshots p WHERE p.name = ?3))
               AND (?4 IS NULL OR EXISTS (
                     SELECT 1 FROM labels l
                     WHERE l.snapshot = s.id AND l.name = ?4 AND (?5 IS NULL OR l.value = ?5)))
             ORDER BY name"
        ))?
        .query_map(
            params![
                filter.kind.map(Kind::word),
                filter.prefix,
                filter.parent,
                label,
                value
            ],
            parse,
        )?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.iter().map(|row| info(connection, row)).collect()
}

/// Nanoseconds since 1970, on the clock that file systems stamp from: see [`Row::created`].
fn now() -> i64 {
    let now = Time::stamp();
    // 64 bits of nanoseconds last until the year 2262.
    now.sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.nsec.into())
}
