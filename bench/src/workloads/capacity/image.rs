//! Workload `capacity/image`: what the layers of an image allocate, against the same tree flat.

use std::path::PathBuf;

use anyhow::Context;
use cowlab_driver::{Allocation, Bytes};
use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, Unit, names};

use super::{Mark, counted_by_store, readings};
use crate::image;
use crate::store_fixture::StoreFixture;
use crate::workload::{
    ArmRunner, Footprint, MetricKind, Point, Reading, Role, Workload, Workspace,
};

/// The workload.
pub(crate) const IMAGE: Workload = Workload {
    id: names::CAPACITY_IMAGE,
    question: "How many bytes and inodes do the layers of an image allocate, against one flat copy of its tree?",
    requires: &[],
    phases: &[
        "settle",
        "commit every layer",
        "SETTLE",
        "measure the tree of the top layer",
        "remove",
    ],
    arms: &[Arm::Driver],
    units: &[Unit::Bytes, Unit::Inodes],
    parts: &[],
    metric_kind: MetricKind::Space,
    applies: super::usual_variants,
    points: |_, _| vec![Point::new(1, false, &[])],
    // A driver that copies whole snapshots copies the image for every layer; images of more than twelve are rare.
    footprint: |_, image| Footprint {
        kept: Bytes::default(),
        working: Bytes(image.0 * 12),
    },
    snapshots_created: |_, sample| if sample.is_some() { 66 } else { 0 },
    runner: |workspace, subject, _| Ok(Box::new(StoreRunner::new(workspace, subject)?)),
    floor: None,
};

#[derive(Debug)]
struct StoreRunner {
    fixture: StoreFixture,
    backing: PathBuf,
    archives: Vec<PathBuf>,
    seed: u64,
    times: u64,
}

impl StoreRunner {
    fn new(workspace: &Workspace, subject: &Subject) -> anyhow::Result<Self> {
        Ok(Self {
            fixture: StoreFixture::open(workspace, subject)?,
            backing: workspace.backing().to_owned(),
            archives: workspace.image.clone(),
            seed: workspace.seed,
            times: 0,
        })
    }

    /// What the tree of a committed snapshot allocates as one plain directory: every inode once, by `st_blocks`.
    fn flat(&self, top: &str) -> anyhow::Result<Allocation> {
        let store = self.fixture.store()?;
        let key = format!("{top}-view");
        store.view(&key, top)?;
        let flat = self
            .fixture
            .mounted(&key, |dir| Ok(cowlab_driver::tree::allocation(dir)?));
        store.remove(&key)?;
        flat
    }
}

impl ArmRunner for StoreRunner {
    fn take(&mut self, point: &Point, _: Role) -> anyhow::Result<Vec<Reading>> {
        self.times += 1;
        let prefix = format!("image-{}", self.times);
        let store = self.fixture.store()?;
        let before = Mark::now(&self.backing, || counted_by_store(store))?;
        let layers = image::commit(&self.fixture, &prefix, &self.archives, self.seed)?;
        let after = Mark::now(&self.backing, || counted_by_store(store))?;
        let flat = self.flat(layers.last().context("the image has no layer")?)?;
        for layer in layers.iter().rev() {
            store.remove(layer)?;
        }
        let mut parameters = point.parameters.clone();
        let count = u64::try_from(layers.len())?;
        parameters.insert(names::LAYERS.to_owned(), count.into());
        let mut readings = readings(&parameters, Arm::Driver, before, after);
        for reading in &mut readings {
            let flat = match reading.unit {
                Unit::Inodes => flat.inodes,
                _ => flat.bytes.0,
            };
            reading
                .parameters
                .insert(names::FLAT.to_owned(), flat.into());
        }
        Ok(readings)
    }

    fn suspend(&mut self) -> anyhow::Result<()> {
        self.fixture.suspend();
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.fixture.resume()
    }
}
