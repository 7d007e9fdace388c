//! The power goes at any moment of a life, and what was acknowledged is there, whole, when it is back.
//!
//! The root is on a disk that records every write and every flush. A life runs on it, one command after the other, and after
//! each it is noted what the root shows. Then the disk is taken back to many moments: at every flush and between, with
//! everything, nothing or a random part of what was not flushed. Each of them is mounted in what every process takes for
//! another boot, the root is opened, and this is checked:
//!
//! - what a command that had ended acknowledged is so, compared file by file, and what was cut off happened or did not;
//! - `cowlab system check` finds the root sound, and nothing that is listed is half;
//! - now and then the power goes once more during the recovery, and the same holds;
//! - now and then an image is imported and a container run, and everything is removed by name: then there is no file that an
//!   empty root does not have.

mod failing;
mod life;

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use clap::ValueEnum;
use cowlab_conformance::product::registry::Registry;
use cowlab_driver::Settings;
use cowlab_random::Random;
use cowlab_sys::durability::syncfs;
use cowlab_sys::fault::Fault;
use cowlab_sys::{Guard, IdSource, MountAttributes, MountGuard, mount};
use cowlab_testbed::{Backing, BackingFs, BackingOptions, Disks, Moment, Names, Run};

use super::traces::Traces;
use super::{Driver, Findings, say, stop_if_asked};
use crate::judgement::{Judgement, Outcome};
use crate::listing::{self, Known, Listing};
use crate::root::TestRoot;
use life::{Life, Step};

/// The size of a disk, in bytes; nothing is kept but what is written.
const SPACE: u64 = 1 << 30;
/// One cut in so many is followed by another during the recovery.
const AGAIN: usize = 5;
/// After one cut in so many, everything is tried and removed.
const CLEAN: usize = 8;
/// More findings would say the same.
const ENOUGH: usize = 20;
/// What the kernel tells the boot by (proc_sys_kernel(5), random/boot_id).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The driver below the root.
    #[arg(long, default_value_t = Driver::usual())]
    driver: Driver,
    /// The file system that it is proved on.
    #[arg(long, value_name = "NAME", default_value = "ext4")]
    backing: Backing,
    /// Several drivers on their file systems, one after the other, in place of the one.
    #[arg(long, value_name = "DRIVER/BACKING", value_delimiter = ',')]
    columns: Vec<Column>,
    /// How often the power goes.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    cuts: usize,
    /// What decides on the moments, and on what is left of what was not flushed.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Which commands there are.
    #[arg(long, value_enum, default_value = "whole")]
    life: Life,
    /// Have one write fail in place of the power, each of the life in its turn, at most as many as there are cuts.
    #[arg(long, value_enum)]
    failing: Option<Failing>,
    /// Plant faults one after the other: each has to be found on one of the columns.
    #[arg(long, value_name = "FAULT", value_delimiter = ',', value_parser = planted)]
    plant: Vec<Fault>,
    /// Only the cut of this number.
    #[arg(long, value_name = "NUMBER")]
    only: Option<usize>,
    /// Only during the step of this number.
    #[arg(long, value_name = "NUMBER")]
    step: Option<usize>,
}

