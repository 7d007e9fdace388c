//! Kills processes at random moments of prepare, apply, commit and remove, and looks at what is left.
//!
//! Four workers use one store. Again and again one of them gets SIGKILL, the store is opened anew, and this is checked:
//!
//! - every committed snapshot is whole: each layer of its chain has all its files, with the content that the layer's
//!   name stands for;
//! - what was acknowledged is so: a committed snapshot is there, a removed one is not;
//! - nothing leaked: the driver has data for the snapshots of the store and for nothing else;
//! - the other workers met no error but those that any caller has to expect.
//!
//! A fifth worker uses a store of its own beside it, on the same file system, and is never killed: it must neither fail
//! nor lose anything. A fault makes recovery worse; then the run has to end with a finding. Power cuts are no part of
//! it: the page cache survives a kill.

mod layer;
mod look;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use cowlab_driver::Settings;
use cowlab_engine::guest;
use cowlab_random::Random;
use cowlab_reports::result::Place;
use cowlab_snapshots::{Error, Store, StoreOptions};
use cowlab_sys::cmd::Running;
use cowlab_testbed::{Media, Run};

use super::{Driver, Findings, on_backing, say, start, stop_if_asked};
use layer::archive_of;
use look::{look, look_at_rest};

pub(super) use worker::work;

const WORKERS: usize = 4;
/// Of the time between two kills, the most.
const LONGEST: Duration = Duration::from_millis(60);
/// After so many kills it is said how many there were: an emulated processor takes half an hour for all.
const TOLD: usize = 20;
/// The size of the file system, in bytes.
const SPACE: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The driver below the stores.
    #[arg(long, default_value_t = Driver::usual())]
    driver: Driver,
    /// How often a worker is killed.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    kills: usize,
    /// What decides who is killed, and what the workers do.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Make recovery worse.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

/// What a bad recovery would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// Take what is half made for made.
    TrustIntents,
    /// Drop the rows and not the data.
    ForgetData,
    /// Recover from the living.
    IgnoreLocks,
}

#[derive(Debug, clap::Args)]
pub(super) struct WorkerArgs {
    #[arg(long)]
    driver: Driver,
    /// The directory of the store and the journals.
    #[arg(long)]
    place: PathBuf,
    /// Which of the workers this is.
    #[arg(long)]
    number: usize,
    #[arg(long)]
    seed: u64,
}

/// A store with its workers and what they wrote down.
#[derive(Debug, Clone)]
struct Bench {
    dir: PathBuf,
    driver: Driver,
    workers: usize,
}

impl Bench {
    /// Makes the store, with the snapshot that all others are built on.
    fn make(
        dir: PathBuf,
        driver: Driver,
        settings: Settings,
        workers: usize,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(&dir)?;
        let bench = Self {
            dir,
            driver,
            workers,
        };
        let archive = archive_of("base")?;
        bench.open_with(settings)?.apply(
            "base",
            None,
            &mut archive.as_slice(),
            &Default::default(),
        )?;
        for number in 0..workers {
            fs::write(bench.journal(number), "")?;
            fs::create_dir_all(bench.mount_point(number))?;
        }
        Ok(bench)
    }

    fn open(&self) -> Result<Store, Error> {
        self.open_with(Settings::new())
    }

