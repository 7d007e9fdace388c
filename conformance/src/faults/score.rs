//! Runs the cases of each fault's area with the fault and without it, and counts.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use cowlab_driver::Entry;
use cowlab_engine::exit;
use cowlab_engine::places::{Places, Where, check_live_host};
use cowlab_engine::subject::{Subject, check_names};
use cowlab_reports::result::Status;
use cowlab_testbed::{Backing, Media, Run};

use super::{FAULTS, Fault, Plant, host_driver};
use crate::args::{FaultsArgs, Options};
use crate::case::Case;
use crate::case_result::CaseResult;
use crate::cases;
use crate::column;
use crate::faulty_store::StoreFault;
use crate::usage;

/// Faults that are tried at once.
const AT_ONCE: usize = 2;

/// The first case of the fault's area that failed because of it, with what it found; or none.
type Catch = Option<(&'static str, String)>;

/// Plants faults and prints which are caught.
pub(crate) fn run(args: &FaultsArgs) -> Result<u8> {
    let known: Vec<_> = FAULTS.iter().map(|fault| fault.id).collect();
    check_names("fault", &args.fault, &known).map_err(usage)?;
    let wanted =
        |fault: &&Fault| args.fault.is_empty() || args.fault.iter().any(|id| id == fault.id);
    let faults: Vec<_> = FAULTS.iter().filter(wanted).collect();
    Places::find(Where::Host)?;
    check_live_host(args.on_live_host)?;
    let run = Run::start(args.dir.clone())?;
    let passing = passing(&run, &faults)?;
    let caught = try_all(&run, &faults, &passing)?;
    run.close()?;
    print(&faults, &caught)
}

/// The cases of the faults' areas that pass with no fault planted.
fn passing(run: &Run, faults: &[&'static Fault]) -> Result<BTreeSet<&'static str>> {
    let cases: Vec<_> = cases::all()
        .filter(|case| {
            faults
                .iter()
                .any(|fault| fault.area.contains(&case.group()))
        })
        .collect();
    let entry = host_driver();
    let results = run_cases(run, entry, None, &cases).into_iter();
    let pass = results.filter(|result| result.status == Status::Pass);
    Ok(pass.map(|result| result.case.id).collect())
}

fn run_cases(
    run: &Run,
    entry: &'static Entry,
    store_fault: Option<StoreFault>,
    cases: &[&'static Case],
) -> Vec<CaseResult> {
    let subject = Subject {
        entry,
        variant: entry.default_variant(),
        backing: Backing::Ext4,
        media: Media::default(),
    };
    let options = Options {
        unconfirmed: true,
        store_fault,
        ..Options::default()
    };
    column::run(run, &subject, cases, &options, &|_| {}).cases
}

fn try_all(
    run: &Run,
    faults: &[&'static Fault],
    passing: &BTreeSet<&'static str>,
) -> Result<Vec<Catch>> {
    let next = Mutex::new(0..faults.len());
    let caught = Mutex::new(vec![None; faults.len()]);
    let work = || {
        while let Some(index) = next.lock().unwrap_or_else(PoisonError::into_inner).next() {
            let catch = try_one(run, faults[index], passing);
            caught.lock().unwrap_or_else(PoisonError::into_inner)[index] = catch;
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    Ok(caught.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn try_one(run: &Run, fault: &Fault, passing: &BTreeSet<&'static str>) -> Catch {
    let cases: Vec<_> = cases::all()
        .filter(|case| fault.area.contains(&case.group()) && passing.contains(case.id))
        .collect();
    let (entry, store_fault) = with_fault(fault);
    let mut results = run_cases(run, entry, store_fault, &cases).into_iter();
    let failed = results.find(|result| result.status.is_failure())?;
    Some((failed.case.id, failed.reason.unwrap_or_default()))
}

/// The registry's entry, opened with the fault, or the fault for the store above it. A handful of entries are made in a
/// process, and columns hold them for ever.
fn with_fault(fault: &Fault) -> (&'static Entry, Option<StoreFault>) {
    let entry = host_driver();
    let open = match fault.injection {
        Plant::Store(store_fault) => return (entry, Some(store_fault)),
        Plant::Driver(open) => open,
    };
    let entry = Box::leak(Box::new(Entry { open, ..*entry }));
    (entry, None)
}

fn print(faults: &[&'static Fault], caught: &[Catch]) -> Result<u8> {
    let mut out = io::stdout().lock();
    for (fault, catch) in faults.iter().zip(caught) {
        writeln!(out, "{}: {}", fault.id, fault.what)?;
        match catch {
            Some((case, reason)) => writeln!(out, "  caught by {case}: {reason}")?,
            None => writeln!(out, "  NOT CAUGHT by any case of {}", fault.area.join(", "))?,
        }
    }
    let count = caught.iter().flatten().count();
    writeln!(out, "{count} of {} faults caught", faults.len())?;
    Ok(if count == faults.len() {
        exit::OK
    } else {
        exit::FINDING
    })
}
