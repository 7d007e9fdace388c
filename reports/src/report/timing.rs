//! Latencies: the driver, its two floors, and its excess over each.

use serde::Serialize;

use crate::measurements::{Measurement, Measurements};
use crate::result::{Arm, Media, Parameter, Place, Series, SeriesId, Unit, names};
use crate::statistics::Estimate;

/// One measurement of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimingRow {
    /// Workload id.
    pub workload: String,
    /// All parameters but the one on the x axis, such as `chmod`.
    pub case: String,
    /// Name of the parameter on the x axis; empty where there is none.
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
    /// State of the page cache.
    pub cache: &'static str,
    /// Number of samples.
    pub samples: usize,
    /// Number of restart blocks.
    pub blocks: usize,
    /// Median in nanoseconds.
    pub median: f64,
    /// Lower end of its 95 percent interval.
    pub low: Option<f64>,
    /// Upper end of its 95 percent interval.
    pub high: Option<f64>,
    /// 95th percentile in nanoseconds.
    pub p95: f64,
    /// Smallest sample in nanoseconds.
    pub min: f64,
    /// Largest sample in nanoseconds.
    pub max: f64,
    /// Samples beyond 1.5 times the interquartile range.
    pub outliers: usize,
    /// Median of the same operation on the plain backing.
    pub floor_plain: Option<f64>,
    /// Excess over it.
    pub excess_plain: Option<f64>,
    /// Lower end of its interval.
    pub excess_plain_low: Option<f64>,
    /// Upper end of its interval.
    pub excess_plain_high: Option<f64>,
    /// Median of the same operation on a file already copied up.
    pub floor_copied_up: Option<f64>,
    /// Excess over it.
    pub excess_copied_up: Option<f64>,
    /// Lower end of its interval.
    pub excess_copied_up_low: Option<f64>,
    /// Upper end of its interval.
    pub excess_copied_up_high: Option<f64>,
    /// Factor below which a difference is noise.
    pub noise: f64,
    /// Warnings, separated by spaces.
    pub warnings: String,
    /// Command that repeats it.
    pub repeat: String,
}

/// How far identical arms of a workload differed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NoiseRow {
    /// Workload id.
    pub workload: String,
    /// Unit of the samples.
    pub unit: Unit,
    /// What the backing file system lies on.
    pub media: Media,
    /// The machine.
    pub place: Place,
    /// Number of A/A controls.
    pub controls: usize,
    /// Factor below which a difference is noise.
    pub factor: f64,
}

pub(super) fn noise(measurements: &Measurements<'_>) -> Vec<NoiseRow> {
    measurements
        .noise()
        .map(|(key, floor)| NoiseRow {
            workload: key.workload.clone(),
            unit: key.unit,
            media: key.media,
            place: key.place,
            controls: floor.controls,
            factor: floor.factor,
        })
        .collect()
}

/// The parameter that belongs on an x axis: the first of these that is a number.
const AXES: [&str; 3] = [names::SIZE, names::DEPTH, names::CONTAINERS];

pub(super) fn timings(measurements: &Measurements<'_>) -> Vec<TimingRow> {
    let mut rows: Vec<TimingRow> = measurements
        .drivers()
        .filter(|(id, _)| id.unit == Unit::Ns)
        .filter_map(|(id, measurement)| timing(measurements, id, measurement))
        .collect();
    rows.sort_by(|a, b| {
        let key = |row: &TimingRow| {
            (
                row.place,
                row.workload.clone(),
                row.media,
                row.case.clone(),
                row.at,
                row.column(),
            )
        };
        key(a).cmp(&key(b))
    });
    rows
}

fn timing(
    measurements: &Measurements<'_>,
    id: &SeriesId,
    measurement: &Measurement<'_>,
) -> Option<TimingRow> {
    let (series, summary) = (measurement.series, measurement.summary?);
    let axis = axis(series);
    let floor = |arm| {
        let floor = measurements.floor(id, arm)?.summary?;
        Some(floor.median.value)
    };
    let plain = measurements.excess(id, Arm::FloorPlain);
    let copied_up = measurements.excess(id, Arm::FloorCopiedUp);
    let low = |estimate: Option<Estimate>| Some(estimate?.interval?.low);
    let high = |estimate: Option<Estimate>| Some(estimate?.interval?.high);
    let value = |estimate: Option<Estimate>| Some(estimate?.value);
    let warnings: Vec<&str> = series
        .warnings
        .iter()
        .map(|warning| warning.name())
        .collect();
    Some(TimingRow {
        workload: id.workload.clone(),
        case: case(id, axis),
        axis: axis.unwrap_or_default().to_owned(),
        at: axis.and_then(|axis| series.number(axis)),
        driver: id.column.driver.clone(),
        variant: id.column.variant.clone(),
        backing: id.column.backing.clone(),
        media: id.column.media,
        place: id.column.place,
        cache: series.cache.name(),
        samples: summary.samples,
        blocks: summary.blocks,
        median: summary.median.value,
        low: low(Some(summary.median)),
        high: high(Some(summary.median)),
        p95: summary.p95,
        min: summary.min,
        max: summary.max,
        outliers: summary.outliers.total(),
        floor_plain: floor(Arm::FloorPlain),
        excess_plain: value(plain),
        excess_plain_low: low(plain),
        excess_plain_high: high(plain),
        floor_copied_up: floor(Arm::FloorCopiedUp),
        excess_copied_up: value(copied_up),
        excess_copied_up_low: low(copied_up),
        excess_copied_up_high: high(copied_up),
        noise: measurements.noise_of(id).factor,
        warnings: warnings.join(" "),
        repeat: series.repeat.clone(),
    })
}

/// The parameter of a series that belongs on an x axis.
pub(super) fn axis(series: &Series) -> Option<&'static str> {
    AXES.into_iter().find(|axis| series.number(axis).is_some())
}

/// Every parameter but the axis: names by themselves, numbers with what they are.
pub(super) fn case(id: &SeriesId, axis: Option<&str>) -> String {
    let parts: Vec<String> = id
        .parameters
        .iter()
        .filter(|(name, _)| Some(name.as_str()) != axis)
        .map(|(name, value)| match value {
            Parameter::Text(text) => text.clone(),
            Parameter::Number(number) => format!("{name} {number}"),
        })
        .collect();
    parts.join(", ")
}
