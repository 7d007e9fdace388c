//! What each verb does.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, bail};
use cowlab_driver::Bytes;
use cowlab_engine::exit::{self, Stop};
use cowlab_engine::fingerprint;
use cowlab_engine::guest;
use cowlab_engine::places::{Places, Where, check_live_host};
use cowlab_engine::subject::Choice;
use cowlab_engine::worker::Host;
use cowlab_reports::compare::compare;
use cowlab_reports::result::{Line, Place, ResultSet, Timestamp};
use cowlab_runtime::layout::Layout;
use cowlab_testbed::Media;

use crate::args::{Args, Command, CompareArgs, Format, ListArgs, RunArgs};
use crate::budget::{KEEP_FREE, minutes};
use crate::compared::{judge, render};
use crate::counted;
use crate::output::{Output, environment, print};
use crate::part::Part;
use crate::plan::{OWN_IMAGE, Plan};
use crate::proofs;
use crate::sampler::{Interrupted, Summary, measure};
use crate::split::{self, Split};
use crate::terminal::Terminal;
use crate::workload::Effort;
use crate::workloads;

/// Runs a verb and returns the exit code of the program.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        Command::Run(args) => guarded(args, run_plan),
        Command::Columns(args) => guarded(args, run_columns),
        Command::Aa(args) => guarded(&on_host(args), |args, plan, terminal| {
            check(args, terminal)?;
            proofs::aa(args, plan, terminal)
        }),
        Command::ReflinkFlat(args) => guarded(&on_host(args), |args, plan, terminal| {
            check(args, terminal)?;
            proofs::reflink_flat(args, plan, terminal)
        }),
        Command::List(args) => list(args),
        Command::Compare(args) => compare_files(args),
    }
}

/// What is proved is proved of this host.
fn on_host(args: &RunArgs) -> RunArgs {
    RunArgs {
        place: Where::Host,
        ..args.clone()
    }
}

/// Reads the command line before anything is mounted, and turns an interruption into its exit code.
fn guarded(
    args: &RunArgs,
    work: fn(&RunArgs, &mut Plan, &mut Terminal) -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    let mut terminal = Terminal::new();
    let stop = |code, error: anyhow::Error| Stop {
        code,
        message: format!("{error:#}"),
    };
    let mut plan = plan(args).map_err(|error| stop(exit::USAGE, error))?;
    if let Some(dir) = &args.image {
        image(&mut plan, dir).map_err(|error| stop(exit::DATA, error))?;
    }
    cowlab_sys::interrupt::watch()?;
    match work(args, &mut plan, &mut terminal) {
        // A program that was running may have failed of the same Ctrl-C.
        Err(error) if cowlab_sys::interrupt::requested() || error.is::<Interrupted>() => {
            terminal.line(&format!(
                "cowlab: interrupted, nothing is left mounted ({error:#})"
            ));
            Ok(cowlab_sys::interrupt::EXIT_CODE)
        }
        done => done,
    }
}

/// Checks who asks and where, says what would falsify times, and returns the places there are.
fn check(args: &RunArgs, terminal: &Terminal) -> anyhow::Result<Places> {
    let places = Places::find(args.place)?;
    check_live_host(args.on_live_host)?;
    let dir = args.dir.clone();
    cowlab_testbed::real_directory(&dir.unwrap_or_else(cowlab_testbed::base_directory))?;
    warn(terminal);
    Ok(places)
}

/// Says what would falsify times.
fn warn(terminal: &Terminal) {
    if cfg!(debug_assertions) {
        terminal.line("this is a debug build: its times are not those of a release build");
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        terminal.line("debug messages are written while the clock runs: unset COWLAB_LOG");
    }
}

