//! Workloads `copy-up` and `copy-up/cold`: the latency of the first change of a file of the image.
//!
//! Every sample gets a fresh active snapshot over shared lower files. The file lies in the root of its layer, so that
//! only the file is copied up and no directory. Everything written is flushed before the clock starts, and the page
//! cache is brought into the named state and looked at. A change that cannot be seen afterwards is not counted.

mod points;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cowlab_driver::{Bytes, Chain};
use cowlab_engine::subject::Subject;
use cowlab_random::Random;
use cowlab_reports::result::{Arm, CacheState, Unit, Warning, names};

use crate::cache;
use crate::driver_fixture::{Active, DriverFixture};
use crate::operation::{Operation, Target};
use crate::workload::{
    ArmRunner, Footprint, MetricKind, Point, Reading, Role, Workload, Workspace,
};

pub(crate) use self::points::SIZES;
use self::points::{cold_points, warm_points};

/// Latency with the lower file in the page cache.
pub(crate) const WARM: Workload = Workload {
    id: names::COPY_UP,
    question: "How long does the first change of a file of the image take, against the same change on the plain \
               file system and on a file already copied up?",
    requires: &["cachestat(2), Linux 6.5, to verify the page cache"],
    phases: &[
        "prepare",
        "mount",
        "read the file",
        "flush",
        "CHANGE",
        "check",
        "flush",
        "CHANGE AGAIN",
        "unmount",
        "destroy",
    ],
    arms: &[
        Arm::Driver,
        Arm::Control,
        Arm::FloorCopiedUp,
        Arm::FloorPlain,
    ],
    units: &[Unit::Ns],
    parts: &[],
    metric_kind: MetricKind::Time,
    applies: |_, _| true,
    points: warm_points,
    footprint,
    snapshots_created,
    runner: |workspace, subject, points| {
        Ok(Box::new(DriverRunner::new(
            workspace,
            subject,
            points,
            State::Warm,
        )?))
    },
    floor: Some(|workspace, points| {
        Ok(Box::new(PlainRunner::new(workspace, points, State::Warm)?))
    }),
};

/// Latency with nothing of the lower file in the page cache.
pub(crate) const COLD: Workload = Workload {
    id: "copy-up/cold",
    question: "How long does the first change of a file of the image take when nothing of it is in the page cache?",
    requires: &["cachestat(2), Linux 6.5, to verify the page cache"],
    phases: &[
        "prepare",
        "unmount and mount the backing file system",
        "mount",
        "flush",
        "CHANGE",
        "check",
        "unmount",
        "destroy",
    ],
    arms: &[Arm::Driver, Arm::FloorPlain],
    units: &[Unit::Ns],
    parts: &[],
    metric_kind: MetricKind::ColdTime,
    applies: |_, _| true,
    points: cold_points,
    footprint,
    snapshots_created,
    runner: |workspace, subject, points| {
        Ok(Box::new(DriverRunner::new(
            workspace,
            subject,
            points,
            State::Cold,
        )?))
    },
    floor: Some(|workspace, points| {
        Ok(Box::new(PlainRunner::new(workspace, points, State::Cold)?))
    }),
};

/// Keeps a lower file of every size; a sample needs room for the copy of the largest one, and as much again for a driver
/// that copies whole snapshots beforehand.
fn footprint(points: &[Point], _: Bytes) -> Footprint {
    let sizes = sizes(points);
    let largest = sizes.iter().copied().max().unwrap_or_default();
    Footprint {
        kept: sizes.into_iter().map(Bytes).sum(),
        working: Bytes(2 * largest),
    }
}

/// A lower file is a snapshot, and so is a sample.
fn snapshots_created(points: &[Point], sample: Option<&Point>) -> u32 {
    match sample {
        Some(_) => 1,
        None => u32::try_from(sizes(points).len()).unwrap_or(u32::MAX),
    }
}

/// The sizes of the files that a list of points needs, each once.
pub(crate) fn sizes(points: &[Point]) -> Vec<u64> {
    let mut sizes: Vec<u64> = points.iter().map(|point| point.size().0).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The page cache that a sample starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Warm,
    Cold,
}

impl State {
    fn reach(self, through: &Path, real: &Path) -> anyhow::Result<(CacheState, Option<Warning>)> {
        match self {
            Self::Warm => cache::warm(through, real),
            Self::Cold => cache::cold(real),
        }
        .with_context(|| format!("failed to look at the page cache of `{}`", real.display()))
    }
}

