//! Workload `capacity/change`: what a small change of a file of the image allocates.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_driver::{Allocation, Bytes, Chain};
use cowlab_engine::subject::Subject;
use cowlab_random::Random;
use cowlab_reports::result::{Arm, Unit, names};
use cowlab_testbed::Media;

use super::{Mark, readings};
use crate::driver_fixture::{Active, DriverFixture};
use crate::workload::{
    ArmRunner, Effort, Footprint, MetricKind, Point, Reading, Role, Workload, Workspace,
};
use crate::workloads::copy_up::{SIZES, sizes, write_file};

/// Bytes changed: the least, a page, and more than most files have.
const CHANGES: [Bytes; 3] = [Bytes(1), Bytes::kib(4), Bytes::mib(1)];

/// How far two ways of counting may be apart.
const TOLERANCE: Bytes = Bytes::mib(1);

/// A change is aligned to pages, so that a page of it is one page of the file.
const PAGE: u64 = 4096;

/// The workload.
pub(crate) const CHANGE: Workload = Workload {
    id: names::CAPACITY_CHANGE,
    question: "How many bytes and inodes does a change of a file of the image allocate?",
    requires: &[],
    phases: &[
        "prepare", "mount", "settle", "change", "SETTLE", "unmount", "destroy",
    ],
    arms: &[Arm::Driver, Arm::FloorPlain],
    units: &[Unit::Bytes, Unit::Inodes],
    parts: &[],
    metric_kind: MetricKind::Space,
    applies: |_, _| true,
    points,
    footprint,
    // Waiting until the file system has settled takes as long as several snapshots.
    snapshots_created: |_, sample| if sample.is_some() { 5 } else { 6 },
    runner: |workspace, subject, points| {
        Ok(Box::new(DriverRunner::new(workspace, subject, points)?))
    },
    floor: Some(|workspace, points| Ok(Box::new(PlainRunner::new(workspace, points)?))),
};

fn points(effort: Effort, _: Media) -> Vec<Point> {
    let mut points = Vec::new();
    for size in SIZES {
        for change in CHANGES {
            let wanted = match effort {
                Effort::Smoke | Effort::Counted => size == Bytes::kib(64) && change == Bytes(1),
                // The largest file once: what any change of it costs is clear then.
                Effort::Quick => size < Bytes::mib(128) || change == Bytes(1),
                Effort::Full => true,
            };
            if wanted {
                let parameters = [
                    (names::SIZE, size.0.into()),
                    (names::CHANGE, change.0.into()),
                ];
                points.push(Point::new(1, false, &parameters));
            }
        }
    }
    points
}

/// Keeps a lower file of every size; a sample needs room for the largest one twice, as vfs copies it beforehand.
fn footprint(points: &[Point], _: Bytes) -> Footprint {
    let sizes = sizes(points);
    let largest = sizes.iter().copied().max().unwrap_or_default();
    Footprint {
        kept: sizes.into_iter().map(Bytes).sum(),
        working: Bytes(2 * largest) + Bytes::mib(8),
    }
}

#[derive(Debug)]
struct DriverRunner {
    fixture: DriverFixture,
    backing: PathBuf,
    bases: BTreeMap<u64, Chain>,
    seed: u64,
}

impl DriverRunner {
    fn new(workspace: &Workspace, subject: &Subject, points: &[Point]) -> anyhow::Result<Self> {
        let mut fixture = DriverFixture::open(workspace, subject)?;
        let mut bases = BTreeMap::new();
        for size in sizes(points) {
            let base = fixture.base(|dir| write_file(&dir.join("file"), size, workspace.seed))?;
            bases.insert(size, base);
        }
        Ok(Self {
            fixture,
            backing: workspace.backing().to_owned(),
            bases,
            seed: workspace.seed,
        })
    }
}

impl DriverRunner {
    fn inodes(&self, active: &Active) -> anyhow::Result<u64> {
        Ok(self.fixture.own(active)?.inodes)
    }
}

/// Sets the file system's count beside the snapshot's own, by `st_blocks` and FIEMAP. They differ by metadata, and by
/// what xfs reserves for writes to shared extents for some minutes; more than that means that something else wrote.
fn cross_check(point: &Point, before: Mark, after: Mark, own: Allocation, grown: Allocation) {
    let counted = after.bytes.saturating_sub(before.bytes);
    let claimed = grown.bytes.0.saturating_sub(own.bytes.0);
    if counted.abs_diff(claimed) > TOLERANCE.0 {
        tracing::warn!(
            size = %point.size(),
            counted = %Bytes(counted),
            claimed = %Bytes(claimed),
            "the file system and the snapshot do not agree on what a change allocated"
        );
    }
}

impl ArmRunner for DriverRunner {
    fn take(&mut self, point: &Point, _: Role) -> anyhow::Result<Vec<Reading>> {
        let base = self
            .bases
            .get(&point.size().0)
            .context("no lower file of that size was made")?;
        let active = self.fixture.fresh(Some(base))?;
        let measured = || -> anyhow::Result<Vec<Reading>> {
            let before = Mark::now(&self.backing, || self.inodes(&active))?;
            let own = self.fixture.own(&active)?;
            change(&active.dir().join("file"), point, self.seed)?;
            let after = Mark::now(&self.backing, || self.inodes(&active))?;
            cross_check(point, before, after, own, self.fixture.own(&active)?);
            Ok(readings(&point.parameters, Arm::Driver, before, after))
        }();
        self.fixture.finish(active)?;
        measured
    }

    fn suspend(&mut self) -> anyhow::Result<()> {
        self.fixture.suspend();
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.fixture.resume()
    }
}

/// The floor: the same change of a file of the plain file system.
#[derive(Debug)]
struct PlainRunner {
    dir: PathBuf,
    backing: PathBuf,
    seed: u64,
}

impl PlainRunner {
    fn new(workspace: &Workspace, _: &[Point]) -> anyhow::Result<Self> {
        fs::create_dir_all(&workspace.dir)
            .with_context(|| format!("failed to make `{}`", workspace.dir.display()))?;
        Ok(Self {
            dir: workspace.dir.clone(),
            backing: workspace.backing().to_owned(),
            seed: workspace.seed,
        })
    }
}

impl ArmRunner for PlainRunner {
    fn take(&mut self, point: &Point, _: Role) -> anyhow::Result<Vec<Reading>> {
        let path = self.dir.join("file");
        write_file(&path, point.size().0, self.seed)?;
        // A change allocates no inode of a plain file, so a file system that does not count them has nothing to count.
        let before = Mark::now(&self.backing, || Ok(1))?;
        change(&path, point, self.seed)?;
        let after = Mark::now(&self.backing, || Ok(1))?;
        fs::remove_file(&path).with_context(|| format!("failed to remove `{}`", path.display()))?;
        Ok(readings(&point.parameters, Arm::FloorPlain, before, after))
    }

    fn suspend(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Overwrites bytes in the middle of a file; a file shorter than the change grows.
fn change(path: &Path, point: &Point, seed: u64) -> anyhow::Result<()> {
    let (size, length) = (point.size().0, point.number(names::CHANGE));
    let offset = size.saturating_sub(length) / 2 / PAGE * PAGE;
    let write = || -> std::io::Result<()> {
        let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
        Random::stream(seed, &["change"]).fill(&mut bytes);
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(&bytes, offset)
    };
    write().with_context(|| format!("failed to change `{}`", path.display()))
}
