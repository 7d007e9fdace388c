//! The catalogue of checks: what there is to check about snapshots and layers, who else checks it, and what our cases
//! leave out. It is data, in `conformance/catalogue/`; which case has which check is said by the case.

use std::fmt;
use std::sync::LazyLock;

/// The embedded catalogue.
pub(crate) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    Catalogue::parse().expect("the embedded catalogue is well formed, as a test shows")
});

/// What a line of `checks.csv` has: number, claim, sources, suites, missing, reason.
type Line = (String, String, String, String, String, String);

/// Every check, and what its letters and codes mean.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// A letter and a title each.
    pub(crate) groups: Vec<(char, String)>,
    /// The codes of other people's suites, and what they are.
    suites: Vec<(String, String)>,
    /// The checks, in order.
    pub(crate) checks: Vec<Check>,
}

/// A check: something that a driver or the store can do wrong.
#[derive(Debug)]
pub(crate) struct Check {
    /// The letter of its group and two digits.
    pub(crate) number: String,
    /// What is true where nothing is wrong: one sentence.
    pub(crate) claim: String,
    /// Manual pages, kernel documents, specifications.
    pub(crate) sources: Vec<String>,
    /// The codes of the suites that have it.
    pub(crate) suites: Vec<String>,
    /// What the cases that carry its number do not look at; empty where they look at everything.
    pub(crate) missing: String,
    /// Why no case has it, where there is more to say than that nobody wrote one.
    pub(crate) reason: Option<Reason>,
}

/// Why a check has no case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The kernels that cases run on have not got it.
    NeedsKernel,
    /// It takes hardware.
    NeedsHardware,
    /// It is about another system.
    NotLinux,
    /// The check with this number is the same.
    DuplicateOf(String),
    /// It waits for something that cowlab has not got.
    WaitsFor(String),
}

impl Catalogue {
    fn parse() -> Result<Self, csv::Error> {
        let groups = read(include_str!("../catalogue/groups.csv"))?;
        let lines: Vec<Line> = read(include_str!("../catalogue/checks.csv"))?;
        Ok(Self {
            groups,
            suites: read(include_str!("../catalogue/suites.csv"))?,
            checks: lines.into_iter().map(Check::from).collect(),
        })
    }

    /// What a code of a suite stands for.
    pub(crate) fn suite<'a>(&'a self, code: &'a str) -> &'a str {
        let found = self.suites.iter().find(|(known, _)| known == code);
        found.map_or(code, |(_, suite)| suite)
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>, csv::Error> {
    csv::Reader::from_reader(text.as_bytes())
        .into_deserialize()
        .collect()
}

impl Check {
    /// The letter of its group.
    pub(crate) fn letter(&self) -> char {
        self.number.chars().next().unwrap_or_default()
    }
}

impl From<Line> for Check {
    fn from((number, claim, sources, suites, missing, reason): Line) -> Self {
        let words = |text: &str, separator| {
            let words = text.split(separator).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        Self {
            number,
            claim,
            sources: words(&sources, "; "),
            suites: words(&suites, " "),
            missing,
            reason: (!reason.is_empty()).then(|| Reason::from(reason.as_str())),
        }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        match text.split_once(' ') {
            None if text == "needs-kernel" => Self::NeedsKernel,
            None if text == "needs-hardware" => Self::NeedsHardware,
            None if text == "not-linux" => Self::NotLinux,
            Some(("duplicate-of", number)) => Self::DuplicateOf(number.to_owned()),
            Some(("waits-for", what)) => Self::WaitsFor(what.to_owned()),
            _ => panic!("`{text}` is no reason of the catalogue"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsKernel => formatter.write_str("needs-kernel"),
            Self::NeedsHardware => formatter.write_str("needs-hardware"),
            Self::NotLinux => formatter.write_str("not-linux"),
            Self::DuplicateOf(number) => write!(formatter, "duplicate-of {number}"),
            Self::WaitsFor(what) => write!(formatter, "waits-for {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cases;

    /// How many seed behaviors there are: cases carry their numbers, S01 and so on, beside those of checks.
    const SEEDS: u32 = 22;

    fn is_check(number: &str) -> bool {
        CATALOGUE.checks.iter().any(|check| check.number == number)
    }

    fn is_seed(number: &str) -> bool {
        let digits = number.strip_prefix('S').filter(|digits| digits.len() == 2);
        let seed = digits.and_then(|digits| digits.parse().ok());
        seed.is_some_and(|seed: u32| (1..=SEEDS).contains(&seed))
    }

    #[test]
    fn numbers_are_complete_and_in_order() {
        let mut expected = Vec::new();
        for (letter, title) in &CATALOGUE.groups {
            assert!(!title.is_empty());
            let count = CATALOGUE
                .checks
                .iter()
                .filter(|check| check.letter() == *letter);
            expected.extend((1..=count.count()).map(|index| format!("{letter}{index:02}")));
        }
        let numbers: Vec<_> = CATALOGUE.checks.iter().map(|check| &check.number).collect();
        assert_eq!(numbers, expected.iter().collect::<Vec<_>>());
        assert_eq!(numbers.len(), 248);
    }

    #[test]
    fn every_line_is_well_formed() {
        let suites: BTreeSet<_> = CATALOGUE.suites.iter().map(|(code, _)| code).collect();
        for check in &CATALOGUE.checks {
            let number = &check.number;
            let claim = &check.claim;
            assert!(claim.ends_with('.') && !claim.contains(". "), "{number}");
            assert!(!check.sources.is_empty(), "{number} has no source");
            for suite in &check.suites {
                assert!(suites.contains(suite), "{number}: {suite}");
            }
            if let Some(Reason::DuplicateOf(other)) = &check.reason {
                assert!(is_check(other), "{number}: {other}");
            }
        }
    }

    /// A reason and something missing contradict each other: one is of checks without a case, the other of checks with one.
    #[test]
    fn what_is_missing_is_of_checks_with_a_case() {
        for check in &CATALOGUE.checks {
            let number = check.number.as_str();
            let has_case = cases::all().any(|case| case.catalogue.contains(&number));
            assert!(has_case || check.missing.is_empty(), "{number} has no case");
            assert!(!has_case || check.reason.is_none(), "{number} has a case");
        }
    }

    #[test]
    fn every_number_of_a_case_is_known() {
        for case in cases::all() {
            for number in case.catalogue {
                assert!(is_check(number) || is_seed(number), "{}: {number}", case.id);
            }
        }
    }
}
