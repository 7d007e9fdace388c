//! The published result of a run over all faults: a line of JSON for each, embedded so that coverage needs no run.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use anyhow::{Context, Result};
use cowlab_engine::fingerprint;
use cowlab_units::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fault;

/// What was published last.
pub(crate) static PUBLISHED: LazyLock<Vec<Record>> = LazyLock::new(|| {
    let lines = include_str!("../../../reports/published/faults.jsonl");
    parse(lines).expect("the published lines are well formed, as a test shows")
});

/// What became of a fault on a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The fault's id.
    pub(crate) fault: String,
    /// The check that it is of.
    pub(crate) check: String,
    /// The driver that it was planted in or above.
    pub(crate) driver: String,
    /// The case that caught it; none where it was missed.
    pub(crate) case: Option<String>,
    /// When, UTC, RFC 3339.
    date: String,
    /// Of what.
    commit: String,
}

impl Record {
    /// The record of a fault that was tried now.
    pub(crate) fn new(fault: &Fault, driver: &str, case: Option<&str>) -> Self {
        Self {
            fault: fault.id.to_owned(),
            check: fault.check.to_owned(),
            driver: driver.to_owned(),
            case: case.map(str::to_owned),
            date: Timestamp::from(SystemTime::now()).to_seconds(),
            commit: fingerprint::commit(),
        }
    }

    fn is_of(&self, other: &Self) -> bool {
        self.fault == other.fault && self.driver == other.driver
    }
}

fn parse(lines: &str) -> Result<Vec<Record>, serde_json::Error> {
    lines.lines().map(serde_json::from_str).collect()
}

/// Writes new records to a file of published ones, in place of those of the same faults on the same driver. Faults that are
/// gone lose theirs.
pub(crate) fn publish(path: &Path, new: &[Record]) -> Result<()> {
    let file = || path.display().to_string();
    let before = if path.exists() {
        let text = fs::read_to_string(path).with_context(file)?;
        parse(&text).with_context(file)?
    } else {
        Vec::new()
    };
    let is_known = |record: &Record| super::all().any(|fault| fault.id == record.fault);
    let mut records: Vec<_> = before
        .into_iter()
        .filter(|old| is_known(old) && !new.iter().any(|new| new.is_of(old)))
        .chain(new.iter().cloned())
        .collect();
    records.sort_by(|left, right| {
        (&left.check, &left.fault, &left.driver).cmp(&(&right.check, &right.fault, &right.driver))
    });
    let mut text = String::new();
    for record in &records {
        text += &serde_json::to_string(record)?;
        text.push('\n');
    }
    fs::write(path, text).with_context(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_lines_are_well_formed() {
        for record in PUBLISHED.iter() {
            assert!(record.date.ends_with('Z'), "{}", record.fault);
        }
    }
}
