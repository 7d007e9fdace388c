//! The part of a column that one process runs, here or in a guest: its cases, its results so far, and how it ended.
//!
//! Its lines are taken as they come. A process that ends before it said how every case ended leaves failures: a case that
//! nobody saw is not one that was skipped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cowlab_engine::results::Results;
use cowlab_engine::subject::Subject;
use cowlab_engine::worker::{self, Ending, Job, Loss, Machine};
use cowlab_engine::{exit, guest};
use cowlab_reports::result::{Line, Outcome, Place, Record, Status, WriteError};
use cowlab_sys::interrupt;
use tempfile::NamedTempFile;

use crate::args::Options;
use crate::case::{Case, Need, Placement};
use crate::case_result::{CaseResult, LEFTOVERS};
use crate::plan::trial;
use crate::product::debian;

/// Where a guest finds the list of cases; what is taken along under `/run` its own file system hides.
const CASES: &str = "/usr/local/share/cowlab/cases";
/// The same for a Debian root file system.
const DEBIAN: &str = "/usr/local/share/cowlab/debian.tar";
/// What a guest may take to boot and to make its file systems.
const START: Duration = Duration::from_secs(180);
/// What a case may take where a processor is emulated.
const CASE: Duration = Duration::from_secs(10);
/// The same for one that starts a dozen containers.
const WITH_CONTAINERS: Duration = Duration::from_secs(120);

/// The cases of a column in one place.
#[derive(Debug)]
pub(crate) struct Part {
    subject: Subject,
    /// Where they run.
    pub(crate) place: Place,
    /// In the order in which they are to run.
    pub(crate) cases: Vec<&'static Case>,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    results: BTreeMap<&'static str, CaseResult>,
    /// What the column left behind or upset.
    trouble: Vec<String>,
    /// Whether no case could run at all.
    barred: bool,
    over: bool,
}

