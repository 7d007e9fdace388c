//! The guest run of a column: the cases requested, the results so far, and how the guest ended.
//!
//! The guest's lines are taken as they come. A guest that ends before it said how every case ended leaves failures: a
//! case that nobody saw is not one that was skipped.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cowlab_engine::guest::{Ending, Loss};
use cowlab_reports::result::{Line, Outcome, Place, Record};
use cowlab_sys::interrupt;

use crate::case::Case;
use crate::exit;
use crate::outcome;
use crate::report::Ended;
use crate::subject::Subject;
use crate::verdict::Verdict;

/// The cases of a column that a guest was asked to run.
#[derive(Debug)]
pub(crate) struct GuestRun {
    subject: Subject,
    cases: Vec<&'static Case>,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ended: BTreeMap<&'static str, Ended>,
    /// What the column left behind or upset.
    trouble: Vec<String>,
    over: bool,
}

impl GuestRun {
    /// Asks for cases of a column.
    pub(crate) fn new(subject: Subject, cases: Vec<&'static Case>) -> Self {
        Self {
            subject,
            cases,
            state: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// The cases that are asked for, in the order in which they are to run.
    pub(crate) fn cases(&self) -> &[&'static Case] {
        &self.cases
    }

    /// How many cases are asked for.
    pub(crate) fn count(&self) -> usize {
        self.cases.len()
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The trials that are asked for, a line each.
    pub(crate) fn list(&self) -> String {
        let trials = self.cases.iter().map(|case| trial(&self.subject, case));
        trials.map(|trial| trial + "\n").collect()
    }

    /// Takes a result.
    ///
    /// # Errors
    ///
    /// When it answers nothing that was asked.
    pub(crate) fn take(&self, record: &Record) -> Result<(), String> {
        let Line::Outcome(said) = &record.line else {
            return Ok(());
        };
        let column = column_of(said);
        let stranger = || {
            let name = format!("{column}::{}", said.case);
            format!("the guest ran `{name}`, which it was not asked to")
        };
        if column != self.subject.to_string() {
            return Err(stranger());
        }
        let mut state = self.state();
        if said.case == outcome::LEFTOVERS {
            state.trouble.push(said.reason.clone().unwrap_or_default());
            return Ok(());
        }
        let asked = self.cases.iter().find(|case| case.id == said.case);
        let case = asked.ok_or_else(stranger)?;
        if said.column.place != Place::Guest {
            let name = trial(&self.subject, case);
            return Err(format!("the guest says that `{name}` ran on the host"));
        }
        let ended = outcome::ended(&self.subject, case, said, record);
        state.ended.insert(case.id, ended);
        self.news.notify_all();
        Ok(())
    }

    /// Ends the waiting, and returns the cases that the guest did not get to, each now a failure that says why.
    pub(crate) fn close(&self, ending: &Ending) -> Vec<Ended> {
        let mut state = self.state();
        let loss = loss(ending, &state, self.cases.len());
        let mut unfinished = Vec::new();
        for case in &self.cases {
            if state.ended.contains_key(case.id) {
                continue;
            }
            let verdict = unfinished_verdict(&loss, unfinished.is_empty());
            let ended = Ended {
                place: Place::Guest,
                ..Ended::now(case, verdict, Duration::ZERO)
            };
            unfinished.push(ended.clone());
            state.ended.insert(case.id, ended);
        }
        // Nobody looked at what the column left behind.
        state.trouble.extend(loss.map(|loss| loss.reason));
        state.over = true;
        self.news.notify_all();
        unfinished
    }

    /// How a case ended; waits for it.
    pub(crate) fn ended(&self, case: &Case) -> Option<Ended> {
        let mut state = self.state();
        while !state.over && !state.ended.contains_key(case.id) {
            state = self.wait(state);
        }
        state.ended.get(case.id).cloned()
    }

    /// What the column left behind in the guest; waits for the guest's end.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let mut state = self.state();
        while !state.over {
            state = self.wait(state);
        }
        state.trouble.clone()
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.news
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a case in a column.
pub(crate) fn trial(subject: &Subject, case: &Case) -> String {
    format!("{subject}::{}", case.id)
}

/// The column of an outcome, as trials name it.
fn column_of(said: &Outcome) -> String {
    let column = &said.column;
    format!("{}/{}/{}", column.driver, column.variant, column.backing)
}

/// Why what the guest said is not the whole, if it is not.
fn loss(ending: &Ending, state: &State, asked: usize) -> Option<Loss> {
    let code = match ending {
        Ending::Lost(loss) => return Some(loss.clone()),
        Ending::Exit(code) => *code,
    };
    let failed = |ended: &Ended| ended.verdict.status.is_failure();
    let explained = !state.trouble.is_empty() || state.ended.values().any(failed);
    let whole = state.ended.len() == asked;
    match code {
        0 if whole => None,
        1 if whole && explained => None,
        // Not one column could run: the skips say why.
        code if whole && code == exit::UNAVAILABLE => None,
        _ => Some(Loss {
            reason: format!("the run in the guest ended with exit code {code}"),
            console: String::new(),
        }),
    }
}

/// The verdict of a case that did not end. The console is shown once, with the case that was the next to end.
fn unfinished_verdict(loss: &Option<Loss>, first: bool) -> Verdict {
    if interrupt::requested() {
        return Verdict::skip("interrupted".to_owned());
    }
    let reason = match loss {
        Some(loss) if first => loss.to_string(),
        Some(loss) => loss.reason.clone(),
        None => "the guest did not run it".to_owned(),
    };
    Verdict::fail(format!("did not end in the guest: {reason}"))
}

#[cfg(test)]
mod tests {
    use cowlab_reports::result::{EnvironmentRef, Status, Timestamp};

    use super::*;
    use crate::cases;

    fn asked() -> (Subject, Vec<&'static Case>, GuestRun) {
        let subject = Subject::parse("vfs/default/ext4").unwrap();
        let cases: Vec<_> = cases::all().take(3).collect();
        let guest_run = GuestRun::new(subject, cases.clone());
        (subject, cases, guest_run)
    }

    fn record(outcome: Outcome) -> Record {
        Record {
            schema: 1,
            run: "guest".to_owned(),
            started: Timestamp::from_millis(1),
            finished: Timestamp::from_millis(2),
            commit: String::new(),
            environment: EnvironmentRef {
                id: "e".to_owned(),
                facts: None,
            },
            line: Line::Outcome(outcome),
        }
    }

    fn said(subject: &Subject, case: &'static Case, status: Status) -> Record {
        let verdict = Verdict {
            status,
            reason: Some("what was seen".to_owned()),
            deviation: None,
        };
        let ended = Ended {
            place: Place::Guest,
            ..Ended::now(case, verdict, Duration::ZERO)
        };
        record(outcome::of(subject, &ended))
    }

    #[test]
    fn what_the_guest_says_is_the_end_of_its_trials() {
        let (subject, cases, guest_run) = asked();
        for case in &cases {
            guest_run.take(&said(&subject, case, Status::Pass)).unwrap();
        }
        assert!(guest_run.close(&Ending::Exit(0)).is_empty());
        let ended = guest_run.ended(cases[1]).unwrap();
        assert_eq!(ended.verdict.status, Status::Pass);
        assert_eq!(ended.place, Place::Guest);
        assert_eq!(ended.finished, Timestamp::from_millis(2));
        assert!(guest_run.trouble().is_empty());
    }

    #[test]
    fn a_guest_that_dies_leaves_failures_with_its_console() {
        let (subject, cases, guest_run) = asked();
        guest_run
            .take(&said(&subject, cases[0], Status::Pass))
            .unwrap();
        let loss = Loss {
            reason: "the guest was killed by signal 9".to_owned(),
            console: "Kernel panic".to_owned(),
        };
        let unfinished = guest_run.close(&Ending::Lost(loss));
        let reasons: Vec<_> = unfinished
            .iter()
            .map(|ended| ended.verdict.reason.clone().unwrap())
            .collect();
        assert_eq!(unfinished.len(), 2);
        assert!(reasons.iter().all(|reason| reason.contains("signal 9")));
        assert!(reasons[0].contains("Kernel panic"));
        assert!(!reasons[1].contains("Kernel panic"));
        let ended = guest_run.ended(cases[2]).unwrap();
        assert_eq!(ended.verdict.status, Status::Fail);
        assert_eq!(guest_run.trouble(), ["the guest was killed by signal 9"]);
    }

    #[test]
    fn an_exit_code_has_to_agree_with_what_was_said() {
        let trouble_after = |statuses: [Status; 3], code| {
            let (subject, cases, guest_run) = asked();
            for (case, status) in cases.iter().zip(statuses) {
                guest_run.take(&said(&subject, case, status)).unwrap();
            }
            assert!(guest_run.close(&Ending::Exit(code)).is_empty());
            guest_run.trouble().len()
        };
        let (pass, fail) = (Status::Pass, Status::Fail);
        assert_eq!(trouble_after([pass; 3], 0), 0);
        assert_eq!(trouble_after([pass, fail, pass], 1), 0);
        assert_eq!(trouble_after([pass; 3], 1), 1);
        assert_eq!(trouble_after([pass; 3], 77), 1);
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let (subject, cases, guest_run) = asked();
        let other = cases::all().nth(5).unwrap();
        assert!(
            guest_run
                .take(&said(&subject, other, Status::Pass))
                .is_err()
        );
        let mut host = said(&subject, cases[0], Status::Pass);
        if let Line::Outcome(outcome) = &mut host.line {
            outcome.column.place = Place::Host;
        }
        assert!(guest_run.take(&host).is_err());
    }

    #[test]
    fn what_a_column_left_behind_is_no_case() {
        let (subject, _, guest_run) = asked();
        let trouble = outcome::of_trouble(&subject, Place::Guest, "`/x` is still mounted");
        guest_run.take(&record(trouble)).unwrap();
        let unfinished = guest_run.close(&Ending::Exit(1));
        assert_eq!(unfinished.len(), 3);
        assert_eq!(guest_run.trouble()[0], "`/x` is still mounted");
    }
}
