//! Runs a plan: mounts, lets arms take turns, collects readings, hands out series as soon as a batch is done.
//!
//! A batch is one workload on one medium. All its backing file systems are mounted at once and visited in turn, block by
//! block, because two drivers on two file systems that ran hours apart could not be compared. Within a block all arms
//! on a file system take turns at every point. What a driver cannot do here is a skipped line, not the end of the run.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use cowlab_driver::{Bytes, Missing};
use cowlab_engine::guest;
use cowlab_random::Random;
use cowlab_reports::result::{Line, Place, Skipped, Subject as Part, Timestamp, Warning};
use cowlab_sys::{process, stat};
use cowlab_testbed::{Backing, Media, Run};

use crate::backing_fixture::{ArmOwner, BackingFixture};
use crate::budget;
use crate::plan::{Batch, Plan};
use crate::schedule::turns;
use crate::series::{Circumstances, Collector};
use crate::workload::{COUNTED, Effort, Point, Reading, Role};

/// Is told how far a run is, and says when to stop.
pub trait Progress {
    /// A batch begins: so many samples, if no restart block is left out.
    fn begin(&mut self, what: &str, samples: u64);
    /// A sample was taken.
    fn step(&mut self);
    /// The batch is over.
    fn end(&mut self);
    /// Something worth a line.
    fn say(&mut self, line: &str);
    /// Whether the user wants the run to end.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Takes a line of the results, and when the work behind it began.
pub type Emit<'a> = &'a mut dyn FnMut(Timestamp, Line) -> anyhow::Result<()>;

/// The run was interrupted: what was measured by then is complete, and nothing is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// What became of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Series measured.
    pub series: usize,
    /// Arms that could not run here.
    pub skipped: usize,
    /// Arms that failed.
    pub failed: usize,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.series += other.series;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

/// Measures everything in a plan.
///
/// # Errors
///
/// [`Interrupted`], what the testbed could not do, what `emit` returned. What failed in one arm is a skipped line.
pub fn measure(
    plan: &Plan,
    progress: &mut dyn Progress,
    emit: Emit<'_>,
) -> anyhow::Result<Summary> {
    measure_copies(plan, 1, progress, &mut |_, started, line| {
        emit(started, line)
    })
}

/// Measures everything in a plan so many times at once, all copies interleaved, and says with each line which copy it
/// belongs to: identical work, told apart by nothing but the label.
pub fn measure_copies(
    plan: &Plan,
    copies: usize,
    progress: &mut dyn Progress,
    emit: &mut dyn FnMut(usize, Timestamp, Line) -> anyhow::Result<()>,
) -> anyhow::Result<Summary> {
    let run = Run::start_with_private_mounts(plan.dir.clone(), plan.id_source)?;
    let mut sampler = Sampler {
        plan,
        run: &run,
        copies,
        progress,
        emit,
        summary: Summary::default(),
        engines: !cowlab_testbed::live_host()?.is_empty(),
    };
    let measured = sampler.batches();
    let summary = sampler.summary;
    // Closed in either case, so that a failure does not hide what is left behind.
    let closed = run.close();
    measured?;
    closed?;
    Ok(summary)
}

/// A duration in nanoseconds, exact up to 104 days.
#[must_use]
pub fn nanoseconds(time: Duration) -> f64 {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    f64::from(seconds) * 1e9 + f64::from(time.subsec_nanos())
}

struct Sampler<'a> {
    plan: &'a Plan,
    run: &'a Run,
    copies: usize,
    progress: &'a mut dyn Progress,
    emit: &'a mut dyn FnMut(usize, Timestamp, Line) -> anyhow::Result<()>,
    summary: Summary,
    engines: bool,
}

/// One turn: an arm of a copy of the run.
#[derive(Clone, Copy)]
struct Turn {
    runner: usize,
    role: Role,
    copy: usize,
}

