//! A column as a set of trials: each finds its result in the part of the column that runs its case.

use std::sync::Arc;

use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Place, Status};
use libtest_mimic::{Completion, Failed, Trial};

use crate::case::Case;
use crate::case_result::{CaseResult, LEFTOVERS};
use crate::part::Part;
use crate::plan::{Column, trial};

/// A column and what becomes of it.
#[derive(Debug)]
pub(crate) struct ColumnRun {
    /// What is judged.
    pub(crate) subject: Subject,
    /// The cases, in the order of the catalogue.
    pub(crate) cases: Vec<&'static Case>,
    /// The same by place; a place without cases is left out.
    pub(crate) parts: Vec<Part>,
}

impl ColumnRun {
    /// Splits a column by place.
    pub(crate) fn new(column: Column) -> Self {
        let Column {
            subject,
            cases,
            in_guest,
        } = column;
        let in_guest_too = |case: &&Case| in_guest.iter().any(|other| other.id == case.id);
        let on_host = cases.iter().copied().filter(|case| !in_guest_too(case));
        let parts = [(Place::Host, on_host.collect()), (Place::Guest, in_guest)];
        let parts = parts
            .into_iter()
            .filter(|(_, cases): &(_, Vec<_>)| !cases.is_empty());
        Self {
            subject,
            cases,
            parts: parts
                .map(|(place, cases)| Part::new(subject, place, cases))
                .collect(),
        }
    }

    /// The part in a place.
    pub(crate) fn part(&self, place: Place) -> Option<&Part> {
        self.parts.iter().find(|part| part.place == place)
    }

    /// How every case ended, wherever it ran, in the order of the catalogue.
    pub(crate) fn results(&self) -> Vec<CaseResult> {
        let cases = self.cases.iter();
        cases.filter_map(|case| self.result(case)).collect()
    }

    /// What the column left behind or upset, wherever it ran.
    pub(crate) fn trouble(&self) -> Vec<String> {
        self.parts.iter().flat_map(Part::trouble).collect()
    }

    /// Why no case ran at all, if none did.
    pub(crate) fn barred(&self) -> Option<String> {
        let reasons: Option<Vec<String>> = self.parts.iter().map(Part::barred).collect();
        reasons?.into_iter().next()
    }

    fn result(&self, case: &Case) -> Option<CaseResult> {
        let has_case = |part: &&Part| part.cases.iter().any(|other| other.id == case.id);
        self.parts.iter().find(has_case)?.result(case)
    }

    /// A trial per case that runs in a place, and one for what the column left behind there.
    pub(crate) fn trials(column_run: &Arc<Self>, place: Place) -> Vec<Trial> {
        let Some(part) = column_run.part(place) else {
            return Vec::new();
        };
        let kind = match place {
            Place::Host => "",
            Place::Guest => place.name(),
        };
        let name = format!("{}::{LEFTOVERS}", column_run.subject);
        let last = Arc::clone(column_run);
        let clean = move || {
            let trouble = last.part(place).map(Part::trouble).unwrap_or_default();
            match trouble.is_empty() {
                true => Ok(()),
                false => Err(Failed::from(trouble.join("\n"))),
            }
        };
        let cases = part.cases.iter().map(|case| {
            let (column_run, case) = (Arc::clone(column_run), *case);
            Trial::ignorable_test(trial(&column_run.subject, case), move || {
                column_run.complete(case)
            })
        });
        let trials = cases.chain([Trial::test(name, clean)]);
        trials.map(|trial| trial.with_kind(kind)).collect()
    }

    fn complete(&self, case: &'static Case) -> Result<Completion, Failed> {
        let Some(result) = self.result(case) else {
            return Err(Failed::from("the case did not run"));
        };
        match result.status {
            Status::Pass | Status::Deviates => Ok(Completion::Completed),
            Status::Skip => Ok(Completion::ignored_with(result.reason.unwrap_or_default())),
            Status::Fail | Status::OrderDependent | Status::UnexpectedPass => {
                Err(Failed::from(result.explain(&self.subject)))
            }
        }
    }
}
