//! Runs the cases of each fault's check with the fault and without it, and counts.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use cowlab_driver::{CopyUp, Entry};
use cowlab_engine::exit;
use cowlab_engine::places::{Places, Where, check_live_host};
use cowlab_engine::subject::{Subject, check_names, driver_names};
use cowlab_reports::result::Status;
use cowlab_testbed::{Backing, Media, Run};

use crate::args::{FaultsArgs, Options};
use crate::case::{Case, Placement};
use crate::case_result::CaseResult;
use crate::cases;
use crate::catalogue::CATALOGUE;
use crate::column;
use crate::faults::{Fault, Plant, Record, TRANSPARENT, all, planted_in, publish};
use crate::usage;

/// Faults that are tried at once.
const AT_ONCE: usize = 2;

/// What became of a fault.
#[derive(Debug, Clone)]
enum FaultResult {
    /// A case of its check failed because of it, with what it found.
    Caught(&'static str, String),
    /// Every case of its check passed.
    Missed,
    /// No case of its check passes here without it: what they need is not here, or they fail.
    Untried,
}

impl FaultResult {
    const fn case(&self) -> Option<&'static str> {
        match self {
            Self::Caught(case, _) => Some(case),
            Self::Missed | Self::Untried => None,
        }
    }
}

/// Plants faults and prints which are caught.
pub(crate) fn run(args: &FaultsArgs) -> Result<u8> {
    let (entry, faults) = chosen(args)?;
    Places::find(Where::Host)?;
    check_live_host(args.on_live_host)?;
    let run = Run::start(args.dir.clone())?;
    let results = try_all(&run, entry, &faults);
    run.close()?;
    if let Some(path) = &args.publish {
        let tried = faults.iter().zip(&results);
        let tried = tried.filter(|(_, result)| !matches!(result, FaultResult::Untried));
        let records = tried.map(|(fault, result)| Record::new(fault, entry.name, result.case()));
        publish(path, &records.collect::<Vec<_>>())?;
    }
    print(&faults, &results)
}

/// The driver and the faults that the command line asks for.
fn chosen(args: &FaultsArgs) -> Result<(&'static Entry, Vec<&'static Fault>)> {
    let known: Vec<_> = all().map(|fault| fault.id).collect();
    check_names("fault", &args.fault, &known).map_err(usage)?;
    let numbers: Vec<_> = CATALOGUE
        .checks
        .iter()
        .map(|check| check.number.as_str())
        .collect();
    check_names("check", &args.check, &numbers).map_err(usage)?;
    check_names("driver", args.driver.as_slice(), &driver_names()).map_err(usage)?;
    let mut drivers = cowlab_drivers::all().iter().copied();
    let entry = drivers.find(|entry| match &args.driver {
        Some(name) => cowlab_drivers::is_named(entry, std::slice::from_ref(name)),
        None => entry.info.copy_up == CopyUp::File,
    });
    let entry = entry
        .expect("the registry has the drivers of its own names, and one that stacks directories");
    let wanted = |fault: &&Fault| {
        fault.is_of(entry)
            && (args.fault.is_empty() || args.fault.iter().any(|id| id == fault.id))
            && (args.check.is_empty() || args.check.iter().any(|check| check == fault.check))
    };
    Ok((entry, all().filter(wanted).collect()))
}

/// The cases that can notice faults of a check: those of the program open the store in a process of their own.
fn cases_of(check: &str) -> impl Iterator<Item = &'static Case> {
    cases::all()
        .filter(move |case| case.placement != Placement::Root && case.catalogue.contains(&check))
}

/// The cases of the checks of some faults that pass with no fault planted.
fn passing<'a>(
    run: &Run,
    entry: &'static Entry,
    without: Option<&'static Fault>,
    faults: impl Iterator<Item = &'a &'static Fault>,
) -> BTreeSet<&'static str> {
    let checks: BTreeSet<_> = faults.map(|fault| fault.check).collect();
    let cases: Vec<_> = cases::all()
        .filter(|case| {
            let mut numbers = case.catalogue.iter();
            numbers.any(|number| checks.contains(number))
        })
        .filter(|case| case.placement != Placement::Root)
        .collect();
    if cases.is_empty() {
        return BTreeSet::new();
    }
    let results = run_cases(run, entry, without, &cases).into_iter();
    let pass = results.filter(|result| matches!(result.status, Status::Pass | Status::Deviates));
    pass.map(|result| result.case.id).collect()
}

