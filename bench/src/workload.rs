//! What a workload is: data that says what is asked, varied and compared, and one function that makes a runner.
//!
//! An [`ArmRunner`] is one arm of one workload on one mounted backing file system. The sampler owns all runners of a workload and
//! lets them take turns; a runner knows nothing of blocks, order or the other arms.

use std::path::{Path, PathBuf};

use cowlab_driver::{Bytes, Settings};
use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, CacheState, Parameter, Parameters, Unit, Warning, names};

use cowlab_sys::IdSource;
use cowlab_testbed::Media;

/// What an instruction takes on the guest's clock, in nanoseconds: QEMU's `-icount shift=1`.
pub(crate) const NANOSECONDS: f64 = 2.0;

/// The flags of a deterministic run, as they end a command that repeats one.
pub(crate) const COUNTED: &str = " --where guest --deterministic";

/// Makes the runner of a subject, ready to be sampled at all these points.
pub type MakeRunner = fn(&Workspace, &Subject, &[Point]) -> anyhow::Result<Box<dyn ArmRunner>>;

/// Makes the runner of the plain backing file system, for the same points.
pub type MakeFloor = fn(&Workspace, &[Point]) -> anyhow::Result<Box<dyn ArmRunner>>;

/// One workload.
#[derive(Debug)]
pub struct Workload {
    /// Kebab-case; the first word of a series' identity. Never renamed.
    pub id: &'static str,
    /// What it finds out, one sentence.
    pub question: &'static str,
    /// What it needs beyond a driver that runs, for people.
    pub requires: &'static [&'static str],
    /// What happens in one sample, in order; what is measured is in capitals.
    pub phases: &'static [&'static str],
    /// The arms that it fills.
    pub arms: &'static [Arm],
    /// The units of its samples.
    pub units: &'static [Unit],
    /// Values of the parameter `op` where one sample gives a number for each of them; empty where it does not.
    pub parts: &'static [&'static str],
    /// What its numbers are about, which decides where and how often it runs.
    pub metric_kind: MetricKind,
    /// Whether a subject is measured at an effort, where the command line does not name its variant.
    pub applies: fn(&Subject, Effort) -> bool,
    /// The points of its grid at an effort on a medium.
    pub points: fn(Effort, Media) -> Vec<Point>,
    /// What a subject of it allocates on its backing file system at those points, `image` being the size of the image.
    pub footprint: fn(&[Point], image: Bytes) -> Footprint,
    /// How many snapshots are created and removed in making a runner, and in one sample at a point: what the time depends on.
    pub snapshots_created: fn(&[Point], Option<&Point>) -> u32,
    /// Makes the runner of a subject.
    pub runner: MakeRunner,
    /// Makes the runner of the plain backing file system, where there is such a floor.
    pub floor: Option<MakeFloor>,
}

impl Workload {
    /// Numbers that one sample of an arm gives.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.units.len() * self.parts.len().max(1)
    }

    /// Whether it takes an A/A control.
    #[must_use]
    pub fn has_control(&self) -> bool {
        self.arms.contains(&Arm::Control)
    }
}

/// What the numbers of a workload are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Time: restart blocks, an A/A control, backing files written beforehand, on disk and in memory.
    Time,
    /// As [`Time`](Self::Time), every sample after a mount of its own, so that the page cache is empty.
    ColdTime,
    /// Space: the same on every medium and in every run, so few samples on one medium are enough.
    Space,
}

/// The room that a subject needs at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes that stay as long as the runner does.
    pub kept: Bytes,
    /// Further bytes during a sample. Samples are taken one after the other, so subjects share this room.
    pub working: Bytes,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// One sample of each kind, smallest sizes: shows that it works.
    Smoke,
    /// What a deterministic guest counts in a few minutes: default variants, small sizes, few samples, since they repeat.
    Counted,
    /// The whole first set in about three minutes.
    Quick,
    /// As long as good intervals need.
    Full,
}

/// A point of a workload's grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Where on the grid.
    pub parameters: Parameters,
    /// Samples of each arm in each restart block.
    pub samples: u32,
    /// Whether the A/A control is taken here.
    pub control: bool,
}

impl Point {
    /// A point at these parameters.
    #[must_use]
    pub fn new(samples: u32, control: bool, parameters: &[(&str, Parameter)]) -> Self {
        Self {
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            samples,
            control,
        }
    }

    /// A parameter that is a number; 0 where there is none, which no grid uses for a missing one.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        match self.parameters.get(name) {
            Some(Parameter::Number(value)) => *value,
            _ => 0,
        }
    }

    /// A parameter that is a name; empty where there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.parameters.get(name) {
            Some(Parameter::Text(value)) => value,
            _ => "",
        }
    }

    /// The size of the file.
    #[must_use]
    pub fn size(&self) -> Bytes {
        Bytes(self.number(names::SIZE))
    }
}

/// What a runner is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The arm itself.
    Measure,
    /// The arm again, as the A/A control: the same work under another label.
    Control,
}

/// One number, taken once.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What was varied.
    pub parameters: Parameters,
    /// The arm it belongs to.
    pub arm: Arm,
    /// Its unit.
    pub unit: Unit,
    /// The number, or `None` where a warning says why there is none.
    pub value: Option<f64>,
    /// The page cache beforehand.
    pub cache: CacheState,
    /// What was odd about it.
    pub warning: Option<Warning>,
}

impl Reading {
    /// The same in instructions, where it was taken on a clock that counts them.
    #[must_use]
    pub(crate) fn counted(self) -> Self {
        if self.unit != Unit::Ns {
            return self;
        }
        Self {
            unit: Unit::Instructions,
            value: self.value.map(|value| (value / NANOSECONDS).floor()),
            ..self
        }
    }
}

/// One arm of one workload on one mounted backing file system.
pub trait ArmRunner: std::fmt::Debug {
    /// Takes one sample at a point: one reading of each number that the sample gives.
    ///
    /// # Errors
    ///
    /// What went wrong. Nothing of the sample stays mounted.
    fn take(&mut self, point: &Point, role: Role) -> anyhow::Result<Vec<Reading>>;

    /// Releases the backing file system, so that it can be unmounted.
    ///
    /// # Errors
    ///
    /// What still holds it.
    fn suspend(&mut self) -> anyhow::Result<()>;

    /// Opens what [`suspend`](Self::suspend) released, after the next mount.
    ///
    /// # Errors
    ///
    /// What is no longer there.
    fn resume(&mut self) -> anyhow::Result<()>;
}

/// Where a runner works.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// A directory of the runner's own on the backing file system.
    pub dir: PathBuf,
    /// The root of the backing file system.
    pub backing: PathBuf,
    /// What a driver is told about its place here besides a directory.
    pub settings: Settings,
    /// An empty directory to mount on.
    pub target: PathBuf,
    /// Seed of what it writes.
    pub seed: u64,
    /// Where identifiers of what it makes come from.
    pub id_source: IdSource,
    /// Layers of the image, oldest first; empty where the workload makes its own.
    pub image: Vec<PathBuf>,
}

impl Workspace {
    /// The root of the backing file system, for statfs and syncfs.
    #[must_use]
    pub fn backing(&self) -> &Path {
        &self.backing
    }
}
