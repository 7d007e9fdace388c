//! Runs what the command line asks for: columns as trials, results as they become known, the matrix at the end.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Result, anyhow};
use cowlab_reports::result::{JsonLines, Line, Run as RunFacts, Timestamp};
use cowlab_runtime::fingerprint;
use cowlab_sys::interrupt;
use cowlab_testbed::{Run, base_directory, live_host};
use libtest_mimic::{Arguments, FormatSetting};

use crate::args::{Format, RunArgs};
use crate::case::Case;
use crate::column::Options;
use crate::exit;
use crate::junit;
use crate::lane::{Lane, Shared, Sink};
use crate::matrix;
use crate::subject::{Choice, Subject};
use crate::table;

/// Runs cases in columns and says how it ended.
///
/// # Errors
///
/// When a file cannot be written or the testbed fails.
pub(crate) fn run(args: &RunArgs) -> Result<u8> {
    let choice = Choice {
        drivers: args.driver.clone(),
        variants: args.variant.clone(),
        backings: args.backing.clone(),
    };
    let chosen = choice.subjects().and_then(|subjects| {
        crate::subject::check_names("driver", &args.strict, &table::drivers())?;
        Ok((subjects, table::cases(&args.case)?))
    });
    let (subjects, cases) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => return exit::refuse(exit::USAGE, &error.to_string()),
    };
    if let Some(code) = exit::unfit_host(args.on_live_host)? {
        return Ok(code);
    }
    if let Some(path) = &args.junit
        && let Err(error) = junit::check(path)
    {
        return exit::refuse(exit::USAGE, &format!("{error:#}"));
    }
    interrupt::watch()?;
    let run = Run::start(args.dir.clone())?;
    let shared = Arc::new(Shared {
        sink: sink(args, run.id())?,
        run,
        options: Options {
            isolate: args.isolate,
            keep: args.keep,
            seed: args.seed,
            risky: args.risk_kernel,
            unconfirmed: false,
            strict: args.strict.clone(),
        },
        seeds: args.seeds,
        unwritten: Mutex::default(),
    });
    let lanes = lanes(&subjects, &cases, args.filter.as_deref(), &shared);
    if lanes.is_empty() {
        let filter = args.filter.as_deref().unwrap_or_default();
        return exit::refuse(
            exit::USAGE,
            &format!("no case in no column has `{filter}` in its name"),
        );
    }
    let failed = run_trials(args, &lanes);
    finish(args, lanes, shared, failed)
}

fn lanes(
    subjects: &[Subject],
    cases: &[&'static Case],
    filter: Option<&str>,
    shared: &Arc<Shared>,
) -> Vec<Arc<Lane>> {
    let lanes = subjects.iter().map(|subject| {
        let named = |case: &&&'static Case| {
            filter.is_none_or(|text| format!("{subject}::{}", case.id).contains(text))
        };
        let cases: Vec<_> = cases.iter().filter(named).copied().collect();
        Arc::new(Lane::new(*subject, cases, shared))
    });
    lanes.filter(|lane| !lane.cases.is_empty()).collect()
}

/// Runs the trials and tells whether one failed.
fn run_trials(args: &RunArgs, lanes: &[Arc<Lane>]) -> bool {
    // The trials of the columns take turns, so that as many columns run at once as there are threads.
    let mut turns: Vec<_> = lanes
        .iter()
        .map(|lane| Lane::trials(lane).into_iter())
        .collect();
    let mut trials = Vec::new();
    while turns.iter().any(|lane| lane.len() > 0) {
        trials.extend(turns.iter_mut().filter_map(Iterator::next));
    }
    let arguments = Arguments {
        test_threads: Some(usize::from(args.jobs)),
        format: Some(FormatSetting::Terse),
        // What the other formats print is for programs.
        logfile: (args.format() != Format::Text).then(|| "/dev/null".to_owned()),
        ..Arguments::default()
    };
    libtest_mimic::run(&arguments, trials).has_failed()
}

fn finish(
    args: &RunArgs,
    lanes: Vec<Arc<Lane>>,
    shared: Arc<Shared>,
    mut failed: bool,
) -> Result<u8> {
    let shown = match args.format() {
        Format::Text => matrix::text(&lanes),
        Format::Markdown => matrix::markdown(&lanes),
        Format::Json => String::new(),
    };
    io::stdout().lock().write_all(shown.as_bytes())?;
    if let Some(path) = &args.junit {
        junit::write(path, &lanes)?;
    }
    let barred = barred(lanes.iter().map(|lane| lane.report().whole.as_deref()));
    let kept: Vec<_> = lanes
        .iter()
        .flat_map(|lane| lane.report().kept.clone())
        .collect();
    let unwritten = shared
        .unwritten
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(error) = unwritten.into_iter().next() {
        return Err(anyhow!(error));
    }
    let mut stderr = io::stderr().lock();
    if kept.is_empty() {
        drop(lanes);
        let shared = Arc::into_inner(shared).ok_or_else(|| anyhow!("a column is still running"))?;
        if let Err(error) = shared.run.close() {
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
        let reports: Vec<_> = lanes.into_iter().filter_map(Lane::into_report).collect();
        if let Some(shared) = Arc::into_inner(shared) {
            shared.run.keep();
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
fn barred<'a>(columns: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let mut reasons: Vec<&str> = columns.collect::<Option<_>>()?;
    reasons.dedup();
    Some(reasons.join("; "))
}

/// Opens what results are written to.
fn sink(args: &RunArgs, run: &str) -> Result<Box<Sink>> {
    let facts = RunFacts {
        id: run.to_owned(),
        commit: fingerprint::commit(),
    };
    let environment = fingerprint::environment(
        args.dir.as_deref().unwrap_or(&base_directory()),
        live_host()?,
    );
    let now = Timestamp::from(SystemTime::now());
    let mut sinks: Vec<Box<Sink>> = Vec::new();
    if let Some(path) = &args.results {
        let lines = JsonLines::<File>::append(path, facts.clone(), &environment, now)?;
        sinks.push(writer(lines));
    }
    if args.format() == Format::Json {
        sinks.push(writer(JsonLines::new(
            io::stdout(),
            facts,
            &environment,
            now,
        )?));
    }
    Ok(Box::new(move |started, finished, line: Line| {
        sinks
            .iter()
            .try_for_each(|sink| sink(started, finished, line.clone()))
    }))
}

fn writer<W: Write + Send + 'static>(lines: JsonLines<W>) -> Box<Sink> {
    let lines = Mutex::new(lines);
    Box::new(move |started, finished, line| {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .line(started, finished, line)
            .map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_column_is_no_success() {
        let none = "btrfs is missing";
        let all = barred([Some(none), Some(none)].into_iter());
        assert_eq!(all.as_deref(), Some(none));
        assert_eq!(barred([Some(none), None].into_iter()), None);
    }
}
