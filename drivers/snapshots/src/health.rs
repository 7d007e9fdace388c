//! How what the snapshots lie on is: reported before it hurts, and named as the reason when it did.

use std::sync::PoisonError;

use cowlab_driver::{Error as DriverError, SnapshotId, Warning};

use crate::locks::Hold;
use crate::row;
use crate::store::Store;
use crate::{Error, Result};

impl Store {
    /// Tells what will hurt soon, a pool that is nearly full for example. Costs O(1).
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where no change can be made already.
    pub fn health(&self) -> Result<Vec<Warning>> {
        self.driver_health().map_err(Error::Unusable)
    }

    /// Accepts as complete a snapshot of which the store says that content may be missing: somebody looked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn trust(&self, key: &str) -> Result<()> {
        let (row, _lock) = self.hold(key, Hold::Exclusive)?;
        self.database
            .write(|tx| row::set_watch(tx, row.id, None, None))
    }

    /// Asks the driver, which may have nothing that could fail apart from its directory.
    pub(crate) fn driver_health(&self) -> cowlab_driver::Result<Vec<Warning>> {
        self.driver
            .health()
            .map_or_else(|| Ok(Vec::new()), cowlab_driver::Health::warnings)
    }

    /// Logs what will hurt soon, unless it was the last that was logged. What hurts already fails by itself.
    pub(crate) fn warn_of_health(&self) {
        let lines = match self.driver_health() {
            Ok(warnings) => warnings.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if *warned != lines {
            for line in &lines {
                tracing::warn!("{line}");
            }
            *warned = lines;
        }
    }

    /// Gives a failure of the system the reason that it has in the pool, if there is one: an `EIO` says nothing to anybody.
    /// The database may lie on the pool as well.
    pub(crate) fn explained(&self, action: &'static str, key: &str, error: Error) -> Error {
        let error = self.named(error);
        let is_of_the_system = match &error {
            Error::Driver { reason, .. } => matches!(**reason, DriverError::Sys(_)),
            Error::Layer { reason, .. } => reason.errno().is_some(),
            Error::Database { .. } | Error::Sys(_) => true,
            _ => false,
        };
        if !is_of_the_system {
            return error;
        }
        match self.driver_health() {
            Err(trouble @ DriverError::Pool { .. }) => {
                tracing::debug!(%error, "on a pool that takes no changes");
                Error::driver(action, key)(trouble)
            }
            _ => error,
        }
    }

    /// Gives an error of the driver about a snapshot below the one at hand its name: a driver knows numbers only.
    pub(crate) fn named(&self, mut error: Error) -> Error {
        if let Error::Driver {
            reason, snapshot, ..
        } = &mut error
            && let Some(id) = reason.snapshot()
            && let Some(name) = self.known_name(id)
        {
            *snapshot = name;
        }
        error
    }

    /// The key or name of a snapshot; its number where it has none any more.
    pub(crate) fn name_of(&self, id: SnapshotId) -> String {
        self.known_name(id).unwrap_or_else(|| id.to_string())
    }

    fn known_name(&self, id: SnapshotId) -> Option<String> {
        let row = self.database.read(|tx| row::by_id(tx, id));
        row.ok().flatten().map(|row| row.name)
    }
}
