//! Which driver runs on which backing file system here, found out by doing it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use cowlab_driver::{Entry, Error as DriverError, Settings};
use cowlab_engine::guest;
use cowlab_engine::subject::declared;
use cowlab_engine::worker::{Ending, Job, Machine, stream};
use cowlab_reports::result::{Availability, Line, Probe, ResultSet, Timestamp};
use cowlab_sys::Guard;
use cowlab_testbed::{Backing, BackingOptions, Error as TestbedError, Run};

/// Big enough for every mkfs: xfs wants 300 MB.
const SIZE: u64 = 320 << 20;
/// It takes the guest a minute on an idle machine.
const TIME_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Probes every driver in its default variant on every backing file system.
///
/// # Errors
///
/// What the testbed could not do for another reason than a missing program, and what `emit` returned.
pub(super) fn every_driver(
    run: &Run,
    emit: &mut dyn FnMut(Timestamp, Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for backing in Backing::ALL {
        let options = BackingOptions {
            bytes: SIZE,
            ..BackingOptions::default()
        };
        match run.backing(backing, &options) {
            Ok(mut filesystem) => {
                for entry in cowlab_drivers::all() {
                    let started = super::now();
                    let settings = filesystem.places().fresh()?;
                    let found = availability(entry, filesystem.mount_point(), &settings);
                    emit(started, line(entry, backing, found))?;
                }
                filesystem.close()?;
            }
            Err(TestbedError::Missing { what, remedy }) => {
                for entry in cowlab_drivers::all() {
                    let found = Availability::Missing {
                        what: what.clone(),
                        remedy: Some(remedy.clone()),
                    };
                    emit(super::now(), line(entry, backing, found))?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Has the guest probe, and adds what runs there and not on the host.
///
/// # Errors
///
/// Why the guest has not probed to the end.
pub(super) fn in_guest(guest: &dyn Machine, set: &mut ResultSet) -> anyhow::Result<()> {
    let job = Job {
        arguments: ["report", "--probes"].map(OsString::from).to_vec(),
        time_limit: TIME_LIMIT,
        ..Job::default()
    };
    let known: BTreeSet<(String, Option<String>)> = set
        .probes()
        .filter(|probe| probe.availability == Availability::Available)
        .map(column)
        .collect();
    let ending = stream(
        guest,
        &job,
        &mut |record| {
            let wanted = match &record.line {
                Line::Driver(probe) => {
                    probe.availability == Availability::Available && !known.contains(&column(probe))
                }
                _ => true,
            };
            if wanted {
                set.push(record);
            }
            Ok(())
        },
        &mut |line| tracing::warn!("guest: {line}"),
    );
    match ending {
        Ending::Exit(0) => Ok(()),
        Ending::Exit(code) => bail!("the probes in the guest ended with exit code {code}"),
        Ending::Lost(loss) => bail!("the guest did not probe to the end: {loss}"),
    }
}

/// The drivers that run on no backing file system here.
pub(super) fn unavailable(set: &ResultSet) -> BTreeSet<String> {
    let (runs, lacks): (Vec<_>, Vec<_>) = set
        .probes()
        .partition(|probe| probe.availability == Availability::Available);
    let mut drivers: BTreeSet<_> = lacks.iter().map(|probe| probe.driver.clone()).collect();
    drivers.retain(|name| runs.iter().all(|probe| probe.driver != *name));
    drivers
}

fn column(probe: &Probe) -> (String, Option<String>) {
    (probe.driver.clone(), probe.backing.clone())
}

fn availability(entry: &Entry, dir: &Path, settings: &Settings) -> Availability {
    // The throw-away directory means nothing to a reader of the report, and the backing stands beside it.
    let named = |text: String| text.replace(&format!("under `{}`", dir.display()), "there");
    match (entry.probe)(dir, entry.default_variant(), settings) {
        Ok(()) => Availability::Available,
        Err(DriverError::Unavailable(missing)) => Availability::Missing {
            what: named(missing.what),
            remedy: Some(missing.remedy),
        },
        Err(error) => Availability::Missing {
            what: named(error.to_string()),
            remedy: None,
        },
    }
}

fn line(entry: &Entry, backing: Backing, availability: Availability) -> Line {
    let variant = entry.default_variant().name;
    let deviations = match availability {
        Availability::Available => entry
            .deviations_on(variant, backing.name())
            .map(declared)
            .collect(),
        Availability::Missing { .. } => Vec::new(),
    };
    Line::Driver(Probe {
        driver: entry.name.to_owned(),
        variant: variant.to_owned(),
        backing: Some(backing.name().to_owned()),
        place: guest::here(),
        availability,
        deviations,
    })
}
