//! The matrix of cases and columns.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::result::{Column, Impact, Outcome, Place, ResultSet, Status};

/// The outcomes of one column, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnRow {
    /// Driver name.
    pub driver: String,
    /// Named set of driver options.
    pub variant: String,
    /// Backing file system.
    pub backing: String,
    /// The machine.
    pub place: Place,
    /// Cases whose claim holds.
    pub pass: usize,
    /// Cases that deviate as declared.
    pub deviates: usize,
    /// Cases that could not run.
    pub skip: usize,
    /// Cases that failed.
    pub fail: usize,
    /// Cases whose outcome depends on what ran before.
    pub order_dependent: usize,
    /// Stale declarations.
    pub unexpected_pass: usize,
    /// Deviations by impact, such as `2 isolation, 5 app-visible`.
    pub deviations_by_impact: String,
}

impl ColumnRow {
    /// The column.
    #[must_use]
    pub fn column(&self) -> Column {
        column(&self.driver, &self.variant, &self.backing, self.place)
    }

    /// Number of cases with a status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        match status {
            Status::Pass => self.pass,
            Status::Deviates => self.deviates,
            Status::Skip => self.skip,
            Status::Fail => self.fail,
            Status::OrderDependent => self.order_dependent,
            Status::UnexpectedPass => self.unexpected_pass,
        }
    }

    /// Number of all cases.
    #[must_use]
    pub fn total(&self) -> usize {
        Status::ALL
            .into_iter()
            .map(|status| self.count(status))
            .sum()
    }
}

/// One case in one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseRow {
    /// Heading of the catalogue.
    pub group: String,
    /// Case id.
    pub case: String,
    /// Numbers of the catalogue, separated by spaces.
    pub numbers: String,
    /// What must hold.
    pub claim: String,
    /// What it means for users where it does not.
    pub impact: Impact,
    /// Driver name.
    pub driver: String,
    /// Named set of driver options.
    pub variant: String,
    /// Backing file system.
    pub backing: String,
    /// The machine.
    pub place: Place,
    /// How it ended.
    pub status: Status,
    /// First difference, missing need or note.
    pub reason: String,
    /// How long it took, in milliseconds; what a group of cases shares is counted in each.
    pub milliseconds: u64,
    /// Command that repeats it alone.
    pub repeat: String,
}

impl CaseRow {
    /// The column.
    #[must_use]
    pub fn column(&self) -> Column {
        column(&self.driver, &self.variant, &self.backing, self.place)
    }
}

/// A declared deviation and where it showed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DeviationRow {
    /// What it means for users.
    pub impact: Impact,
    /// Case id.
    pub case: String,
    /// What must hold.
    pub claim: String,
    /// What happens instead.
    pub observed: String,
    /// Why.
    pub because: String,
    /// Where this is known from, separated by spaces.
    pub see: String,
    /// Columns it showed in, backings joined by driver: `overlay2 on ext4, xfs; vfs on ext4`.
    pub columns: String,
}

fn column(driver: &str, variant: &str, backing: &str, place: Place) -> Column {
    Column {
        variant: variant.to_owned(),
        place,
        ..Column::new(driver, backing)
    }
}

pub(super) fn columns(set: &ResultSet) -> Vec<ColumnRow> {
    let mut by_column: BTreeMap<&Column, Vec<&Outcome>> = BTreeMap::new();
    for outcome in set.outcomes() {
        by_column.entry(&outcome.column).or_default().push(outcome);
    }
    by_column
        .into_iter()
        .map(|(column, outcomes)| {
            let count = |status| {
                outcomes
                    .iter()
                    .filter(|outcome| outcome.status == status)
                    .count()
            };
            ColumnRow {
                driver: column.driver.clone(),
                variant: column.variant.clone(),
                backing: column.backing.clone(),
                place: column.place,
                pass: count(Status::Pass),
                deviates: count(Status::Deviates),
                skip: count(Status::Skip),
                fail: count(Status::Fail),
                order_dependent: count(Status::OrderDependent),
                unexpected_pass: count(Status::UnexpectedPass),
                deviations_by_impact: by_impact(&outcomes),
            }
        })
        .collect()
}

