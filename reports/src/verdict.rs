//! Which driver on which backing file system this host should use: a pure function from facts to a choice.
//!
//! The choice is a sequence of questions, the most important first ([`CRITERIA`]); each keeps the candidates that answer
//! it best and drops the others, and the question that drops a candidate is its why-not line. Nothing is added up into
//! a score. Timings decide late and only by relevant differences, so noise decides nothing; where evidence is missing
//! the verdict says which, and without any it is *unknown*.

mod criteria;

use serde::Serialize;

use crate::facts::{Candidate, Facts};
use crate::result::{Column, Impact, Status};
use crate::rules::{self, Applied, Weight};
use crate::statistics::NoiseFloor;
use crate::units;

pub use criteria::{CRITERIA, Criterion};

/// A candidate with what the rules say about it.
#[derive(Debug, Clone)]
pub struct Assessed<'a> {
    /// The candidate.
    pub candidate: &'a Candidate,
    /// What the rules say.
    pub findings: Vec<Applied>,
}

impl Assessed<'_> {
    fn weighing(&self, weight: Weight) -> impl Iterator<Item = &Applied> {
        self.findings
            .iter()
            .filter(move |finding| finding.weight == weight)
    }
}

/// How far the evidence carries the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// There is no evidence to choose by.
    Unknown,
    /// Much is missing.
    Low,
    /// One or two things are missing.
    Medium,
    /// Nothing the rules ask for is missing.
    High,
}

impl Confidence {
    /// The word on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A phrase with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The phrase.
    pub text: String,
    /// Rule and source, where it is a rule's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Applied>,
}

impl Reason {
    fn measured(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            rule: None,
        }
    }
}

impl From<&Applied> for Reason {
    fn from(applied: &Applied) -> Self {
        Self {
            text: applied.text.clone(),
            rule: Some(applied.clone()),
        }
    }
}

/// A driver on a backing file system, with what speaks for and against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The column it stands for.
    pub column: Column,
    /// What speaks for it.
    pub reasons: Vec<Reason>,
    /// What to know before using it.
    pub cautions: Vec<Reason>,
}

/// A candidate that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The column it stands for.
    pub column: Column,
    /// The question that dropped it.
    pub criterion: &'static str,
    /// Why, one phrase.
    pub because: String,
}

/// The verdict for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What to use; none where the evidence does not carry a choice.
    pub choice: Option<Choice>,
    /// What to use otherwise.
    pub runner_up: Option<Rejected>,
    /// What would serve better on a file system that the host does not have yet.
    pub improvement: Option<Rejected>,
    /// Every candidate that was not chosen, best first.
    pub rejected: Vec<Rejected>,
    /// How far the evidence carries.
    pub confidence: Confidence,
    /// Evidence that is missing, one phrase each.
    pub missing: Vec<String>,
    /// What the rules say about the host itself.
    pub host: Vec<Applied>,
}

/// Gives the verdict.
#[must_use]
pub fn verdict(facts: &Facts<'_>) -> Verdict {
    let (eligible, mut excluded) = eligible(facts);
    let mut rejected = Vec::new();
    let mut remaining = eligible.clone();
    let mut chosen = None;
    // Each round takes the best of what remains, so that the rejected come out best first.
    while let Some(best) = tournament(facts, &remaining, |_| true) {
        remaining.retain(|other| other.candidate != best.candidate);
        match &chosen {
            None => chosen = Some(best),
            Some(winner) => rejected.push(why_not(facts, winner, &best)),
        }
    }
    let improvement = chosen
        .as_ref()
        .and_then(|winner| improvement(facts, &eligible, winner));
    let runner_up = rejected.first().cloned();
    rejected.append(&mut excluded);
    let missing = missing(facts, chosen.as_ref(), eligible.len());
    let confidence = match (&chosen, missing.len()) {
        (None, _) => Confidence::Unknown,
        (_, 0) => Confidence::High,
        (_, 1 | 2) => Confidence::Medium,
        _ => Confidence::Low,
    };
    Verdict {
        choice: chosen.map(|winner| choice(facts, &winner, runner_up.as_ref())),
        runner_up,
        improvement,
        rejected,
        confidence,
        missing,
        host: rules::about_host(facts),
    }
}