/// What the command line wants measured.
fn plan(args: &RunArgs) -> anyhow::Result<Plan> {
    let effort = match (args.smoke, args.quick) {
        (true, _) => Effort::Smoke,
        (_, true) => Effort::Quick,
        _ => Effort::Full,
    };
    let mut plan = Plan::new(effort);
    plan.wanted = Choice {
        drivers: args.driver.clone(),
        variants: args.variant.clone(),
        backings: args.backing.clone(),
    };
    plan.wanted.check()?;
    if !args.ids.is_empty() {
        plan.workloads.clear();
        for id in &args.ids {
            let found = workloads::find(id);
            if found.is_empty() {
                let known: Vec<&str> = workloads::all().iter().map(|one| one.id).collect();
                bail!("`{id}` is no workload; there are {}", known.join(", "));
            }
            plan.workloads.extend(found);
        }
        plan.workloads.dedup_by_key(|workload| workload.id);
    }
    if !args.media.is_empty() {
        plan.media.clone_from(&args.media);
        plan.media.sort_unstable();
        plan.media.dedup();
    }
    plan.blocks = args.blocks.map(usize::try_from).transpose()?;
    plan.samples = args.samples;
    plan.seed = args.seed.unwrap_or(plan.seed);
    plan.dir.clone_from(&args.dir);
    if args.blocks.is_some() || args.samples.is_some() {
        // An explicit number of samples is kept, however long it takes.
        plan.time = None;
    }
    plan.columns.clone_from(&args.only);
    plan.largest = args.largest.map(Bytes);
    if args.deterministic || args.counted {
        counted::plan(args, &mut plan)?;
    }
    Ok(plan)
}

/// Takes the layers of the only image in an OCI layout.
fn image(plan: &mut Plan, dir: &Path) -> anyhow::Result<()> {
    let image = Layout::open(dir)?.image(None)?;
    let mut packed = 0;
    for layer in &image.layers {
        let digest = layer.blob.digest();
        let path = dir
            .join("blobs")
            .join(digest.algorithm().to_string())
            .join(digest.digest());
        packed += fs::metadata(&path)
            .with_context(|| format!("failed to find the layer `{}`", path.display()))?
            .len();
        plan.image.push(path);
    }
    // Layers of a distribution shrink to a third with gzip; a block for every small file comes on top.
    plan.image_bytes = Bytes(packed * 4).max(OWN_IMAGE);
    Ok(())
}

fn run_plan(args: &RunArgs, plan: &mut Plan, terminal: &mut Terminal) -> anyhow::Result<u8> {
    if args.deterministic {
        return run_counted(args, terminal);
    }
    let places = check(args, terminal)?;
    plan.no_guest = places.missing.as_ref().map(ToString::to_string);
    if plan.budget().series == 0 {
        terminal.line("cowlab: nothing of that can be measured: see `cargo xtask bench list`");
        return Ok(exit::USAGE);
    }
    let Split { host, guest } = split::split(&places, plan)?;
    let host = (!host.is_empty()).then(|| Part::new(args, Place::Host, host, plan));
    let guest = (!guest.is_empty()).then(|| Part::new(args, Place::Guest, guest, plan));
    if let Some(part) = &host {
        let budget = part.plan.budget();
        terminal.line(&format!("{budget}"));
        if let Some(refusal) = refuse(&part.plan, budget.disk)? {
            terminal.line(&refusal);
            return Ok(exit::GUARD);
        }
    }
    let mut output = Output::open(args, &environment()?, fingerprint::commit())?;
    let mut summary = Summary::default();
    if let Some(part) = &host {
        summary += part.measure(args, &Host, &mut output, terminal)?;
    }
    // After it, not beside it: the guest would take the processors from what is timed.
    if let (Some(machine), Some(part)) = (&places.guest, &guest) {
        terminal.line(&format!("in the guest: {}", part.plan.columns.join(", ")));
        summary += part.measure(args, &**machine, &mut output, terminal)?;
    }
    output.finish()?;
    Ok(conclude(&summary, terminal))
}

/// Measures columns in this process and prints the series as they are known.
fn run_columns(args: &RunArgs, plan: &mut Plan, terminal: &mut Terminal) -> anyhow::Result<u8> {
    plan.no_guest.clone_from(&args.no_guest);
    let lines = RunArgs {
        json: true,
        ..args.clone()
    };
    let mut output = Output::open(&lines, &environment()?, fingerprint::commit())?;
    let take = if args.counted { counted::take } else { measure };
    let summary = take(plan, terminal, &mut |started, line: Line| {
        output.line(started, &line)
    })?;
    Ok(code(&summary))
}

