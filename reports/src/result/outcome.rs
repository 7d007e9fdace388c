//! What a conformance case found.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Column, Deviation, Impact};

/// What running a case can do to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Nothing beyond its own files.
    Safe,
    /// Stress for a throw-away file system.
    Fs,
    /// May upset the kernel: runs in the guest unless told otherwise.
    Kernel,
}

/// How a case ended in one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The claim does not hold and no deviation says so.
    Fail,
    /// Passed or failed depending on what ran before it; counts as a failure.
    OrderDependent,
    /// A declared deviation did not show; counts as a failure, for the declaration is stale.
    UnexpectedPass,
    /// The claim does not hold, exactly as the driver declares.
    Deviates,
    /// Could not run here.
    Skip,
    /// The claim holds.
    Pass,
}

impl Status {
    /// Every status, what needs attention first.
    pub const ALL: [Self; 6] = [
        Self::Fail,
        Self::OrderDependent,
        Self::UnexpectedPass,
        Self::Deviates,
        Self::Skip,
        Self::Pass,
    ];

    /// Whether a run with this status is a finding (exit code 1).
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Fail | Self::OrderDependent | Self::UnexpectedPass
        )
    }

    /// The name used in files and on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::OrderDependent => "order-dependent",
            Self::UnexpectedPass => "unexpected-pass",
            Self::Deviates => "deviates",
            Self::Skip => "skip",
            Self::Pass => "pass",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// One conformance case in one column. Its duration is the record's `finished - started`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Case id, `<area>/<claim>`.
    pub case: String,
    /// Numbers of the catalogue of checks that the case covers, such as `B10`.
    pub numbers: Vec<String>,
    /// Heading of the catalogue the case belongs to, such as `Whiteouts`.
    pub group: String,
    /// What must hold, one sentence.
    pub claim: String,
    /// Where the claim comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub see: Vec<String>,
    /// What it means for users where the claim does not hold.
    pub impact: Impact,
    /// What running it can do to the machine.
    pub risk: Risk,
    /// Driver, variant, backing and place.
    pub column: Column,
    /// How it ended.
    pub status: Status,
    /// First difference of a failure, missing need of a skip, note of anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The declaration, for `deviates` and `unexpected-pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Deviation>,
    /// Command that repeats this case alone.
    pub repeat: String,
}
