//! Runs what the command line asks for: columns as trials, on the host and in the guest at the same time, results as they
//! become known, the matrix at the end.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};
use cowlab_engine::guest::{Guest, Where};
use cowlab_sys::interrupt;
use cowlab_testbed::Run;
use libtest_mimic::{Arguments, FormatSetting, Trial};

use crate::args::{Format, RunArgs};
use crate::case::Placement;
use crate::column::Options;
use crate::column_run::{ColumnRun, Shared};
use crate::exit;
use crate::guest_request;
use crate::junit;
use crate::matrix;
use crate::placing::{self, Planned};
use crate::report::now;
use crate::results::Results;
use crate::wanted::{self, RunPlaces, Wanted};

/// Runs cases in columns and says how it ended.
///
/// # Errors
///
/// When a file cannot be written or the testbed fails.
pub(crate) fn run(args: &RunArgs) -> Result<u8> {
    let Wanted {
        mut columns,
        places,
    } = match wanted::of(args)? {
        Ok(wanted) => wanted,
        Err(code) => return Ok(code),
    };
    if let Some(path) = &args.junit
        && let Err(error) = junit::check(path)
    {
        return exit::refuse(exit::USAGE, &format!("{error:#}"));
    }
    interrupt::watch()?;
    let run = match places.host {
        true => Some(Run::start(args.dir.clone())?),
        false => None,
    };
    let mut guest_cases = guest_cases(args, &places, run.as_ref(), &columns);
    if !wanted::is_chosen(args) {
        leave_containers_here(&mut columns, &mut guest_cases);
    }
    let id = run.as_ref().map_or_else(own_id, |run| run.id().to_owned());
    let shared = Arc::new(Shared {
        results: Results::open(args, &id)?,
        run,
        options: Options {
            isolate: args.isolate,
            keep: args.keep,
            seed: args.seed,
            risky: args.risk_kernel,
            unconfirmed: false,
            strict: args.strict.clone(),
            strict_judges: args.strict_judges,
            store_fault: None,
            no_guest: places.no_guest,
        },
        seeds: args.seeds,
    });
    let column_runs: Vec<_> = columns
        .into_iter()
        .zip(guest_cases)
        .map(|((subject, cases), guest_cases)| {
            Arc::new(ColumnRun::new(subject, cases, guest_cases, &shared))
        })
        .collect();
    let queue = Mutex::new(queue(&column_runs));
    let failed = thread::scope(|scope| {
        if let Some(guest) = &places.guest {
            for _ in 0..args.jobs {
                scope.spawn(|| run_guests(guest.as_ref(), args, &shared, &queue));
            }
        }
        run_trials(args, &column_runs)
    });
    finish(args, column_runs, shared, failed)
}

/// What of each column runs in the guest.
fn guest_cases(
    args: &RunArgs,
    places: &RunPlaces,
    run: Option<&Run>,
    columns: &[Planned],
) -> Vec<Vec<&'static crate::case::Case>> {
    let place = places.place;
    let missing_on_host = match run {
        // Nothing can run in the guest, or everything does.
        _ if places.guest.is_none() => vec![placing::MissingOnHost::Nothing; columns.len()],
        Some(run) => placing::missing_on_host(run, columns),
        None => vec![placing::MissingOnHost::Everything; columns.len()],
    };
    let columns = columns.iter().zip(missing_on_host);
    columns
        .map(|((subject, cases), missing)| {
            let is_useful = subject.entry.runs_in_guest || place == Where::Guest;
            match places.guest.is_some() && is_useful {
                true => placing::guest_cases(cases, place, args.risk_kernel, &missing),
                false => Vec::new(),
            }
        })
        .collect()
}

