//! How much of the catalogue the suite checks.
//!
//! A number that a case carries proves nothing: a check is covered when a case has it, the case leaves nothing out, and each
//! planted fault of the check, of which there is at least one, was caught in the published run of `conformance faults`.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::{Value, json};

use crate::args::CoverageArgs;
use crate::cases;
use crate::catalogue::{CATALOGUE, Check};
use crate::faults::{self, PUBLISHED, Record};

/// How far a check is covered.
#[derive(Debug, PartialEq, Eq)]
enum Coverage {
    /// Cases look at everything, and its faults are caught.
    Yes,
    /// Cases have it, and something is missing.
    Part(String),
    /// No case has it, for a reason.
    No(String),
}

impl Coverage {
    const fn name(&self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Part(_) => "part",
            Self::No(_) => "no",
        }
    }

    fn why(&self) -> &str {
        match self {
            Self::Yes => "",
            Self::Part(why) | Self::No(why) => why,
        }
    }
}

/// Prints how far each check is covered, and how many are.
pub(crate) fn print(args: &CoverageArgs) -> Result<()> {
    let published = &PUBLISHED;
    let checks: Vec<_> = CATALOGUE
        .checks
        .iter()
        .map(|check| (check, coverage(check, published)))
        .collect();
    let is_covered = |(_, coverage): &&(&Check, Coverage)| *coverage == Coverage::Yes;
    let covered = checks.iter().filter(is_covered).count();
    let mut out = io::stdout().lock();
    if args.json {
        let list: Vec<_> = checks
            .iter()
            .map(|(check, coverage)| document(check, coverage))
            .collect();
        let document = json!({"covered": covered, "of": checks.len(), "checks": list});
        return Ok(writeln!(out, "{document}")?);
    }
    for (letter, title) in &CATALOGUE.groups {
        writeln!(out, "{letter}. {title}")?;
        for (check, coverage) in checks.iter().filter(|(check, _)| check.letter() == *letter) {
            let (number, claim) = (&check.number, &check.claim);
            writeln!(out, "  {number} {:4} {claim}", coverage.name())?;
            if !coverage.why().is_empty() {
                writeln!(out, "           {}", coverage.why())?;
            }
        }
    }
    Ok(writeln!(out, "{covered} of {}", checks.len())?)
}

fn document(check: &Check, coverage: &Coverage) -> Value {
    json!({
        "number": check.number,
        "claim": check.claim,
        "sources": check.sources,
        "suites": check.suites.iter().map(|code| CATALOGUE.suite(code)).collect::<Vec<_>>(),
        "cases": cases_of(&check.number),
        "coverage": coverage.name(),
        "why": coverage.why(),
    })
}

fn cases_of(number: &str) -> Vec<&'static str> {
    let carries = cases::all().filter(|case| case.catalogue.contains(&number));
    carries.map(|case| case.id).collect()
}

fn coverage(check: &Check, published: &[Record]) -> Coverage {
    if cases_of(&check.number).is_empty() {
        let reason = check.reason.as_ref().map(ToString::to_string);
        return Coverage::No(reason.unwrap_or_else(|| "no case".to_owned()));
    }
    if !check.missing.is_empty() {
        return Coverage::Part(format!("missing: {}", check.missing));
    }
    match not_caught(check, published) {
        Some(why) => Coverage::Part(why),
        None => Coverage::Yes,
    }
}

/// Which fault of a check was not caught, if there is one, or that there is none to be caught.
fn not_caught(check: &Check, published: &[Record]) -> Option<String> {
    let faults = || faults::all().filter(|fault| fault.check == check.number);
    let records = |id| published.iter().filter(move |record| record.fault == id);
    let missed = faults()
        .filter(|fault| fault.equivalent.is_none())
        .find(|fault| {
            records(fault.id).next().is_none()
                || records(fault.id).any(|record| record.case.is_none())
        });
    if let Some(fault) = missed {
        return Some(format!("the planted fault {} is not caught", fault.id));
    }
    let is_caught = faults().any(|fault| records(fault.id).any(|record| record.case.is_some()));
    (!is_caught).then(|| "no planted fault of it is caught".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_of_a_check_that_a_case_has() {
        for fault in faults::all() {
            let mut checks = CATALOGUE.checks.iter();
            let is_known = checks.any(|check| check.number == fault.check);
            assert!(is_known, "{} is of {}", fault.id, fault.check);
            let cases = cases_of(fault.check);
            assert!(!cases.is_empty(), "{} is of {}", fault.id, fault.check);
        }
    }

    #[test]
    fn a_check_is_covered_when_each_of_its_faults_was_caught() {
        let check = CATALOGUE.checks.iter().find(|check| check.number == "A05");
        let check = check.expect("the catalogue has it");
        let lines = |second: &str| {
            let line = |fault: &str, case: &str| {
                format!(
                    r#"{{"fault":"{fault}","check":"A05","driver":"d","case":{case},"date":"Z","commit":""}}"#
                )
            };
            [
                line("lowers-swapped", "\"c\""),
                line("deep-lowers-reversed", second),
            ]
            .map(|line| serde_json::from_str(&line).expect("a record"))
        };
        assert_eq!(coverage(check, &lines("\"c\"")), Coverage::Yes);
        let missed = coverage(check, &lines("null"));
        assert_eq!(
            missed.why(),
            "the planted fault deep-lowers-reversed is not caught"
        );
        let absent = coverage(check, &lines("null")[..1]);
        assert_eq!(absent, missed);
        let none = coverage(check, &[]);
        assert_eq!(none.name(), "part");
    }
}
