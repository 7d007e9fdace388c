//! `cowlab report`: from nothing to a driver-selection report for this host.
//!
//! The parts are commands of their own, run as such, so that every section of the report can be repeated by the line
//! printed beside it, and a part that fails takes nothing else down.

mod image;
mod probe;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use cowlab_driver::Missing;
use cowlab_engine::fingerprint;
use cowlab_engine::guest;
use cowlab_engine::places::{Where, check_live_host};
use cowlab_reports::report::Written;
use cowlab_reports::result::{JsonLines, ResultSet, Run as RunFacts, Timestamp};
use cowlab_runtime::layout::Layout;
use cowlab_sys::cmd::Cmd;
use cowlab_sys::{IdSource, interrupt};
use cowlab_testbed::Run;

use crate::exit::{self, Stop};

/// Probes, checks and measures the storage drivers on this host, and writes a report with a recommendation.
///
/// Takes about four minutes on the host alone, and longer where a guest has been built: it runs the drivers that this kernel
/// lacks. Without one they are left out; `cargo xtask report --yes` builds it first. Everything runs on throw-away loop devices; the report's directory is all that stays. Prints the
/// path of the page.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An OCI image layout as the image to measure with; without it one is made from a Debian root file system.
    #[arg(long, value_name = "DIR")]
    image: Option<PathBuf>,
    /// Where the report is written.
    #[arg(long, value_name = "DIR", default_value = "target/cowlab/report")]
    out: PathBuf,
    /// The directory that would hold the containers on this host.
    #[arg(long, value_name = "DIR", default_value = "/var/lib")]
    storage: PathBuf,
    /// Measure for about twenty minutes, for narrow confidence intervals, instead of three.
    #[arg(long)]
    full: bool,
    /// Make the throw-away file systems in this directory; without it that of `COWLAB_TEST_DIR`, else `/var/tmp`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Check and measure on this kernel (host), in the throw-away machine (guest), or each driver where it runs (auto).
    #[arg(long = "where", value_name = "PLACE", default_value_t)]
    place: Where,
    /// Leave the guest out: the same as `--where host`.
    #[arg(long, conflicts_with = "place")]
    no_guest: bool,
    /// Run on a host where a container engine runs.
    #[arg(long)]
    on_live_host: bool,
    /// Probe the drivers, print what is found as JSON lines and end: what a host asks of its guest.
    #[arg(long, hide = true)]
    probes: bool,
}

