//! What is known about choosing a storage driver, as data: each rule looks at the facts and may have something to say.
//!
//! Rules are numbered once and keep their numbers; a number is never used again. A rule speaks from facts that are in
//! the results and cites where it comes from. It weighs in one way only, by its [`Weight`]; no rule adds points.
//!
//! A rule that names a driver repeats what documentation says about that product, which no measurement can decide. What can
//! be measured, such as whether whole files are copied, is judged by the numbers of every driver alike; so a new driver needs
//! no rule.

mod table;

use std::fmt;

use serde::Serialize;

use crate::facts::{Candidate, Facts};

pub use table::RULES;

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its number.
    pub id: u16,
    /// What it says in general, one sentence.
    pub says: &'static str,
    /// Where that is known from.
    pub source: &'static str,
    /// What it looks at.
    pub applies: Applies,
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub enum Applies {
    /// The host as a whole.
    Host(fn(&Facts<'_>) -> Option<Finding>),
    /// One candidate on this host.
    Candidate(fn(&Facts<'_>, &Candidate) -> Option<Finding>),
}

/// How a finding bears on the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// The candidate can not be chosen.
    Excludes,
    /// The candidate is chosen only where nothing else is left.
    LastResort,
    /// Speaks against the candidate.
    Against,
    /// Speaks for the candidate.
    For,
    /// Worth knowing, decides nothing.
    Note,
}

impl Weight {
    /// The word on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Excludes => "excludes",
            Self::LastResort => "last resort",
            Self::Against => "against",
            Self::For => "for",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// What a rule has to say here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it bears on the choice.
    pub weight: Weight,
    /// One phrase, with the facts that made the rule speak.
    pub text: String,
}

impl Finding {
    /// Makes a finding.
    #[must_use]
    pub fn new(weight: Weight, text: impl Into<String>) -> Self {
        Self {
            weight,
            text: text.into(),
        }
    }
}

/// A finding with the rule it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Number of the rule.
    pub rule: u16,
    /// How it bears on the choice.
    pub weight: Weight,
    /// What it says here.
    pub text: String,
    /// Where the rule is known from.
    pub source: &'static str,
}

/// What the rules say about the host.
#[must_use]
pub fn about_host(facts: &Facts<'_>) -> Vec<Applied> {
    apply(|rule| match rule.applies {
        Applies::Host(finding) => finding(facts),
        Applies::Candidate(_) => None,
    })
}

/// What the rules say about a candidate, in the order of their numbers.
#[must_use]
pub fn about(facts: &Facts<'_>, candidate: &Candidate) -> Vec<Applied> {
    apply(|rule| match rule.applies {
        Applies::Host(_) => None,
        Applies::Candidate(finding) => finding(facts, candidate),
    })
}

fn apply(finding: impl Fn(&Rule) -> Option<Finding>) -> Vec<Applied> {
    RULES
        .iter()
        .filter_map(|rule| {
            let Finding { weight, text } = finding(rule)?;
            Some(Applied {
                rule: rule.id,
                weight,
                text,
                source: rule.source,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_every_rule_cites_a_source() {
        assert!(RULES.is_sorted_by(|a, b| a.id < b.id));
        for rule in RULES {
            assert!(rule.says.ends_with('.'), "rule {}", rule.id);
            assert!(!rule.source.is_empty(), "rule {}", rule.id);
        }
    }

    #[test]
    fn rules_say_nothing_about_nothing() {
        assert_eq!(about_host(&Facts::default()), vec![]);
    }
}
