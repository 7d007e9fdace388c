//! Between the end of a case and its line in the results: what is written, and what a guest wrote read back.

use cowlab_reports::result::{self, Column, Outcome, Place, Record};

use crate::case::Case;
use crate::cases;
use crate::report::Ended;
use crate::subject::Subject;
use crate::verdict::{self, Verdict};

/// The id under which a column reports what it left behind or upset.
pub(crate) const LEFTOVERS: &str = "run/leaves-nothing-behind";

/// The outcome as results have it.
pub(crate) fn of(subject: &Subject, ended: &Ended) -> Outcome {
    let case = ended.case;
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Outcome {
        case: case.id.to_owned(),
        numbers: owned(case.catalogue),
        group: cases::title(case.group()).to_owned(),
        claim: case.spec.to_owned(),
        see: owned(case.see),
        impact: case.impact,
        risk: case.risk,
        column: column(subject, ended.place),
        status: ended.verdict.status,
        reason: ended.verdict.reason.clone(),
        deviation: ended.verdict.deviation.map(declared),
        repeat: repeat(subject, case, ended.place, false),
    }
}

/// What a column left behind, as results have it: a failure that belongs to no case.
pub(crate) fn of_trouble(subject: &Subject, place: Place, trouble: &str) -> Outcome {
    Outcome {
        case: LEFTOVERS.to_owned(),
        numbers: Vec::new(),
        group: "The run itself".to_owned(),
        claim: "A column leaves no mount, no snapshot and no tainted kernel behind.".to_owned(),
        see: Vec::new(),
        impact: result::Impact::Isolation,
        risk: result::Risk::Safe,
        column: column(subject, place),
        status: result::Status::Fail,
        reason: Some(trouble.to_owned()),
        deviation: None,
        repeat: format!("cargo xtask conformance {}", chosen(subject, place)),
    }
}

/// Reads back what a guest wrote about a case.
pub(crate) fn ended(
    subject: &Subject,
    case: &'static Case,
    outcome: &Outcome,
    record: &Record,
) -> Ended {
    let (variant, backing) = (subject.variant.name, subject.backing.name());
    let mut declared = subject.entry.deviations_on(variant, backing);
    Ended {
        case,
        verdict: Verdict {
            status: outcome.status,
            reason: outcome.reason.clone(),
            deviation: outcome
                .deviation
                .as_ref()
                .and_then(|_| declared.find(|deviation| deviation.case == case.id)),
        },
        place: outcome.column.place,
        started: record.started,
        finished: record.finished,
    }
}

/// The column of results, in a place.
pub(crate) fn column(subject: &Subject, place: Place) -> Column {
    Column {
        place,
        ..subject.column()
    }
}

/// What a person needs to know of a failure: the claim, what was found, how to repeat it.
pub(crate) fn explain(subject: &Subject, ended: &Ended) -> String {
    let (case, verdict) = (ended.case, &ended.verdict);
    format!(
        "{}: {}\n  claim:  {}\n  source: {}\n  repeat: {}",
        verdict.status,
        verdict
            .reason
            .as_deref()
            .unwrap_or("no reason was recorded"),
        case.spec,
        case.see.join("; "),
        // Nothing of a guest can be kept.
        repeat(subject, case, ended.place, ended.place == Place::Host),
    )
}

/// The command that runs a case alone.
pub(crate) fn repeat(subject: &Subject, case: &Case, place: Place, keep: bool) -> String {
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

/// A declared deviation as results have it.
pub(crate) fn declared(deviation: &'static cowlab_driver::Deviation) -> result::Deviation {
    result::Deviation {
        case: deviation.case.to_owned(),
        observed: deviation.observed.to_owned(),
        because: deviation.because.to_owned(),
        impact: verdict::impact(deviation.impact),
        see: deviation
            .see
            .iter()
            .map(|text| (*text).to_owned())
            .collect(),
    }
}
