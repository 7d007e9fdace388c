//! Workload `capacity/containers`: what idle containers of one image allocate.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use cowlab_driver::Bytes;
use cowlab_reports::result::{Arm, Unit, names};
use cowlab_snapshots::{Mounted, PrepareOptions};
use cowlab_sys::Guard;

use super::{Mark, counted_by_store, readings};
use crate::image;
use crate::plan::OWN_IMAGE;
use crate::storehouse::Storehouse;
use crate::subject::Subject;
use crate::workload::{Effort, Footprint, Nature, Point, Reading, Rig, Role, Site, Workload};

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
    nature: Nature::Space,
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
    lives: |_, sample| {
        33 + sample.map_or(0, |point| {
            u32::try_from(6 * point.number(names::CONTAINERS)).unwrap_or(u32::MAX)
        })
    },
    rig: |site, subject, _| Ok(Box::new(StoreRig::new(site, subject)?)),
    floor: None,
};

#[derive(Debug)]
struct StoreRig {
    house: Storehouse,
    backing: PathBuf,
    image: String,
}

impl StoreRig {
    fn new(site: &Site, subject: &Subject) -> anyhow::Result<Self> {
        let house = Storehouse::open(site, subject)?;
        let layers = image::commit(&house, "layer", &[], site.seed)?;
        Ok(Self {
            house,
            backing: site.backing().to_owned(),
            image: layers.last().cloned().context("the image has no layer")?,
        })
    }

    fn start(&self, keys: &[String]) -> anyhow::Result<Vec<Mounted>> {
        let store = self.house.store()?;
        let mut mounted = Vec::new();
        for key in keys {
            store.prepare(key, Some(&self.image), &PrepareOptions::default())?;
            let target = self.house.target().join(key);
            fs::create_dir_all(&target)
                .with_context(|| format!("failed to make `{}`", target.display()))?;
            mounted.push(store.mount(key, &target)?);
        }
        Ok(mounted)
    }
}

impl Rig for StoreRig {
    fn take(&mut self, point: &Point, _: Role) -> anyhow::Result<Vec<Reading>> {
        let keys: Vec<String> = (0..point.number(names::CONTAINERS))
            .map(|number| format!("container-{number}"))
            .collect();
        let store = self.house.store()?;
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
        self.house.suspend();
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.house.resume()
    }
}