fn run_cases(
    run: &Run,
    entry: &'static Entry,
    fault: Option<&'static Fault>,
    cases: &[&'static Case],
) -> Vec<CaseResult> {
    let backing = entry.backings.first().and_then(|name| name.parse().ok());
    let subject = Subject {
        entry,
        variant: entry.default_variant(),
        backing: backing.unwrap_or(Backing::Ext4),
        media: Media::default(),
    };
    let options = Options {
        unconfirmed: true,
        fault,
        ..Options::default()
    };
    column::run(run, &subject, cases, &options, &|_| {}).cases
}

fn try_all(run: &Run, entry: &'static Entry, faults: &[&'static Fault]) -> Vec<FaultResult> {
    // Columns hold an entry for ever.
    let faulty: &'static Entry = Box::leak(Box::new(planted_in(entry)));
    let (of_mount, others): (Vec<_>, Vec<_>) =
        faults.iter().partition(|fault| fault.of_mounts().is_some());
    let passing_behind = passing(run, faulty, Some(&TRANSPARENT), of_mount.into_iter());
    let passing = passing(run, entry, None, others.into_iter());
    let next = Mutex::new(0..faults.len());
    let caught = Mutex::new(vec![FaultResult::Untried; faults.len()]);
    let work = || {
        while let Some(index) = next.lock().unwrap_or_else(PoisonError::into_inner).next() {
            let fault = faults[index];
            let entry = match fault.injection {
                Plant::Driver(_) => faulty,
                Plant::Store(_) | Plant::Stream(_) => entry,
            };
            let passing = if fault.of_mounts().is_some() {
                &passing_behind
            } else {
                &passing
            };
            let catch = try_one(run, entry, fault, passing);
            caught.lock().unwrap_or_else(PoisonError::into_inner)[index] = catch;
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    caught.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn try_one(
    run: &Run,
    entry: &'static Entry,
    fault: &'static Fault,
    passing: &BTreeSet<&'static str>,
) -> FaultResult {
    let cases: Vec<_> = cases_of(fault.check)
        .filter(|case| passing.contains(case.id))
        .collect();
    if cases.is_empty() {
        return FaultResult::Untried;
    }
    let mut results = run_cases(run, entry, Some(fault), &cases).into_iter();
    match results.find(|result| result.status.is_failure()) {
        Some(failed) => FaultResult::Caught(failed.case.id, failed.reason.unwrap_or_default()),
        None => FaultResult::Missed,
    }
}

fn print(faults: &[&'static Fault], results: &[FaultResult]) -> Result<u8> {
    let mut out = io::stdout().lock();
    let (mut caught, mut missed) = (0, 0);
    for (fault, result) in faults.iter().zip(results) {
        let check = fault.check;
        writeln!(out, "{} ({check}): {}", fault.id, fault.what)?;
        match (result, fault.equivalent) {
            (FaultResult::Caught(case, reason), _) => {
                caught += 1;
                writeln!(out, "  caught by {case}: {reason}")?;
            }
            (FaultResult::Missed, Some(argument)) => writeln!(out, "  equivalent: {argument}")?,
            (FaultResult::Missed, None) => {
                missed += 1;
                writeln!(out, "  MISSED by every case of {check}")?;
            }
            (FaultResult::Untried, _) => {
                writeln!(out, "  not tried: no case of {check} passes here")?;
            }
        }
    }
    let is_tried = |result: &&FaultResult| !matches!(result, FaultResult::Untried);
    writeln!(
        out,
        "{caught} of {}",
        results.iter().filter(is_tried).count()
    )?;
    Ok(if missed == 0 { exit::OK } else { exit::FINDING })
}
