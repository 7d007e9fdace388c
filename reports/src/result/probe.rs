//! Which drivers can run, what they declare, what could not run, and the image in use.

use serde::{Deserialize, Serialize};

use super::{Deviation, Place};

/// Whether something can run here, found out by doing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Availability {
    /// It works.
    Available,
    /// It does not.
    Missing {
        /// What is missing, naming it.
        what: String,
        /// How to get it, where there is a way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remedy: Option<String>,
    },
}

/// The probe of one driver in one variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Driver name.
    pub driver: String,
    /// Named set of driver options.
    pub variant: String,
    /// Backing file system probed on; none where the driver's needs do not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<String>,
    /// The machine.
    pub place: Place,
    /// What the probe found.
    pub availability: Availability,
    /// What the driver declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
}

/// Which part of cowlab a skipped thing belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A case, a group of cases or a column of the matrix.
    Conformance,
    /// A workload or some of its arms.
    Bench,
    /// Anything else.
    Other,
}

/// Something that was wanted and could not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Which part it belongs to.
    pub subject: Subject,
    /// What did not run.
    pub what: String,
    /// What is missing.
    pub why: String,
    /// The place that could run it, where this one can not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Place>,
    /// The command that would run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// The image the run worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Name, such as `debian:bookworm`.
    pub name: String,
    /// Number of layers.
    pub layers: u32,
    /// Size of the top layer's tree, flat, in bytes.
    pub bytes: u64,
    /// Number of entries of that tree.
    pub entries: u64,
    /// How it was made or where it came from.
    pub made: String,
}
