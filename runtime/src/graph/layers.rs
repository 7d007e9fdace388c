//! The layers of the graph.

use rusqlite::{OptionalExtension, Row, params};

use super::{Graph, count, now, rows, stored};
use crate::Result;

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerState {
    /// Being unpacked, or it was when a process died.
    Unpacking,
    /// Whole.
    Ready,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LayerRow {
    /// The identity: a digest of the diff ids from the base to here.
    pub chain_id: String,
    /// The content: the digest of the uncompressed archive.
    pub diff_id: String,
    /// The local place, random: the name of the snapshot in the store.
    pub cache_id: String,
    /// The chain id of the layer below; `None` for a base layer.
    pub parent: Option<String>,
    /// The digest of the compressed archive that it came as.
    pub blob: String,
    /// The type of that archive.
    pub media_type: String,
    /// The size of that archive in bytes.
    pub blob_size: u64,
    /// How far it is.
    pub state: LayerState,
    /// The size of the uncompressed archive in bytes; 0 until it is unpacked.
    pub size: u64,
}

const COLUMNS: &str =
    "chain_id, diff_id, cache_id, parent, blob, media_type, blob_size, state, size";

fn layer(row: &Row<'_>) -> rusqlite::Result<LayerRow> {
    let state: String = row.get(7)?;
    Ok(LayerRow {
        chain_id: row.get(0)?,
        diff_id: row.get(1)?,
        cache_id: row.get(2)?,
        parent: row.get(3)?,
        blob: row.get(4)?,
        media_type: row.get(5)?,
        blob_size: count(row, 6)?,
        state: match state.as_str() {
            "ready" => LayerState::Ready,
            _ => LayerState::Unpacking,
        },
        size: count(row, 8)?,
    })
}

impl Graph {
    /// The layer with this chain id.
    pub fn layer(&self, chain_id: &str) -> Result<Option<LayerRow>> {
        let sql = format!("SELECT {COLUMNS} FROM layers WHERE chain_id = ?1");
        self.read(|tx| {
            tx.prepare_cached(&sql)?
                .query_row([chain_id], layer)
                .optional()
        })
    }

    /// Every layer, parents before children.
    pub fn layers(&self) -> Result<Vec<LayerRow>> {
        let sql = format!(
            "WITH RECURSIVE tree (id, depth) AS (
                 SELECT chain_id, 0 FROM layers WHERE parent IS NULL
                 UNION ALL
                 SELECT chain_id, depth + 1 FROM layers JOIN tree ON layers.parent = tree.id)
             SELECT {COLUMNS} FROM layers JOIN tree ON id = chain_id ORDER BY depth, created, chain_id"
        );
        self.read(|tx| rows(tx, &sql, [], layer))
    }

    /// A layer and those below it, base first.
    pub fn chain(&self, chain_id: &str) -> Result<Vec<LayerRow>> {
        let sql = format!(
            "WITH RECURSIVE chain (id, up, depth) AS (
                 SELECT chain_id, parent, 0 FROM layers WHERE chain_id = ?1
                 UNION ALL
                 SELECT chain_id, parent, depth + 1 FROM layers JOIN chain ON chain_id = up)
             SELECT {COLUMNS} FROM layers JOIN chain ON id = chain_id ORDER BY depth DESC"
        );
        self.read(|tx| rows(tx, &sql, [chain_id], layer))
    }

    /// Chain ids that begin with `sha256:` and these digits, at most a few.
    pub fn layers_by_prefix(&self, digits: &str) -> Result<Vec<String>> {
        self.read(|tx| {
            rows(
                tx,
                "SELECT chain_id FROM layers WHERE substr(chain_id, 8, length(?1)) = ?1 LIMIT 8",
                [digits],
                |row| row.get(0),
            )
        })
    }

    /// Writes the intent to unpack a layer, unless there is one, and returns what is there then.
    pub fn begin_layer(&self, wanted: &LayerRow) -> Result<LayerRow> {
        let sql = format!("SELECT {COLUMNS} FROM layers WHERE chain_id = ?1");
        self.write(|tx| {
            tx.execute(
                "INSERT INTO layers (chain_id, diff_id, cache_id, parent, blob, media_type, blob_size, state, size, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'unpacking', 0, ?8)
                 ON CONFLICT (chain_id) DO UPDATE SET blob = excluded.blob, media_type = excluded.media_type,
                     blob_size = excluded.blob_size WHERE state = 'unpacking'",
                params![
                    wanted.chain_id,
                    wanted.diff_id,
                    wanted.cache_id,
                    wanted.parent,
                    wanted.blob,
                    wanted.media_type,
                    stored(wanted.blob_size),
                    now()
                ],
            )?;
            tx.query_row(&sql, [&wanted.chain_id], layer)
        })
    }

    /// Writes that a layer is whole, and how large its uncompressed archive is.
    pub fn end_layer(&self, chain_id: &str, size: u64) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE layers SET state = 'ready', size = ?2 WHERE chain_id = ?1",
                params![chain_id, stored(size)],
            )
            .map(drop)
        })
    }

    /// Writes that a layer is not whole any more: what begins its removal, or its repair.
    pub fn doubt_layer(&self, chain_id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE layers SET state = 'unpacking' WHERE chain_id = ?1",
                [chain_id],
            )
            .map(drop)
        })
    }

    /// Forgets a layer. One that an image or a layer needs is kept by the database.
    pub fn remove_layer(&self, chain_id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM layers WHERE chain_id = ?1", [chain_id])
                .map(drop)
        })
    }

    /// Layers that neither an image nor the build cache has, children before parents.
    pub fn unused_layers(&self) -> Result<Vec<LayerRow>> {
        let used = self.read(|tx| {
            rows(
                tx,
                "WITH RECURSIVE used (id) AS (
                     SELECT top FROM images WHERE top IS NOT NULL
                     UNION
                     SELECT top FROM build_steps WHERE top IS NOT NULL
                     UNION
                     SELECT parent FROM layers JOIN used ON chain_id = id WHERE parent IS NOT NULL)
                 SELECT id FROM used",
                [],
                |row| row.get::<_, String>(0),
            )
        })?;
        let used: std::collections::BTreeSet<_> = used.into_iter().collect();
        let mut unused = self.layers()?;
        unused.retain(|layer| !used.contains(&layer.chain_id));
        unused.reverse();
        Ok(unused)
    }
}
