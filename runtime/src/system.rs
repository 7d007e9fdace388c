//! Housekeeping: what the root takes on disk, whether it is sound, and removing what nothing needs.

mod check;
mod df;
mod prune;

pub use check::{Health, LayerFinding};
pub use df::{DiskUse, Share};
pub use prune::{PruneOptions, Pruned, PrunedBuilds};
