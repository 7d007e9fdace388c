//! Workloads `capacity/...`: what containers and images allocate, by the free space of the whole file system.
//!
//! The file system's own count is the truth: it has what sharing saves and what metadata and preallocation cost, which
//! the sizes of files have not. It is looked at when everything is flushed and nothing is freed any more.

mod change;
mod containers;
mod image;

pub(crate) use change::CHANGE;
pub(crate) use containers::CONTAINERS;
pub(crate) use image::IMAGE;

use std::path::Path;

use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, CacheState, Parameters, Unit};
use cowlab_snapshots::{Filter, Store};

use crate::space::{Space, growth};
use crate::workload::{Effort, Reading};

/// Allocated space at a moment, with the inodes from elsewhere where the file system does not count them.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bytes: u64,
    inodes: u64,
}

impl Mark {
    /// Looks at the file system of `backing` once it has settled; `count` counts inodes where it does not.
    fn now(backing: &Path, count: impl FnOnce() -> anyhow::Result<u64>) -> anyhow::Result<Self> {
        let space = Space::settled(backing)?;
        let inodes = match space.inodes {
            Some(inodes) => inodes,
            None => count()?,
        };
        Ok(Self {
            bytes: space.bytes,
            inodes,
        })
    }
}

/// What was allocated between two looks, as the readings of a sample.
fn readings(parameters: &Parameters, arm: Arm, before: Mark, after: Mark) -> Vec<Reading> {
    let reading = |unit, value| Reading {
        parameters: parameters.clone(),
        arm,
        unit,
        value: Some(value),
        cache: CacheState::Irrelevant,
        warning: None,
    };
    vec![
        reading(Unit::Bytes, growth(before.bytes, after.bytes)),
        reading(Unit::Inodes, growth(before.inodes, after.inodes)),
    ]
}

/// The inodes of every snapshot of a store.
fn counted_by_store(store: &Store) -> anyhow::Result<u64> {
    let mut inodes = 0;
    for snapshot in store.list(&Filter::default())? {
        inodes += store.usage(&snapshot.key)?.exclusive.inodes;
    }
    Ok(inodes)
}

/// A variant changes how files are copied up, which neither an image nor an idle container does: a quick run measures
/// the default of each driver.
fn usual_variants(subject: &Subject, effort: Effort) -> bool {
    effort == Effort::Full || subject.is_default()
}
