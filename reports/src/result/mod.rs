//! The result format: one JSON line per fact, written the moment it is known.
//!
//! A results file (`results.jsonl`) is a sequence of [`Record`]s. The fields every record shares sit at its top level;
//! what was found out is the [`Line`], told apart by `kind`. Between two deterministic runs only the top-level fields
//! `environment`, `started`, `finished`, `run` and `commit` may differ, so a comparison drops those five and compares
//! text. That is why a duration is `finished - started` and not a field of its own, and why the facts about the machine
//! sit inside `environment`. Writers keep process ids, temporary paths and run names out of every other field.
//!
//! The format is versioned ([`SCHEMA`]) and described for other programs by [`JSON_SCHEMA`].

mod counted;
mod deviation;
mod environment;
mod number;
mod outcome;
mod place;
mod probe;
mod reader;
mod series;
mod set;
mod writer;

pub use counted::Counted;
pub use cowlab_units::Timestamp;
pub use deviation::{Deviation, Impact};
pub use environment::{Environment, EnvironmentRef, Storage};
pub use outcome::{Outcome, Risk, Status};
pub use place::{Column, Media, Place};
pub use probe::{Availability, Image, Probe, Skipped, Subject};
pub use reader::{ReadError, Reader};
pub use series::{
    Arm, CacheState, Device, Parameter, Parameters, Series, SeriesId, Unit, Warning, names,
};
pub use set::ResultSet;
pub use writer::{JsonLines, Run, WriteError};

use serde::{Deserialize, Serialize};

/// The version of the format this crate writes; it reads this one and older ones.
pub const SCHEMA: u32 = 1;

/// The JSON Schema (draft 2020-12) of one line of a results file.
pub const JSON_SCHEMA: &str = include_str!("../../schema/result.schema.json");

/// One line of a results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format, [`SCHEMA`] when written by this crate.
    pub schema: u32,
    /// Identifies the run that wrote the line.
    pub run: String,
    /// When the work behind this line began.
    pub started: Timestamp,
    /// When the result was known.
    pub finished: Timestamp,
    /// Commit of cowlab that made the result; empty where it is not known.
    pub commit: String,
    /// The environment it was made in.
    pub environment: EnvironmentRef,
    /// What was found out.
    #[serde(flatten)]
    pub line: Line,
}

/// What a line says, told apart by its field `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Line {
    /// Introduces an environment; its facts are in the record's `environment` field.
    Environment,
    /// The result of one conformance case in one column.
    Outcome(Outcome),
    /// The raw samples of one arm of one measurement.
    Series(Series),
    /// Whether a driver can run here, and what it declares.
    Driver(Probe),
    /// Something that could not run, and why.
    Skipped(Skipped),
    /// The image that was used.
    Image(Image),
}
