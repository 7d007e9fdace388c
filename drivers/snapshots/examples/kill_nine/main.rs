//! Kills processes at random moments of prepare, apply, commit and remove, and looks at what is left.
//!
//! Four workers use one store. Again and again one of them gets SIGKILL, the store is opened anew, and
//! this is checked:
//!
//! - every committed snapshot is whole: each layer of its chain has all its files, with the
//!   content that the layer's name stands for;
//! - what was acknowledged is so: a committed snapshot is there, a removed one is not;
//! - nothing leaked: the driver has data for the snapshots of the store and for nothing else;
//! - the other workers met no error but those that any caller has to expect.
//!
//! `kill_nine DIR [driver=vfs|overlay2|btrfs] [kills=200] [seed=1] [fault=NAME]` in an empty directory. A fault makes
//! recovery worse; then the run has to end with a finding: `trust-intents` takes what is half made for
//! made, `forget-data` drops the rows and not the data, `ignore-locks` recovers from the living.
//! Exit status 1 is a finding. Power cuts are no part of it: the page cache survives a kill.

mod layer;
mod look;
mod worker;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::Duration;

use cowlab_driver::Entry;
use cowlab_snapshots::{Error, Info, Store, StoreOptions};

use layer::{Random, archive_of};
use look::{look, look_at_rest};

type Outcome<T> = Result<T, Box<dyn StdError>>;

const WORKERS: usize = 4;
/// Of the time between two kills, the most.
const LONGEST: Duration = Duration::from_millis(60);

/// The run's arguments.
#[derive(Clone)]
struct Plan {
    dir: PathBuf,
    entry: &'static Entry,
    kills: usize,
    seed: u64,
    fault: Option<String>,
    worker: Option<usize>,
}

impl Plan {
    fn parse() -> Outcome<Self> {
        let mut arguments = std::env::args().skip(1);
        let dir = arguments.next().ok_or("name an empty directory")?;
        let mut plan = Self {
            dir: fs::canonicalize(dir)?,
            entry: &cowlab_vfs::ENTRY,
            kills: 200,
            seed: 1,
            fault: None,
            worker: None,
        };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("driver", "vfs")) => plan.entry = &cowlab_vfs::ENTRY,
                Some(("driver", "overlay2")) => plan.entry = &cowlab_overlay2::ENTRY,
                Some(("driver", "btrfs")) => plan.entry = &cowlab_btrfs::ENTRY,
                Some(("kills", number)) => plan.kills = number.parse()?,
                Some(("seed", number)) => plan.seed = number.parse()?,
                Some(("worker", number)) => plan.worker = Some(number.parse()?),
                Some(("fault", name)) => plan.fault = Some(name.to_owned()),
                _ => return Err(format!("`{argument}` is no argument").into()),
            }
        }
        Ok(plan)
    }

    fn open(&self) -> Result<Store, Error> {
        let options = StoreOptions {
            // Another worker may complete a commit of ours, with a flush of a busy disk.
            lock_timeout: Duration::from_secs(300),
            ..StoreOptions::default()
        };
        Store::open(&self.dir.join("store"), self.entry, &options)
    }

    fn journal(&self, worker: usize) -> PathBuf {
        self.dir.join(format!("journal-{worker}"))
    }
}

fn main() -> Outcome<ExitCode> {
    let plan = Plan::parse()?;
    if let Some(number) = plan.worker {
        worker::work(&plan, number)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut findings = Vec::new();
    let summary = run(&plan, &mut findings)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{summary}")?;
    findings.sort();
    findings.dedup();
    for finding in &findings {
        writeln!(out, "finding: {finding}")?;
    }
    let code = if findings.is_empty() { 0 } else { 1 };
    Ok(ExitCode::from(code))
}

/// A snapshot and its ancestors, newest first.
fn chain(store: &Store, name: &str) -> Result<Vec<Info>, Error> {
    let mut members = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        let info = store.stat(&name)?;
        next = info.parent.clone();
        members.push(info);
    }
    Ok(members)
}

/// The run: kill, open, look, start again.
fn run(plan: &Plan, findings: &mut Vec<String>) -> Outcome<String> {
    let store = plan.open()?;
    let archive = archive_of("base");
    store.apply("base", None, &mut archive.as_slice(), &Default::default())?;
    drop(store);
    let mut random = Random(plan.seed);
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        fs::write(plan.journal(number), "")?;
        fs::create_dir_all(plan.dir.join(format!("mount-{number}")))?;
        workers.push(start(plan, number, random.next())?);
    }
    let mut cut = BTreeMap::<String, usize>::new();
    for _ in 0..plan.kills {
        let longest = usize::try_from(LONGEST.as_micros())?;
        std::thread::sleep(Duration::from_micros(random.below(longest).try_into()?));
        let victim = random.below(WORKERS);
        workers[victim].kill()?;
        workers[victim].wait()?;
        *cut.entry(last_word(&plan.journal(victim))?).or_default() += 1;
        plant(plan, victim)?;
        if let Err(error) = look(plan, victim, findings) {
            findings.push(format!("after a kill of worker {victim}: {error}"));
        }
        workers[victim] = start(plan, victim, random.next())?;
        if !findings.is_empty() {
            break;
        }
    }
    fs::write(plan.dir.join("stop"), "")?;
    for worker in &mut workers {
        worker.wait()?;
    }
    let left = look_at_rest(plan, findings)?;
    Ok(format!(
        "{} kills with seed {}, {left} committed snapshots at the end, cut off in: {cut:?}",
        cut.values().sum::<usize>(),
        plan.seed
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command runner waits for its programs, and these are to be killed"
)]
fn start(plan: &Plan, number: usize, seed: u64) -> Outcome<Child> {
    Ok(std::process::Command::new(std::env::current_exe()?)
        .arg(&plan.dir)
        .arg(format!("driver={}", plan.entry.name))
        .arg(format!("worker={number}"))
        .arg(format!("seed={seed}"))
        .spawn()?)
}

/// The operation that a worker was in.
fn last_word(journal: &Path) -> Outcome<String> {
    let text = fs::read_to_string(journal)?;
    let word = text.lines().last().and_then(|line| line.split(' ').next());
    Ok(match word {
        Some("committed" | "removed" | "kept" | "fought") | None => "between".to_owned(),
        Some(word) => word.to_owned(),
    })
}

/// Does to the store what a bad recovery would do.
fn plant(plan: &Plan, victim: usize) -> Outcome<()> {
    let alter = |statement: &str| -> Outcome<()> {
        let database = rusqlite::Connection::open(plan.dir.join("store/snapshots.db"))?;
        database.busy_timeout(Duration::from_secs(10))?;
        database.execute(statement, [format!("w{victim}/%")])?;
        Ok(())
    };
    match plan.fault.as_deref() {
        None => Ok(()),
        Some("trust-intents") => alter(
            "UPDATE snapshots SET operation = NULL
             WHERE operation IN ('create', 'apply') AND name LIKE ?1",
        ),
        Some("forget-data") => {
            alter("DELETE FROM snapshots WHERE operation IS NOT NULL AND name LIKE ?1")
        }
        Some("ignore-locks") => {
            for entry in fs::read_dir(plan.dir.join("store/locks"))? {
                fs::remove_file(entry?.path())?;
            }
            Ok(())
        }
        Some(other) => Err(format!("`{other}` is no fault").into()),
    }
}
