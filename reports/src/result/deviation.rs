//! A declared difference from a plain directory, and what a difference does to people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a broken claim does to the people who use the driver, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// Acknowledged data is lost or wrong.
    DataLoss,
    /// One container sees or changes what belongs to another.
    Isolation,
    /// A program behaves otherwise than on a plain directory.
    AppVisible,
    /// Slower or larger, and otherwise right.
    Performance,
    /// Visible, but nothing depends on it.
    Cosmetic,
}

impl Impact {
    /// Every impact, worst first.
    pub const ALL: [Self; 5] = [
        Self::DataLoss,
        Self::Isolation,
        Self::AppVisible,
        Self::Performance,
        Self::Cosmetic,
    ];

    /// The name used in files and on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DataLoss => "data-loss",
            Self::Isolation => "isolation",
            Self::AppVisible => "app-visible",
            Self::Performance => "performance",
            Self::Cosmetic => "cosmetic",
        }
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A declared difference from a plain directory; conformance checks it like any other claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// Case whose claim does not hold.
    pub case: String,
    /// What happens instead.
    pub observed: String,
    /// Why.
    pub because: String,
    /// What that means for users.
    pub impact: Impact,
    /// Where this is known from.
    pub see: Vec<String>,
}
