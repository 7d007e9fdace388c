//! `--deterministic`: instructions instead of time.
//!
//! The guest's clock counts instructions, everything is in its memory, and what is left to chance comes from a seed. So a
//! series is the same in every run of a build on a kernel. Another build lies otherwise in memory and differs by that
//! alone: every seed is a boot of its own, with other identifiers, another order and another layout, and the spread
//! over the seeds is the floor below which no difference is a change.
//!
//! The host boots the guests and puts their series together; this program in the guest takes the samples and says
//! nothing before the last one is taken, for every word to the host would disturb the clock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use cowlab_engine::exit;
use cowlab_engine::places::Where;
use cowlab_engine::worker::{Ending, Job, Machine, stream};
use cowlab_random::Random;
use cowlab_reports::result::{
    Counted, Environment, Line, Record, Series, SeriesId, Skipped, Subject as Part, Timestamp,
};
use cowlab_sys::IdSource;
use cowlab_testbed::Media;

use crate::args::RunArgs;
use crate::plan::Plan;
use crate::sampler::{Emit, Progress, Summary, measure};
use crate::workload::{Effort, MetricKind, Workload};
use crate::workloads;

/// Seeds of a run unless another number is asked for: an odd number has a median that was seen.
const SEEDS: u32 = 5;

/// Where the guest has the file that is as long as its seed says.
const PADDING: &str = "/usr/local/share/cowlab/padding";
/// Bytes of a page of the guest.
const PAGE: usize = 4096;
/// The most pages of padding: 1 MiB.
const MOST_PAGES: usize = 256;

/// A boot takes a minute or two with emulation on an idle machine.
const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Fits a plan to what can be counted.
///
/// # Errors
///
/// What cannot be, and what to do.
pub(crate) fn plan(args: &RunArgs, plan: &mut Plan) -> anyhow::Result<()> {
    if args.deterministic && args.place != Where::Guest {
        bail!(
            "`--deterministic` counts instructions on the guest's clock, which this host has none like: add `--where guest`"
        );
    }
    if args.media.contains(&Media::Disk) {
        bail!("a deterministic guest has no disk: leave out `--media disk`");
    }
    plan.effort = Effort::Counted;
    plan.media = vec![Media::Memory];
    plan.time = None;
    plan.id_source = IdSource::Seed(plan.seed);
    let counts = |workload: &&&Workload| workload.metric_kind == MetricKind::Time;
    for id in &args.ids {
        if !workloads::find(id).iter().any(|workload| counts(&workload)) {
            let known: Vec<&str> = workloads::all()
                .iter()
                .filter(counts)
                .map(|workload| workload.id)
                .collect();
            bail!(
                "`{id}` counts no instructions: leave out `--deterministic`, or measure {}",
                known.join(" or ")
            );
        }
    }
    plan.workloads.retain(|workload| counts(&workload));
    Ok(())
}

/// Takes the samples in the guest, and hands out what was found when the last one is taken.
pub(crate) fn take(
    plan: &Plan,
    progress: &mut dyn Progress,
    emit: Emit<'_>,
) -> anyhow::Result<Summary> {
    let mut lines: Vec<(Timestamp, Line)> = Vec::new();
    let mut held = Held::default();
    let summary = measure(plan, &mut held, &mut |started, line| {
        lines.push((started, line));
        Ok(())
    });
    for line in held.0 {
        progress.say(&line);
    }
    for (started, line) in lines {
        emit(started, line)?;
    }
    summary
}

/// What is to be said when the samples are taken.
#[derive(Debug, Default)]
struct Held(Vec<String>);

impl Progress for Held {
    fn begin(&mut self, _: &str, _: u64) {}

    fn step(&mut self) {}

    fn end(&mut self) {}

