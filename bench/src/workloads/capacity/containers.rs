//! Workload `capacity/containers`: what idle containers of one image allocate.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use cowlab_driver::Bytes;
use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, Unit, names};
use cowlab_snapshots::{Mounted, PrepareOptions};
use cowlab_sys::Guard;

use super::{Mark, counted_by_store, readings};
use crate::image;
use crate::plan::OWN_IMAGE;
use crate::store_fixture::StoreFixture;
use crate::workload::{
    ArmRunner, Effort, Footprint, MetricKind, Point, Reading, Role, Workload, Workspace,
};

/// Containers at a time: an idle one, and ten of one image.
const COUNTS: [u64; 2] = [1, 10];

/// The workload.
pub(crate) const CONTAINERS: Workload = Workload {
    id: names::CAPACITY_CONTAINERS,
    question: "How many bytes and inodes do idle containers of one image of 20 MiB allocate?",
    requires: &[],
    phases: &[
        "settle",
        "prepare and mount all",
        "SETTLE",
        "unmount and remove all",
    ],
    arms: &[Arm::Driver],
    units: &[Unit::Bytes, Unit::Inodes],
    parts: &[],
    metric_kind: MetricKind::Space,
    applies: super::usual_variants,
    points: |effort, _| {
        let counts = if effort == Effort::Smoke {
            &COUNTS[..1]
        } else {
            &COUNTS
        };
        counts
            .iter()
            .map(|count| Point::new(1, false, &[(names::CONTAINERS, (*count).into())]))
            .collect()
    },
    // A driver that copies whole snapshots copies the image for each of its eleven layers and for each container.
    footprint: |points, _| Footprint {
        kept: Bytes(OWN_IMAGE.0 * 11),
        working: points
            .iter()
            .map(|point| Bytes(OWN_IMAGE.0 * point.number(names::CONTAINERS)))
            .max()
            .unwrap_or_default(),
    },
    snapshots_created: |_, sample| {
        33 + sample.map_or(0, |point| {
            u32::try_from(6 * point.number(names::CONTAINERS)).unwrap_or(u32::MAX)
        })
    },
    runner: |workspace, subject, _| Ok(Box::new(StoreRunner::new(workspace, subject)?)),
    floor: None,
};

#[derive(Debug)]
struct StoreRunner {
    fixture: StoreFixture,
    backing: PathBuf,
    image: String,
}

impl StoreRunner {
    fn new(workspace: &Workspace, subject: &Subject) -> anyhow::Result<Self> {
        let fixture = StoreFixture::open(workspace, subject)?;
        let layers = image::commit(&fixture, "layer", &[], workspace.seed)?;
        Ok(Self {
            fixture,
            backing: workspace.backing().to_owned(),
            image: layers.last().cloned().context("the image has no layer")?,
        })
    }

    fn start(&self, keys: &[String]) -> anyhow::Result<Vec<Mounted>> {
        let store = self.fixture.store()?;
        let mut mounted = Vec::new();
        for key in keys {
            store.prepare(key, Some(&self.image), &PrepareOptions::default())?;
            let target = self.fixture.target().join(key);
            fs::create_dir_all(&target)
                .with_context(|| format!("failed to make `{}`", target.display()))?;
            mounted.push(store.mount(key, &target)?);
        }
        Ok(mounted)
    }
}

impl ArmRunner for StoreRunner {
    fn take(&mut self, point: &Point, _: Role) -> anyhow::Result<Vec<Reading>> {
        let keys: Vec<String> = (0..point.number(names::CONTAINERS))
            .map(|number| format!("container-{number}"))
            .collect();
        let store = self.fixture.store()?;
        let before = Mark::now(&self.backing, || counted_by_store(store))?;
        let mounted = self.start(&keys)?;
        let after = Mark::now(&self.backing, || counted_by_store(store));
        for mut container in mounted {
            container.close()?;
        }
        for key in &keys {
            store.remove(key)?;
        }
        Ok(readings(&point.parameters, Arm::Driver, before, after?))
    }

    fn suspend(&mut self) -> anyhow::Result<()> {
        self.fixture.suspend();
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.fixture.resume()
    }
}
