//! Workload `lifecycle`: prepare, mount, unmount, commit and remove through the snapshot store, by depth.
//!
//! One sample is one whole life, every phase timed apart. Between mount and unmount one file of 4 KiB is written, so
//! that the unmount and the commit have something to flush. Times include the store's locks and its database, which is
//! on the same backing file system and flushes every change of a row.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use cowlab_driver::Bytes;
use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, CacheState, Unit, names};
use cowlab_snapshots::{CommitOptions, PrepareOptions};
use cowlab_sys::Guard;
use cowlab_testbed::Media;

use crate::store_fixture::{StoreFixture, unflushed};
use crate::workload::{
    ArmRunner, Effort, Footprint, MetricKind, Point, Reading, Role, Workload, Workspace,
};
use crate::workloads::copy_up::write_file;

/// Layers below the snapshot: one, a usual image, a deep one, and more than most builders make.
const DEPTHS: [u64; 4] = [1, 8, 32, 64];

/// Files of the base layer, so that a driver that copies has something to copy: 256 KiB.
const FILES: u64 = 64;

/// The size of every file.
const FILE: u64 = 4096;

/// The workload.
pub(crate) const LIFECYCLE: Workload = Workload {
    id: names::LIFECYCLE,
    question: "How long does the store take to prepare, mount, unmount, commit and remove a snapshot, by the number \
               of layers below (commit flushes what it acknowledges, commit-none does not)?",
    requires: &[],
    phases: &[
        "flush",
        "PREPARE",
        "MOUNT",
        "write 4 KiB",
        "UNMOUNT",
        "COMMIT",
        "REMOVE",
        "prepare, mount, write and unmount another",
        "COMMIT-NONE",
        "remove",
    ],
    arms: &[Arm::Driver, Arm::Control],
    units: &[Unit::Ns],
    parts: &[
        "prepare",
        "mount",
        "unmount",
        "commit",
        "commit-none",
        "remove",
    ],
    metric_kind: MetricKind::Time,
    // A quick run makes sixty-four layers for every subject: variants, which differ in what is flushed, on disk alone.
    applies: |subject, effort| {
        effort != Effort::Quick || subject.media == Media::Disk || subject.is_default()
    },
    points,
    footprint,
    // A snapshot of the store takes about three times as long as one of the driver alone: rows, locks, busy checks.
    snapshots_created: |points, sample| match sample {
        Some(_) => 6,
        None => 3 * u32::try_from(deepest(points)).unwrap_or(u32::MAX),
    },
    runner: |workspace, subject, points| {
        Ok(Box::new(StoreRunner::new(workspace, subject, points)?))
    },
    floor: None,
};

fn points(effort: Effort, _: Media) -> Vec<Point> {
    let point = |depth: u64, samples, control| {
        Point::new(samples, control, &[(names::DEPTH, depth.into())])
    };
    match effort {
        Effort::Smoke => vec![point(1, 1, true)],
        Effort::Counted => [1, 8].map(|depth| point(depth, 3, false)).to_vec(),
        // One control of five operations on every subject tells the noise.
        Effort::Quick => DEPTHS.map(|depth| point(depth, 3, depth == 8)).to_vec(),
        Effort::Full => DEPTHS.map(|depth| point(depth, 5, true)).to_vec(),
    }
}

/// A driver that copies whole snapshots copies the base and one file a layer into each of them.
fn footprint(points: &[Point], _: Bytes) -> Footprint {
    let depth = deepest(points);
    Footprint {
        kept: Bytes((FILES + depth) * FILE * depth) + Bytes::mib(16),
        working: Bytes::mib(8),
    }
}

fn deepest(points: &[Point]) -> u64 {
    points
        .iter()
        .map(|point| point.number(names::DEPTH))
        .max()
        .unwrap_or(1)
}

#[derive(Debug)]
struct StoreRunner {
    fixture: StoreFixture,
    backing: PathBuf,
    seed: u64,
    snapshots_created: u64,
}

/// What the phases of one life took, in order.
type Life = Vec<(&'static str, Duration)>;

impl StoreRunner {
    fn new(workspace: &Workspace, subject: &Subject, points: &[Point]) -> anyhow::Result<Self> {
        let fixture = StoreFixture::open(workspace, subject)?;
        let mut parent: Option<String> = None;
        for depth in 1..=deepest(points) {
            let name = layer(depth);
            fixture.layer(&name, parent.as_deref(), |dir| {
                let files = if depth == 1 { FILES } else { 1 };
                for number in 0..files {
                    let path = dir.join(format!("file-{depth}-{number}"));
                    write_file(&path, FILE, workspace.seed)?;
                }
                Ok(())
            })?;
            parent = Some(name);
        }
        cowlab_sys::durability::syncfs(workspace.backing())?;
        Ok(Self {
            fixture,
            backing: workspace.backing().to_owned(),
            seed: workspace.seed,
            snapshots_created: 0,
        })
    }

    /// Lives one life on top of a layer.
    fn live(&self, depth: u64, key: &str, options: &CommitOptions) -> anyhow::Result<Life> {
        let store = self.fixture.store()?;
        let parent = layer(depth);
        let name = format!("{key}-committed");
        cowlab_sys::durability::syncfs(&self.backing)?;
        let mut life = Life::new();
        timed(&mut life, "prepare", || {
            store.prepare(key, Some(&parent), &PrepareOptions::default())
        })?;
        let mut mounted = timed(&mut life, "mount", || {
            store.mount(key, self.fixture.target())
        })?;
        let written = write_file(&mounted.target().join("changed"), FILE, self.seed);
        timed(&mut life, "unmount", || mounted.close())?;
        written?;
        timed(&mut life, "commit", || store.commit(key, &name, options))?;
        timed(&mut life, "remove", || store.remove(&name))?;
        Ok(life)
    }
}

impl ArmRunner for StoreRunner {
    fn take(&mut self, point: &Point, role: Role) -> anyhow::Result<Vec<Reading>> {
        self.snapshots_created += 1;
        let depth = point.number(names::DEPTH);
        let key = format!("life-{}", self.snapshots_created);
        let mut life = self.live(depth, &key, &CommitOptions::default())?;
        let other = self.live(depth, &format!("{key}-none"), &unflushed())?;
        life.extend(
            other
                .into_iter()
                .filter(|(phase, _)| *phase == "commit")
                .map(|(_, elapsed)| ("commit-none", elapsed)),
        );
        let arm = match role {
            Role::Measure => Arm::Driver,
            Role::Control => Arm::Control,
        };
        Ok(life
            .into_iter()
            .map(|(phase, elapsed)| {
                let mut parameters = point.parameters.clone();
                parameters.insert(names::OP.to_owned(), phase.into());
                Reading {
                    parameters,
                    arm,
                    unit: Unit::Ns,
                    value: Some(crate::sampler::nanoseconds(elapsed)),
                    cache: CacheState::Irrelevant,
                    warning: None,
                }
            })
            .collect())
    }

    fn suspend(&mut self) -> anyhow::Result<()> {
        self.fixture.suspend();
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.fixture.resume()
    }
}

fn timed<T, E>(
    life: &mut Life,
    phase: &'static str,
    work: impl FnOnce() -> Result<T, E>,
) -> anyhow::Result<T>
where
    Result<T, E>: Context<T, E>,
{
    let before = Instant::now();
    let done = work();
    let elapsed = before.elapsed();
    life.push((phase, elapsed));
    done.with_context(|| format!("failed to {phase}"))
}

fn layer(depth: u64) -> String {
    format!("layer-{depth}")
}
