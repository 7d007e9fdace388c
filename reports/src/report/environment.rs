//! What could not run, on what machine the rest ran, and how to repeat it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::result::{Availability, Environment, Line, Place, ResultSet, Subject};
use crate::units;

/// Something that could not run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SkippedRow {
    /// Which part it belongs to.
    pub subject: Subject,
    /// What is missing.
    pub why: String,
    /// What did not run.
    pub what: String,
    /// The place that could run it.
    pub waiting_for: Option<Place>,
    /// Command that would run it.
    pub command: String,
}

/// What the probe of a driver found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DriverRow {
    /// Driver name.
    pub driver: String,
    /// Named set of driver options.
    pub variant: String,
    /// Backing file system, or all on which the same is missing; empty where it does not matter.
    pub backing: String,
    /// The machine.
    pub place: Place,
    /// Whether it can run.
    pub available: bool,
    /// What is missing.
    pub missing: String,
    /// How to get it.
    pub remedy: String,
    /// Number of deviations it declares.
    pub deviations: usize,
}

/// One fact about one environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FactRow {
    /// Id of the environment.
    pub environment: String,
    /// The fact.
    pub fact: String,
    /// Its value.
    pub value: String,
}

/// A command that repeats a part of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CommandRow {
    /// The part.
    pub part: String,
    /// The command.
    pub command: String,
}

pub(super) fn skipped(set: &ResultSet) -> Vec<SkippedRow> {
    let mut rows: Vec<SkippedRow> = set
        .skipped()
        .map(|skipped| SkippedRow {
            subject: skipped.subject,
            why: skipped.why.clone(),
            what: skipped.what.clone(),
            waiting_for: skipped.waiting_for,
            command: skipped.command.clone().unwrap_or_default(),
        })
        .collect();
    rows.sort();
    rows.dedup();
    rows
}

pub(super) fn drivers(set: &ResultSet) -> Vec<DriverRow> {
    let mut rows: Vec<DriverRow> = set
        .probes()
        .map(|probe| {
            let (available, missing, remedy) = match &probe.availability {
                Availability::Available => (true, String::new(), String::new()),
                Availability::Missing { what, remedy } => {
                    (false, what.clone(), remedy.clone().unwrap_or_default())
                }
            };
            DriverRow {
                driver: probe.driver.clone(),
                variant: probe.variant.clone(),
                backing: probe.backing.clone().unwrap_or_default(),
                place: probe.place,
                available,
                missing,
                remedy,
                deviations: probe.deviations.len(),
            }
        })
        .collect();
    rows.sort();
    rows.dedup();
    together(rows)
}

/// Makes one row of those that lack the same on several backing file systems.
fn together(rows: Vec<DriverRow>) -> Vec<DriverRow> {
    let mut joined: Vec<DriverRow> = Vec::new();
    for row in rows {
        let same = |known: &&mut DriverRow| {
            !row.available
                && (&known.driver, &known.variant, known.place)
                    == (&row.driver, &row.variant, row.place)
                && (&known.missing, &known.remedy) == (&row.missing, &row.remedy)
        };
        match joined.iter_mut().find(same) {
            Some(known) => known.backing = format!("{}, {}", known.backing, row.backing),
            None => joined.push(row),
        }
    }
    joined
}

pub(super) fn facts(set: &ResultSet) -> Vec<FactRow> {
    set.environments()
        .into_iter()
        .flat_map(|(id, environment)| {
            described(environment)
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(fact, value)| FactRow {
                    environment: id.to_owned(),
                    fact,
                    value,
                })
        })
        .collect()
}

fn described(environment: &Environment) -> Vec<(String, String)> {
    let storage = environment.storage.as_ref();
    let fixed = [
        ("place", environment.place.to_string()),
        ("kernel", environment.kernel_release.clone()),
        ("kernel version", environment.kernel_version.clone()),
        ("architecture", environment.architecture.clone()),
        ("processor", environment.cpu_model.clone()),
        ("cores", environment.cores.to_string()),
        ("memory", units::bytes(environment.memory_bytes as f64)),
        ("distribution", environment.distribution.clone()),
        ("cowlab", environment.cowlab.clone()),
        (
            "storage directory",
            storage.map_or_else(String::new, |storage| storage.directory.clone()),
        ),
        (
            "storage file system",
            storage.map_or_else(String::new, |storage| {
                format!(
                    "{}, {}",
                    storage.backing,
                    units::bytes(storage.bytes as f64)
                )
            }),
        ),
        (
            "storage mount options",
            storage.map_or_else(String::new, |storage| storage.mount_options.clone()),
        ),
        ("engines running", environment.engines.join(", ")),
    ];
    let named = |prefix: &'static str, facts: &BTreeMap<String, String>| -> Vec<(String, String)> {
        facts
            .iter()
            .map(|(name, value)| (format!("{prefix}{name}"), value.clone()))
            .collect()
    };
    fixed
        .into_iter()
        .map(|(fact, value)| (fact.to_owned(), value))
        .chain(named("", &environment.facts))
        .chain(named("tool ", &environment.tools))
        .collect()
}

/// The command of each part, in the order of the report.
pub(super) fn commands(set: &ResultSet) -> Vec<CommandRow> {
    let mut commands: BTreeMap<(u8, String), String> = BTreeMap::new();
    for record in set.records() {
        match &record.line {
            Line::Outcome(_) => {
                commands
                    .entry((0, "conformance".to_owned()))
                    .or_insert_with(|| "cargo xtask conformance".to_owned());
            }
            Line::Series(series) => {
                commands
                    .entry((1, format!("workload {}", series.workload)))
                    .or_insert_with(|| format!("cargo xtask bench run {}", series.workload));
            }
            _ => {}
        }
    }
    let mut rows: Vec<CommandRow> = commands
        .into_iter()
        .map(|((_, part), command)| CommandRow { part, command })
        .collect();
    rows.insert(
        0,
        CommandRow {
            part: "this report".to_owned(),
            command: "cargo xtask report".to_owned(),
        },
    );
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_the_same_is_one_row_and_what_runs_is_not() {
        let row = |backing: &str, missing: &str| DriverRow {
            driver: "btrfs".to_owned(),
            variant: "default".to_owned(),
            backing: backing.to_owned(),
            place: Place::Host,
            available: missing.is_empty(),
            missing: missing.to_owned(),
            remedy: String::new(),
            deviations: 0,
        };
        let rows = vec![
            row("btrfs", ""),
            row("ext4", "btrfs there"),
            row("tmpfs", "btrfs there"),
            row("xfs", "mkfs.xfs"),
            row("zfs", ""),
        ];
        let backings: Vec<String> = together(rows).into_iter().map(|row| row.backing).collect();
        assert_eq!(backings, ["btrfs", "ext4, tmpfs", "xfs", "zfs"]);
    }
}
