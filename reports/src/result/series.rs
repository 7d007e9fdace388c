//! Raw samples of a measurement, with all that is needed to judge them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Column, Counted, number};

/// Workload ids and parameter names that the report knows how to draw; every other workload becomes a plain table.
pub mod names {
    /// Latency of the first change of a lower file: parameters [`OP`] and [`SIZE`], unit nanoseconds.
    pub const COPY_UP: &str = "copy-up";
    /// Latency of the life of a snapshot: parameters [`OP`] (`prepare`, `mount`, ...) and [`DEPTH`], unit nanoseconds.
    pub const LIFECYCLE: &str = "lifecycle";
    /// Space taken by a small change: parameters [`SIZE`] and [`CHANGE`], units bytes and inodes.
    pub const CAPACITY_CHANGE: &str = "capacity/change";
    /// Space taken by containers of one image: parameter [`CONTAINERS`], units bytes and inodes.
    pub const CAPACITY_CONTAINERS: &str = "capacity/containers";
    /// Space taken by an image: parameters [`LAYERS`] and [`FLAT`], units bytes and inodes.
    pub const CAPACITY_IMAGE: &str = "capacity/image";

    /// The operation of [`COPY_UP`] that the verdict quotes: open, write one byte, close.
    pub const WRITE_BYTE: &str = "write-1";

    /// The operation, text.
    pub const OP: &str = "op";
    /// Size of the file in bytes.
    pub const SIZE: &str = "size";
    /// Bytes changed.
    pub const CHANGE: &str = "change";
    /// Layers below the snapshot.
    pub const DEPTH: &str = "depth";
    /// Number of containers.
    pub const CONTAINERS: &str = "containers";
    /// Number of layers of the image.
    pub const LAYERS: &str = "layers";
    /// Size of the same tree in a plain directory on the same backing, in the unit of the series.
    pub const FLAT: &str = "flat";
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// The driver itself.
    Driver,
    /// The same operation on the plain backing file system: what the device and file system cost anyway. One per
    /// backing is enough; it holds for every column with the same backing, media and place.
    FloorPlain,
    /// The same operation on a file of the same mount that was copied up before: what the union costs after copy-up.
    FloorCopiedUp,
    /// The driver once more: an A/A control whose distance from [`Arm::Driver`] is the noise of the run.
    Control,
}

impl Arm {
    /// The name used in files and on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::FloorPlain => "floor-plain",
            Self::FloorCopiedUp => "floor-copied-up",
            Self::Control => "control",
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The unit of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// Inodes.
    Inodes,
    /// A quotient without a unit.
    Ratio,
    /// Instructions that a processor without caches would have executed, by the clock of a deterministic guest. A wait
    /// for a timer counts as the instructions that fit into it. No unit of time: only counts are compared with it.
    Instructions,
}

impl Unit {
    /// The name used in files and on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Bytes => "bytes",
            Self::Inodes => "inodes",
            Self::Ratio => "ratio",
            Self::Instructions => "instructions",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// State of the page cache before each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheState {
    /// The data was in memory.
    Warm,
    /// The backing was unmounted and mounted again, and the cache was seen to be empty.
    ColdVerified,
    /// The backing was unmounted and mounted again; nothing checked the cache.
    ColdUnverified,
    /// Does not matter to what is measured.
    Irrelevant,
}

impl CacheState {
    /// The name used in files and on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::ColdVerified => "cold-verified",
            Self::ColdUnverified => "cold-unverified",
            Self::Irrelevant => "irrelevant",
        }
    }
}

/// What a reader of the numbers has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warning {
    /// Fewer samples than the workload wants, as in a quick run.
    FewSamples,
    /// Labelled outliers are many.
    Outliers,
    /// The median is close to the resolution of the clock.
    TimerResolution,
    /// The page cache was not in the state the workload asks for.
    CacheState,
    /// The operation was timed, but that a copy-up happened was not seen.
    CopyUpNotSeen,
    /// The loop device fell back from direct to buffered I/O.
    BufferedLoop,
    /// The file behind the loop device is sparse.
    SparseBacking,
    /// A container engine was running.
    LiveEngine,
    /// The file system was more than 80 percent full.
    NearlyFull,
    /// Blocks of the run drift apart.
    Drift,
}

impl Warning {
    /// Every warning.
    pub const ALL: [Self; 10] = [
        Self::FewSamples,
        Self::Outliers,
        Self::TimerResolution,
        Self::CacheState,
        Self::CopyUpNotSeen,
        Self::BufferedLoop,
        Self::SparseBacking,
        Self::LiveEngine,
        Self::NearlyFull,
        Self::Drift,
    ];

