//! Snapshots that may have lost writes, on storage that can refuse one that its writer believes done.
//!
//! Before such a snapshot becomes writable its row gets an epoch: how the storage is. When nobody can write any more
//! the driver compares. What it finds stays in the row, over any power cut, and the snapshot is committed only after somebody
//! looked and said so.

use cowlab_driver::{Driver, SnapshotId};
use rusqlite::Transaction;

use crate::database::{Database, Flush};
use crate::row::{self, Row};
use crate::{Error, Result};

/// Notes how the storage is before somebody can write to a snapshot.
pub(crate) fn begin(driver: &dyn Driver, database: &Database, row: &Row) -> Result<()> {
    let Some(watch) = driver.write_watch() else {
        return Ok(());
    };
    let failed = || Error::driver("watch", &row.name);
    let lost = match &row.write_epoch {
        Some(epoch) => watch.lost_since(epoch).map_err(failed())?,
        None => None,
    };
    let epoch = watch.epoch().map_err(failed())?;
    if lost.is_none() && row.write_epoch.as_ref() == Some(&epoch) {
        return Ok(());
    }
    let suspect = row.suspect.as_ref().or(lost.as_ref()).map(String::as_str);
    database.write(|tx| row::set_watch(tx, row.id, Some(&epoch), suspect))
}

/// Compares, when nobody can write to a snapshot any more, and says why content may be missing, if it may.
pub(crate) fn end(
    driver: &dyn Driver,
    database: &Database,
    id: SnapshotId,
) -> Result<Option<String>> {
    let Some(watch) = driver.write_watch() else {
        return Ok(None);
    };
    let Some(row) = database.read(|tx| row::by_id(tx, id))? else {
        return Ok(None);
    };
    let Some(epoch) = &row.write_epoch else {
        return Ok(row.suspect);
    };
    let lost = watch
        .lost_since(epoch)
        .map_err(Error::driver("watch", &row.name))?;
    let suspect = row.suspect.or(lost);
    let note = |tx: &Transaction<'_>| row::set_watch(tx, id, None, suspect.as_deref());
    // A power cut that takes the end of the epoch back leaves it open, which is no loss.
    let flush = if suspect.is_some() {
        Flush::Now
    } else {
        Flush::Later
    };
    database.write_at_last(flush, note)?;
    Ok(suspect)
}

/// Refuses a snapshot whose content may be missing in part.
pub(crate) fn refuse(key: &str, suspect: Option<String>) -> Result<()> {
    match suspect {
        None => Ok(()),
        Some(reason) => Err(Error::Suspect {
            key: key.to_owned(),
            reason,
        }),
    }
}
