//! The series of a result set under their identities, with their summaries and the noise of each workload.

use std::collections::BTreeMap;

use crate::result::{Arm, Environment, Line, Media, Place, ResultSet, Series, SeriesId, Unit};
use crate::statistics::{
    Estimate, NoiseFloor, Pairing, Summary, describe, difference, noise_floor, ratio, summarize,
};

/// One series with its summary.
#[derive(Debug, Clone, Copy)]
pub struct Measurement<'a> {
    /// The raw series.
    pub series: &'a Series,
    /// The machine it was measured on, where the results introduce it.
    pub environment: Option<&'a Environment>,
    /// What the samples say; none where there are none. Only a driver's own median has an interval: floors and controls
    /// are judged by differences and ratios, which have intervals of their own.
    pub summary: Option<Summary>,
}

/// What shares one noise floor. Places and media are never mixed, and neither are units.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoiseKey {
    /// Workload id.
    pub workload: String,
    /// Unit of the samples.
    pub unit: Unit,
    /// What the backing file system lies on.
    pub media: Media,
    /// The machine.
    pub place: Place,
}

impl NoiseKey {
    /// The key of a series.
    #[must_use]
    pub fn of(id: &SeriesId) -> Self {
        Self {
            workload: id.workload.clone(),
            unit: id.unit,
            media: id.column.media,
            place: id.column.place,
        }
    }
}

/// All series of a result set.
#[derive(Debug, Clone, Default)]
pub struct Measurements<'a> {
    by_id: BTreeMap<SeriesId, Measurement<'a>>,
    noise: BTreeMap<NoiseKey, NoiseFloor>,
}

impl<'a> Measurements<'a> {
    /// Collects and summarizes every series. Where a series was measured more than once the last one counts.
    #[must_use]
    pub fn new(set: &'a ResultSet) -> Self {
        let environments: BTreeMap<&str, &Environment> = set.environments().into_iter().collect();
        let mut by_id = BTreeMap::new();
        for record in set.records() {
            if let Line::Series(series) = &record.line {
                let environment = environments.get(record.environment.id.as_str()).copied();
                by_id.insert(series.id(), (series, environment));
            }
        }
        let by_id = by_id
            .into_iter()
            .map(|(id, (series, environment))| {
                let measurement = Measurement {
                    series,
                    environment,
                    summary: match id.arm {
                        Arm::Driver => summarize(&series.blocks),
                        _ => describe(&series.blocks),
                    },
                };
                (id, measurement)
            })
            .collect();
        let mut measurements = Self {
            by_id,
            noise: BTreeMap::new(),
        };
        measurements.noise = measurements.floors();
        measurements
    }

    /// Every series under its identity, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&SeriesId, &Measurement<'a>)> {
        self.by_id.iter()
    }

    /// The series of the drivers themselves, without floors and controls.
    pub fn drivers(&self) -> impl Iterator<Item = (&SeriesId, &Measurement<'a>)> {
        self.iter().filter(|(id, _)| id.arm == Arm::Driver)
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// One series.
    #[must_use]
    pub fn get(&self, id: &SeriesId) -> Option<&Measurement<'a>> {
        self.by_id.get(id)
    }

    /// The median of a series.
    #[must_use]
    pub fn median(&self, id: &SeriesId) -> Option<Estimate> {
        self.get(id)?.summary.map(|summary| summary.median)
    }

    /// One of the floors of a driver's series. The plain floor belongs to the backing file system, so it may have been
    /// measured under another column with the same backing, media and place.
    #[must_use]
    pub fn floor(&self, id: &SeriesId, floor: Arm) -> Option<&Measurement<'a>> {
        let own = self.get(&id.with_arm(floor));
        if own.is_some() || floor != Arm::FloorPlain {
            return own;
        }
        self.iter()
            .find(|(other, _)| {
                other.arm == floor
                    && other.workload == id.workload
                    && other.parameters == id.parameters
                    && other.unit == id.unit
                    && other.column.backing == id.column.backing
                    && other.column.media == id.column.media
                    && other.column.place == id.column.place
            })
            .map(|(_, measurement)| measurement)
    }

    /// The excess of a driver's series over one of its floors, in the unit of the samples.
    #[must_use]
    pub fn excess(&self, id: &SeriesId, floor: Arm) -> Option<Estimate> {
        let floor = self.floor(id, floor)?;
        let driver = self.get(id)?;
        difference(&driver.series.blocks, &floor.series.blocks, Pairing::Paired)
    }

    /// The noise floors, by what shares them.
    pub fn noise(&self) -> impl Iterator<Item = (&NoiseKey, &NoiseFloor)> {
        self.noise.iter()
    }

    /// The noise floor that a series is judged by.
    #[must_use]
    pub fn noise_of(&self, id: &SeriesId) -> NoiseFloor {
        self.noise
            .get(&NoiseKey::of(id))
            .copied()
            .unwrap_or_else(|| noise_floor(&[]))
    }

    fn floors(&self) -> BTreeMap<NoiseKey, NoiseFloor> {
        let mut controls: BTreeMap<NoiseKey, Vec<Estimate>> = BTreeMap::new();
        for (id, measurement) in &self.by_id {
            if id.arm != Arm::Control {
                continue;
            }
            let control = &measurement.series.blocks;
            let estimate = self
                .get(&id.with_arm(Arm::Driver))
                .and_then(|driver| ratio(control, &driver.series.blocks, Pairing::Paired));
            controls
                .entry(NoiseKey::of(id))
                .or_default()
                .extend(estimate);
        }
        controls
            .into_iter()
            .map(|(key, ratios)| (key, noise_floor(&ratios)))
            .collect()
    }
}
