//! How a case ended: from a first difference to a line of the results, and back.

use std::path::Path;
use std::time::Duration;

use cowlab_driver::Deviation;
use cowlab_engine::guest;
use cowlab_engine::results::now;
use cowlab_engine::subject::{Subject, declared};
use cowlab_reports::result::{self, Column, Impact, Outcome, Place, Record, Status, Timestamp};

use crate::case::Case;
use crate::cases;
use crate::difference::Difference;

/// The id under which a column reports what it left behind or upset.
pub(crate) const LEFTOVERS: &str = "run/leaves-nothing-behind";

/// How a case ended in a column, where and when it ran.
#[derive(Debug, Clone)]
pub(crate) struct CaseResult {
    /// The case.
    pub(crate) case: &'static Case,
    /// Pass, failure, skip or deviation.
    pub(crate) status: Status,
    /// The first difference, the missing need, or a note.
    pub(crate) reason: Option<String>,
    /// The deviation that is declared.
    pub(crate) deviation: Option<&'static Deviation>,
    /// Where it ran, or would have run.
    pub(crate) place: Place,
    /// When its work began.
    pub(crate) started: Timestamp,
    /// When it was known.
    pub(crate) finished: Timestamp,
}

impl CaseResult {
    /// Judges a first difference, or none, against what the driver declares. The case ends now and here.
    #[must_use]
    pub(crate) fn of(
        case: &'static Case,
        found: Option<&Difference>,
        declared: Option<&'static Deviation>,
    ) -> Self {
        let (status, reason) = match (found, declared) {
            (None, None) => (Status::Pass, None),
            (None, Some(deviation)) => {
                let reason = format!(
                    "the claim holds; the deviation `{}` is stale: remove it",
                    deviation.observed
                );
                (Status::UnexpectedPass, Some(reason))
            }
            (Some(found), Some(deviation)) if found.line() == deviation.observed => {
                (Status::Deviates, Some(found.line().to_owned()))
            }
            (Some(found), Some(deviation)) => {
                let reason = format!(
                    "{found}; the declared deviation is `{}`",
                    deviation.observed
                );
                (Status::Fail, Some(reason))
            }
            (Some(found), None) => (Status::Fail, Some(found.to_string())),
        };
        let now = now();
        Self {
            case,
            status,
            reason,
            deviation: declared,
            place: guest::here(),
            started: now,
            finished: now,
        }
    }

    /// A case that did not run: a skip, or a failure that no case's difference stands for.
    #[must_use]
    pub(crate) fn without_run(case: &'static Case, status: Status, reason: &str) -> Self {
        Self {
            status,
            reason: Some(reason.to_owned()),
            ..Self::of(case, None, None)
        }
    }

    /// The result as of now, with the time that its work took. A case of a batch counts its share of the batch.
    #[must_use]
    pub(crate) fn after(mut self, took: Duration) -> Self {
        let took = u64::try_from(took.as_millis()).unwrap_or(0);
        self.finished = now();
        self.started = Timestamp::from_millis(self.finished.millis().saturating_sub(took));
        self
    }

    /// The result with the place of the backing file system, which has another name in every run, as `<backing>`.
    #[must_use]
    pub(crate) fn in_place_of(mut self, mount_point: &Path) -> Self {
        self.reason = self.reason.map(|reason| on_backing(&reason, mount_point));
        self
    }

    /// The result to report when a failing case was run again, alone.
    #[must_use]
    pub(crate) fn confirmed_by(self, alone: Self) -> Self {
        if self.status == alone.status {
            return alone;
        }
        let reason = format!(
            "with others: {}; alone: {}",
            self.summary(),
            alone.summary()
        );
        self.depends_on_order(reason)
    }

    /// The result to report when the cases ran in another order and this one ended otherwise.
    #[must_use]
    pub(crate) fn differs_from(self, other: &Self) -> Self {
        let reason = format!(
            "in one order: {}; in another: {}",
            self.summary(),
            other.summary()
        );
        self.depends_on_order(reason)
    }

    fn depends_on_order(self, reason: String) -> Self {
        Self {
            status: Status::OrderDependent,
            reason: Some(reason),
            ..self
        }
    }

