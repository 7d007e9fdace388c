//! The build cache of the graph: what each step of a build made, by a digest of everything that its result depends on.
//!
//! A layer with such a record is in use. One that is removed all the same, because it is damaged, takes its records with it.

use rusqlite::{OptionalExtension, Row, params};

use super::{Graph, count, now, rows, stored};
use crate::Result;

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepRow {
    /// A digest of everything that the step's result depends on.
    pub key: String,
    /// The chain id of the topmost layer after the step; `None` where there is no layer yet.
    pub top: Option<String>,
    /// Whether the step made that layer; one that changed no file made none.
    pub has_layer: bool,
    /// The instruction, for people.
    pub text: String,
    /// When it was run, as the history of images tells.
    pub created: String,
    /// How long it took, in nanoseconds.
    pub nanoseconds: u64,
    /// When it was last used, in nanoseconds since 1970.
    pub used: i64,
}

const COLUMNS: &str = "key, top, has_layer, text, created, nanoseconds, used";

fn step(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    Ok(StepRow {
        key: row.get(0)?,
        top: row.get(1)?,
        has_layer: row.get(2)?,
        text: row.get(3)?,
        created: row.get(4)?,
        nanoseconds: count(row, 5)?,
        used: row.get(6)?,
    })
}

impl Graph {
    /// The record with this key.
    pub fn step(&self, key: &str) -> Result<Option<StepRow>> {
        let sql = format!("SELECT {COLUMNS} FROM build_steps WHERE key = ?1");
        self.read(|tx| tx.prepare_cached(&sql)?.query_row([key], step).optional())
    }

    /// Every record, the most recently used first.
    pub fn steps(&self) -> Result<Vec<StepRow>> {
        let sql = format!("SELECT {COLUMNS} FROM build_steps ORDER BY used DESC, key");
        self.read(|tx| rows(tx, &sql, [], step))
    }

    /// Records a step, in place of an older record with its key. A power cut may take it back: then the step is run again.
    pub fn add_step(&self, step: &StepRow) -> Result<()> {
        self.write_unflushed(|tx| {
            tx.execute(
                "INSERT OR REPLACE INTO build_steps
                     (key, top, has_layer, text, created, nanoseconds, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    step.key,
                    step.top,
                    step.has_layer,
                    step.text,
                    step.created,
                    stored(step.nanoseconds),
                    now()
                ],
            )
            .map(drop)
        })
    }

    /// Records that steps were used now.
    pub fn use_steps(&self, keys: &[String]) -> Result<()> {
        self.write_unflushed(|tx| {
            let mut update =
                tx.prepare_cached("UPDATE build_steps SET used = ?2 WHERE key = ?1")?;
            for key in keys {
                update.execute(params![key, now()])?;
            }
            Ok(())
        })
    }

    /// Forgets steps by their keys.
    pub fn remove_steps(&self, keys: &[String]) -> Result<()> {
        self.write(|tx| {
            let mut delete = tx.prepare_cached("DELETE FROM build_steps WHERE key = ?1")?;
            for key in keys {
                delete.execute([key])?;
            }
            Ok(())
        })
    }
}
