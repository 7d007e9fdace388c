//! What a run measures: workloads, subjects, media, and how often.

use std::path::PathBuf;
use std::time::Duration;

use cowlab_driver::Bytes;
use cowlab_engine::subject::{Choice, Subject};
use cowlab_reports::result::{Arm, Parameters};
use cowlab_sys::IdSource;
use cowlab_testbed::{Backing, Media};

use crate::budget::{self, Budget};
use crate::subject::measured;
use crate::workload::{Effort, MetricKind, Point, Workload};
use crate::workloads;

/// The seed of a run unless another is given: any fixed number would do.
pub const SEED: u64 = 20_261_102;

/// The time a quick run is to take.
const QUICK: Duration = Duration::from_secs(160);

/// The time a full run is to take.
const FULL: Duration = Duration::from_secs(18 * 60);

/// Room on a backing file system beyond what a workload allocates: journals, inode tables, reserves, and so much that
/// no file system is more than 80 percent full.
const SLACK: Bytes = Bytes::mib(192);

/// The size of the image that a workload makes where none is given.
pub const OWN_IMAGE: Bytes = Bytes::mib(24);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order they run.
    pub workloads: Vec<&'static Workload>,
    /// What they are run on, without the medium.
    pub wanted: Choice,
    /// Only these columns, as `driver/variant/backing`; all that are wanted where empty.
    pub columns: Vec<String>,
    /// Only files up to this size.
    pub largest: Option<Bytes>,
    /// On which media.
    pub media: Vec<Media>,
    /// How much.
    pub effort: Effort,
    /// Restart blocks, instead of what the effort says.
    pub blocks: Option<usize>,
    /// Samples of an arm in a block, instead of what the grid says.
    pub samples: Option<u32>,
    /// Only points at these parameters; all of a grid where empty.
    pub only: Vec<Parameters>,
    /// Seed of the order and of all content.
    pub seed: u64,
    /// Where identifiers of file systems and stores come from.
    pub id_source: IdSource,
    /// Layers of the image, oldest first, as tar archives; empty for one of the workload's own making.
    pub image: Vec<PathBuf>,
    /// The most that one unpacked copy of the image allocates.
    pub image_bytes: Bytes,
    /// What is missing for a guest, where one is wanted for what cannot be measured here.
    pub no_guest: Option<String>,
    /// Where backing files are made, instead of the testbed's default.
    pub dir: Option<PathBuf>,
    /// The time to stay within: restart blocks are left out, down to two.
    pub time: Option<Duration>,
}

/// A part of a run: one workload on one medium.
#[derive(Debug)]
pub struct Batch {
    /// The workload.
    pub workload: &'static Workload,
    /// The medium.
    pub media: Media,
    /// Everything that is measured in it, sorted by backing file system.
    pub subjects: Vec<Subject>,
    /// Where.
    pub points: Vec<Point>,
    /// How often everything is mounted again.
    pub blocks: usize,
    /// Whether all its backing file systems are mounted at the same time.
    pub together: bool,
}

impl Plan {
    /// The whole first set at an effort.
    #[must_use]
    pub fn new(effort: Effort) -> Self {
        Self {
            workloads: workloads::all().to_vec(),
            wanted: Choice::default(),
            columns: Vec::new(),
            largest: None,
            media: match effort {
                Effort::Counted => vec![Media::Memory],
                _ => vec![Media::Disk, Media::Memory],
            },
            effort,
            blocks: None,
            samples: None,
            only: Vec::new(),
            seed: SEED,
            id_source: IdSource::Kernel,
            image: Vec::new(),
            image_bytes: OWN_IMAGE,
            no_guest: None,
            dir: None,
            time: match effort {
                Effort::Smoke | Effort::Counted => None,
                Effort::Quick => Some(QUICK),
                Effort::Full => Some(FULL),
            },
        }
    }