impl Sampler<'_> {
    fn batches(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        let batches = self.plan.batches();
        let times: Vec<Duration> = batches
            .iter()
            .map(|batch| batch.time(self.plan.image_bytes))
            .collect();
        for (index, batch) in batches.iter().enumerate() {
            let allowed = self.plan.time.map(|time| {
                let left = time.saturating_sub(start.elapsed());
                budget::share(left, times[index], times[index..].iter().sum())
            });
            self.batch(batch, allowed)?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &Batch, allowed: Option<Duration>) -> anyhow::Result<()> {
        let started = Timestamp::from(SystemTime::now());
        let name = format!("{} on {}", batch.workload.id, batch.media.name());
        self.progress.begin(&name, self.samples(batch));
        let mut collectors: Vec<Collector> = Vec::new();
        collectors.resize_with(self.copies, Collector::default);
        let mut circumstances = self.circumstances();
        let groups = batch.groups();
        let share = u32::try_from(groups.len()).unwrap_or(1);
        for group in groups {
            let allowed = allowed.map(|allowed| allowed / share);
            self.group(batch, &group, allowed, &mut collectors, &mut circumstances)?;
        }
        self.progress.end();
        for (copy, collector) in collectors.into_iter().enumerate() {
            for series in collector.series(batch.workload, &batch.subjects, &circumstances) {
                self.summary.series += 1;
                (self.emit)(copy, started, Line::Series(series))?;
            }
        }
        Ok(())
    }

    /// Takes all restart blocks on the backing file systems of a group, mounted together.
    fn group(
        &mut self,
        batch: &Batch,
        group: &[Backing],
        allowed: Option<Duration>,
        collectors: &mut [Collector],
        circumstances: &mut Circumstances,
    ) -> anyhow::Result<()> {
        if let Some(error) = self.no_room(batch, group)? {
            for index in batch.on(group) {
                self.skip(batch, index, &error)?;
            }
            return Ok(());
        }
        let start = Instant::now();
        let mut random = Random::stream(self.plan.seed, &[batch.workload.id, batch.media.name()]);
        let mut fixtures = self.fixtures(batch, group)?;
        let sampling = Instant::now();
        let allowed = allowed.map(|allowed| allowed.saturating_sub(start.elapsed()));
        let mut block = 0;
        while budget::goes_on(block, batch.blocks, sampling.elapsed(), allowed) {
            random.shuffle(&mut fixtures);
            for fixture in &mut fixtures {
                self.block(batch, fixture, block, &mut random, collectors)?;
            }
            block += 1;
        }
        for fixture in fixtures {
            let device = fixture.device()?;
            let crowded = fixture.is_nearly_full()?;
            for subject in fixture.subjects() {
                circumstances.devices.insert(subject, device.clone());
                if crowded {
                    circumstances.crowded.insert(subject);
                }
            }
            fixture.close()?;
        }
        Ok(())
    }

    /// Why a group cannot be made, all of it: half of it would be no comparison.
    fn no_room(&self, batch: &Batch, group: &[Backing]) -> anyhow::Result<Option<anyhow::Error>> {
        let size = |backing: &Backing| batch.bytes(*backing, self.plan.image_bytes);
        let needed = group.iter().map(size).sum::<Bytes>() + budget::KEEP_FREE;
        let (place, available) = match batch.media {
            Media::Disk => (
                "disk",
                stat::statfs(self.run.directory())?.available_bytes(),
            ),
            Media::Memory => ("memory", process::available_memory()?),
        };
        Ok((available < needed.0).then(|| {
            Missing {
                what: format!("{needed} of {place} ({} are free)", Bytes(available)),
                remedy: "free some, name another directory with --dir, or measure less at a time, as with --backing"
                    .to_owned(),
            }
            .into()
        }))
    }

    /// Makes the backing file systems of a group, and the runners on them.
    fn fixtures(
        &mut self,
        batch: &Batch,
        group: &[Backing],
    ) -> anyhow::Result<Vec<BackingFixture>> {
        let mut fixtures = Vec::new();
        for backing in group.iter().copied() {
            self.check_interrupted()?;
            let bytes = batch.bytes(backing, self.plan.image_bytes);
            self.progress.say(&format!(
                "making {} of {bytes} on {}",
                backing.name(),
                batch.media.name()
            ));
            let mut refused = Vec::new();
            match BackingFixture::make(self.run, self.plan, batch, backing, &mut refused) {
                Ok(fixture) => fixtures.push(fixture),
                Err(error) if is_missing(&error) => {
                    for index in batch.on(&[backing]) {
                        self.skip(batch, index, &error)?;
                    }
                }
                Err(error) => return Err(error),
            }
            for (subject, error) in refused {
                self.skip(batch, subject, &error)?;
            }
        }
        Ok(fixtures)
    }

    /// Takes one restart block on one backing file system.
    fn block(
        &mut self,
        batch: &Batch,
        fixture: &mut BackingFixture,
        block: usize,
        random: &mut Random,
        collectors: &mut [Collector],
    ) -> anyhow::Result<()> {
        if let Some(note) = fixture.restart()? {
            self.progress.say(&note);
        }
        let mut points: Vec<&Point> = batch.points.iter().collect();
        random.shuffle(&mut points);
        for point in points {
            let arms = self.arms(batch, fixture, point);
            for turn in turns(random, arms.len(), point.samples) {
                self.check_interrupted()?;
                self.turn(batch, fixture, arms[turn], point, block, collectors)?;
            }
        }
        Ok(())
    }

    fn turn(
        &mut self,
        batch: &Batch,
        fixture: &mut BackingFixture,
        turn: Turn,
        point: &Point,
        block: usize,
        collectors: &mut [Collector],
    ) -> anyhow::Result<()> {
        self.progress.step();
        let Some((owner, taken)) = fixture.take(turn.runner, point, turn.role) else {
            return Ok(());
        };
        let counts = self.plan.effort == Effort::Counted;
        let taken = taken.map(|readings| match counts {
            true => readings.into_iter().map(Reading::counted).collect(),
            false => readings,
        });
        match (taken, owner) {
            (Ok(readings), ArmOwner::Subject(subject)) => {
                for reading in &readings {
                    collectors[turn.copy].add(subject, block, reading);
                }
            }
            // The plain file system is the floor of every driver on it: measured once, listed with each.
            (Ok(readings), ArmOwner::Floor) => {
                for subject in fixture.subjects() {
                    for reading in &readings {
                        collectors[turn.copy].add(subject, block, reading);
                    }
                }
            }
            (Err(error), ArmOwner::Subject(subject)) => {
                fixture.remove(turn.runner);
                self.skip(batch, subject, &error)?;
            }
            (Err(error), ArmOwner::Floor) => return Err(error),
        }
        Ok(())
    }

    fn arms(&self, batch: &Batch, fixture: &BackingFixture, point: &Point) -> Vec<Turn> {
        let controls = batch.workload.has_control() && point.control;
        let mut arms = Vec::new();
        for copy in 0..self.copies {
            for (runner, owner) in fixture.runners() {
                let measure = Turn {
                    runner,
                    role: Role::Measure,
                    copy,
                };
                arms.push(measure);
                if controls && matches!(owner, ArmOwner::Subject(_)) {
                    arms.push(Turn {
                        role: Role::Control,
                        ..measure
                    });
                }
            }
        }
        arms
    }

    /// Samples that a batch takes if nothing is left out.
    fn samples(&self, batch: &Batch) -> u64 {
        let copies = u64::try_from(self.copies).unwrap_or(1);
        let blocks = u64::try_from(batch.blocks).unwrap_or(1);
        batch.samples() * copies * blocks
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            warnings: self
                .engines
                .then_some(Warning::LiveEngine)
                .into_iter()
                .collect(),
            seed: self.plan.seed,
            effort: match self.plan.effort {
                Effort::Smoke => " --smoke",
                Effort::Quick => " --quick",
                Effort::Full => "",
                Effort::Counted => COUNTED,
            },
            ..Circumstances::default()
        }
    }

    /// Says what did not run, and why.
    fn skip(&mut self, batch: &Batch, subject: usize, error: &anyhow::Error) -> anyhow::Result<()> {
        if is_missing(error) {
            self.summary.skipped += 1;
        } else {
            self.summary.failed += 1;
        }
        let subject = batch
            .subjects
            .get(subject)
            .context("a skipped arm belongs to the batch")?;
        let column = subject.column();
        let no_guest = self.plan.no_guest.as_ref().filter(|_| is_missing(error));
        let guest = no_guest.map_or_else(String::new, |missing| {
            format!("; it would run in the guest, but {missing}")
        });
        let skipped = Skipped {
            subject: Part::Bench,
            what: format!("{} on {column}", batch.workload.id),
            why: format!("{error:#}{guest}"),
            waiting_for: no_guest.map(|_| Place::Guest),
            command: no_guest.map(|_| guest::COMMAND.to_owned()),
        };
        self.progress
            .say(&format!("left out: {}: {}", skipped.what, skipped.why));
        let now = Timestamp::from(SystemTime::now());
        (self.emit)(0, now, Line::Skipped(skipped))
    }

    fn check_interrupted(&self) -> anyhow::Result<()> {
        if self.progress.interrupted() {
            return Err(Interrupted.into());
        }
        Ok(())
    }
}

/// Whether something is missing here, rather than broken.
fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<cowlab_driver::Missing>()
            || matches!(
                cause.downcast_ref(),
                Some(
                    cowlab_driver::Error::Unavailable(_) | cowlab_driver::Error::Unsupported { .. }
                )
            )
            || matches!(
                cause.downcast_ref(),
                Some(cowlab_testbed::Error::Missing { .. } | cowlab_testbed::Error::NoSpace { .. })
            )
    })
}