fn by_impact(outcomes: &[&Outcome]) -> String {
    let counts: Vec<String> = Impact::ALL
        .into_iter()
        .filter_map(|impact| {
            let count = outcomes
                .iter()
                .filter(|outcome| outcome.status == Status::Deviates && felt(outcome) == impact)
                .count();
            (count > 0).then(|| format!("{count} {impact}"))
        })
        .collect();
    counts.join(", ")
}

/// The impact of what was observed: the declaration's own where there is one.
fn felt(outcome: &Outcome) -> Impact {
    outcome
        .deviation
        .as_ref()
        .map_or(outcome.impact, |deviation| deviation.impact)
}

/// Groups in the order of the catalogue, in each the cases that need attention first.
pub(super) fn cases(set: &ResultSet) -> Vec<CaseRow> {
    let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
    let mut worst: BTreeMap<&str, Status> = BTreeMap::new();
    for outcome in set.outcomes() {
        let number = outcome.numbers.iter().map(String::as_str).min();
        let first = groups
            .entry(&outcome.group)
            .or_insert(number.unwrap_or("~"));
        *first = (*first).min(number.unwrap_or("~"));
        let status = worst.entry(&outcome.case).or_insert(outcome.status);
        *status = (*status).min(outcome.status);
    }
    let attention = |case: &str| match worst.get(case) {
        Some(status) if status.is_failure() => 0,
        _ => 1,
    };
    let mut outcomes: Vec<_> = set
        .records()
        .iter()
        .filter_map(|record| match &record.line {
            crate::result::Line::Outcome(outcome) => {
                Some((outcome, record.finished.since(record.started)))
            }
            _ => None,
        })
        .collect();
    outcomes.sort_by_key(|(outcome, _)| {
        (
            groups.get(outcome.group.as_str()),
            &outcome.group,
            attention(&outcome.case),
            &outcome.numbers,
            &outcome.case,
            &outcome.column,
        )
    });
    outcomes
        .into_iter()
        .map(|(outcome, took)| CaseRow {
            group: outcome.group.clone(),
            case: outcome.case.clone(),
            numbers: outcome.numbers.join(" "),
            claim: outcome.claim.clone(),
            impact: outcome.impact,
            driver: outcome.column.driver.clone(),
            variant: outcome.column.variant.clone(),
            backing: outcome.column.backing.clone(),
            place: outcome.column.place,
            status: outcome.status,
            reason: outcome.reason.clone().unwrap_or_default(),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            repeat: outcome.repeat.clone(),
        })
        .collect()
}

/// Deviations that showed, worst first, one row for all columns that share the declaration.
pub(super) fn deviations(set: &ResultSet) -> Vec<DeviationRow> {
    let mut rows: BTreeMap<DeviationRow, Vec<&Column>> = BTreeMap::new();
    for outcome in set.outcomes() {
        if outcome.status != Status::Deviates {
            continue;
        }
        let declared = outcome.deviation.as_ref();
        let row = DeviationRow {
            impact: felt(outcome),
            case: outcome.case.clone(),
            claim: outcome.claim.clone(),
            observed: declared.map_or_else(
                || outcome.reason.clone().unwrap_or_default(),
                |deviation| deviation.observed.clone(),
            ),
            because: declared.map_or_else(String::new, |deviation| deviation.because.clone()),
            see: declared.map_or_else(String::new, |deviation| deviation.see.join("; ")),
            columns: String::new(),
        };
        rows.entry(row).or_default().push(&outcome.column);
    }
    rows.into_iter()
        .map(|(row, mut columns)| {
            columns.sort();
            columns.dedup();
            DeviationRow {
                columns: by_driver(&columns),
                ..row
            }
        })
        .collect()
}

fn by_driver(columns: &[&Column]) -> String {
    let mut drivers: BTreeMap<(String, Place), Vec<&str>> = BTreeMap::new();
    for column in columns {
        let driver = (column.driver_name(), column.place);
        drivers.entry(driver).or_default().push(&column.backing);
    }
    let parts: Vec<String> = drivers
        .into_iter()
        .map(|((driver, place), backings)| {
            let place = match place {
                Place::Host => "",
                Place::Guest => " (guest)",
            };
            format!("{driver} on {}{place}", backings.join(", "))
        })
        .collect();
    parts.join("; ")
}
