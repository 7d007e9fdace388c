//! A mounted backing file system with the arms that take turns on it.

use std::path::PathBuf;

use anyhow::Context;
use cowlab_driver::Settings;
use cowlab_reports::result::Device;
use cowlab_sys::Guard;
use cowlab_testbed::{Backing, BackingFs, BackingOptions, Run};

use crate::plan::{Batch, Plan};
use crate::workload::{ArmRunner, MetricKind, Point, Reading, Role, Workspace};

/// Whose readings a runner gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArmOwner {
    /// A subject's, by its number in the batch.
    Subject(usize),
    /// The plain file system's: a floor of every subject on it.
    Floor,
}

/// A backing file system and what works on it.
#[derive(Debug)]
pub(crate) struct BackingFixture {
    // Before the file system that they work on, so that they are dropped first.
    runners: Vec<Option<(ArmOwner, Box<dyn ArmRunner>)>>,
    fs: BackingFs,
    metric_kind: MetricKind,
}

impl BackingFixture {
    /// Makes a backing file system and a runner for every subject on it. Runners that could not be made go to `refused`.
    pub(crate) fn make(
        run: &Run,
        plan: &Plan,
        batch: &Batch,
        backing: Backing,
        refused: &mut Vec<(usize, anyhow::Error)>,
    ) -> anyhow::Result<Self> {
        let metric_kind = batch.workload.metric_kind;
        let options = BackingOptions {
            bytes: batch.bytes(backing, plan.image_bytes).0,
            media: batch.media,
            preallocate: metric_kind != MetricKind::Space,
            ..BackingOptions::default()
        };
        let fs = run.backing(backing, &options)?;
        let mut fixture = Self {
            runners: Vec::new(),
            fs,
            metric_kind,
        };
        for (index, subject) in batch.subjects.iter().enumerate() {
            if subject.backing != backing {
                continue;
            }
            let name = format!("{}-{}", subject.entry.name, subject.variant.name);
            let workspace = fixture.workspace(plan, &name, run.scratch("target")?);
            let workspace = Workspace {
                settings: fixture.fs.places().fresh()?,
                ..workspace
            };
            match (batch.workload.runner)(&workspace, subject, &batch.points) {
                Ok(runner) => fixture
                    .runners
                    .push(Some((ArmOwner::Subject(index), runner))),
                Err(error) => refused.push((index, error)),
            }
        }
        if let (Some(floor), false) = (batch.workload.floor, fixture.runners.is_empty()) {
            let workspace = fixture.workspace(plan, "plain", run.scratch("target")?);
            let runner =
                floor(&workspace, &batch.points).context("failed to make the plain floor")?;
            fixture.runners.push(Some((ArmOwner::Floor, runner)));
        }
        Ok(fixture)
    }

    fn workspace(&self, plan: &Plan, name: &str, target: PathBuf) -> Workspace {
        Workspace {
            settings: Settings::new(),
            dir: self.fs.mount_point().join(name),
            backing: self.fs.mount_point().to_owned(),
            target,
            seed: plan.seed,
            id_source: plan.id_source,
            image: plan.image.clone(),
        }
    }

    /// Begins a restart block: the file system is unmounted and mounted again, unless only sizes are looked at. Says
    /// what kept it from being cold.
    ///
    /// # Errors
    ///
    /// What still holds it, or could not be opened again.
    pub(crate) fn restart(&mut self) -> anyhow::Result<Option<String>> {
        let again = self.metric_kind != MetricKind::Space && self.fs.backing() != Backing::Tmpfs;
        if !again {
            return Ok(None);
        }
        for (_, runner) in self.runners.iter_mut().flatten() {
            runner.suspend()?;
        }
        let note = match self.fs.remount() {
            Err(error @ cowlab_testbed::Error::NotCold { .. }) => Some(error.to_string()),
            remounted => {
                remounted?;
                None
            }
        };
        for (_, runner) in self.runners.iter_mut().flatten() {
            runner.resume()?;
        }
        Ok(note)
    }

    /// The runners that still work, with their numbers.
    pub(crate) fn runners(&self) -> impl Iterator<Item = (usize, ArmOwner)> + '_ {
        self.runners
            .iter()
            .enumerate()
            .filter_map(|(number, runner)| Some((number, runner.as_ref()?.0)))
    }

    /// The subjects that still work.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = usize> + '_ {
        self.runners().filter_map(|(_, owner)| match owner {
            ArmOwner::Subject(subject) => Some(subject),
            ArmOwner::Floor => None,
        })
    }

    /// Takes a sample; nothing where the runner was removed.
    pub(crate) fn take(
        &mut self,
        number: usize,
        point: &Point,
        role: Role,
    ) -> Option<(ArmOwner, anyhow::Result<Vec<Reading>>)> {
        let (owner, runner) = self.runners.get_mut(number)?.as_mut()?;
        Some((*owner, runner.take(point, role)))
    }

    /// Takes a runner that failed out of the run.
    pub(crate) fn remove(&mut self, number: usize) {
        if let Some(runner) = self.runners.get_mut(number) {
            *runner = None;
        }
    }

    /// What the results say about the file system and its device.
    pub(crate) fn device(&self) -> anyhow::Result<Device> {
        let found = self.fs.description()?;
        Ok(Device {
            mkfs: found.mkfs,
            mount_options: found.mount_options,
            bytes: found.bytes,
            sector_size: found.sector_size,
            loop_direct_io: found.loop_direct_io,
            preallocated: found.preallocated,
            below: found.below,
        })
    }

    /// Whether the file system is so full that it allocates more slowly.
    pub(crate) fn is_nearly_full(&self) -> anyhow::Result<bool> {
        let found = cowlab_sys::stat::statfs(self.fs.mount_point())?;
        Ok(found.free < found.blocks / 5)
    }

    /// Takes everything down.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.runners.clear();
        Ok(self.fs.close()?)
    }
}
