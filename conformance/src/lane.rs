//! A column as a set of trials: it runs when the first of them asks, and each finds its verdict in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cowlab_reports::result::{self, Column, Line, Outcome, Status, Timestamp};
use cowlab_testbed::Run;
use libtest_mimic::{Completion, Failed, Trial};

use crate::case::Case;
use crate::cases;
use crate::column::{self, Ended, Options, Report};
use crate::subject::Subject;
use crate::verdict::{self, Verdict};

/// Who writes results as they become known.
pub(crate) type Sink = dyn Fn(Timestamp, Timestamp, Line) -> Result<(), String> + Send + Sync;

/// What all columns of a run share.
pub(crate) struct Shared {
    /// The testbed.
    pub(crate) run: Run,
    /// How columns are run.
    pub(crate) options: Options,
    /// In how many orders the cases are run.
    pub(crate) seeds: u64,
    /// Where results go.
    pub(crate) sink: Box<Sink>,
    /// What the sink could not write.
    pub(crate) unwritten: Mutex<Vec<String>>,
}

/// A column and the cases to run in it.
pub(crate) struct Lane {
    /// What is judged.
    pub(crate) subject: Subject,
    /// The cases, in the order of the catalogue.
    pub(crate) cases: Vec<&'static Case>,
    shared: Arc<Shared>,
    report: OnceLock<Report>,
}

impl Lane {
    pub(crate) fn new(subject: Subject, cases: Vec<&'static Case>, shared: &Arc<Shared>) -> Self {
        Self {
            subject,
            cases,
            shared: Arc::clone(shared),
            report: OnceLock::new(),
        }
    }

    /// What the column found out; runs it unless it ran.
    pub(crate) fn report(&self) -> &Report {
        self.report.get_or_init(|| self.run())
    }

    /// What the column found out, if it ran and nobody else looks at it.
    pub(crate) fn into_report(lane: Arc<Self>) -> Option<Report> {
        Arc::into_inner(lane)?.report.into_inner()
    }

    /// The end of a case.
    pub(crate) fn ended(&self, case: &Case) -> Option<&Ended> {
        self.report()
            .ended
            .iter()
            .find(|ended| ended.case.id == case.id)
    }

    /// The name of a case in this column.
    pub(crate) fn trial_name(&self, case: &Case) -> String {
        format!("{}::{}", self.subject, case.id)
    }

    /// A trial per case, and one for what the column left behind.
    pub(crate) fn trials(lane: &Arc<Self>) -> Vec<Trial> {
        let cases = lane.cases.iter().map(|case| {
            let (lane, case) = (Arc::clone(lane), *case);
            Trial::ignorable_test(lane.trial_name(case), move || lane.complete(case))
        });
        let last = Arc::clone(lane);
        let name = format!("{}::run/leaves-nothing-behind", lane.subject);
        let clean = Trial::test(name, move || {
            let trouble = &last.report().trouble;
            if trouble.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(trouble.join("\n")))
            }
        });
        cases.chain([clean]).collect()
    }

    fn complete(&self, case: &'static Case) -> Result<Completion, Failed> {
        let Some(ended) = self.ended(case) else {
            return Err(Failed::from("the case did not run"));
        };
        match ended.verdict.status {
            Status::Pass | Status::Deviates => Ok(Completion::Completed),
            Status::Skip => {
                let reason = ended.verdict.reason.clone().unwrap_or_default();
                Ok(Completion::ignored_with(reason))
            }
            Status::Fail | Status::OrderDependent | Status::UnexpectedPass => {
                Err(Failed::from(self.explain(case, &ended.verdict)))
            }
        }
    }

    /// What a person needs to know of a failure: the claim, what was found, how to repeat it.
    pub(crate) fn explain(&self, case: &Case, verdict: &Verdict) -> String {
        format!(
            "{}: {}\n  claim:  {}\n  source: {}\n  repeat: {}",
            verdict.status,
            verdict
                .reason
                .as_deref()
                .unwrap_or("no reason was recorded"),
            case.spec,
            case.see.join("; "),
            self.repeat(case, true),
        )
    }

    /// The command that runs a case alone.
    pub(crate) fn repeat(&self, case: &Case, keep: bool) -> String {
        let Column {
            driver,
            variant,
            backing,
            ..
        } = self.subject.column();
        let keep = if keep { " --keep" } else { "" };
        format!(
            "cargo xtask conformance --driver {driver} --variant {variant} --backing {backing} --case {}{keep}",
            case.id
        )
    }

    fn run(&self) -> Report {
        let shared = &self.shared;
        let first = self.run_once(shared.options.seed);
        let mut merged = (1..shared.seeds).fold(first, |report, number| {
            let seed = shared.options.seed.unwrap_or(0).wrapping_add(number);
            merge(report, self.run_once(Some(seed)))
        });
        // Whatever the order was that they ran in.
        let place = |ended: &Ended| self.cases.iter().position(|case| case.id == ended.case.id);
        merged.ended.sort_by_key(place);
        for ended in &merged.ended {
            self.write(ended);
        }
        merged
    }

    fn run_once(&self, seed: Option<u64>) -> Report {
        let options = Options {
            seed,
            ..self.shared.options.clone()
        };
        column::run(&self.shared.run, &self.subject, &self.cases, &options)
    }

    fn write(&self, ended: &Ended) {
        let line = Line::Outcome(self.outcome(ended));
        if let Err(error) = (self.shared.sink)(ended.started, ended.finished, line) {
            let mut unwritten = self
                .shared
                .unwritten
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            unwritten.push(error);
        }
    }

    /// The outcome as results have it.
    pub(crate) fn outcome(&self, ended: &Ended) -> Outcome {
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
            column: self.subject.column(),
            status: ended.verdict.status,
            reason: ended.verdict.reason.clone(),
            deviation: ended.verdict.deviation.map(declared),
            repeat: self.repeat(case, false),
        }
    }
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

/// Puts together two runs of one column in different orders.
fn merge(mut one: Report, two: Report) -> Report {
    let mut others: BTreeMap<&str, Verdict> = two
        .ended
        .into_iter()
        .map(|ended| (ended.case.id, ended.verdict))
        .collect();
    for ended in &mut one.ended {
        if let Some(other) = others.remove(ended.case.id)
            && other.status != ended.verdict.status
        {
            ended.verdict = ended.verdict.clone().differs_from(&other);
        }
    }
    one.trouble.extend(two.trouble);
    one.kept.extend(two.kept);
    one
}