/// The arms of a driver.
#[derive(Debug)]
struct DriverRunner {
    fixture: DriverFixture,
    backing: PathBuf,
    bases: BTreeMap<u64, Chain>,
    /// Snapshots made before the last mount of the backing file system: a driver that copies whole snapshots has the
    /// data in the page cache once it made one.
    ready: BTreeMap<u64, Chain>,
    state: State,
}

impl DriverRunner {
    fn new(
        workspace: &Workspace,
        subject: &Subject,
        points: &[Point],
        state: State,
    ) -> anyhow::Result<Self> {
        let mut fixture = DriverFixture::open(workspace, subject)?;
        let mut bases = BTreeMap::new();
        for size in sizes(points) {
            let base =
                fixture.base(|dir| write_file(&dir.join(name(size)), size, workspace.seed))?;
            bases.insert(size, base);
        }
        cowlab_sys::durability::syncfs(workspace.backing())?;
        Ok(Self {
            fixture,
            backing: workspace.backing().to_owned(),
            bases,
            ready: BTreeMap::new(),
            state,
        })
    }

    /// Mounts a fresh snapshot over the lower file of a point.
    fn fresh(&mut self, point: &Point) -> anyhow::Result<Active> {
        let base = self
            .bases
            .get(&point.size().0)
            .context("no lower file of that size was made")?;
        match self.ready.remove(&point.size().0) {
            Some(chain) => self.fixture.mount(chain),
            None => self.fixture.fresh(Some(base)),
        }
    }

    /// Times the first change in a snapshot, and where it says something, the same change again.
    fn change(&self, active: &Active, point: &Point, role: Role) -> anyhow::Result<Vec<Reading>> {
        let operation = operation(point)?;
        let size = point.size().0;
        let name = name(size);
        let mut target = Target::new(active.dir().join(&name), size);
        let real = active.real(&name);
        cowlab_sys::durability::syncfs(&self.backing)?;
        let reached = self.state.reach(target.path(), &real)?;
        let elapsed = change(operation, &mut target)?;
        let seen = copied_up(operation, active, &target);
        let arm = match role {
            Role::Measure => Arm::Driver,
            Role::Control => Arm::Control,
        };
        let mut readings = vec![reading(point, arm, seen.then_some(elapsed), reached)];
        let again = self.state == State::Warm && operation != Operation::Truncate;
        if role == Role::Measure && again {
            readings.push(self.floor(active, &mut target, point, operation)?);
        }
        Ok(readings)
    }

    /// Times the operation on a file that is in the snapshot's own layer already.
    fn floor(
        &self,
        active: &Active,
        target: &mut Target,
        point: &Point,
        operation: Operation,
    ) -> anyhow::Result<Reading> {
        cowlab_sys::durability::syncfs(&self.backing)?;
        let name = target
            .path()
            .file_name()
            .and_then(|name| name.to_str())
            .context("the workload's file has a name of ASCII letters")?;
        let real = active.upper(name).unwrap_or_else(|| active.real(name));
        // A file of which only the attributes were copied keeps its pages with the lower file.
        let real = if is_metacopy(&real) {
            active.real(&self::name(target.size()))
        } else {
            real
        };
        let reached = self.state.reach(target.path(), &real)?;
        let elapsed = change(operation, target)?;
        Ok(reading(point, Arm::FloorCopiedUp, Some(elapsed), reached))
    }

    /// Truncates a file that was copied up with its data: a second truncation would find nothing to do.
    fn truncate_floor(&mut self, point: &Point) -> anyhow::Result<Reading> {
        let active = self.fresh(point)?;
        let size = point.size().0;
        let mut target = Target::new(active.dir().join(name(size)), size);
        let reading = change(Operation::WriteByte, &mut target)
            .and_then(|_| self.floor(&active, &mut target, point, Operation::Truncate));
        self.fixture.finish(active)?;
        reading
    }
}

impl ArmRunner for DriverRunner {
    fn take(&mut self, point: &Point, role: Role) -> anyhow::Result<Vec<Reading>> {
        let active = self.fresh(point)?;
        let readings = self.change(&active, point, role);
        self.fixture.finish(active)?;
        let mut readings = readings?;
        let truncates = point.text(names::OP) == Operation::Truncate.name();
        if truncates && role == Role::Measure && self.state == State::Warm {
            readings.push(self.truncate_floor(point)?);
        }
        Ok(readings)
    }