/// Leaves the containers out of columns that are in the guest as a whole: an emulated machine takes half an hour for what
/// takes one minute here. Whoever asks for them by name has them there.
fn leave_containers_here(
    columns: &mut [Planned],
    guest_cases: &mut [Vec<&'static crate::case::Case>],
) {
    for ((_, cases), guest_cases) in columns.iter_mut().zip(guest_cases) {
        if cases.len() == guest_cases.len() {
            cases.retain(|case| case.placement != Placement::Root);
            guest_cases.retain(|case| case.placement != Placement::Root);
        }
    }
}

/// The name of a run that makes nothing on the host.
fn own_id() -> String {
    format!("{:x}-{}", now().millis(), std::process::id())
}

/// The columns with cases for the guest, the last to run first. Those with many cases start first, so that no guest still
/// has many when the others are done.
fn queue(column_runs: &[Arc<ColumnRun>]) -> Vec<&ColumnRun> {
    let column_runs = column_runs.iter().rev().map(Arc::as_ref);
    let mut column_runs: Vec<_> = column_runs
        .filter(|column_run| !column_run.guest_run.is_empty())
        .collect();
    column_runs.sort_by_key(|column_run| column_run.guest_run.count());
    column_runs
}

/// Runs columns in guests, each in one of its own, until none is left, and writes what is missing of each in the end.
fn run_guests(guest: &dyn Guest, args: &RunArgs, shared: &Shared, queue: &Mutex<Vec<&ColumnRun>>) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
    while let Some(column_run) = next() {
        let ending = guest_request::run(guest, args, &column_run.guest_run, &shared.results);
        for ended in column_run.guest_run.close(&ending) {
            column_run.write(&ended);
        }
    }
}

/// Runs the trials and tells whether one failed.
fn run_trials(args: &RunArgs, column_runs: &[Arc<ColumnRun>]) -> bool {
    // The trials of the columns take turns, so that as many columns run at once as there are threads. Those of the guest
    // come last: they only wait, and would keep the others from running.
    let mut trials = in_turns(column_runs.iter().map(ColumnRun::trials).collect());
    trials.extend(column_runs.iter().flat_map(ColumnRun::guest_trials));
    let arguments = Arguments {
        test_threads: Some(usize::from(args.jobs)),
        format: Some(FormatSetting::Terse),
        // What the other formats print is for programs.
        logfile: (args.format() != Format::Text).then(|| "/dev/null".to_owned()),
        ..Arguments::default()
    };
    libtest_mimic::run(&arguments, trials).has_failed()
}

fn in_turns(column_runs: Vec<Vec<Trial>>) -> Vec<Trial> {
    let mut turns: Vec<_> = column_runs.into_iter().map(Vec::into_iter).collect();
    let mut trials = Vec::new();
    while turns.iter().any(|trials| trials.len() > 0) {
        trials.extend(turns.iter_mut().filter_map(Iterator::next));
    }
    trials
}

fn finish(
    args: &RunArgs,
    column_runs: Vec<Arc<ColumnRun>>,
    shared: Arc<Shared>,
    mut failed: bool,
) -> Result<u8> {
    let shown = match args.format() {
        Format::Text => matrix::text(&column_runs),
        Format::Markdown => matrix::markdown(&column_runs),
        Format::Json => String::new(),
    };
    io::stdout().lock().write_all(shown.as_bytes())?;
    if let Some(path) = &args.junit {
        junit::write(path, &column_runs)?;
    }
    let barred = barred(column_runs.iter().map(|column_run| column_run.whole()));
    let kept: Vec<_> = column_runs
        .iter()
        .flat_map(|column_run| column_run.report().kept.clone())
        .collect();
    shared.results.close()?;
    let mut stderr = io::stderr().lock();
    if kept.is_empty() {
        drop(column_runs);
        let shared = Arc::into_inner(shared).ok_or_else(|| anyhow!("a column is still running"))?;
        if let Some(Err(error)) = shared.run.map(Run::close) {
            writeln!(stderr, "error: the run left something behind: {error}")?;
            failed = true;
        }
    } else {
        writeln!(
            stderr,
            "kept (each with `store`, `plain`, `mount`; `cargo xtask sweep` removes them):"
        )?;
        for dir in kept {
            writeln!(stderr, "  {}", dir.display())?;
        }
        // What is kept outlives the run: it is over before the file systems are let go of.
        let reports: Vec<_> = column_runs
            .into_iter()
            .filter_map(ColumnRun::into_report)
            .collect();
        if let Some(run) = Arc::into_inner(shared).and_then(|shared| shared.run) {
            run.keep();
        }
        drop(reports);
    }
    if interrupt::requested() {
        writeln!(stderr, "interrupted, nothing is left mounted")?;
        return Ok(interrupt::EXIT_CODE);
    }
    if let (false, Some(reason)) = (failed, barred) {
        return exit::refuse(
            exit::UNAVAILABLE,
            &format!("nothing can run here: {reason}"),
        );
    }
    Ok(if failed { exit::FINDING } else { exit::OK })
}

/// Why not one column could run; nothing where one could.
fn barred(columns: impl Iterator<Item = Option<String>>) -> Option<String> {
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
        let all = barred([none(), none()].into_iter());
        assert_eq!(all, none());
        assert_eq!(barred([none(), None].into_iter()), None);
    }
}