/// A driver on a file system.
#[derive(Debug, Clone, Copy)]
struct Column {
    driver: Driver,
    backing: Backing,
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (driver, backing) = text.split_once('/').ok_or("write DRIVER/BACKING")?;
        Ok(Self {
            driver: driver.parse().map_err(|error| format!("{error}"))?,
            backing: backing.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

/// What a write fails with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Failing {
    Eio,
    Enospc,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    ensure!(
        args.plant.is_empty() || cfg!(feature = "faults"),
        "this program was built without the feature `faults`"
    );
    let boot = Boot::begin(run.scratch("boot")?.join("id"))?;
    let mut columns = args.columns.clone();
    if columns.is_empty() {
        columns.push(Column {
            driver: args.driver,
            backing: args.backing,
        });
    }
    if !args.plant.is_empty() {
        return find_faults(args, run, &boot, &columns, findings);
    }
    for column in columns {
        prove_column(args, run, &boot, &column, None, findings)?;
    }
    Ok(())
}

fn planted(text: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.id() == text);
    found.ok_or_else(|| format!("there are {}", Fault::ALL.map(Fault::id).join(", ")))
}

/// Plants one fault after the other: each has to be found on one of the columns.
fn find_faults(
    args: &Args,
    run: &Run,
    boot: &Boot,
    columns: &[Column],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for fault in &args.plant {
        let mut found = Findings::default();
        for column in columns {
            prove_column(args, run, boot, column, Some(*fault), &mut found)?;
            if !found.are_none() {
                break;
            }
        }
        match found.0.first() {
            Some(first) => say(format_args!("`{}` is found: {first}", fault.id()))?,
            None => findings.add(format_args!("`{}` is not found", fault.id())),
        }
    }
    Ok(())
}

fn prove_column(
    args: &Args,
    run: &Run,
    boot: &Boot,
    column: &Column,
    fault: Option<Fault>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let options = BackingOptions {
        bytes: SPACE,
        ..BackingOptions::default()
    };
    let names = run.names();
    let mut made = run.recorded(column.backing, &options)?;
    let disks = made.disks().context("the disks do not record")?;
    if fault == Some(Fault::NoPoolFlush) {
        // The driver's pool is made below.
        disks.lose_metadata_flushes();
    }
    let dir = made.mount_point().join("root");
    let mut root = TestRoot::new(run, dir, column.driver.name(), made.places().fresh()?)?;
    root.fault = fault;
    let lived = Story::live(args, &root, &disks);
    let killed = root.kill_all();
    let closed = made.close();
    let story = lived?;
    killed?;
    closed?;
    let lasted = began.elapsed();
    let mut proof = Proof {
        args,
        run,
        root: &root,
        boot,
        column,
        names,
        options,
        disks,
        story: &story,
        cuts: 0,
        again: 0,
        clean: 0,
    };
    match args.failing {
        None => proof.cut_all(findings)?,
        Some(failing) => proof.fail_all(failing, findings)?,
    }
    say(proof.summary(began.elapsed(), lasted))
}

/// What every process takes for the boot it runs in: a file of ours lies over the kernel's.
struct Boot {
    file: PathBuf,
    _mount: MountGuard,
}

impl Boot {
    fn begin(file: PathBuf) -> anyhow::Result<Self> {
        fs::copy(BOOT_ID, &file)?;
        let mount = mount::bind(&file, BOOT_ID.as_ref(), MountAttributes::default())?;
        Ok(Self {
            file,
            _mount: mount,
        })
    }

    /// Begins another boot.
    fn next(&self) -> anyhow::Result<()> {
        Ok(fs::write(
            &self.file,
            IdSource::Kernel.uuid("boot")? + "\n",
        )?)
    }
}

/// A moment at which a command had ended, and what the root showed then.
struct Point {
    position: usize,
    step: Option<Step>,
    listing: Listing,
}

/// A life, told.
struct Story {
    points: Vec<Point>,
    /// The files of an empty root.
    empty: Traces,
    writes: usize,
    flushes: usize,
}

impl Story {
    fn live(args: &Args, root: &TestRoot, disks: &Disks) -> anyhow::Result<Self> {
        let empty = root.prepare()?;
        let registry = match args.life {
            Life::Short | Life::Snapshots => None,
            Life::Containers | Life::Whole => Some(
                Registry::start(&root.scratch.join("registry"))
                    .map_err(|wrong| anyhow!("{wrong}"))?,
            ),
        };
        let pulled = registry.as_ref().map(|registry| registry.name("small:1"));
        if let Some(name) = &pulled {
            push(root, name)?;
        }
        let mut known = Known::new();
        let mut points = vec![Point {
            position: disks.position(),
            step: None,
            listing: Listing::with_content(root, Some(&mut known))?,
        }];
        for step in life::steps(args.life, root, pulled.as_deref()) {
            stop_if_asked()?;
            step.run(root)
                .with_context(|| format!("the life ended at `{step}`"))?;
            if args.failing.is_some() {
                // The next step begins with what is on the disk.
                syncfs(&root.dir)?;
            }
            let mut position = disks.position();
            root.settle()?;
            if step.is_signal() {
                // It is acknowledged before the container has ended.
                position = disks.position();
            }
            let mut listing = Listing::with_content(root, Some(&mut known))?;
            if root.mark_volumes(&mut listing)? {
                position = disks.position();
            }
            tracing::info!(%step, position, "lived");
            known.retain(|key, _| listing.snapshots.contains_key(key));
            points.push(Point {
                position,
                step: Some(step),
                listing,
            });
        }
        if let Some(registry) = registry {
            registry.stop().map_err(|wrong| anyhow!("{wrong}"))?;
        }
        let all = 0..disks.position();
        let writes = disks.writes(all.clone());
        Ok(Self {
            points,
            empty,
            writes,
            flushes: all.len() - writes,
        })
    }

