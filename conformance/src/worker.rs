//! The process that runs cases of one column, here or in a guest, and writes their results to standard output.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use cowlab_engine::exit::{self, Stop};
use cowlab_engine::results::{Results, now};
use cowlab_engine::subject::Subject;
use cowlab_engine::{fingerprint, guest};
use cowlab_reports::result::{Line, Run as RunFacts, WriteError};
use cowlab_sys::interrupt;
use cowlab_testbed::{Run, base_directory, live_host};

use crate::args::{ColumnArgs, Options};
use crate::case::Case;
use crate::case_result::{self, CaseResult};
use crate::cases;
use crate::column::{self, ColumnResult, News};
use crate::product::debian;

/// Runs the cases and returns the exit code: [`exit::OK`] where all ended, however they did, [`exit::UNAVAILABLE`] where not
/// one could run.
///
/// # Errors
///
/// When the list cannot be read, a result not written, or the testbed fails.
pub(crate) fn run(args: &ColumnArgs) -> Result<u8> {
    let subject = Subject::parse(&args.column).ok_or_else(|| unknown("column", &args.column))?;
    let cases = listed(&args.cases)?;
    let options = Options {
        no_guest: args.no_guest.clone(),
        ..args.options.clone()
    };
    if let Some(tar) = &args.debian {
        debian::take(tar);
    }
    interrupt::watch()?;
    let run = Run::start(options.dir.clone())?;
    let results = open_results(&options, &run)?;
    let mut found = run_in_orders(&run, &subject, &cases, &options, &results)?;
    if found.kept.is_empty() {
        if let Err(error) = run.close() {
            let left = format!("the run left something behind: {error}");
            found.trouble.push(left);
        }
    } else {
        keep(run, &mut found)?;
    }
    for trouble in &found.trouble {
        let line = case_result::leftover(&subject, guest::here(), trouble);
        results.line(now(), now(), &Line::Outcome(line))?;
    }
    Ok(match (interrupt::requested(), found.barred) {
        (true, _) => interrupt::EXIT_CODE,
        (false, true) => exit::UNAVAILABLE,
        (false, false) => exit::OK,
    })
}

fn open_results(options: &Options, run: &Run) -> Result<Results> {
    let dir = options.dir.clone().unwrap_or_else(base_directory);
    let facts = RunFacts {
        id: run.id().to_owned(),
        commit: fingerprint::commit(),
    };
    let environment = fingerprint::environment(&dir, live_host()?);
    Ok(Results::open(facts, &environment, None, true)?)
}

/// Reads a list of cases.
fn listed(file: &Path) -> Result<Vec<&'static Case>> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("failed to read the list of cases `{}`", file.display()))?;
    let find = |id: &str| {
        let found = cases::all().find(|case| case.id == id);
        found.ok_or_else(|| unknown("case", id).into())
    };
    text.lines().map(find).collect()
}

fn unknown(what: &str, name: &str) -> Stop {
    Stop {
        code: exit::USAGE,
        message: format!("there is no {what} `{name}`"),
    }
}

/// Runs the cases as often as orders are asked for, and writes the results: what differs between two orders is known at the
/// end.
fn run_in_orders(
    run: &Run,
    subject: &Subject,
    cases: &[&'static Case],
    options: &Options,
    results: &Results,
) -> Result<ColumnResult> {
    let failed: Mutex<Option<WriteError>> = Mutex::default();
    let write = |result: &CaseResult| {
        let line = Line::Outcome(result.line(subject));
        let written = results.line(result.started, result.finished, &line);
        if let Err(error) = written {
            failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
        }
    };
    let is_one = options.seeds == 1;
    let run_once = |seed| {
        let options = Options {
            seed,
            ..options.clone()
        };
        let later = |_: &CaseResult| {};
        let news: News<'_> = if is_one { &write } else { &later };
        column::run(run, subject, cases, &options, news)
    };
    let first = run_once(options.seed);
    let mut found = (1..options.seeds).fold(first, |found, number| {
        let seed = options.seed.unwrap_or(0).wrapping_add(number);
        merge(found, run_once(Some(seed)))
    });
    if !is_one {
        // Whatever the order was that they ran in.
        let place = |result: &CaseResult| cases.iter().position(|case| case.id == result.case.id);
        found.cases.sort_by_key(place);
        found.cases.iter().for_each(write);
    }
    let failed = failed.into_inner();
    match failed.unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(found),
    }
}

/// Puts together two runs of one column in different orders.
fn merge(mut one: ColumnResult, two: ColumnResult) -> ColumnResult {
    let mut others: BTreeMap<&str, CaseResult> = two
        .cases
        .into_iter()
        .map(|result| (result.case.id, result))
        .collect();
    for result in &mut one.cases {
        if let Some(other) = others.remove(result.case.id)
            && other.status != result.status
        {
            *result = result.clone().differs_from(&other);
        }
    }
    one.trouble.extend(two.trouble);
    one.kept.extend(two.kept);
    one.held.extend(two.held);
    one
}

/// Says what is kept. It outlives the run, which is over before the file systems are let go of.
fn keep(run: Run, found: &mut ColumnResult) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    writeln!(
        stderr,
        "kept (each with `store`, `plain`, `mount`; `cargo xtask sweep` removes them):"
    )?;
    for dir in &found.kept {
        writeln!(stderr, "  {}", dir.display())?;
    }
    run.keep();
    found.held.clear();
    Ok(())
}