    fn say(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
}

/// What all boots of a run found.
#[derive(Debug)]
pub(crate) struct Counts {
    /// The guest, as the first boot describes it.
    pub(crate) environment: Environment,
    /// The commit of the program in it.
    pub(crate) commit: String,
    /// The series over all seeds, then what could not run.
    pub(crate) lines: Vec<Line>,
    /// How many of each.
    pub(crate) summary: Summary,
}

/// Boots a guest for each seed, and puts their results together.
///
/// # Errors
///
/// A guest that did not end by itself, and one that found nothing.
pub(crate) fn boot(
    args: &RunArgs,
    guest: &dyn Machine,
    progress: &mut dyn Progress,
) -> anyhow::Result<Counts> {
    let seeds = seeds(args);
    progress.begin("boots of the guest", u64::try_from(seeds.len())?);
    let ended = all(args, guest, &seeds, progress);
    progress.end();
    let (boots, codes): (Vec<Vec<Record>>, Vec<u8>) = ended?.into_iter().unzip();
    let first = boots.first().context("there is no seed")?;
    let environment = first
        .iter()
        .find_map(|record| record.environment.facts.as_deref())
        .context("the guest did not say what it is")?
        .clone();
    let commit = first
        .first()
        .map_or_else(String::new, |record| record.commit.clone());
    let (lines, mut summary) = together(&seeds, &boots);
    summary.failed += codes.iter().filter(|code| **code == exit::FINDING).count();
    Ok(Counts {
        environment,
        commit,
        lines,
        summary,
    })
}

/// The seeds of a run: the first is that of the command line, or 1.
fn seeds(args: &RunArgs) -> Vec<u64> {
    let first = args.seed.unwrap_or(1);
    let count = u64::from(args.seeds.unwrap_or(SEEDS));
    (0..count).map(|step| first.wrapping_add(step)).collect()
}

/// What a boot found, and its exit code.
type Boot = (Vec<Record>, u8);

/// What a thread that boots guests has to say.
enum Said {
    /// For people.
    Line(String),
    /// The boot of the seed at that place is over.
    Over(usize, anyhow::Result<Boot>),
}

/// Boots a guest for each seed, as many at a time as there are processors: its own clock does not see who else runs.
fn all(
    args: &RunArgs,
    guest: &dyn Machine,
    seeds: &[u64],
    progress: &mut dyn Progress,
) -> anyhow::Result<Vec<Boot>> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut boots: BTreeMap<usize, Boot> = BTreeMap::new();
    let mut failure = None;
    thread::scope(|scope| {
        let (say, said) = mpsc::channel();
        for _ in 0..threads.min(seeds.len()) {
            let (say, next) = (say.clone(), &next);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::SeqCst);
                    let Some(seed) = seeds.get(place) else { break };
                    let boot = one(args, guest, *seed, &say);
                    // Nobody listens any more: the run is over.
                    if say.send(Said::Over(place, boot)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(say);
        for said in said {
            match said {
                Said::Line(line) => progress.say(&line),
                Said::Over(place, Ok(boot)) => {
                    boots.insert(place, boot);
                    progress.step();
                }
                Said::Over(_, Err(error)) => {
                    // No further boot begins.
                    next.store(seeds.len(), Ordering::SeqCst);
                    failure.get_or_insert(error);
                }
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(boots.into_values().collect()),
    }
}

/// Boots the guest of one seed.
fn one(args: &RunArgs, guest: &dyn Machine, seed: u64, say: &Sender<Said>) -> anyhow::Result<Boot> {
    let padding = padding(seed)?;
    let job = Job {
        arguments: arguments(args, seed),
        // The file has no other name; it is read before the guest starts.
        files: vec![(
            format!("/proc/self/fd/{}", padding.as_raw_fd()).into(),
            PADDING.into(),
        )],
        time_limit: TIME_LIMIT,
        deterministic: Some(seed),
    };
    let mut records = Vec::new();
    let ending = stream(
        guest,
        &job,
        &mut |record| {
            records.push(record);
            Ok(())
        },
        &mut |line| {
            if say
                .send(Said::Line(format!("seed {seed}: {line}")))
                .is_err()
            {
                tracing::debug!(line, "nobody listens");
            }
        },
    );
    match ending {
        // What was left out or failed is a line of the results, and judged when all are there.
        Ending::Exit(code) if !records.is_empty() => Ok((records, code)),
        Ending::Exit(code) => bail!("seed {seed}: the guest measured nothing, exit code {code}"),
        Ending::Lost(loss) => bail!("seed {seed}: {loss}"),
    }
}

/// Makes the file that lies before everything else of the guest's memory: what comes behind it lies elsewhere with every
/// seed, as it does in every other build.
fn padding(seed: u64) -> anyhow::Result<File> {
    let file = cowlab_sys::file::in_memory("cowlab-padding")?;
    let pages = Random::new(seed).below(MOST_PAGES) + 1;
    let bytes = u64::try_from(pages * PAGE)?;
    file.set_len(bytes).context("failed to pad the guest")?;
    Ok(file)
}

/// The command line in the guest.
fn arguments(args: &RunArgs, seed: u64) -> Vec<OsString> {
    let mut line: Vec<String> = ["bench", "columns"].map(str::to_owned).to_vec();
    line.extend(args.ids.iter().cloned());
    line.extend(["--counted", "--seed"].map(str::to_owned));
    line.push(seed.to_string());
    for (flag, values) in [("--driver", &args.driver), ("--variant", &args.variant)] {
        if !values.is_empty() {
            line.extend([flag.to_owned(), values.join(",")]);
        }
    }
    if !args.backing.is_empty() {
        let names: Vec<&str> = args.backing.iter().map(|backing| backing.name()).collect();
        line.extend(["--backing".to_owned(), names.join(",")]);
    }
    if let Some(samples) = args.samples {
        line.extend(["--samples".to_owned(), samples.to_string()]);
    }
    line.into_iter().map(OsString::from).collect()
}

/// Makes one series of each that every boot has, a block for each seed. The order is that of the first boot, which is
/// the same in every run.
fn together(seeds: &[u64], boots: &[Vec<Record>]) -> (Vec<Line>, Summary) {
    let mut found: BTreeMap<SeriesId, Vec<(u64, &Series)>> = BTreeMap::new();
    let mut order: Vec<SeriesId> = Vec::new();
    let mut skipped: Vec<&Skipped> = Vec::new();
    for (seed, boot) in seeds.iter().zip(boots) {
        for record in boot {
            match &record.line {
                Line::Series(series) => {
                    let id = series.id();
                    if !found.contains_key(&id) {
                        order.push(id.clone());
                    }
                    found.entry(id).or_default().push((*seed, series));
                }
                Line::Skipped(one) if !skipped.contains(&one) => skipped.push(one),
                _ => {}
            }
        }
    }
    let mut summary = Summary::default();
    let mut lines = Vec::new();
    for id in order {
        match found.remove(&id).and_then(|series| merged(seeds, &series)) {
            Some(series) => {
                summary.series += 1;
                lines.push(Line::Series(series));
            }
            None => {
                summary.failed += 1;
                lines.push(Line::Skipped(uneven(&id)));
            }
        }
    }
    summary.skipped = skipped.len();
    lines.extend(skipped.into_iter().cloned().map(Line::Skipped));
    (lines, summary)
}

/// A series of all seeds; `None` where one of them lacks it.
fn merged(seeds: &[u64], boots: &[(u64, &Series)]) -> Option<Series> {
    if !boots.iter().map(|(seed, _)| seed).eq(seeds) {
        return None;
    }
    let (_, first) = boots.first()?;
    let mut merged = Series {
        blocks: Vec::new(),
        warnings: Vec::new(),
        ..(*first).clone()
    };
    for (_, series) in boots {
        // A boot is a block: the guest mounts everything once.
        merged
            .blocks
            .push(series.blocks.iter().flatten().copied().collect());
        merged.warnings.extend(&series.warnings);
    }
    merged.warnings.sort();
    merged.warnings.dedup();
    merged.counted = Some(Counted::of(seeds, &merged.blocks)?);
    if seeds.len() != usize::try_from(SEEDS).unwrap_or(usize::MAX) {
        merged.repeat += &format!(" --seeds {}", seeds.len());
    }
    if let Some(first) = seeds.first().filter(|first| **first != 1) {
        merged.repeat += &format!(" --seed {first}");
    }
    Some(merged)
}

/// What is said of a series that some of the seeds have.
fn uneven(id: &SeriesId) -> Skipped {
    Skipped {
        subject: Part::Bench,
        what: id.to_string(),
        why: "not every seed has it, so its median would be that of other boots".to_owned(),
        waiting_for: None,
        command: None,
    }
}

#[cfg(test)]
mod tests;