    /// The point that was reached for certain, and the next.
    fn around(&self, position: usize) -> Option<(&Point, &Point)> {
        let next = self
            .points
            .partition_point(|point| point.position <= position);
        let last = self.points.len() - 1;
        let before = self.points.get(next.checked_sub(1)?)?;
        Some((before, &self.points[next.min(last)]))
    }
}

/// Puts an image into the registry, from a root of its own.
fn push(root: &TestRoot, name: &str) -> anyhow::Result<()> {
    root.ok(&["load", "-q", "-i", &root.place("two:1")])?;
    root.ok(&["tag", "two:1", name])?;
    root.ok(&["push", "-q", "--tls-verify=false", name])?;
    root.ok(&["rmi", name])?;
    root.ok(&["rmi", "two:1"])?;
    Ok(())
}

/// What came of a cut.
struct Recovered {
    wrong: Vec<String>,
    /// The disks, and where on them the recovery ended.
    recovery: Option<(Disks, usize)>,
}

/// The cuts of a life.
struct Proof<'a> {
    args: &'a Args,
    run: &'a Run,
    root: &'a TestRoot,
    boot: &'a Boot,
    column: &'a Column,
    names: Names,
    options: BackingOptions,
    disks: Disks,
    story: &'a Story,
    cuts: usize,
    again: usize,
    clean: usize,
}

