//! Instructions: what a deterministic guest counted.

use serde::Serialize;

use super::timing::{axis, case};
use crate::measurements::Measurements;
use crate::result::{Arm, Media, Place, SeriesId};

/// One counted series of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountRow {
    /// Workload id.
    pub workload: String,
    /// All parameters but the one below, such as `chmod`.
    pub case: String,
    /// Name of the parameter that is a number, such as `size`; empty where there is none.
    pub axis: String,
    /// Its value.
    pub at: Option<u64>,
    /// Driver name.
    pub driver: String,
    /// Named set of driver options.
    pub variant: String,
    /// Backing file system.
    pub backing: String,
    /// What the backing file system lies on.
    pub media: Media,
    /// The machine.
    pub place: Place,
    /// Number of seeds, each a boot of the guest.
    pub seeds: usize,
    /// Median over the seeds, in instructions.
    pub median: u64,
    /// Factor that lies between the seeds: no change below it is one.
    pub floor: f64,
    /// Median of the same operation on the plain backing.
    pub plain: Option<u64>,
    /// Median of the same operation on a file already copied up.
    pub copied_up: Option<u64>,
    /// Command that repeats it.
    pub repeat: String,
}

pub(super) fn counts(measurements: &Measurements<'_>) -> Vec<CountRow> {
    let mut rows: Vec<CountRow> = measurements
        .drivers()
        .filter_map(|(id, measurement)| {
            let series = measurement.series;
            let counted = series.counted.as_ref()?;
            let axis = axis(series);
            let floor = |arm| floor(measurements, id, arm);
            Some(CountRow {
                workload: id.workload.clone(),
                case: case(id, axis),
                axis: axis.unwrap_or_default().to_owned(),
                at: axis.and_then(|axis| series.number(axis)),
                driver: id.column.driver.clone(),
                variant: id.column.variant.clone(),
                backing: id.column.backing.clone(),
                media: id.column.media,
                place: id.column.place,
                seeds: counted.seeds.len(),
                median: counted.median,
                floor: counted.floor,
                plain: floor(Arm::FloorPlain),
                copied_up: floor(Arm::FloorCopiedUp),
                repeat: series.repeat.clone(),
            })
        })
        .collect();
    let key = |row: &CountRow| (row.workload.clone(), row.case.clone(), row.at, row.column());
    rows.sort_by_key(key);
    rows
}

fn floor(measurements: &Measurements<'_>, id: &SeriesId, arm: Arm) -> Option<u64> {
    let counted = measurements.floor(id, arm)?.series.counted.as_ref()?;
    Some(counted.median)
}