    /// Opens the store; the settings of its place are recorded the first time.
    fn open_with(&self, settings: Settings) -> Result<Store, Error> {
        let options = StoreOptions {
            settings,
            // Another worker may complete a commit of ours, with a flush of a busy disk.
            lock_timeout: Duration::from_secs(300),
            ..StoreOptions::default()
        };
        Store::open(&self.store(), self.driver.entry(), &options)
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn journal(&self, worker: usize) -> PathBuf {
        self.dir.join(format!("journal-{worker}"))
    }

    fn mount_point(&self, worker: usize) -> PathBuf {
        self.dir.join(format!("mount-{worker}"))
    }

    /// Where a worker writes down the error that ended it.
    fn note(&self, worker: usize) -> PathBuf {
        self.dir.join(format!("harmed-{worker}"))
    }

    /// The file that tells the workers to end.
    fn stop(&self) -> PathBuf {
        self.dir.join("stop")
    }

    fn start(&self, number: usize, seed: u64) -> anyhow::Result<Running> {
        start([
            "kill-nine-worker".to_owned(),
            format!("--driver={}", self.driver.name()),
            format!("--place={}", self.dir.display()),
            format!("--number={number}"),
            format!("--seed={seed}"),
        ])
    }

    /// Finished operations of a worker.
    fn operations(&self, worker: usize) -> anyhow::Result<usize> {
        let text = fs::read_to_string(self.journal(worker))?;
        let ends = |line: &&str| matches!(first_word(line), "committed" | "removed" | "fought");
        Ok(text.lines().filter(ends).count())
    }
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let backing = args.driver.backing();
    // A guest has no memory to spare, and a disk that nobody waits for.
    let media = match guest::here() {
        Place::Host => Media::Memory,
        Place::Guest => Media::Disk,
    };
    let summary = on_backing(run, backing, media, SPACE, |made| {
        let make = |name: &str, workers| {
            let settings = made.places().fresh()?;
            Bench::make(
                made.mount_point().join(name),
                args.driver,
                settings,
                workers,
            )
        };
        let target = make("target", WORKERS)?;
        let beside = make("beside", 1)?;
        let mut random = Random::new(args.seed);
        let mut bystander = beside.start(0, random.number())?;
        let cut = kill(args, &target, &mut random, findings)?;
        if !bystander.is_alive()? {
            findings.add("the worker beside it ended before its time");
        }
        fs::write(beside.stop(), "")?;
        let status = bystander.wait()?;
        if status != 0 {
            findings.add(format_args!("the worker beside it ended with {status}"));
        }
        let left = look_at_rest(&target, findings)?;
        let kept = look_at_rest(&beside, findings)?;
        Ok(format!(
            "{} on {backing}: {} kills of {WORKERS} workers with seed {}, {left} committed snapshots at the end, cut off in: \
             {cut:?}\nbeside it: {} operations, {kept} committed snapshots at the end",
            args.driver.name(),
            cut.values().sum::<usize>(),
            args.seed,
            beside.operations(0)?,
        ))
    })?;
    say(summary)
}

/// Kill, open, look, start again; counts the operations that were cut off.
fn kill(
    args: &Args,
    bench: &Bench,
    random: &mut Random,
    findings: &mut Findings,
) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut workers = Vec::new();
    for number in 0..bench.workers {
        workers.push(bench.start(number, random.number())?);
    }
    let mut cut = BTreeMap::<String, usize>::new();
    for kills in 0..args.kills {
        stop_if_asked()?;
        if kills > 0 && kills.is_multiple_of(TOLD) {
            writeln!(std::io::stderr(), "{kills} of {} kills", args.kills)?;
        }
        let longest = usize::try_from(LONGEST.as_micros())?;
        std::thread::sleep(Duration::from_micros(random.below(longest).try_into()?));
        let victim = random.below(WORKERS);
        workers[victim].kill()?;
        *cut.entry(last_word(&bench.journal(victim))?).or_default() += 1;
        if let Some(fault) = args.fault {
            plant(fault, bench, victim)?;
        }
        if let Err(error) = look(bench, victim, findings) {
            findings.add(format_args!("after a kill of worker {victim}: {error:#}"));
        }
        workers[victim] = bench.start(victim, random.number())?;
        if !findings.are_none() {
            break;
        }
    }
    fs::write(bench.stop(), "")?;
    for worker in &mut workers {
        // What went wrong is in its note.
        worker.wait()?;
    }
    Ok(cut)
}

/// The operation that a worker was in.
fn last_word(journal: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(journal)?;
    Ok(match text.lines().last().map(first_word) {
        Some("committed" | "removed" | "kept" | "fought") | None => "between".to_owned(),
        Some(word) => word.to_owned(),
    })
}

fn first_word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// Does to the store what a bad recovery would do.
fn plant(fault: Fault, bench: &Bench, victim: usize) -> anyhow::Result<()> {
    let alter = |statement: &str| -> anyhow::Result<()> {
        let path = bench.store().join("snapshots.db");
        ensure!(path.exists(), "`{}` is not there", path.display());
        let database = rusqlite::Connection::open(&path)
            .with_context(|| format!("failed to open `{}`", path.display()))?;
        database.busy_timeout(Duration::from_secs(10))?;
        database.execute(statement, [format!("w{victim}/%")])?;
        Ok(())
    };
    match fault {
        Fault::TrustIntents => alter(
            "UPDATE snapshots SET operation = NULL
             WHERE operation IN ('create', 'apply') AND name LIKE ?1",
        ),
        Fault::ForgetData => {
            alter("DELETE FROM snapshots WHERE operation IS NOT NULL AND name LIKE ?1")
        }
        Fault::IgnoreLocks => {
            for entry in fs::read_dir(bench.store().join("locks"))? {
                fs::remove_file(entry?.path())?;
            }
            Ok(())
        }
    }
}
