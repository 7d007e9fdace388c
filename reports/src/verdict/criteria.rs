//! The questions of a verdict, the most important first.

use super::Assessed;
use crate::facts::Facts;
use crate::result::Impact;
use crate::rules::Weight;
use crate::units;

/// Name of the question whether the host has the file system already.
pub(super) const STORAGE: &str = "new file system";

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Criterion {
    /// What dropped a candidate, two or three words.
    pub name: &'static str,
    /// A grade for each of the remaining candidates, in their order; the lowest is the best.
    pub grades: fn(&Facts<'_>, &[&Assessed<'_>]) -> Vec<i64>,
    /// Why the second lost against the first, a phrase that follows "that one" or stands alone.
    pub lost: fn(&Facts<'_>, &Assessed<'_>, &Assessed<'_>) -> String,
}

/// All questions.
pub const CRITERIA: &[Criterion] = &[
    Criterion {
        name: "last resort",
        grades: |_, candidates| each(candidates, |one| count(one.weighing(Weight::LastResort))),
        lost: |_, _, loser| {
            let findings: Vec<&str> = loser
                .weighing(Weight::LastResort)
                .map(|finding| finding.text.as_str())
                .collect();
            format!("is a last resort: {}", findings.join("; "))
        },
    },
    Criterion {
        name: "failed cases",
        grades: |_, candidates| each(candidates, |one| count(one.candidate.failures.iter())),
        lost: |_, winner, loser| {
            format!(
                "fails {} conformance cases, the choice {}",
                loser.candidate.failures.len(),
                winner.candidate.failures.len()
            )
        },
    },
    Criterion {
        name: STORAGE,
        grades: |facts, candidates| {
            each(candidates, |one| {
                i64::from(facts.storage() != Some(one.candidate.column.backing.as_str()))
            })
        },
        lost: |facts, _, loser| {
            format!(
                "needs a new {} file system, the storage directory is on {}",
                loser.candidate.column.backing,
                facts.storage().unwrap_or_default()
            )
        },
    },
    Criterion {
        name: "data or isolation",
        grades: |_, candidates| each(candidates, |one| i64::from(endangers(one).is_some())),
        lost: |_, _, loser| {
            format!(
                "declares a deviation that endangers data or isolation: `{}`",
                endangers(loser).unwrap_or_default()
            )
        },
    },
    Criterion {
        name: "rules",
        grades: |_, candidates| each(candidates, balance),
        lost: |_, winner, loser| {
            // What speaks against the choice too did not decide.
            let shared = |rule| {
                winner
                    .weighing(Weight::Against)
                    .any(|other| other.rule == rule)
            };
            let findings: Vec<String> = loser
                .weighing(Weight::Against)
                .filter(|finding| !shared(finding.rule))
                .map(|finding| format!("{} (rule {})", finding.text, finding.rule))
                .collect();
            if findings.is_empty() {
                "has fewer rules on its side".to_owned()
            } else {
                format!("has rules against it: {}", findings.join("; "))
            }
        },
    },
    Criterion {
        name: "copy-up latency",
        grades: slower_than_the_fastest,
        lost: |facts, winner, loser| {
            facts
                .pace(loser.candidate, winner.candidate)
                .map_or_else(String::new, |pace| {
                    format!(
                        "takes {} as long to copy up, relevantly longer in {} of {} cases",
                        units::times(pace.mean),
                        pace.slower,
                        pace.cases
                    )
                })
        },
    },
    Criterion {
        name: "capacity",
        grades: larger_than_the_smallest,
        lost: |facts, winner, loser| {
            let overhead = |one: &Assessed<'_>| {
                facts
                    .capacity(one.candidate)
                    .map_or_else(|| "unknown".to_owned(), units::digits)
            };
            format!(
                "allocates {} bytes per byte changed, the choice {}",
                overhead(loser),
                overhead(winner)
            )
        },
    },
    Criterion {
        name: "visible deviations",
        grades: |_, candidates| each(candidates, visible),
        lost: |_, winner, loser| {
            format!(
                "differs visibly from a plain directory in {} cases, the choice in {}",
                visible(loser),
                visible(winner)
            )
        },
    },
    Criterion {
        name: "not the default",
        grades: |_, candidates| {
            each(candidates, |one| {
                i64::from(one.candidate.column.variant != "default")
            })
        },
        lost: |_, _, loser| {
            format!(
                "shows no relevant advantage that would pay for the options of `{}`",
                loser.candidate.column.variant
            )
        },
    },
];

fn each(candidates: &[&Assessed<'_>], grade: impl Fn(&Assessed<'_>) -> i64) -> Vec<i64> {
    candidates.iter().map(|one| grade(one)).collect()
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

/// A declared deviation that endangers data or isolation.
fn endangers<'a>(one: &'a Assessed<'_>) -> Option<&'a str> {
    one.candidate
        .deviations
        .iter()
        .find(|deviation| deviation.impact <= Impact::Isolation)
        .map(|deviation| deviation.case.as_str())
}

/// Rules against it less rules for it.
fn balance(one: &Assessed<'_>) -> i64 {
    count(one.weighing(Weight::Against)) - count(one.weighing(Weight::For))
}

/// Deviations that programs can see.
fn visible(one: &Assessed<'_>) -> i64 {
    count(
        one.candidate
            .deviations
            .iter()
            .filter(|deviation| deviation.impact <= Impact::AppVisible),
    )
}

/// 1 for candidates that are relevantly slower than the fastest of them, else 0. One that was not measured is not
/// slower: what is missing lowers the confidence and does not decide.
fn slower_than_the_fastest(facts: &Facts<'_>, candidates: &[&Assessed<'_>]) -> Vec<i64> {
    let Some(anchor) = candidates
        .iter()
        .find(|one| facts.pace(one.candidate, one.candidate).is_some())
    else {
        return vec![0; candidates.len()];
    };
    let fastest = candidates
        .iter()
        .filter_map(|one| Some((one, facts.pace(one.candidate, anchor.candidate)?.mean)))
        .min_by(|(_, first), (_, second)| first.total_cmp(second))
        .map_or(anchor, |(one, _)| one);
    each(candidates, |one| {
        let pace = facts.pace(one.candidate, fastest.candidate);
        i64::from(pace.is_some_and(|pace| pace.is_slower()))
    })
}

/// Below this factor a difference in allocated space is no reason: metadata of a file system varies by as much.
const LARGER: f64 = 1.1;

/// 1 for candidates that allocate more than the smallest of them, else 0.
fn larger_than_the_smallest(facts: &Facts<'_>, candidates: &[&Assessed<'_>]) -> Vec<i64> {
    let overheads: Vec<Option<f64>> = candidates
        .iter()
        .map(|one| facts.capacity(one.candidate))
        .collect();
    let smallest = overheads.iter().flatten().copied().reduce(f64::min);
    overheads
        .into_iter()
        .map(|overhead| {
            let larger = overhead
                .zip(smallest)
                .is_some_and(|(overhead, smallest)| overhead > smallest * LARGER);
            i64::from(larger)
        })
        .collect()
}