impl Proof<'_> {
    /// Says what was done, in so much time, of which the life took its part.
    fn summary(&self, all: Duration, life: Duration) -> String {
        let word = match self.args.failing {
            None => "power cuts",
            Some(_) => "writes that failed",
        };
        format!(
            "{} on {}: {} {word} with seed {} in {:.0} s, {} of them during a recovery, {} times with everything tried and \
             removed; a life of {} steps, {} writes and {} flushes in {:.0} s",
            self.column.driver,
            self.column.backing,
            self.cuts,
            self.args.seed,
            all.as_secs_f64(),
            self.again,
            self.clean,
            self.story.points.len() - 1,
            self.story.writes,
            self.story.flushes,
            life.as_secs_f64(),
        )
    }

    fn cut_all(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        let points = &self.story.points;
        let (first, last) = match self.args.step {
            Some(step) => (step.saturating_sub(1), step),
            None => (0, points.len() - 1),
        };
        ensure!(last < points.len(), "the life has no step {last}");
        let range = points[first].position..points[last].position;
        let moments = self.disks.pick(range, self.args.cuts, self.args.seed);
        ensure!(!moments.is_empty(), "the life wrote nothing");
        let mut random = Random::new(self.args.seed);
        let mut found = 0;
        for (number, moment) in moments.into_iter().enumerate() {
            stop_if_asked()?;
            let again = random.number();
            if self.args.only.is_some_and(|only| only != number) {
                continue;
            }
            let enough = if self.root.fault.is_some() { 1 } else { ENOUGH };
            if self.cuts >= self.args.cuts || found >= enough {
                break;
            }
            let wrong = self.cut(number, moment, again)?;
            if !wrong.is_empty() {
                findings.add(self.told(number, moment, &wrong.join("; ")));
                found += 1;
            }
        }
        Ok(())
    }

    fn told(&self, number: usize, moment: Moment, wrong: &str) -> String {
        let around = self.story.around(moment.position);
        let steps = around.map_or_else(String::new, |(before, after)| {
            let word = |point: &Point| {
                point
                    .step
                    .as_ref()
                    .map_or_else(|| "the beginning".to_owned(), ToString::to_string)
            };
            format!(
                "after `{}`, before the end of `{}`",
                word(before),
                word(after)
            )
        });
        let Column { driver, backing } = self.column;
        let Args {
            cuts, seed, life, ..
        } = self.args;
        format!(
            "{driver} on {backing}, cut {number} at {moment:?}, {steps}: {wrong}; again: cargo xtask prove power-cuts --driver {driver} \
             --backing {backing} --life {} --cuts {cuts} --seed {seed} --only {number}",
            format!("{life:?}").to_lowercase(),
        )
    }

    /// Cuts the power and looks at what is left; now and then once more during the recovery.
    fn cut(&mut self, number: usize, moment: Moment, again: u64) -> anyhow::Result<Vec<String>> {
        let story = self.story;
        let points = story
            .around(moment.position)
            .context("a cut before the life")?;
        let disks = self.disks.clone();
        let is_clean = number.is_multiple_of(CLEAN);
        let mut first = self.recover(&disks, moment, points, is_clean)?;
        self.clean += usize::from(is_clean);
        if !first.wrong.is_empty() || !number.is_multiple_of(AGAIN) {
            return Ok(first.wrong);
        }
        if let Some((disks, end)) = first.recovery
            && let Some(second) = disks.pick(0..end, 1, again).pop()
        {
            self.again += 1;
            let wrong = self
                .recover(&disks, second, points, false)?
                .wrong
                .into_iter();
            let wrong = wrong.map(|wrong| format!("after {second:?} of the recovery: {wrong}"));
            first.wrong.extend(wrong);
        }
        Ok(first.wrong)
    }

    /// Boots from what a cut leaves, and looks at it.
    fn recover(
        &mut self,
        disks: &Disks,
        moment: Moment,
        points: (&Point, &Point),
        is_clean: bool,
    ) -> anyhow::Result<Recovered> {
        self.cuts += 1;
        let mut made = match self.boot(disks, moment)? {
            Ok(made) => made,
            Err(error) => {
                return Ok(Recovered {
                    wrong: vec![error],
                    recovery: None,
                });
            }
        };
        let (end, mut wrong) = self.check(&made, points)?;
        let recovery = made.disks().map(|disks| (disks, end));
        if wrong.is_empty() && is_clean {
            wrong.extend(self.try_everything()?);
        }
        self.root.kill_all()?;
        made.close()?;
        Ok(Recovered { wrong, recovery })
    }

    /// Boots from what a cut leaves; an error where the file system does not mount.
    fn boot(&self, disks: &Disks, moment: Moment) -> anyhow::Result<Result<BackingFs, String>> {
        self.boot.next()?;
        let made = self.run.after_power_cut(
            self.names,
            self.column.backing,
            &self.options,
            (disks, moment),
        );
        let made = match made {
            Ok(made) => made,
            Err(error) => return Ok(Err(format!("the file system does not mount: {error}"))),
        };
        // Pools of the driver come back by being made again.
        let settings: Settings = made.places().fresh()?;
        ensure!(
            settings == self.root.settings,
            "the place has other names: {settings:?}"
        );
        Ok(Ok(made))
    }

    /// Opens the root and compares what it shows; returns where the recovery ended as well.
    fn check(
        &self,
        made: &BackingFs,
        (before, after): (&Point, &Point),
    ) -> anyhow::Result<(usize, Vec<String>)> {
        let mut wrong = Vec::new();
        let checked = self.root.command(&["system", "check"])?.output()?;
        if checked.status != Some(0) {
            let [findings, errors] =
                [&checked.stdout, &checked.stderr].map(|text| String::from_utf8_lossy(text));
            wrong.push(format!("`system check`: {findings}{errors}"));
        }
        let recovered = made.disks().map_or(0, |disks| disks.position());
        match Listing::with_content(self.root, None) {
            Ok(found) => {
                let step = after.step.as_ref().context("a step")?;
                let mut all = [before.listing.clone(), after.listing.clone(), found];
                if self.args.failing.is_some() {
                    all = all.map(|listing| listing.numbered());
                }
                let [before, done, found] = &all;
                let judgement = Judgement {
                    words: step.words(),
                    outcome: Outcome::Rebooted,
                    before,
                    done,
                    found,
                };
                wrong.extend(judgement.wrong());
            }
            Err(error) => wrong.push(format!("{error:#}")),
        }
        Ok((recovered, wrong))
    }

    /// Imports and runs, then removes everything by name, as people do, and looks for what is left.
    fn try_everything(&self) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut run = |words: &[&str]| {
            if let Err(error) = self.root.ok(words) {
                wrong.push(format!("{error:#}"));
            }
        };
        run(&["import", &self.root.place("tree.tar"), "next:1"]);
        run(&["run", "--rm", "next:1", "touch", "/new"]);
        wrong.extend(self.root.remove_all()?);
        for key in listing::keys(self.root)? {
            if let Err(error) = self.root.ok(&["snapshot", "rm", &key]) {
                wrong.push(format!("{error:#}"));
            }
        }
        let mut left = self.root.differences(&self.story.empty, &[])?;
        left.retain(|line| line.starts_with("left: file"));
        if !left.is_empty() {
            wrong.push(left.join(", "));
        }
        Ok(wrong)
    }
}
