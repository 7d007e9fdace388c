//! Runs what the command line asks for: each part of a column in a process of its own, here and in guests at the same time,
//! results as they become known, the matrix at the end.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use cowlab_engine::exit::{self, Stop};
use cowlab_engine::fingerprint;
use cowlab_engine::places::{Places, check_live_host};
use cowlab_engine::results::{Results, now};
use cowlab_engine::worker::{Host, Machine};
use cowlab_reports::result::{Place, Run as RunFacts, WriteError};
use cowlab_sys::interrupt;
use cowlab_testbed::base_directory;
use libtest_mimic::{Arguments, FormatSetting, Trial};

use crate::args::{Format, Options, RunArgs};
use crate::column_run::ColumnRun;
use crate::junit;
use crate::matrix;
use crate::part::Part;
use crate::{plan, usage};

/// Runs cases in columns and returns the exit code.
///
/// # Errors
///
/// When the command line names what is not there, when nothing can run here, or a file cannot be written.
pub(crate) fn run(args: &RunArgs) -> Result<u8> {
    let mut columns = plan::columns(args).map_err(usage)?;
    let engines = check_live_host(args.on_live_host)?;
    let places = Places::find(args.place)?;
    if let Some(path) = &args.junit {
        junit::check(path).map_err(usage)?;
    }
    interrupt::watch()?;
    plan::place(&mut columns, args, &places)?;
    let results = open_results(args, engines)?;
    let options = Options {
        no_guest: places.missing.as_ref().map(ToString::to_string),
        ..args.options.clone()
    };
    let column_runs: Vec<_> = columns
        .into_iter()
        .map(|column| Arc::new(ColumnRun::new(column)))
        .collect();
    let host = Queue::new(&column_runs, Place::Host);
    let guest = Queue::new(&column_runs, Place::Guest);
    let (failed, written) = thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..args.jobs {
            workers.push(scope.spawn(|| host.run(&Host, &options, &results)));
            if let Some(machine) = &places.guest {
                workers.push(scope.spawn(|| guest.run(machine.as_ref(), &options, &results)));
            }
        }
        let failed = run_trials(args, &column_runs);
        let written: Result<Vec<()>, WriteError> = workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        (failed, written)
    });
    written?;
    finish(args, &column_runs, failed)
}

fn open_results(args: &RunArgs, engines: Vec<String>) -> Result<Results> {
    let run = RunFacts {
        id: format!("{:x}-{}", now().millis(), std::process::id()),
        commit: fingerprint::commit(),
    };
    let dir = args.options.dir.clone().unwrap_or_else(base_directory);
    let environment = fingerprint::environment(&dir, engines);
    let is_json = args.format() == Format::Json;
    let file = args.results.as_deref();
    Ok(Results::open(run, &environment, file, is_json)?)
}

/// The parts of columns in one place that nobody has begun, the last to run first.
struct Queue<'a>(Mutex<Vec<&'a Part>>);

impl<'a> Queue<'a> {
    fn new(column_runs: &'a [Arc<ColumnRun>], place: Place) -> Self {
        let column_runs = column_runs.iter().rev();
        let mut parts: Vec<_> = column_runs.filter_map(|run| run.part(place)).collect();
        if place == Place::Guest {
            // Those with many cases start first, so that no guest still has many when the others are done.
            parts.sort_by_key(|part| part.cases.len());
        }
        Self(Mutex::new(parts))
    }

    /// Runs parts, one after the other, until none is left.
    fn run(
        &self,
        machine: &dyn Machine,
        options: &Options,
        results: &Results,
    ) -> Result<(), WriteError> {
        let next = || self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut done = Ok(());
        // Whatever cannot be written: the trials wait for each part.
        while let Some(part) = next() {
            done = done.and(part.run(machine, options, results));
        }
        done
    }
}

/// Runs the trials, which wait for the columns, and tells whether one failed.
fn run_trials(args: &RunArgs, column_runs: &[Arc<ColumnRun>]) -> bool {
    let trials = |place| {
        let trials = column_runs.iter().map(|run| ColumnRun::trials(run, place));
        in_turns(trials.collect())
    };
    let mut all = trials(Place::Host);
    // They end last.
    all.extend(trials(Place::Guest));
    let arguments = Arguments {
        test_threads: Some(usize::from(args.jobs)),
        format: Some(FormatSetting::Terse),
        // What the other formats print is for programs.
        logfile: (args.format() != Format::Text).then(|| "/dev/null".to_owned()),
        ..Arguments::default()
    };
    libtest_mimic::run(&arguments, all).has_failed()
}

/// The first of each column, the second of each, and so on: columns run at the same time.
fn in_turns(columns: Vec<Vec<Trial>>) -> Vec<Trial> {
    let mut turns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let mut trials = Vec::new();
    while turns.iter().any(|trials| trials.len() > 0) {
        trials.extend(turns.iter_mut().filter_map(Iterator::next));
    }
    trials
}

fn finish(args: &RunArgs, column_runs: &[Arc<ColumnRun>], failed: bool) -> Result<u8> {
    let shown = match args.format() {
        Format::Text => matrix::text(column_runs),
        Format::Markdown => matrix::markdown(column_runs),
        Format::Json => String::new(),
    };
    io::stdout().lock().write_all(shown.as_bytes())?;
    if let Some(path) = &args.junit {
        junit::write(path, column_runs)?;
    }
    if interrupt::requested() {
        writeln!(io::stderr(), "interrupted, nothing is left mounted")?;
        return Ok(interrupt::EXIT_CODE);
    }
    let barred = column_runs.iter().map(|column_run| column_run.barred());
    match (failed, barred_everywhere(barred)) {
        (true, _) => Ok(exit::FINDING),
        (false, Some(reason)) => Err(Stop {
            code: exit::UNAVAILABLE,
            message: format!("nothing can run here: {reason}"),
        }
        .into()),
        (false, None) => Ok(exit::OK),
    }
}

/// Why not one column could run; nothing where one could.
fn barred_everywhere(columns: impl Iterator<Item = Option<String>>) -> Option<String> {
    let mut reasons: Vec<String> = columns.collect::<Option<_>>()?;
    reasons.dedup();
    Some(reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_column_is_no_success() {
        let none = || Some("btrfs is missing".to_owned());
        let all = barred_everywhere([none(), none()].into_iter());
        assert_eq!(all, none());
        assert_eq!(barred_everywhere([none(), None].into_iter()), None);
    }
}
