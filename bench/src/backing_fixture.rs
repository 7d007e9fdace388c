//! A mounted backing file system with the rigs that take turns on it.

use std::path::PathBuf;

use anyhow::Context;
use cowlab_driver::Settings;
use cowlab_reports::result::Device;
use cowlab_sys::Guard;
use cowlab_testbed::{Backing, BackingFs, BackingOptions, Run};

use crate::plan::{Leg, Plan};
use crate::workload::{Nature, Point, Reading, Rig, Role, Site};

/// Whose readings a rig gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A subject's, by its number in the leg.
    Subject(usize),
    /// The plain file system's: a floor of every subject on it.
    Floor,
}

/// A backing file system and what works on it.
#[derive(Debug)]
pub(crate) struct Stand {
    // Before the file system that they work on, so that they are dropped first.
    seats: Vec<Option<(Who, Box<dyn Rig>)>>,
    fs: BackingFs,
    nature: Nature,
}

impl Stand {
    /// Makes a backing file system and a rig for every subject on it. Rigs that could not be made go to `refused`.
    ///
    /// # Errors
    ///
    /// What the testbed could not do.
    pub(crate) fn make(
        run: &Run,
        plan: &Plan,
        leg: &Leg,
        backing: Backing,
        refused: &mut Vec<(usize, anyhow::Error)>,
    ) -> anyhow::Result<Self> {
        let nature = leg.workload.nature;
        let options = BackingOptions {
            bytes: leg.bytes(backing, plan.image_bytes).0,
            media: leg.media,
            preallocate: nature != Nature::Space,
            ..BackingOptions::default()
        };
        let fs = run.backing(backing, &options)?;
        let mut stand = Self {
            seats: Vec::new(),
            fs,
            nature,
        };
        for (index, subject) in leg.subjects.iter().enumerate() {
            if subject.backing != backing {
                continue;
            }
            let site = stand.site(plan, &subject.name(), run.scratch("target")?);
            let site = Site {
                settings: stand.fs.places().fresh()?,
                ..site
            };
            match (leg.workload.rig)(&site, subject, &leg.points) {
                Ok(rig) => stand.seats.push(Some((Who::Subject(index), rig))),
                Err(error) => refused.push((index, error)),
            }
        }
        if let (Some(floor), false) = (leg.workload.floor, stand.seats.is_empty()) {
            let site = stand.site(plan, "plain", run.scratch("target")?);
            let rig = floor(&site, &leg.points).context("failed to make the plain floor")?;
            stand.seats.push(Some((Who::Floor, rig)));
        }
        Ok(stand)
    }

    fn site(&self, plan: &Plan, name: &str, target: PathBuf) -> Site {
        Site {
            settings: Settings::new(),
            dir: self.fs.mount_point().join(name),
            backing: self.fs.mount_point().to_owned(),
            target,
            seed: plan.seed,
            chance: plan.chance,
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
        let again = self.nature != Nature::Space && self.fs.backing() != Backing::Tmpfs;
        if !again {
            return Ok(None);
        }
        for (_, rig) in self.seats.iter_mut().flatten() {
            rig.suspend()?;
        }
        let note = match self.fs.remount() {
            Err(error @ cowlab_testbed::Error::NotCold { .. }) => Some(error.to_string()),
            remounted => {
                remounted?;
                None
            }
        };
        for (_, rig) in self.seats.iter_mut().flatten() {
            rig.resume()?;
        }
        Ok(note)
    }

    /// The rigs that still work, by seat.
    pub(crate) fn seats(&self) -> impl Iterator<Item = (usize, Who)> + '_ {
        self.seats
            .iter()
            .enumerate()
            .filter_map(|(index, seat)| Some((index, seat.as_ref()?.0)))
    }

    /// The subjects that still work.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = usize> + '_ {
        self.seats().filter_map(|(_, who)| match who {
            Who::Subject(subject) => Some(subject),
            Who::Floor => None,
        })
    }

    /// Takes a sample; nothing where the rig was removed.
    pub(crate) fn take(
        &mut self,
        seat: usize,
        point: &Point,
        role: Role,
    ) -> Option<(Who, anyhow::Result<Vec<Reading>>)> {
        let (who, rig) = self.seats.get_mut(seat)?.as_mut()?;
        Some((*who, rig.take(point, role)))
    }

    /// Takes a rig that failed out of the run.
    pub(crate) fn remove(&mut self, seat: usize) {
        if let Some(seat) = self.seats.get_mut(seat) {
            *seat = None;
        }
    }

    /// What the results say about the file system and its device.
    ///
    /// # Errors
    ///
    /// What cannot be read.
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
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub(crate) fn is_nearly_full(&self) -> anyhow::Result<bool> {
        let found = cowlab_sys::stat::statfs(self.fs.mount_point())?;
        Ok(found.free < found.blocks / 5)
    }

    /// Takes everything down.
    ///
    /// # Errors
    ///
    /// What is left behind.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.seats.clear();
        Ok(self.fs.close()?)
    }
}
