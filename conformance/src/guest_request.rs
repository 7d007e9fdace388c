//! The run of a column in a guest of its own: the same verb, with the list of its trials, its results read as they come.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use cowlab_engine::guest::{self, Ending, Guest, Job, Loss};
use cowlab_reports::result::Record;
use cowlab_sys::interrupt;

use crate::args::RunArgs;
use crate::case::{Need, Placement};
use crate::guest_run::GuestRun;
use crate::product::debian;
use crate::results::Results;

/// Where the guest finds the list; what is taken along under `/run` its own file system hides.
const TRIALS: &str = "/usr/local/share/cowlab/trials";
/// What a guest may take to boot and to make its file systems.
const START: Duration = Duration::from_secs(180);
/// What a trial may take where a processor is emulated.
const TRIAL: Duration = Duration::from_secs(10);
/// The same for one that starts a dozen containers.
const WITH_CONTAINERS: Duration = Duration::from_secs(120);

/// Runs what is asked for and returns how the guest ended.
pub(crate) fn run(
    guest: &dyn Guest,
    args: &RunArgs,
    guest_run: &GuestRun,
    results: &Results,
) -> Ending {
    if interrupt::requested() {
        return Ending::Lost(Loss {
            reason: "interrupted".to_owned(),
            console: String::new(),
        });
    }
    let list = match list(guest_run) {
        Ok(list) => list,
        Err(error) => {
            return Ending::Lost(Loss {
                reason: format!("failed to write the list of trials: {error}"),
                console: String::new(),
            });
        }
    };
    let mut files = vec![(list.path().to_owned(), PathBuf::from(TRIALS))];
    let debian = debian_root(guest_run);
    if let Some(tar) = &debian {
        files.push((tar.path().to_owned(), PathBuf::from(debian::TAKEN)));
    }
    let trials = guest_run.cases().iter().map(|case| match case.placement {
        Placement::Root => WITH_CONTAINERS,
        Placement::Shared | Placement::Own => TRIAL,
    });
    let trials: Duration = trials.sum();
    let orders = u32::try_from(args.seeds).unwrap_or(u32::MAX);
    let job = Job {
        arguments: arguments(args),
        files,
        time_limit: START + trials.saturating_mul(orders),
        ..Job::default()
    };
    let mut take = |record: Record| {
        guest_run.take(&record)?;
        results.record(record);
        Ok(())
    };
    guest::stream(guest, &job, &mut take, &mut |line| {
        // Cases fill pools on purpose: what the store warns of there is nothing to look into.
        if line.trim_start().starts_with("WARN") {
            tracing::info!("guest: {line}");
        } else {
            tracing::warn!("guest: {line}");
        }
    })
}

/// A Debian root file system for the cases that ask for one, where this host can make it.
fn debian_root(guest_run: &GuestRun) -> Option<tempfile::NamedTempFile> {
    let mut cases = guest_run.cases().iter();
    if !cases.any(|case| case.needs.contains(&Need::DebianRoot)) {
        return None;
    }
    let take = || -> crate::context::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&debian::tar()?)?;
        Ok(file)
    };
    take()
        .inspect_err(|error| tracing::info!(%error, "no Debian root is taken along"))
        .ok()
}

fn list(guest_run: &GuestRun) -> std::io::Result<tempfile::NamedTempFile> {
    let mut list = tempfile::NamedTempFile::new()?;
    list.write_all(guest_run.list().as_bytes())?;
    list.flush()?;
    Ok(list)
}

/// The command line in the guest: the filters are in the list already.
fn arguments(args: &RunArgs) -> Vec<OsString> {
    let mut words: Vec<String> = [
        "conformance",
        "--where",
        "host",
        "--trials",
        TRIALS,
        "--json",
    ]
    .map(str::to_owned)
    .to_vec();
    // Nothing there is lost with the kernel.
    words.push("--risk-kernel".to_owned());
    if args.isolate {
        words.push("--isolate".to_owned());
    }
    if let Some(seed) = args.seed {
        words.extend(["--seed".to_owned(), seed.to_string()]);
    }
    if args.seeds > 1 {
        words.extend(["--seeds".to_owned(), args.seeds.to_string()]);
    }
    if !args.strict.is_empty() {
        words.extend(["--strict".to_owned(), args.strict.join(",")]);
    }
    words.into_iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_runs_the_list_and_nothing_else() {
        let args = RunArgs {
            filter: Some("rename".to_owned()),
            driver: vec!["vfs".to_owned()],
            strict: vec!["vfs".to_owned(), "btrfs".to_owned()],
            seed: Some(7),
            seeds: 1,
            ..RunArgs::default()
        };
        let words = arguments(&args);
        let line = words.join(&OsString::from(" "));
        assert_eq!(
            line,
            "conformance --where host --trials /usr/local/share/cowlab/trials --json --risk-kernel --seed 7 --strict vfs,btrfs"
        );
    }
}
