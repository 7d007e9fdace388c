//! Space: bytes and inodes that were allocated.

use serde::Serialize;

use crate::measurements::Measurements;
use crate::result::{Media, Place, Unit, names};

/// Space taken by one thing in one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CapacityRow {
    /// Workload id.
    pub workload: String,
    /// All parameters that have no field of their own, such as `op=append`.
    pub case: String,
    /// Size of the file that was changed, in bytes.
    pub size: Option<u64>,
    /// Bytes changed.
    pub change: Option<u64>,
    /// Number of containers.
    pub containers: Option<u64>,
    /// Number of layers of the image.
    pub layers: Option<u64>,
    /// The same tree in a plain directory on the same backing, in the unit of this row.
    pub flat: Option<u64>,
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
    /// Bytes or inodes.
    pub unit: Unit,
    /// Number of samples.
    pub samples: usize,
    /// Median.
    pub median: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// Median by bytes changed, or by the flat tree, or by containers; none where there is nothing to divide by.
    pub overhead: Option<f64>,
    /// Command that repeats it.
    pub repeat: String,
}

/// Parameters that have a field.
const FIELDS: [&str; 5] = [
    names::SIZE,
    names::CHANGE,
    names::CONTAINERS,
    names::LAYERS,
    names::FLAT,
];

pub(super) fn capacity(measurements: &Measurements<'_>) -> Vec<CapacityRow> {
    let mut rows: Vec<CapacityRow> = measurements
        .drivers()
        .filter(|(id, _)| matches!(id.unit, Unit::Bytes | Unit::Inodes | Unit::Ratio))
        .filter_map(|(id, measurement)| {
            let (series, summary) = (measurement.series, measurement.summary?);
            let number = |name| series.number(name);
            let others: Vec<String> = id
                .parameters
                .iter()
                .filter(|(name, _)| !FIELDS.contains(&name.as_str()))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            // Inodes per byte changed would mean nothing; per container or per flat tree they do.
            let divisor = number(names::CHANGE)
                .filter(|_| id.unit == Unit::Bytes)
                .or(number(names::FLAT))
                .or(number(names::CONTAINERS))
                .filter(|divisor| *divisor > 0);
            Some(CapacityRow {
                workload: id.workload.clone(),
                case: others.join(" "),
                size: number(names::SIZE),
                change: number(names::CHANGE),
                containers: number(names::CONTAINERS),
                layers: number(names::LAYERS),
                flat: number(names::FLAT),
                driver: id.column.driver.clone(),
                variant: id.column.variant.clone(),
                backing: id.column.backing.clone(),
                media: id.column.media,
                place: id.column.place,
                unit: id.unit,
                samples: summary.samples,
                median: summary.median.value,
                min: summary.min,
                max: summary.max,
                overhead: divisor.map(|divisor| summary.median.value / divisor as f64),
                repeat: series.repeat.clone(),
            })
        })
        .collect();
    rows.sort_by_key(|row| {
        (
            row.place,
            row.workload.clone(),
            row.media,
            row.unit,
            (row.change, row.size, row.containers, row.layers),
            row.case.clone(),
            row.column(),
        )
    });
    rows
}