    /// The parts, in the order they run.
    #[must_use]
    pub fn batches(&self) -> Vec<Batch> {
        let mut batches = Vec::new();
        for workload in &self.workloads {
            for media in self.media_of(workload) {
                let points = self.points(workload, media);
                let mut subjects = measured(&self.wanted, self.effort, media);
                if self.wanted.variants.is_empty() {
                    let counted = self.effort == Effort::Counted;
                    subjects.retain(|subject| {
                        (workload.applies)(subject, self.effort)
                            && (subject.is_default() || !counted)
                    });
                }
                if !self.columns.is_empty() {
                    subjects.retain(|subject| self.columns.contains(&subject.to_string()));
                }
                if !points.is_empty() && !subjects.is_empty() {
                    batches.push(Batch {
                        together: workload.metric_kind != MetricKind::Space
                            && self.effort != Effort::Counted,
                        workload,
                        media,
                        subjects,
                        points,
                        blocks: self.blocks(workload),
                    });
                }
            }
        }
        batches
    }

    /// Sizes are the same on every medium: one is enough, the disk where it is wanted, because memory is scarcer. A
    /// smoke run only shows that each medium works.
    fn media_of(&self, workload: &Workload) -> Vec<Media> {
        let one = match (workload.metric_kind, self.effort) {
            (MetricKind::Space, _) | (MetricKind::ColdTime, Effort::Smoke) => self.media.first(),
            (MetricKind::Time, Effort::Smoke) => self.media.last(),
            (MetricKind::Time | MetricKind::ColdTime, _) => return self.media.clone(),
        };
        one.copied().into_iter().collect()
    }

    fn points(&self, workload: &Workload, media: Media) -> Vec<Point> {
        let mut points = (workload.points)(self.effort, media);
        if !self.only.is_empty() {
            points.retain(|point| self.only.contains(&point.parameters));
        }
        if let Some(largest) = self.largest {
            points.retain(|point| point.size() <= largest);
        }
        if let (Some(samples), MetricKind::Time) = (self.samples, workload.metric_kind) {
            for point in &mut points {
                point.samples = samples;
            }
        }
        points
    }

    fn blocks(&self, workload: &Workload) -> usize {
        let usual = match (workload.metric_kind, self.effort) {
            // A boot of its own with another seed is what a block is where instructions are counted.
            (_, Effort::Smoke | Effort::Counted) | (MetricKind::Space, Effort::Quick) => 1,
            (MetricKind::Space, Effort::Full) => 3,
            (MetricKind::Time, Effort::Quick) => 3,
            (MetricKind::ColdTime, Effort::Quick) => 5,
            (_, Effort::Full) => 10,
        };
        self.blocks.unwrap_or(usual)
    }

    /// Everything that is measured, each column once.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects: Vec<Subject> = Vec::new();
        for subject in self.batches().into_iter().flat_map(|batch| batch.subjects) {
            if subjects
                .iter()
                .all(|known| known.to_string() != subject.to_string())
            {
                subjects.push(subject);
            }
        }
        subjects
    }

    /// What the run will cost.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let mut total = Budget::default();
        for batch in self.batches() {
            total.time += batch.time(self.image_bytes);
            total.series += batch.series();
            let bytes = batch
                .groups()
                .iter()
                .map(|group| {
                    let bytes = |backing: &Backing| batch.bytes(*backing, self.image_bytes);
                    group.iter().map(bytes).sum::<Bytes>()
                })
                .max()
                .unwrap_or_default();
            match batch.media {
                Media::Disk => total.disk = total.disk.max(bytes),
                Media::Memory => total.memory = total.memory.max(bytes),
            }
            for backing in batch.backings() {
                let name = format!("{} ({})", backing.name(), batch.media.name());
                if !total.backings.contains(&name) {
                    total.backings.push(name);
                }
            }
        }
        if let Some(time) = self.time {
            total.time = total.time.min(time);
        }
        total
    }
}

impl Batch {
    /// The backing file systems, each once.
    #[must_use]
    pub fn backings(&self) -> Vec<Backing> {
        let mut backings: Vec<Backing> = self
            .subjects
            .iter()
            .map(|subject| subject.backing)
            .collect();
        backings.dedup();
        backings
    }