    fn suspend(&mut self) -> anyhow::Result<()> {
        if self.state == State::Cold {
            for (size, base) in &self.bases {
                if !self.ready.contains_key(size) {
                    let chain = self.fixture.create(Some(base))?;
                    self.ready.insert(*size, chain);
                }
            }
        }
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
    state: State,
}

impl PlainRunner {
    fn new(workspace: &Workspace, points: &[Point], state: State) -> anyhow::Result<Self> {
        fs::create_dir_all(&workspace.dir)
            .with_context(|| format!("failed to make `{}`", workspace.dir.display()))?;
        for size in sizes(points) {
            write_file(&workspace.dir.join(name(size)), size, workspace.seed)?;
        }
        cowlab_sys::durability::syncfs(workspace.backing())?;
        Ok(Self {
            dir: workspace.dir.clone(),
            backing: workspace.backing().to_owned(),
            seed: workspace.seed,
            state,
        })
    }

    /// Makes the file as it was, so that the next sample finds what the first one found.
    fn restore(&self, operation: Operation, target: &Target) -> anyhow::Result<()> {
        let path = self.dir.join(name(target.size()));
        let restored = match operation {
            Operation::Rename => fs::rename(target.path(), &path),
            Operation::Link => fs::remove_file(path.with_extension("link-1")),
            Operation::Chmod => fs::set_permissions(&path, Permissions::from_mode(0o600)),
            Operation::Truncate => return write_file(&path, target.size(), self.seed),
            Operation::WriteByte if target.size() == 0 => File::create(&path).map(drop),
            Operation::OpenWrite | Operation::WriteByte => Ok(()),
        };
        restored.with_context(|| format!("failed to restore `{}`", path.display()))
    }
}

impl ArmRunner for PlainRunner {
    fn take(&mut self, point: &Point, _: Role) -> anyhow::Result<Vec<Reading>> {
        let operation = operation(point)?;
        let size = point.size().0;
        let mut target = Target::new(self.dir.join(name(size)), size);
        cowlab_sys::durability::syncfs(&self.backing)?;
        let reached = self.state.reach(target.path(), target.path())?;
        let elapsed = change(operation, &mut target)?;
        self.restore(operation, &target)?;
        Ok(vec![reading(
            point,
            Arm::FloorPlain,
            Some(elapsed),
            reached,
        )])
    }

    fn suspend(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

fn operation(point: &Point) -> anyhow::Result<Operation> {
    Operation::find(point.text(names::OP)).context("the point names no operation")
}

fn change(operation: Operation, target: &mut Target) -> anyhow::Result<Duration> {
    let what = |target: &Target| {
        format!(
            "failed to {} `{}`",
            operation.name(),
            target.path().display()
        )
    };
    let elapsed = operation.time(target).with_context(|| what(target))?;
    operation.check(target).with_context(|| what(target))?;
    Ok(elapsed)
}

/// Whether the changed file is now in the snapshot's own layer. Drivers that share extents or copy whole snapshots have
/// no such place: there the check of the change itself has to do.
fn copied_up(operation: Operation, active: &Active, target: &Target) -> bool {
    let Some(upper) = target
        .path()
        .file_name()
        .and_then(|name| active.upper(name.to_str()?))
    else {
        return true;
    };
    let Ok(found) = fs::symlink_metadata(&upper) else {
        return false;
    };
    let expected = operation.size_after(target.size());
    let has_data =
        expected == 0 || found.blocks() > 0 || (operation.leaves_data() && is_metacopy(&upper));
    found.len() == expected && has_data
}

/// Whether only the attributes of a file were copied up (overlayfs.rst, "Metadata only copy up").
fn is_metacopy(upper: &Path) -> bool {
    matches!(
        cowlab_sys::xattr::get(upper, "trusted.overlay.metacopy"),
        Ok(Some(_))
    )
}

fn reading(
    point: &Point,
    arm: Arm,
    elapsed: Option<Duration>,
    (cache, warning): (CacheState, Option<Warning>),
) -> Reading {
    Reading {
        parameters: point.parameters.clone(),
        arm,
        unit: Unit::Ns,
        value: elapsed.map(crate::sampler::nanoseconds),
        cache,
        warning: if elapsed.is_none() {
            Some(Warning::CopyUpNotSeen)
        } else {
            warning
        },
    }
}

fn name(size: u64) -> String {
    format!("file-{size}")
}

/// Writes a file that neither compresses nor repeats, mode 0600, over what was there.
pub(crate) fn write_file(path: &Path, size: u64, seed: u64) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let mut random = Random::stream(seed, &[&name(size)]);
        let mut buffer = vec![0; 1 << 20];
        let mut left = size;
        while left > 0 {
            random.fill(&mut buffer);
            let length = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            file.write_all(&buffer[..length])?;
            left -= u64::try_from(length).map_err(std::io::Error::other)?;
        }
        Ok(())
    };
    write().with_context(|| format!("failed to write `{}`", path.display()))
}