/// Boots guests that count instructions: no privilege of this host is needed, and nothing of it is measured.
fn run_counted(args: &RunArgs, terminal: &mut Terminal) -> anyhow::Result<u8> {
    let guest = guest::find()?;
    if let Some(path) = &args.out {
        // Better now than after all boots.
        let mut options = fs::OpenOptions::new();
        let opened = options.append(true).create(true).open(path);
        opened.with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    let started = Timestamp::from(SystemTime::now());
    let counts = counted::boot(args, &*guest, terminal)?;
    // The guest knows no checkout; what it ran was built from this one.
    let commit = Some(counts.commit).filter(|commit| !commit.is_empty());
    let commit = commit.unwrap_or_else(fingerprint::commit);
    let mut output = Output::open(args, &counts.environment, commit)?;
    for line in counts.lines {
        output.line(started, &line)?;
    }
    output.finish()?;
    Ok(conclude(&counts.summary, terminal))
}

/// Why a run would take too much of the disk that carries its backing files.
fn refuse(plan: &Plan, needed: Bytes) -> anyhow::Result<Option<String>> {
    let dir = plan
        .dir
        .clone()
        .unwrap_or_else(cowlab_testbed::base_directory);
    let available = Bytes(cowlab_sys::stat::statfs(&dir)?.available_bytes());
    let least = needed + KEEP_FREE;
    Ok((available < least).then(|| {
        format!(
            "cowlab: `{}` has {available} free, and the run needs {needed} and leaves at least {KEEP_FREE}: free some, \
             name another directory with --dir, or measure less at a time, as with --backing",
            dir.display()
        )
    }))
}

/// Says what became of a run, and returns its exit code.
fn conclude(summary: &Summary, terminal: &Terminal) -> u8 {
    terminal.line(&format!(
        "{} series, {} arms left out, {} failed",
        summary.series, summary.skipped, summary.failed
    ));
    code(summary)
}

/// The exit code of a run.
const fn code(summary: &Summary) -> u8 {
    match summary {
        Summary { failed: 1.., .. } => exit::FINDING,
        Summary { series: 0, .. } => exit::UNAVAILABLE,
        _ => exit::OK,
    }
}

/// One line of the list.
#[derive(Debug, serde::Serialize)]
struct Listed {
    id: &'static str,
    question: &'static str,
    phases: &'static [&'static str],
    requires: &'static [&'static str],
    quick: Cost,
    full: Cost,
}

#[derive(Debug, serde::Serialize)]
struct Cost {
    series: usize,
    seconds: u64,
}

fn cost(workload: &'static crate::workload::Workload, effort: Effort) -> Cost {
    let mut plan = Plan::new(effort);
    plan.workloads = vec![workload];
    plan.media = vec![Media::Disk, Media::Memory];
    plan.time = None;
    let budget = plan.budget();
    Cost {
        series: budget.series,
        seconds: budget.time.as_secs(),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<u8> {
    let listed = workloads::all().iter().map(|workload| Listed {
        id: workload.id,
        question: workload.question,
        phases: workload.phases,
        requires: workload.requires,
        quick: cost(workload, Effort::Quick),
        full: cost(workload, Effort::Full),
    });
    let mut text = String::new();
    for one in listed {
        if args.json || args.format == Format::Json {
            text.push_str(&serde_json::to_string(&one)?);
            text.push('\n');
            continue;
        }
        let time = |cost: &Cost| {
            let time = minutes(std::time::Duration::from_secs(cost.seconds));
            format!("{} series, up to {time}", cost.series)
        };
        let (quick, full) = (time(&one.quick), time(&one.full));
        let mark = if args.format == Format::Markdown {
            "- "
        } else {
            ""
        };
        text.push_str(&format!(
            "{mark}{}  {}\n    {}; with --quick {}\n",
            one.id, one.question, full, quick
        ));
    }
    print(&text)?;
    Ok(exit::OK)
}

fn compare_files(args: &CompareArgs) -> anyhow::Result<u8> {
    let terminal = Terminal::new();
    let read = |path: &Path| ResultSet::read(path);
    let sets = read(&args.before).and_then(|before| Ok((before, read(&args.after)?)));
    let (before, after) = match sets {
        Ok(sets) => sets,
        Err(error) => {
            terminal.line(&format!("cowlab: {error}"));
            return Ok(exit::DATA);
        }
    };
    for note in before.notes().iter().chain(after.notes()) {
        terminal.line(note);
    }
    let comparison = compare(&before, &after);
    let format = if args.json { Format::Json } else { args.format };
    print(&render(&comparison, args.all, format)?)?;
    Ok(judge(&comparison))
}
