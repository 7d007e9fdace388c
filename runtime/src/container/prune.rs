//! Removing the containers that do not run.

use super::place::{Containers, Found, Phase};
use super::{Error, RemoveOptions, Result};

/// What was pruned.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Pruned {
    /// The ids of containers or the names of volumes.
    pub removed: Vec<String>,
    /// The bytes that they allocated.
    pub reclaimed: u64,
}

impl Containers<'_> {
    /// Removes of the wanted containers those that do not run. Their anonymous volumes stay, as docker has it. One that is started
    /// or removed by others meanwhile is theirs.
    ///
    /// # Errors
    ///
    /// The first that cannot be removed; what is removed by then stays so.
    pub fn prune(&self, wanted: impl Fn(&Found) -> bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for found in self.list()? {
            let has_ended = matches!(found.phase, Phase::Created | Phase::Exited | Phase::Dead);
            // The build that a borrower belongs to removes it.
            if !has_ended || found.record.is_borrower() || !wanted(&found) {
                continue;
            }
            let usage = self.usage(&found);
            match self.remove(&found.record, RemoveOptions::default()) {
                Err(Error::NotFound { .. } | Error::WrongState { .. } | Error::Locked { .. }) => {
                    continue;
                }
                removed => removed?,
            }
            pruned.reclaimed += usage.map_or(0, |usage| usage.exclusive.bytes.0);
            pruned.removed.push(found.record.id);
        }
        Ok(pruned)
    }
}
