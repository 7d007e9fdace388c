//! One backing file system of one workload without a plan around it, sample by sample: what criterion drives.
//!
//! There are no restart blocks and no interleaving here. It is the same runner and the same clock as in a run, for a quick
//! look at one series; what is to be compared comes from a run.

use std::time::Duration;

use anyhow::Context;
use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, Parameters, Unit};
use cowlab_testbed::{Backing, Run};

use crate::backing_fixture::{ArmOwner, BackingFixture};
use crate::plan::{Batch, Plan};
use crate::workload::{Point, Role};

/// A mounted backing file system with the runners of every subject on it.
#[derive(Debug)]
pub struct Single {
    // Before the run that they belong to, so that they are dropped first.
    fixture: BackingFixture,
    run: Run,
    refused: Vec<(usize, anyhow::Error)>,
}

impl Single {
    /// Makes the file system and the runners of a batch of a plan.
    pub fn make(plan: &Plan, batch: &Batch, backing: Backing) -> anyhow::Result<Self> {
        let run = Run::start(plan.dir.clone())?;
        let mut refused = Vec::new();
        let fixture = BackingFixture::make(&run, plan, batch, backing, &mut refused)?;
        Ok(Self {
            fixture,
            run,
            refused,
        })
    }

    /// Takes one sample of a subject of the batch at a point and returns the driver's time, where a sample gives several
    /// the one at `parameters`.
    ///
    /// # Errors
    ///
    /// What the subject lacks here, what failed, and a change that was timed and could not be seen.
    pub fn sample(
        &mut self,
        subject: usize,
        point: &Point,
        parameters: &Parameters,
    ) -> anyhow::Result<Duration> {
        if let Some((_, error)) = self.refused.iter().find(|(index, _)| *index == subject) {
            anyhow::bail!("{error:#}");
        }
        let runner = self
            .fixture
            .runners()
            .find(|(_, owner)| *owner == ArmOwner::Subject(subject))
            .map(|(runner, _)| runner)
            .context("the subject is on another file system")?;
        let (_, taken) = self
            .fixture
            .take(runner, point, Role::Measure)
            .context("the arm is gone")?;
        let value = taken?
            .into_iter()
            .find(|reading| {
                reading.arm == Arm::Driver
                    && reading.unit == Unit::Ns
                    && reading.parameters == *parameters
            })
            .and_then(|reading| reading.value)
            .context("what was timed was not seen to happen")?;
        Ok(Duration::from_secs_f64(value / 1e9))
    }

    /// Takes everything down.
    pub fn close(self) -> anyhow::Result<()> {
        self.fixture.close()?;
        Ok(self.run.close()?)
    }
}

/// The parameters of every number that a sample at a point gives.
#[must_use]
pub fn numbers(batch: &Batch, point: &Point) -> Vec<Parameters> {
    if batch.workload.parts.is_empty() {
        return vec![point.parameters.clone()];
    }
    let with = |part: &&str| {
        let mut parameters = point.parameters.clone();
        parameters.insert(cowlab_reports::result::names::OP.to_owned(), (*part).into());
        parameters
    };
    batch.workload.parts.iter().map(with).collect()
}

/// The name of a series on the command line: backing, driver with its variant, and what was varied.
#[must_use]
pub fn name(subject: &Subject, parameters: &Parameters) -> String {
    let column = subject.column();
    let values: Vec<String> = parameters.values().map(ToString::to_string).collect();
    format!(
        "{}/{}/{}",
        column.backing,
        column.driver_name(),
        values.join("/")
    )
}