    /// The backing file systems that are mounted at the same time. Times are compared across file systems and must
    /// be taken together; sizes and instructions need not, and take less room one after the other.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<Backing>> {
        let backings = self.backings();
        if self.together {
            vec![backings]
        } else {
            backings.into_iter().map(|backing| vec![backing]).collect()
        }
    }

    /// The numbers of the subjects on some of the backing file systems.
    #[must_use]
    pub fn on(&self, group: &[Backing]) -> Vec<usize> {
        let subjects = self.subjects.iter().enumerate();
        subjects
            .filter(|(_, subject)| group.contains(&subject.backing))
            .map(|(index, _)| index)
            .collect()
    }

    /// The size that a backing file system is made with.
    #[must_use]
    pub fn bytes(&self, backing: Backing, image: Bytes) -> Bytes {
        let needs = (self.workload.footprint)(&self.points, image);
        let subjects = self
            .subjects
            .iter()
            .filter(|subject| subject.backing == backing);
        let keepers = subjects.count() + usize::from(self.workload.floor.is_some());
        let kept: Bytes = std::iter::repeat_n(needs.kept, keepers).sum();
        let used = kept + needs.working;
        // A quarter more: copy-on-write file systems slow down, and count differently, when they fill up.
        let bytes = used + Bytes(used.0 / 4) + SLACK;
        Bytes(
            bytes
                .0
                .next_multiple_of(Bytes::mib(64).0)
                .max(Bytes::mib(320).0),
        )
    }

    /// The time it will take, coarsely: making the file systems and all blocks.
    #[must_use]
    pub fn time(&self, image: Bytes) -> Duration {
        let making: Duration = self
            .backings()
            .into_iter()
            .map(|backing| {
                let written = match self.workload.metric_kind {
                    MetricKind::Space => Bytes(0),
                    MetricKind::Time | MetricKind::ColdTime => self.bytes(backing, image),
                };
                Duration::from_millis(500) + budget::transfer(self.media, written)
            })
            .sum();
        let subjects = u32::try_from(self.subjects.len()).unwrap_or(u32::MAX);
        let runners = self.sample_time(None) * subjects;
        let blocks = u32::try_from(self.blocks).unwrap_or(u32::MAX);
        making + runners + self.block_time() * blocks
    }

    /// The time of one restart block.
    fn block_time(&self) -> Duration {
        self.points
            .iter()
            .map(|point| self.sample_time(Some(point)) * self.arms(point) * point.samples)
            .sum()
    }

    /// The time of a sample at a point, or of making a runner.
    fn sample_time(&self, point: Option<&Point>) -> Duration {
        let snapshots_created = (self.workload.snapshots_created)(&self.points, point);
        let bytes = point.map_or(Bytes::default(), Point::size);
        budget::sample(
            self.media,
            self.workload.metric_kind,
            snapshots_created,
            bytes,
        )
    }

    /// Samples of one restart block.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.points
            .iter()
            .map(|point| u64::from(self.arms(point)) * u64::from(point.samples))
            .sum()
    }

    /// The arms that take turns at a point, on all backing file systems.
    fn arms(&self, point: &Point) -> u32 {
        let measures = self.subjects.len();
        let controls = usize::from(self.workload.has_control() && point.control) * measures;
        let floors = usize::from(self.workload.floor.is_some()) * self.backings().len();
        u32::try_from(measures + controls + floors).unwrap_or(u32::MAX)
    }

    /// The series it fills.
    #[must_use]
    pub fn series(&self) -> usize {
        let arms = self
            .workload
            .arms
            .iter()
            .filter(|arm| **arm != Arm::Control);
        let controls = self.workload.has_control();
        let per_subject: usize = self
            .points
            .iter()
            .map(|point| arms.clone().count() + usize::from(controls && point.control))
            .sum();
        per_subject * self.subjects.len() * self.workload.numbers()
    }
}