    fn summary(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{} ({reason})", self.status),
            None => self.status.to_string(),
        }
    }

    /// The line that results have.
    pub(crate) fn line(&self, subject: &Subject) -> Outcome {
        let case = self.case;
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Outcome {
            case: case.id.to_owned(),
            numbers: owned(case.catalogue),
            group: cases::title(case.group()).to_owned(),
            claim: case.spec.to_owned(),
            see: owned(case.see),
            impact: case.impact,
            risk: case.risk,
            column: column(subject, self.place),
            status: self.status,
            reason: self.reason.clone(),
            deviation: self.deviation.map(declared),
            repeat: repeat(subject, case, self.place, false),
        }
    }

    /// Reads a line of the results back.
    pub(crate) fn read(
        subject: &Subject,
        case: &'static Case,
        outcome: &Outcome,
        record: &Record,
    ) -> Self {
        let (variant, backing) = (subject.variant.name, subject.backing.name());
        let mut declared = subject.entry.deviations_on(variant, backing);
        let declared = outcome
            .deviation
            .as_ref()
            .and_then(|_| declared.find(|deviation| deviation.case == case.id));
        Self {
            case,
            status: outcome.status,
            reason: outcome.reason.clone(),
            deviation: declared,
            place: outcome.column.place,
            started: record.started,
            finished: record.finished,
        }
    }

    /// What a person needs to know of a failure: the claim, what was found, how to repeat it.
    pub(crate) fn explain(&self, subject: &Subject) -> String {
        let case = self.case;
        let reason = self.reason.as_deref();
        format!(
            "{}: {}\n  claim:  {}\n  source: {}\n  repeat: {}",
            self.status,
            reason.unwrap_or("no reason was recorded"),
            case.spec,
            case.see.join("; "),
            // Nothing of a guest can be kept.
            repeat(subject, case, self.place, self.place == Place::Host),
        )
    }
}

/// A text with the place of the backing file system as `<backing>`.
pub(crate) fn on_backing(text: &str, mount_point: &Path) -> String {
    text.replace(&mount_point.display().to_string(), "<backing>")
}

/// What a column left behind, as results have it: a failure that belongs to no case.
pub(crate) fn leftover(subject: &Subject, place: Place, trouble: &str) -> Outcome {
    Outcome {
        case: LEFTOVERS.to_owned(),
        numbers: Vec::new(),
        group: "The run itself".to_owned(),
        claim: "A column leaves no mount, no snapshot and no tainted kernel behind.".to_owned(),
        see: Vec::new(),
        impact: Impact::Isolation,
        risk: result::Risk::Safe,
        column: column(subject, place),
        status: Status::Fail,
        reason: Some(trouble.to_owned()),
        deviation: None,
        repeat: format!("cargo xtask conformance {}", chosen(subject, place)),
    }
}

/// The column of results, in a place.
fn column(subject: &Subject, place: Place) -> Column {
    Column {
        place,
        ..subject.column()
    }
}

/// The command that runs a case alone.
fn repeat(subject: &Subject, case: &Case, place: Place, keep: bool) -> String {
    let chosen = chosen(subject, place);
    let keep = if keep { " --keep" } else { "" };
    format!("cargo xtask conformance {chosen} --case {}{keep}", case.id)
}

/// The flags that choose a column in a place.
fn chosen(subject: &Subject, place: Place) -> String {
    let Column {
        driver,
        variant,
        backing,
        ..
    } = subject.column();
    let place = match place {
        Place::Host => "",
        Place::Guest => " --where guest",
    };
    format!("--driver {driver} --variant {variant} --backing {backing}{place}")
}

#[cfg(test)]
mod tests {
    use cowlab_driver::Scope;

    use super::*;

    const CASE: Case = Case {
        id: "rename/directory-of-the-parent",
        ..Case::BASE
    };
    const DECLARED: Deviation = Deviation {
        case: CASE.id,
        scope: Scope::EVERYWHERE,
        observed: "/d: rename to /e: expected ok, got EXDEV",
        because: "overlay does not redirect directories by default",
        impact: cowlab_driver::Impact::AppVisible,
        see: &["overlayfs.rst"],
    };

    fn exdev() -> Difference {
        Difference::new("/d", "rename to /e", "ok", "EXDEV")
    }

    #[test]
    fn a_declared_deviation_must_show_as_declared() {
        let status = |found: Option<Difference>, declared| {
            CaseResult::of(&CASE, found.as_ref(), declared).status
        };
        assert_eq!(status(None, None), Status::Pass);
        assert_eq!(status(Some(exdev()), None), Status::Fail);
        assert_eq!(status(Some(exdev()), Some(&DECLARED)), Status::Deviates);
        assert_eq!(status(None, Some(&DECLARED)), Status::UnexpectedPass);
        let other = Difference::new("/d", "rename to /e", "ok", "EIO");
        assert_eq!(status(Some(other), Some(&DECLARED)), Status::Fail);
    }

    #[test]
    fn a_failure_that_does_not_repeat_depends_on_the_order() {
        let failed = CaseResult::of(&CASE, Some(&exdev()), None);
        let passed = CaseResult::of(&CASE, None, None);
        assert_eq!(
            failed.clone().confirmed_by(passed).status,
            Status::OrderDependent
        );
        assert_eq!(failed.clone().confirmed_by(failed).status, Status::Fail);
    }
}