impl Args {
    fn place(&self) -> Where {
        match self.no_guest {
            true => Where::Host,
            false => self.place,
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// When a part cannot run at all; a failed case or a finding is a result.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    exit::need_root("cowlab report")?;
    let engines = check_live_host(args.on_live_host)?;
    interrupt::watch()?;
    if args.probes {
        return probes(args, engines);
    }
    if let Some(given) = &args.image {
        // Before anything is made; unpacking it comes later.
        Layout::open(given)?.image(None)?;
    }
    let run = Run::start_with_private_mounts(args.dir.clone(), IdSource::Kernel)?;
    let parts = fresh_parts(&args.out).map_err(|error| Stop {
        code: exit::USAGE,
        message: format!("{error:#}: name another directory for the report with --out"),
    })?;
    let made = make(args, engines, &run, &parts);
    // Closed in either case, so that a failure does not hide what is left behind.
    let closed = run.close();
    let set = made?;
    closed?;
    let written = cowlab_reports::report::write(&args.out, &set)?;
    fs::remove_dir_all(&parts)
        .with_context(|| format!("failed to remove `{}`", parts.display()))?;
    conclude(&set, &written)
}

/// Prints what the drivers find here.
fn probes(args: &Args, engines: Vec<String>) -> anyhow::Result<u8> {
    let run = Run::start_with_private_mounts(args.dir.clone(), IdSource::Kernel)?;
    let environment = fingerprint::environment(&args.storage, engines);
    let mut lines = JsonLines::new(std::io::stdout(), facts(&run), &environment, now())?;
    let probed = probe::every_driver(&run, &mut |started, line| {
        Ok(lines.line(started, now(), line)?)
    });
    let closed = run.close();
    probed?;
    closed?;
    Ok(exit::OK)
}

fn facts(run: &Run) -> RunFacts {
    RunFacts {
        id: run.id().to_owned(),
        commit: fingerprint::commit(),
    }
}

/// Makes the directory for the results of the parts, without those of a run that was cut off.
fn fresh_parts(out: &Path) -> anyhow::Result<PathBuf> {
    let parts = out.join("parts");
    if parts.exists() {
        fs::remove_dir_all(&parts)
            .with_context(|| format!("failed to remove `{}`", parts.display()))?;
    }
    fs::create_dir_all(&parts).with_context(|| format!("failed to make `{}`", parts.display()))?;
    Ok(parts)
}

fn make(args: &Args, engines: Vec<String>, run: &Run, parts: &Path) -> anyhow::Result<ResultSet> {
    let probes = parts.join("probes.jsonl");
    let environment = fingerprint::environment(&args.storage, engines);
    let mut lines = JsonLines::append(&probes, facts(run), &environment, now())?;
    say("probing the drivers on every backing file system")?;
    probe::every_driver(run, &mut |started, line| {
        Ok(lines.line(started, now(), line)?)
    })?;
    let started = now();
    let (layout, line) = image::provide(args.image.as_deref(), run, &mut |text| say(text))?;
    lines.line(started, now(), line)?;
    let mut set = ResultSet::read(&probes)?;
    if args.place() != Where::Host {
        probe_in_guest(&mut set)?;
    }
    for part in commands(args, &layout, parts) {
        set.merge(part.run()?);
    }
    Ok(set)
}

/// Adds what the guest can run; without a guest, says which drivers are left out and how to get it.
fn probe_in_guest(set: &mut ResultSet) -> anyhow::Result<()> {
    match guest::find() {
        Ok(guest) => {
            say("probing the drivers that this kernel lacks, in the guest")?;
            if let Err(error) = probe::in_guest(&*guest, set) {
                say(&format!("cowlab: {error:#}"))?;
            }
        }
        Err(missing) => {
            let left_out = probe::unavailable(set);
            if !left_out.is_empty() {
                say(&left_out_line(&left_out, &missing))?;
            }
        }
    }
    Ok(())
}

fn left_out_line(drivers: &BTreeSet<String>, missing: &Missing) -> String {
    let names: Vec<_> = drivers.iter().map(String::as_str).collect();
    let names = names.join(", ");
    // No image serves a program of another architecture.
    let remedy = match cfg!(target_arch = "x86_64") {
        true => "`cargo xtask report --yes` brings the guest along",
        false => &missing.remedy,
    };
    format!(
        "left out: {names}, which do not run on this host; for the guest, {} is missing: {remedy}",
        missing.what
    )
}

/// A command of this program whose results go into the report.
struct Part {
    what: &'static str,
    arguments: Vec<String>,
    results: PathBuf,
}

fn commands(args: &Args, layout: &Path, parts: &Path) -> Vec<Part> {
    let common = |arguments: &mut Vec<String>| {
        if let Some(dir) = &args.dir {
            arguments.extend(["--dir".to_owned(), dir.display().to_string()]);
        }
        if args.on_live_host {
            arguments.push("--on-live-host".to_owned());
        }
        if args.place() != Where::default() {
            arguments.extend(["--where".to_owned(), args.place().name().to_owned()]);
        }
    };
    let conformance = parts.join("conformance.jsonl");
    let mut check = [
        "conformance",
        "--results",
        &conformance.display().to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    common(&mut check);
    let bench = parts.join("bench.jsonl");
    let mut measure = [
        "bench",
        "run",
        "--out",
        &bench.display().to_string(),
        "--image",
        &layout.display().to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    if !args.full {
        measure.push("--quick".to_owned());
    }
    common(&mut measure);
    vec![
        Part {
            what: "checking semantics",
            arguments: check,
            results: conformance,
        },
        Part {
            what: "measuring",
            arguments: measure,
            results: bench,
        },
    ]
}

impl Part {
    fn run(&self) -> anyhow::Result<ResultSet> {
        say(&format!(
            "{}: cowlab {}",
            self.what,
            self.arguments.join(" ")
        ))?;
        let program = std::env::current_exe().context("failed to find this program's own file")?;
        let status = Cmd::new(program)
            .args(&self.arguments)
            .status_without_output()?;
        if interrupt::requested() || status == i32::from(interrupt::EXIT_CODE) {
            return Err(Stop {
                code: interrupt::EXIT_CODE,
                message: "interrupted, nothing is left mounted".to_owned(),
            }
            .into());
        }
        // A finding is a result like any other, and so is that nothing can run here; anything else is no result.
        let results = [exit::OK, exit::FINDING, exit::UNAVAILABLE].map(i32::from);
        if !results.contains(&status) || !self.results.exists() {
            bail!(
                "`cowlab {}` ended with exit code {status}",
                self.arguments.join(" ")
            );
        }
        Ok(ResultSet::read(&self.results)?)
    }
}

/// Says where the page is, and whether it holds a failure.
fn conclude(set: &ResultSet, written: &Written) -> anyhow::Result<u8> {
    let page = fs::canonicalize(&written.html).unwrap_or_else(|_| written.html.clone());
    let verdict = &written.report.verdict;
    match &verdict.choice {
        Some(choice) => say(&format!(
            "{} (confidence: {})",
            choice.column.label(),
            verdict.confidence.name()
        ))?,
        None => say("unknown: the evidence does not carry a choice")?,
    }
    writeln!(std::io::stdout(), "{}", page.display())?;
    Ok(
        if set.outcomes().any(|outcome| outcome.status.is_failure()) {
            exit::FINDING
        } else if verdict.choice.is_none() {
            exit::UNKNOWN
        } else {
            exit::OK
        },
    )
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