/// Parts the candidates into those that may be chosen and those that may not, with the reason.
fn eligible<'a>(facts: &'a Facts<'_>) -> (Vec<Assessed<'a>>, Vec<Rejected>) {
    let mut eligible = Vec::new();
    let mut excluded = Vec::new();
    for candidate in &facts.candidates {
        let assessed = Assessed {
            candidate,
            findings: rules::about(facts, candidate),
        };
        match exclusion(&assessed) {
            None => eligible.push(assessed),
            Some((criterion, because)) => excluded.push(Rejected {
                column: candidate.column.clone(),
                criterion,
                because,
            }),
        }
    }
    (eligible, excluded)
}

fn exclusion(assessed: &Assessed<'_>) -> Option<(&'static str, String)> {
    let candidate = assessed.candidate;
    if let Some(what) = candidate.missing() {
        return Some(("can not run", format!("can not run here: {what}")));
    }
    let broken: Vec<&str> = candidate
        .failures
        .iter()
        .filter(|failure| failure.impact <= Impact::Isolation)
        .map(|failure| failure.case.as_str())
        .collect();
    if let Some(first) = broken.first() {
        let count = broken.len();
        return Some((
            "fails conformance",
            format!("fails {count} of the cases that guard data and isolation, first `{first}`"),
        ));
    }
    if let Some(finding) = assessed.weighing(Weight::Excludes).next() {
        return Some(("excluded by a rule", finding.text.clone()));
    }
    (candidate.judged() == 0).then(|| {
        (
            "not judged",
            "conformance did not judge it: nothing is known about what it does to data".to_owned(),
        )
    })
}

/// The candidate that is left after all questions; ties go to the default variant and then to the first by name.
fn tournament<'a>(
    facts: &Facts<'_>,
    candidates: &[Assessed<'a>],
    asked: impl Fn(&Criterion) -> bool,
) -> Option<Assessed<'a>> {
    let mut remaining: Vec<&Assessed<'a>> = candidates.iter().collect();
    for criterion in CRITERIA.iter().filter(|criterion| asked(criterion)) {
        let grades = (criterion.grades)(facts, &remaining);
        let best = grades.iter().min().copied();
        let mut grades = grades.into_iter();
        remaining.retain(|_| grades.next() == best);
    }
    remaining.first().map(|best| (*best).clone())
}

/// The first question that the loser answers worse than the winner, in the words of that question.
fn why_not(facts: &Facts<'_>, winner: &Assessed<'_>, loser: &Assessed<'_>) -> Rejected {
    let lost = CRITERIA.iter().find(|criterion| {
        let grades = (criterion.grades)(facts, &[winner, loser]);
        grades.first() < grades.last()
    });
    Rejected {
        column: loser.candidate.column.clone(),
        criterion: lost.map_or("equal", |criterion| criterion.name),
        because: lost.map_or_else(
            || "nothing measured tells it apart from the choice".to_owned(),
            |criterion| (criterion.lost)(facts, winner, loser),
        ),
    }
}

