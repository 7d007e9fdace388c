//! A report: everything the pages say, as data, and the files that say it.
//!
//! [`Report::new`] is a pure function of the results, and the renderers are pure functions of the report, so the same
//! results always give the same bytes. Rows are flat structs: one list of them is one CSV file, one array of
//! `report.json` and one table of the page.

mod capacity;
mod conformance;
mod counts;
mod environment;
mod files;
mod timing;

use serde::Serialize;

use crate::facts::Facts;
use crate::result::{Column, Image, ResultSet, Timestamp};
use crate::verdict::{Verdict, verdict};

pub use capacity::CapacityRow;
pub use conformance::{CaseRow, ColumnRow, DeviationRow};
pub use counts::CountRow;
pub use environment::{CommandRow, DriverRow, FactRow, SkippedRow};
pub use files::{ReportError, Written, write};
pub use timing::{NoiseRow, TimingRow};

/// Adds to rows the column that their five fields make.
macro_rules! of_columns {
    ($($row:ty),*) => {$(
        impl $row {
            /// The column.
            #[must_use]
            pub fn column(&self) -> Column {
                Column {
                    driver: self.driver.clone(),
                    variant: self.variant.clone(),
                    backing: self.backing.clone(),
                    media: self.media,
                    place: self.place,
                }
            }
        }
    )*};
}
of_columns!(TimingRow, CountRow, CapacityRow);

/// Version of `report.json`.
pub const SCHEMA: u32 = 1;

/// The contents of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this structure.
    pub schema: u32,
    /// Number of result lines behind it.
    pub lines: usize,
    /// Runs that the lines come from, in order of appearance.
    pub runs: Vec<String>,
    /// When the first of them began.
    pub started: Option<Timestamp>,
    /// When the last of them ended.
    pub finished: Option<Timestamp>,
    /// Commits of cowlab that made the results, in order of appearance.
    pub commits: Vec<String>,
    /// What to use on this host.
    pub verdict: Verdict,
    /// Conformance by column.
    pub columns: Vec<ColumnRow>,
    /// Conformance by case and column, what needs attention first.
    pub cases: Vec<CaseRow>,
    /// Declared deviations that showed.
    pub deviations: Vec<DeviationRow>,
    /// Timings: the driver, its floors, and its excess over them.
    pub timings: Vec<TimingRow>,
    /// Instructions, where a deterministic guest counted them.
    pub counts: Vec<CountRow>,
    /// Space taken.
    pub capacity: Vec<CapacityRow>,
    /// How far identical arms differed.
    pub noise: Vec<NoiseRow>,
    /// What could not run.
    pub skipped: Vec<SkippedRow>,
    /// What the probes of the drivers found.
    pub drivers: Vec<DriverRow>,
    /// The images in use.
    pub images: Vec<Image>,
    /// Facts about the machines.
    pub environments: Vec<FactRow>,
    /// Commands that repeat each part.
    pub commands: Vec<CommandRow>,
    /// What reading the results left out.
    pub notes: Vec<String>,
}

impl Report {
    /// Makes the report of a result set.
    #[must_use]
    pub fn new(set: &ResultSet) -> Self {
        let facts = Facts::new(set);
        let records = set.records();
        Self {
            schema: SCHEMA,
            lines: records.len(),
            runs: distinct(records.iter().map(|record| record.run.as_str())),
            started: records.iter().map(|record| record.started).min(),
            finished: records.iter().map(|record| record.finished).max(),
            commits: distinct(records.iter().map(|record| record.commit.as_str())),
            verdict: verdict(&facts),
            columns: conformance::columns(set),
            cases: conformance::cases(set),
            deviations: conformance::deviations(set),
            timings: timing::timings(&facts.measurements),
            counts: counts::counts(&facts.measurements),
            capacity: capacity::capacity(&facts.measurements),
            noise: timing::noise(&facts.measurements),
            skipped: environment::skipped(set),
            drivers: environment::drivers(set),
            images: set.images().cloned().collect(),
            environments: environment::facts(set),
            commands: environment::commands(set),
            notes: set.notes().to_vec(),
        }
    }

    /// Whether nothing was judged and nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
            && self.timings.is_empty()
            && self.counts.is_empty()
            && self.capacity.is_empty()
    }
}

/// Texts that are not empty, each once, in order of appearance.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        if !text.is_empty() && !found.iter().any(|known| known == text) {
            found.push(text.to_owned());
        }
    }
    found
}
