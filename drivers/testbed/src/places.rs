//! Places for drivers that need more than a directory of a backing file system.

use std::collections::BTreeMap;

use crate::Result;

/// Makes places on a backing file system, as long as that is there.
#[derive(Clone, Debug, Default)]
pub struct Places {}

impl Places {
    /// Makes a place that nobody has used and returns what a driver has to be told about it, by name. Empty where a
    /// directory is all that it takes.
    ///
    /// # Errors
    ///
    /// Returns what could not be made.
    pub fn fresh(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }
}