    /// What it means and what to do about it, one sentence.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::FewSamples => {
                "few samples: intervals are wide or missing; a full run instead of a quick one narrows them"
            }
            Self::Outliers => {
                "many outliers: something else used the machine; medians stand, tails do not"
            }
            Self::TimerResolution => {
                "close to the clock's resolution: differences below 100 ns mean nothing"
            }
            Self::CacheState => "the page cache was not in the wanted state for all samples",
            Self::CopyUpNotSeen => "no copy-up was seen: the number may describe something else",
            Self::BufferedLoop => {
                "the loop device used buffered I/O: times include the cache of the file system below"
            }
            Self::SparseBacking => {
                "the backing file is sparse: first writes also allocate in the file system below"
            }
            Self::LiveEngine => "a container engine was running beside the measurement",
            Self::NearlyFull => "the file system was nearly full: allocation is slower there",
            Self::Drift => "restart blocks drift apart: the machine changed during the run",
        }
    }

    /// The name used in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FewSamples => "few-samples",
            Self::Outliers => "outliers",
            Self::TimerResolution => "timer-resolution",
            Self::CacheState => "cache-state",
            Self::CopyUpNotSeen => "copy-up-not-seen",
            Self::BufferedLoop => "buffered-loop",
            Self::SparseBacking => "sparse-backing",
            Self::LiveEngine => "live-engine",
            Self::NearlyFull => "nearly-full",
            Self::Drift => "drift",
        }
    }
}

/// The file system and device below a series.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Device {
    /// Command that made the file system, with the device's path left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mkfs: Option<String>,
    /// Mount options.
    pub mount_options: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Logical sector size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector_size: Option<u32>,
    /// Whether the loop device used direct I/O; none where there is no loop device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_direct_io: Option<bool>,
    /// Whether every block of the backing file was written before; none where there is no backing file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preallocated: Option<bool>,
    /// Kernel's name of the file system that holds the backing file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// A size, a depth, a count.
    Number(u64),
    /// A name.
    Text(String),
}

impl From<u64> for Parameter {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Parameter {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => value.fmt(formatter),
            Self::Text(value) => value.fmt(formatter),
        }
    }
}

/// Parameters by name; see [`names`].
pub type Parameters = BTreeMap<String, Parameter>;

/// The raw samples of one arm of one measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Workload id.
    pub workload: String,
    /// The question the workload answers, one sentence.
    pub question: String,
    /// Driver, variant, backing, media and place.
    pub column: Column,
    /// What kind of arm this is.
    pub arm: Arm,
    /// What was varied.
    pub parameters: Parameters,
    /// Unit of the samples.
    pub unit: Unit,
    /// Raw samples, one list per restart block, in the order they were taken.
    #[serde(with = "number")]
    pub blocks: Vec<Vec<f64>>,
    /// Median and floor over the seeds, for series of unit `instructions` alone; each block is one of the seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// State of the page cache before each sample.
    pub cache: CacheState,
    /// What a reader has to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The file system and device below.
    pub device: Device,
    /// Command that repeats this series.
    pub repeat: String,
}

impl Series {
    /// What makes a series the same one in another run.
    #[must_use]
    pub fn id(&self) -> SeriesId {
        SeriesId {
            workload: self.workload.clone(),
            parameters: self.parameters.clone(),
            unit: self.unit,
            column: self.column.clone(),
            arm: self.arm,
        }
    }

    /// A parameter that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.parameters.get(name) {
            Some(Parameter::Number(value)) => Some(*value),
            _ => None,
        }
    }

    /// A parameter that is a name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.parameters.get(name) {
            Some(Parameter::Text(value)) => Some(value),
            _ => None,
        }
    }
}

/// The identity of a series: two runs are compared series by series under this key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId {
    /// Workload id.
    pub workload: String,
    /// What was varied.
    pub parameters: Parameters,
    /// Unit of the samples.
    pub unit: Unit,
    /// Driver, variant, backing, media and place.
    pub column: Column,
    /// What kind of arm it is.
    pub arm: Arm,
}

impl SeriesId {
    /// The same series in another arm.
    #[must_use]
    pub fn with_arm(&self, arm: Arm) -> Self {
        Self {
            arm,
            ..self.clone()
        }
    }
}

impl fmt::Display for SeriesId {
    /// Workload, parameters, column and arm on one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.workload)?;
        for (name, value) in &self.parameters {
            write!(formatter, " {name}={value}")?;
        }
        write!(formatter, " [{}] {} ({})", self.column, self.arm, self.unit)
    }
}
