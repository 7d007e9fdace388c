//! A column as a set of trials: its part on the host runs when the first of them asks, its part in the guest runs beside
//! it, and each trial finds its verdict in one of the two.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use cowlab_engine::guest;
use cowlab_reports::result::{Line, Place, Status};
use cowlab_testbed::Run;
use libtest_mimic::{Completion, Failed, Trial};

use crate::case::Case;
use crate::column::{self, Options};
use crate::guest_run::{GuestRun, trial};
use crate::outcome;
use crate::report::{Ended, Report, now};
use crate::results::Results;
use crate::subject::Subject;
use crate::verdict::Verdict;

/// What all columns of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The testbed; none where everything runs in the guest.
    pub(crate) run: Option<Run>,
    /// How columns are run.
    pub(crate) options: Options,
    /// In how many orders the cases are run.
    pub(crate) seeds: u64,
    /// Where results go.
    pub(crate) results: Results,
}

/// A column and the cases to run in it.
#[derive(Debug)]
pub(crate) struct ColumnRun {
    /// What is judged.
    pub(crate) subject: Subject,
    /// The cases, in the order of the catalogue.
    pub(crate) cases: Vec<&'static Case>,
    /// Those of them that run in the guest.
    pub(crate) guest_run: GuestRun,
    shared: Arc<Shared>,
    report: OnceLock<Report>,
}

impl ColumnRun {
    pub(crate) fn new(
        subject: Subject,
        cases: Vec<&'static Case>,
        guest_cases: Vec<&'static Case>,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            subject,
            cases,
            guest_run: GuestRun::new(subject, guest_cases),
            shared: Arc::clone(shared),
            report: OnceLock::new(),
        }
    }

    /// What the column found out here; runs it unless it ran.
    pub(crate) fn report(&self) -> &Report {
        self.report.get_or_init(|| self.run())
    }

    /// What the column found out here, if it ran and nobody else looks at it.
    pub(crate) fn into_report(column_run: Arc<Self>) -> Option<Report> {
        Arc::into_inner(column_run)?.report.into_inner()
    }

    /// How every case ended, wherever it ran, in the order of the catalogue.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        let cases = self.cases.iter();
        cases.filter_map(|case| self.ended_of(case)).collect()
    }

    /// What the column left behind or upset, wherever it ran.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let mut trouble = self.report().trouble.clone();
        if !self.guest_run.is_empty() {
            trouble.extend(self.guest_run.trouble());
        }
        trouble
    }

    /// Why no case ran at all, if none did for one reason.
    pub(crate) fn whole(&self) -> Option<String> {
        if self.guest_run.is_empty() {
            return self.report().whole.clone();
        }
        let ended = self.ended();
        let (first, rest) = ended.split_first()?;
        let reason = first.verdict.reason.as_ref()?;
        let same = |ended: &Ended| {
            ended.verdict.reason.as_ref() == Some(reason)
                && ended.verdict.status == first.verdict.status
        };
        let ran = first.verdict.status == Status::Deviates;
        (!ran && !rest.is_empty() && rest.iter().all(same)).then(|| reason.clone())
    }

    /// The cases that run here.
    fn host_cases(&self) -> Vec<&'static Case> {
        let is_on_host = |case: &&'static Case| !self.is_in_guest(case);
        self.cases
            .iter()
            .filter(|case| is_on_host(case))
            .copied()
            .collect()
    }

    fn is_in_guest(&self, case: &Case) -> bool {
        self.guest_run
            .cases()
            .iter()
            .any(|other| other.id == case.id)
    }

    /// The end of a case; waits for it.
    fn ended_of(&self, case: &Case) -> Option<Ended> {
        if self.is_in_guest(case) {
            return self.guest_run.ended(case);
        }
        let ended = &self.report().ended;
        ended.iter().find(|ended| ended.case.id == case.id).cloned()
    }

    /// A trial per case that runs here, and one for what the column left behind.
    pub(crate) fn trials(column_run: &Arc<Self>) -> Vec<Trial> {
        let cases = column_run.host_cases();
        let last = Arc::clone(column_run);
        let clean = move || without_trouble(&last.report().trouble);
        Self::trials_of(column_run, cases, clean)
    }

    /// The same for the cases that run in the guest.
    pub(crate) fn guest_trials(column_run: &Arc<Self>) -> Vec<Trial> {
        let last = Arc::clone(column_run);
        let clean = move || without_trouble(&last.guest_run.trouble());
        let trials =
            Self::trials_of(column_run, column_run.guest_run.cases().to_vec(), clean).into_iter();
        trials
            .map(|trial| trial.with_kind(Place::Guest.name()))
            .collect()
    }

    fn trials_of(
        column_run: &Arc<Self>,
        cases: Vec<&'static Case>,
        clean: impl FnOnce() -> Result<(), Failed> + Send + 'static,
    ) -> Vec<Trial> {
        if cases.is_empty() {
            return Vec::new();
        }
        let name = format!("{}::{}", column_run.subject, outcome::LEFTOVERS);
        let cases = cases.into_iter().map(|case| {
            let column_run = Arc::clone(column_run);
            Trial::ignorable_test(trial(&column_run.subject, case), move || {
                column_run.complete(case)
            })
        });
        cases.chain([Trial::test(name, clean)]).collect()
    }

    fn complete(&self, case: &'static Case) -> Result<Completion, Failed> {
        let Some(ended) = self.ended_of(case) else {
            return Err(Failed::from("the case did not run"));
        };
        match ended.verdict.status {
            Status::Pass | Status::Deviates => Ok(Completion::Completed),
            Status::Skip => {
                let reason = ended.verdict.reason.unwrap_or_default();
                Ok(Completion::ignored_with(reason))
            }
            Status::Fail | Status::OrderDependent | Status::UnexpectedPass => {
                Err(Failed::from(outcome::explain(&self.subject, &ended)))
            }
        }
    }

    fn run(&self) -> Report {
        let shared = &self.shared;
        let cases = self.host_cases();
        let (Some(run), false) = (&shared.run, cases.is_empty()) else {
            return Report::default();
        };
        let news = |ended: &Ended| {
            // What differs between two orders is known at the end.
            if shared.seeds == 1 {
                self.write(ended);
            }
        };
        let run_once = |seed| {
            let options = Options {
                seed,
                ..shared.options.clone()
            };
            column::run(run, &self.subject, &cases, &options, &news)
        };
        let first = run_once(shared.options.seed);
        let mut merged = (1..shared.seeds).fold(first, |report, number| {
            let seed = shared.options.seed.unwrap_or(0).wrapping_add(number);
            merge(report, run_once(Some(seed)))
        });
        // Whatever the order was that they ran in.
        let place = |ended: &Ended| cases.iter().position(|case| case.id == ended.case.id);
        merged.ended.sort_by_key(place);
        if shared.seeds > 1 {
            merged.ended.iter().for_each(|ended| self.write(ended));
        }
        for trouble in &merged.trouble {
            let line = outcome::of_trouble(&self.subject, guest::here(), trouble);
            shared.results.line(now(), now(), &Line::Outcome(line));
        }
        merged
    }

    /// Writes how a case ended.
    pub(crate) fn write(&self, ended: &Ended) {
        let line = Line::Outcome(outcome::of(&self.subject, ended));
        self.shared
            .results
            .line(ended.started, ended.finished, &line);
    }
}

fn without_trouble(trouble: &[String]) -> Result<(), Failed> {
    if trouble.is_empty() {
        Ok(())
    } else {
        Err(Failed::from(trouble.join("\n")))
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