impl Part {
    pub(crate) fn new(subject: Subject, place: Place, cases: Vec<&'static Case>) -> Self {
        Self {
            subject,
            place,
            cases,
            state: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// Runs the cases on a machine and hands on the results.
    ///
    /// # Errors
    ///
    /// When a result cannot be written that the machine did not bring.
    pub(crate) fn run(
        &self,
        machine: &dyn Machine,
        options: &Options,
        results: &Results,
    ) -> Result<(), WriteError> {
        let ending = match interrupt::requested() {
            true => Ending::lost("interrupted"),
            false => self.stream(machine, options, results),
        };
        for unfinished in self.close(&ending) {
            let line = Line::Outcome(unfinished.line(&self.subject));
            results.line(unfinished.started, unfinished.finished, &line)?;
        }
        Ok(())
    }

    fn stream(&self, machine: &dyn Machine, options: &Options, results: &Results) -> Ending {
        let (list, debian) = match self.files() {
            Ok(files) => files,
            Err(error) => return Ending::lost(format!("failed to write its cases: {error}")),
        };
        let mut files = vec![(list.path().to_owned(), PathBuf::from(CASES))];
        if let Some(tar) = &debian {
            files.push((tar.path().to_owned(), PathBuf::from(DEBIAN)));
        }
        let job = Job {
            arguments: self.arguments(options, debian.is_some()),
            files,
            time_limit: self.time_limit(options),
            ..Job::default()
        };
        let mut take = |record: Record| {
            self.take(&record)?;
            let written = results.record(self.place, record);
            written.map_err(|error| error.to_string())
        };
        worker::stream(machine, &job, &mut take, &mut |line| {
            // Cases fill pools on purpose: what the store warns of there is nothing to look into.
            if line.trim_start().starts_with("WARN") {
                tracing::info!("guest: {line}");
            } else {
                tracing::warn!("guest: {line}");
            }
        })
    }

    /// The list of the cases, and a Debian root file system where a case asks for one and this host can make it.
    fn files(&self) -> io::Result<(NamedTempFile, Option<NamedTempFile>)> {
        let mut list = NamedTempFile::new()?;
        for case in &self.cases {
            writeln!(list, "{}", case.id)?;
        }
        let mut cases = self.cases.iter();
        if !cases.any(|case| case.needs.contains(&Need::DebianRoot)) {
            return Ok((list, None));
        }
        let tar = debian::tar().inspect_err(|error| {
            tracing::info!(%error, "no Debian root is taken along");
        });
        let Ok(tar) = tar else {
            return Ok((list, None));
        };
        let mut file = NamedTempFile::new()?;
        file.write_all(&tar)?;
        Ok((list, Some(file)))
    }

    fn time_limit(&self, options: &Options) -> Duration {
        let cases = self.cases.iter().map(|case| match case.placement {
            Placement::Root => WITH_CONTAINERS,
            Placement::Shared | Placement::Own => CASE,
        });
        let orders = u32::try_from(options.seeds).unwrap_or(u32::MAX);
        START + cases.sum::<Duration>().saturating_mul(orders)
    }

    /// The command line of the process.
    fn arguments(&self, options: &Options, has_debian: bool) -> Vec<OsString> {
        let column = self.subject.to_string();
        let mut words: Vec<OsString> = ["conformance", "column", &column, "--cases", CASES]
            .map(OsString::from)
            .to_vec();
        let mut add = |flag: &str, value: Option<OsString>| {
            words.push(flag.into());
            words.extend(value);
        };
        if has_debian {
            add("--debian", Some(DEBIAN.into()));
        }
        if options.isolate {
            add("--isolate", None);
        }
        if let Some(seed) = options.seed {
            add("--seed", Some(seed.to_string().into()));
        }
        if options.seeds > 1 {
            add("--seeds", Some(options.seeds.to_string().into()));
        }
        if !options.strict.is_empty() {
            add("--strict", Some(options.strict.join(",").into()));
        }
        match self.place {
            // Nothing there is lost with the kernel. What it has for judges is what it is built with.
            Place::Guest => add("--risk-kernel", None),
            Place::Host => {
                let flags = [
                    ("--risk-kernel", options.risk_kernel),
                    ("--strict-judges", options.strict_judges),
                    ("--keep", options.keep),
                ];
                for (flag, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
                    add(flag, None);
                }
                if let Some(missing) = &options.no_guest {
                    add("--no-guest", Some(missing.into()));
                }
                if let Some(dir) = &options.dir {
                    add("--dir", Some(dir.into()));
                }
            }
        }
        words
    }

    /// Takes a result.
    fn take(&self, record: &Record) -> Result<(), String> {
        let Line::Outcome(said) = &record.line else {
            return Ok(());
        };
        let column = column_of(said);
        let stranger = || {
            let name = format!("{column}::{}", said.case);
            format!("it ran `{name}`, which it was not asked to")
        };
        if column != self.subject.to_string() {
            return Err(stranger());
        }
        let mut state = self.state();
        if said.case == LEFTOVERS {
            state.trouble.push(said.reason.clone().unwrap_or_default());
            return Ok(());
        }
        let asked = self.cases.iter().find(|case| case.id == said.case);
        let case = asked.ok_or_else(stranger)?;
        if said.column.place != guest::place_in_results(self.place) {
            let (name, place) = (trial(&self.subject, case), said.column.place);
            return Err(format!("it says that `{name}` ran in place `{place}`"));
        }
        let result = CaseResult::read(&self.subject, case, said, record);
        state.results.insert(case.id, result);
        self.news.notify_all();
        Ok(())
    }

    /// Ends the waiting, and returns the cases that the process did not get to, each now a failure that says why.
    fn close(&self, ending: &Ending) -> Vec<CaseResult> {
        let mut state = self.state();
        let is_whole = state.results.len() == self.cases.len();
        let loss = loss(ending, is_whole);
        state.barred = *ending == Ending::Exit(exit::UNAVAILABLE) && loss.is_none();
        let mut unfinished = Vec::new();
        for case in &self.cases {
            if state.results.contains_key(case.id) {
                continue;
            }
            let result = self.unfinished(case, loss.as_ref(), unfinished.is_empty());
            unfinished.push(result.clone());
            state.results.insert(case.id, result);
        }
        // Nobody looked at what the column left behind.
        if !interrupt::requested() {
            state.trouble.extend(loss.map(|loss| loss.reason));
        }
        state.over = true;
        self.news.notify_all();
        unfinished
    }

    /// The result of a case that did not end. The console is shown once, with the case that was the next to end.
    fn unfinished(&self, case: &'static Case, loss: Option<&Loss>, is_first: bool) -> CaseResult {
        let place = match self.place {
            Place::Host => "",
            Place::Guest => " in the guest",
        };
        let (status, reason) = match loss {
            _ if interrupt::requested() => (Status::Skip, "interrupted".to_owned()),
            Some(loss) if is_first => (Status::Fail, format!("did not end{place}: {loss}")),
            Some(loss) => (Status::Fail, format!("did not end{place}: {}", loss.reason)),
            None => (Status::Fail, format!("did not run{place}")),
        };
        CaseResult {
            place: self.place,
            ..CaseResult::without_run(case, status, &reason)
        }
    }

    /// How a case ended; waits for it.
    pub(crate) fn result(&self, case: &Case) -> Option<CaseResult> {
        let mut state = self.state();
        while !state.over && !state.results.contains_key(case.id) {
            state = self.wait(state);
        }
        state.results.get(case.id).cloned()
    }

    /// What the column left behind; waits for the end.
    pub(crate) fn trouble(&self) -> Vec<String> {
        self.at_end().trouble.clone()
    }

    /// Why no case could run, if none could; waits for the end.
    pub(crate) fn barred(&self) -> Option<String> {
        let state = self.at_end();
        let first = state.results.values().next().filter(|_| state.barred);
        first.and_then(|result| result.reason.clone())
    }

    fn at_end(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while !state.over {
            state = self.wait(state);
        }
        state
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

/// The column of an outcome, as trials name it.
fn column_of(said: &Outcome) -> String {
    let column = &said.column;
    format!("{}/{}/{}", column.driver, column.variant, column.backing)
}

/// Why what the process said is not the whole, if it is not.
fn loss(ending: &Ending, is_whole: bool) -> Option<Loss> {
    match ending {
        Ending::Lost(loss) => Some(loss.clone()),
        // Not one case could run: the skips say why.
        Ending::Exit(exit::OK | exit::UNAVAILABLE) if is_whole => None,
        Ending::Exit(code) => Some(Loss {
            reason: format!("the process of the column ended with exit code {code}"),
            console: String::new(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use cowlab_reports::result::{EnvironmentRef, Timestamp};

    use super::*;
    use crate::{case_result, cases};

    fn asked() -> (Subject, Vec<&'static Case>, Part) {
        let subject = Subject::parse("vfs/default/ext4").unwrap();
        let cases: Vec<_> = cases::all().take(3).collect();
        let part = Part::new(subject, Place::Guest, cases.clone());
        (subject, cases, part)
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
        let result = CaseResult {
            place: Place::Guest,
            ..CaseResult::without_run(case, status, "what was seen")
        };
        record(result.line(subject))
    }

    #[test]
    fn what_the_process_says_is_the_end_of_its_trials() {
        let (subject, cases, part) = asked();
        for case in &cases {
            part.take(&said(&subject, case, Status::Pass)).unwrap();
        }
        assert!(part.close(&Ending::Exit(0)).is_empty());
        let result = part.result(cases[1]).unwrap();
        assert_eq!(result.status, Status::Pass);
        assert_eq!(result.place, Place::Guest);
        assert_eq!(result.finished, Timestamp::from_millis(2));
        assert!(part.trouble().is_empty());
        assert_eq!(part.barred(), None);
    }

    #[test]
    fn a_guest_that_dies_leaves_failures_with_its_console() {
        let (subject, cases, part) = asked();
        part.take(&said(&subject, cases[0], Status::Pass)).unwrap();
        let loss = Loss {
            reason: "the guest was killed by signal 9".to_owned(),
            console: "Kernel panic".to_owned(),
        };
        let unfinished = part.close(&Ending::Lost(loss));
        let reasons: Vec<_> = unfinished
            .iter()
            .map(|result| result.reason.clone().unwrap())
            .collect();
        assert_eq!(unfinished.len(), 2);
        assert!(reasons.iter().all(|reason| reason.contains("signal 9")));
        assert!(reasons[0].contains("Kernel panic"));
        assert!(!reasons[1].contains("Kernel panic"));
        let result = part.result(cases[2]).unwrap();
        assert_eq!(result.status, Status::Fail);
        assert_eq!(part.trouble(), ["the guest was killed by signal 9"]);
    }

    #[test]
    fn an_exit_code_has_to_agree_with_what_was_said() {
        let ended = |count, code| {
            let (subject, cases, part) = asked();
            for case in cases.iter().take(count) {
                part.take(&said(&subject, case, Status::Skip)).unwrap();
            }
            let unfinished = part.close(&Ending::Exit(code)).len();
            (unfinished, part.trouble().len(), part.barred().is_some())
        };
        assert_eq!(ended(3, exit::OK), (0, 0, false));
        assert_eq!(ended(3, exit::UNAVAILABLE), (0, 0, true));
        assert_eq!(ended(3, exit::PRIVILEGE), (0, 1, false));
        assert_eq!(ended(2, exit::OK), (1, 1, false));
        assert_eq!(ended(2, exit::UNAVAILABLE), (1, 1, false));
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let (subject, cases, part) = asked();
        let other = cases::all().nth(5).unwrap();
        assert!(part.take(&said(&subject, other, Status::Pass)).is_err());
        let mut host = said(&subject, cases[0], Status::Pass);
        if let Line::Outcome(outcome) = &mut host.line {
            outcome.column.place = Place::Host;
        }
        assert!(part.take(&host).is_err());
    }

    #[test]
    fn what_a_column_left_behind_is_no_case() {
        let (subject, _, part) = asked();
        let trouble = case_result::leftover(&subject, Place::Guest, "`/x` is still mounted");
        part.take(&record(trouble)).unwrap();
        let unfinished = part.close(&Ending::Exit(0));
        assert_eq!(unfinished.len(), 3);
        assert_eq!(part.trouble()[0], "`/x` is still mounted");
    }

    #[test]
    fn a_process_is_told_what_concerns_its_place() {
        let options = Options {
            strict: vec!["vfs".to_owned(), "btrfs".to_owned()],
            seed: Some(7),
            seeds: 1,
            keep: true,
            ..Options::default()
        };
        let line = |place| {
            let subject = Subject::parse("vfs/default/ext4").unwrap();
            let words = Part::new(subject, place, Vec::new()).arguments(&options, false);
            words.join(&OsString::from(" "))
        };
        let both = "conformance column vfs/default/ext4 --cases /usr/local/share/cowlab/cases --seed 7 --strict vfs,btrfs";
        assert_eq!(line(Place::Guest), *format!("{both} --risk-kernel"));
        assert_eq!(line(Place::Host), *format!("{both} --keep"));
    }
}