/// What would win if the host had any file system, where it copies up relevantly faster than the choice.
fn improvement(
    facts: &Facts<'_>,
    eligible: &[Assessed<'_>],
    winner: &Assessed<'_>,
) -> Option<Rejected> {
    facts.storage()?;
    let best = tournament(facts, eligible, |criterion| {
        criterion.name != criteria::STORAGE
    })?;
    let pace = facts.pace(winner.candidate, best.candidate)?;
    (best.candidate.column.backing != winner.candidate.column.backing && pace.is_slower()).then(
        || Rejected {
            column: best.candidate.column.clone(),
            criterion: criteria::STORAGE,
            because: format!(
                "copy-up is {} as fast over {} measured cases, but it needs a new {} file system",
                units::times(pace.mean),
                pace.cases,
                best.candidate.column.backing,
            ),
        },
    )
}

fn choice(facts: &Facts<'_>, winner: &Assessed<'_>, runner_up: Option<&Rejected>) -> Choice {
    let candidate = winner.candidate;
    let mut reasons = vec![Reason::measured(conformance_line(candidate))];
    if let Some(storage) = facts
        .storage()
        .filter(|storage| *storage == candidate.column.backing)
    {
        reasons.push(Reason::measured(format!(
            "the storage directory is on {storage} already: no new file system is needed"
        )));
    }
    reasons.extend(copy_up_line(facts, candidate));
    reasons.extend(winner.weighing(Weight::For).map(Reason::from));
    if let Some(runner_up) = runner_up {
        reasons.push(Reason::measured(format!(
            "chosen over the runner-up, {}: that one {}",
            runner_up.column.label(),
            runner_up.because
        )));
    }
    let mut cautions: Vec<Reason> = deviation_line(candidate).into_iter().collect();
    for weight in [Weight::LastResort, Weight::Against, Weight::Note] {
        cautions.extend(winner.weighing(weight).map(Reason::from));
    }
    Choice {
        column: candidate.column.clone(),
        reasons,
        cautions,
    }
}

fn conformance_line(candidate: &Candidate) -> String {
    let failures = candidate.failures.len();
    format!(
        "{} of {} conformance cases hold, {} deviate as declared, {}",
        candidate.count(Status::Pass),
        candidate.judged(),
        candidate.deviations.len(),
        match failures {
            0 => "none fails".to_owned(),
            1 => "1 fails".to_owned(),
            _ => format!("{failures} fail"),
        }
    )
}

fn deviation_line(candidate: &Candidate) -> Option<Reason> {
    let counts: Vec<String> = Impact::ALL
        .into_iter()
        .filter_map(|impact| {
            let count = candidate
                .deviations
                .iter()
                .filter(|deviation| deviation.impact == impact)
                .count();
            (count > 0).then(|| format!("{count} {impact}"))
        })
        .collect();
    (!counts.is_empty()).then(|| {
        Reason::measured(format!(
            "differs from a plain directory in declared ways: {}",
            counts.join(", ")
        ))
    })
}

fn copy_up_line(facts: &Facts<'_>, candidate: &Candidate) -> Option<Reason> {
    let sizes: [u64; 3] = [4 << 10, 16 << 20, 128 << 20];
    let times: Vec<String> = sizes
        .into_iter()
        .filter_map(|size| {
            let median = facts.copy_up(candidate, size)?.median.value;
            let size = units::bytes(size as f64);
            Some(format!("{} at {size}", units::duration(median)))
        })
        .collect();
    (!times.is_empty()).then(|| {
        Reason::measured(format!(
            "writing the first byte to a file of the image takes {}",
            times.join(", ")
        ))
    })
}

/// Evidence that would make the verdict firmer.
fn missing(facts: &Facts<'_>, winner: Option<&Assessed<'_>>, eligible: usize) -> Vec<String> {
    let mut missing = Vec::new();
    let mut need = |absent: bool, what: &str| {
        if absent {
            missing.push(what.to_owned());
        }
    };
    let unjudged = facts.candidates.iter().all(|one| one.judged() == 0);
    need(
        unjudged,
        "no conformance outcome: run `cargo xtask conformance`",
    );
    need(
        facts.storage().is_none(),
        "the file system below the storage directory is not known",
    );
    let Some(winner) = winner else {
        need(
            !unjudged,
            "no candidate that was judged is free of failures that endanger data or isolation",
        );
        return missing;
    };
    need(
        eligible == 1,
        "only one candidate could be judged: there was nothing to compare with",
    );
    let measured = facts.pace(winner.candidate, winner.candidate).is_some();
    need(
        !measured,
        "no copy-up latency of the choice: run `cargo xtask bench run copy-up`",
    );
    let controls = |(_, noise): (_, &NoiseFloor)| noise.controls > 0;
    need(
        measured && !facts.measurements.noise().any(controls),
        "no A/A control with an interval: the noise of the timings is not known",
    );
    need(
        facts.capacity(winner.candidate).is_none(),
        "no capacity overhead of the choice: run `cargo xtask bench run capacity`",
    );
    let skipped = winner.candidate.count(Status::Skip);
    if skipped > 0 {
        missing.push(match skipped {
            1 => "1 conformance case of the choice was skipped".to_owned(),
            _ => format!("{skipped} conformance cases of the choice were skipped"),
        });
    }
    missing
}
