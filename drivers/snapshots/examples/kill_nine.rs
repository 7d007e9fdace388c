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
//! `kill_nine DIR [driver=vfs] [kills=200] [seed=1] [fault=NAME]` in an empty directory. A fault makes
//! recovery worse; then the run has to end with a finding: `trust-intents` takes what is half made for
//! made, `forget-data` drops the rows and not the data, `ignore-locks` recovers from the living.
//! Exit status 1 is a finding. Power cuts are no part of it: the page cache survives a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::Duration;

use cowlab_driver::{Entry, Mounts};
use cowlab_snapshots::{Error, Filter, Info, Kind, Store, StoreOptions};
use cowlab_sys::mount::DetachedMount;

type Outcome<T> = Result<T, Box<dyn StdError>>;

const WORKERS: usize = 4;
/// Files in a layer; enough that an apply or a copy lasts a while.
const FILES: u64 = 24;
/// Snapshots that a worker keeps before it removes more than it makes.
const KEPT: usize = 8;
/// Beyond this a chain gets no children.
const DEEPEST: usize = 5;
/// Of the time between two kills, the most.
const LONGEST: Duration = Duration::from_millis(60);

/// A seeded generator (splitmix64): the same seed makes the same choices.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

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
        work(&plan, number)?;
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

/// The content of a file of a layer.
fn content(layer: &str, file: u64) -> Vec<u8> {
    let seed = layer.bytes().fold(file, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = Random(seed);
    let length = 1 + random.below(6000);
    std::iter::repeat_with(|| random.next().to_le_bytes())
        .take(length / 8 + 1)
        .flatten()
        .collect()
}

/// The directory that a layer's files are in.
fn place_of(layer: &str) -> String {
    layer.replace('/', "_")
}

/// Writes a layer's files.
fn write_layer(root: &Path, layer: &str) -> Outcome<()> {
    let dir = root.join(place_of(layer));
    fs::create_dir(&dir)?;
    for file in 0..FILES {
        fs::write(dir.join(file.to_string()), content(layer, file))?;
    }
    Ok(())
}

/// Makes the archive of a layer: ustar, plain.
fn archive_of(layer: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |name: &str, kind: u8, mode: &str, data: &[u8]| {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, mode);
        put(108, "0000000\x000000000\0");
        put(124, &format!("{:011o}\0", data.len()));
        put(136, "00000000000\0        ");
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    };
    let dir = place_of(layer);
    add(&format!("{dir}/"), b'5', "0000755\0", &[]);
    for file in 0..FILES {
        add(
            &format!("{dir}/{file}"),
            b'0',
            "0000644\0",
            &content(layer, file),
        );
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// One worker: operations on snapshots of its own, on a base that all share, and on one key that all
/// fight for, until it is killed.
fn work(plan: &Plan, number: usize) -> Outcome<()> {
    // Its mounts end with it.
    if cowlab_sys::process::is_root() {
        cowlab_sys::process::unshare_mounts()?;
    }
    let store = plan.open()?;
    let mut worker = Worker {
        journal: fs::OpenOptions::new()
            .append(true)
            .open(plan.journal(number))?,
        target: plan.dir.join(format!("mount-{number}")),
        prefix: format!("w{number}/"),
        random: Random(plan.seed),
        seed: plan.seed,
        store: &store,
        made: 0,
    };
    while !plan.dir.join("stop").exists() {
        if let Err(error) = worker.step() {
            let note = plan.dir.join(format!("harmed-{number}"));
            fs::write(note, format!("worker {number}: {error}\n"))?;
            return Err(error);
        }
    }
    Ok(())
}

struct Worker<'store> {
    store: &'store Store,
    journal: fs::File,
    target: PathBuf,
    prefix: String,
    random: Random,
    seed: u64,
    made: u32,
}

impl Worker<'_> {
    fn step(&mut self) -> Outcome<()> {
        let own = self.store.list(&Filter {
            prefix: Some(self.prefix.clone()),
            ..Filter::default()
        })?;
        let choice = self.random.below(10);
        if own.len() > KEPT || choice < 3 {
            let Some(doomed) = own.get(self.random.below(own.len())) else {
                return Ok(());
            };
            return self.remove(&doomed.key);
        }
        self.made += 1;
        let name = format!("{}{:x}-{}", self.prefix, self.seed, self.made);
        let parent = self.parent(&own)?;
        match choice {
            3..=5 => self.apply(&name, parent.as_deref()),
            6..=8 => self.commit(&name, parent.as_deref()),
            _ => self.fight(),
        }
    }

    /// Writes to the journal, in one write, which a kill does not divide.
    fn note(&mut self, what: &str, name: &str) -> Outcome<()> {
        Ok(self
            .journal
            .write_all(format!("{what} {name}\n").as_bytes())?)
    }

    fn parent(&mut self, own: &[Info]) -> Outcome<Option<String>> {
        let fit: Vec<_> = own
            .iter()
            .filter(|info| info.kind == Kind::Committed)
            .collect();
        let Some(parent) = fit.get(self.random.below(fit.len() + 1)) else {
            return Ok(Some("base".to_owned()));
        };
        let deep = chain(self.store, &parent.key)?.len() >= DEEPEST;
        Ok(if deep { None } else { Some(parent.key.clone()) })
    }

    fn remove(&mut self, name: &str) -> Outcome<()> {
        self.note("remove", name)?;
        match self.store.remove(name) {
            Ok(()) => self.note("removed", name),
            Err(Error::HasChildren { .. }) => self.note("kept", name),
            Err(error) => Err(error.into()),
        }
    }

    fn apply(&mut self, name: &str, parent: Option<&str>) -> Outcome<()> {
        self.note("apply", name)?;
        let archive = archive_of(name);
        self.store
            .apply(name, parent, &mut archive.as_slice(), &Default::default())?;
        self.note("committed", name)
    }

    fn commit(&mut self, name: &str, parent: Option<&str>) -> Outcome<()> {
        let key = format!("{name}-active");
        self.note("prepare", &key)?;
        self.store.prepare(&key, parent, &Default::default())?;
        self.note("write", &key)?;
        if let Mounts::Bind { source, .. } = self.store.mounts(&key)? {
            write_layer(&source, name)?;
        } else {
            let mut mounted = self.store.mount(&key, &self.target)?;
            write_layer(mounted.target(), name)?;
            cowlab_sys::Guard::close(&mut mounted)?;
        }
        self.note("commit", name)?;
        self.store.commit(&key, name, &Default::default())?;
        self.note("committed", name)
    }

    /// Prepares or removes what the others prepare and remove: one wins, the others are told.
    fn fight(&mut self) -> Outcome<()> {
        self.note("fight", "shared")?;
        let result = if self.random.below(2) == 0 {
            let made = self
                .store
                .prepare("shared", Some("base"), &Default::default());
            made.map(drop)
        } else {
            self.store.remove("shared")
        };
        match result {
            Ok(())
            | Err(Error::Exists { .. } | Error::NotFound { .. } | Error::InProgress { .. }) => {
                self.note("fought", "shared")
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The names of a snapshot and its ancestors.
fn chain(store: &Store, name: &str) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        next = store.stat(&name)?.parent;
        names.push(name);
    }
    Ok(names)
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

/// Looks at the store while the other workers go on.
fn look(plan: &Plan, victim: usize, findings: &mut Vec<String>) -> Outcome<()> {
    let store = plan.open()?;
    for (key, error) in &store.recovery().failed {
        findings.push(format!("`{key}` could not be settled: {error}"));
    }
    let report = store.check()?;
    if !report.is_sound() {
        findings.push(format!("the check found {report:?}"));
    }
    look_at_snapshots(plan, &store, victim, findings)?;
    for number in 0..WORKERS {
        if let Ok(note) = fs::read_to_string(plan.dir.join(format!("harmed-{number}"))) {
            findings.push(note.trim().to_owned());
        }
    }
    Ok(())
}

/// Compares the snapshots of one worker, which is not running, with its journal and their names.
fn look_at_snapshots(
    plan: &Plan,
    store: &Store,
    number: usize,
    findings: &mut Vec<String>,
) -> Outcome<()> {
    let all = store.list(&Filter {
        prefix: Some(format!("w{number}/")),
        kind: Some(Kind::Committed),
        ..Filter::default()
    })?;
    let there: BTreeSet<_> = all.into_iter().map(|info| info.key).collect();
    let mut promised = BTreeMap::new();
    for line in fs::read_to_string(plan.journal(number))?.lines() {
        match line.split_once(' ') {
            Some(("committed" | "kept", name)) => promised.insert(name.to_owned(), Some(true)),
            Some(("removed", name)) => promised.insert(name.to_owned(), Some(false)),
            Some(("remove", name)) => promised.insert(name.to_owned(), None),
            _ => None,
        };
    }
    for (name, state) in promised {
        // Active snapshots are removed as well.
        if state == Some(true) && !there.contains(&name) && !name.ends_with("-active") {
            findings.push(format!("`{name}` was committed and is not there"));
        }
        if state == Some(false) && store.stat(&name).is_ok() {
            findings.push(format!("`{name}` was removed and is there"));
        }
    }
    for name in &there {
        if let Err(error) = look_at_content(store, name) {
            findings.push(format!("`{name}` is not whole: {error}"));
        }
    }
    Ok(())
}

fn look_at_content(store: &Store, name: &str) -> Outcome<()> {
    let view = format!("look at {name}");
    store.view(&view, name)?;
    let detached;
    let root = match store.mounts(&view)? {
        Mounts::Bind { source, .. } => source,
        Mounts::FileSystem(spec) => {
            detached = DetachedMount::new(&spec)?;
            detached.path().to_owned()
        }
    };
    let mut expected = BTreeSet::new();
    for layer in chain(store, name)? {
        let dir = root.join(place_of(&layer));
        for file in 0..FILES {
            let path = dir.join(file.to_string());
            if fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?
                != content(&layer, file)
            {
                return Err(format!("{} has other content", path.display()).into());
            }
        }
        expected.insert(place_of(&layer));
    }
    for entry in fs::read_dir(&root)? {
        let found = entry?.file_name().to_string_lossy().into_owned();
        if !expected.contains(&found) {
            return Err(format!("`{found}` should not be there").into());
        }
    }
    Ok(store.remove(&view)?)
}

/// Looks at the store when nobody uses it: what is on disk is exactly what is in the database.
fn look_at_rest(plan: &Plan, findings: &mut Vec<String>) -> Outcome<usize> {
    for number in 0..WORKERS {
        look(plan, number, findings)?;
    }
    let store = plan.open()?;
    let all = store.list(&Filter::default())?;
    let known: BTreeSet<_> = all.iter().map(|info| info.id).collect();
    let on_disk: BTreeSet<_> = store.driver().inventory()?.into_iter().collect();
    for id in known.symmetric_difference(&on_disk) {
        findings.push(format!(
            "snapshot {id} is on disk only, or in the database only"
        ));
    }
    for dir in ["tmp", "trash", "quarantine"] {
        for entry in fs::read_dir(store.driver().root().join(dir))? {
            findings.push(format!("`{}` is left", entry?.path().display()));
        }
    }
    for entry in fs::read_dir(plan.dir.join("store/locks"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "open" && !known.iter().any(|id| id.to_string() == name) {
            findings.push(format!("the lock `{name}` is left"));
        }
    }
    let committed = all.iter().filter(|info| info.kind == Kind::Committed);
    Ok(committed.count())
}
