//! Readings become series: raw samples by restart block, with the warnings a reader of them needs.

use std::collections::{BTreeMap, BTreeSet};

use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, CacheState, Device, Parameters, Place, Series, Unit, Warning};
use cowlab_reports::statistics::{median, outliers, sorted};

use crate::workload::{COUNTED, MetricKind, Reading, Workload};

/// Samples below which a series says that it has few: with them its interval is little more than the span of what was
/// seen, with fewer there may be none.
const FEW_SAMPLES: usize = 6;

/// Samples below which outliers and drift cannot be told from the ordinary.
const ENOUGH_TO_JUDGE: usize = 10;

/// Nanoseconds below which a median is close to the clock's resolution.
const RESOLUTION: f64 = 1000.0;

/// The share of outliers, one in so many, above which something else used the machine.
const OUTLIERS: usize = 8;

/// The factor between the medians of two restart blocks above which the run drifted.
const DRIFT: f64 = 2.0;

/// What one series is told apart by while it is collected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    subject: usize,
    parameters: Parameters,
    arm: Arm,
    unit: Unit,
}

#[derive(Debug, Default)]
struct Samples {
    blocks: Vec<Vec<f64>>,
    cache: Option<CacheState>,
    warnings: BTreeSet<Warning>,
}

/// The samples of one workload on one medium.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    samples: BTreeMap<Key, Samples>,
}

impl Collector {
    /// Adds a reading of a subject, taken in a restart block.
    pub(crate) fn add(&mut self, subject: usize, block: usize, reading: &Reading) {
        let key = Key {
            subject,
            parameters: reading.parameters.clone(),
            arm: reading.arm,
            unit: reading.unit,
        };
        let samples = self.samples.entry(key).or_default();
        samples.warnings.extend(reading.warning);
        let Some(value) = reading.value else {
            return;
        };
        samples.cache = Some(weaker(samples.cache, reading.cache));
        if samples.blocks.len() <= block {
            samples.blocks.resize_with(block + 1, Vec::new);
        }
        samples.blocks[block].push(value);
    }

    /// Turns what was collected into series, without those of which no sample counts.
    pub(crate) fn series(
        self,
        workload: &Workload,
        subjects: &[Subject],
        circumstances: &Circumstances,
    ) -> Vec<Series> {
        let mut series = Vec::new();
        for (key, samples) in self.samples {
            let Samples {
                mut blocks,
                cache,
                mut warnings,
            } = samples;
            // A block in which nothing counted says nothing about restarts.
            blocks.retain(|block| !block.is_empty());
            let Some(subject) = subjects.get(key.subject) else {
                continue;
            };
            if blocks.is_empty() {
                continue;
            }
            warnings.extend(judge(workload.metric_kind, key.unit, &blocks));
            warnings.extend(circumstances.warnings.iter().copied());
            warnings.extend(circumstances.crowding(workload.metric_kind, key.subject));
            let device = circumstances.device(key.subject);
            if key.unit != Unit::Instructions {
                warnings.extend(device_warnings(workload.metric_kind, &device));
            }
            series.push(Series {
                workload: workload.id.to_owned(),
                question: workload.question.to_owned(),
                column: subject.column(),
                arm: key.arm,
                parameters: key.parameters,
                unit: key.unit,
                blocks,
                counted: None,
                cache: cache.unwrap_or(CacheState::Irrelevant),
                warnings: warnings.into_iter().collect(),
                device,
                repeat: circumstances.repeat(workload, subject),
            });
        }
        series
    }
}

/// What all series of a run share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circumstances {
    /// The device below each subject.
    pub devices: BTreeMap<usize, Device>,
    /// Subjects whose file system became nearly full.
    pub(crate) crowded: BTreeSet<usize>,
    /// What holds for the whole run.
    pub warnings: Vec<Warning>,
    /// Seed of the run.
    pub seed: u64,
    /// Flags of the effort, such as ` --quick`; empty for a full run.
    pub effort: &'static str,
}

impl Circumstances {
    fn device(&self, subject: usize) -> Device {
        self.devices.get(&subject).cloned().unwrap_or_default()
    }

    /// A full file system allocates more slowly; what it allocates is the same.
    fn crowding(&self, metric_kind: MetricKind, subject: usize) -> Option<Warning> {
        (metric_kind != MetricKind::Space && self.crowded.contains(&subject))
            .then_some(Warning::NearlyFull)
    }

    /// The command that repeats a series.
    fn repeat(&self, workload: &Workload, subject: &Subject) -> String {
        let column = subject.column();
        let what = format!(
            "cargo xtask bench run {} --driver {} --variant {} --backing {}",
            workload.id, column.driver, column.variant, column.backing
        );
        if self.effort == COUNTED {
            return what + COUNTED;
        }
        let place = match column.place {
            Place::Host => "",
            Place::Guest => " --where guest",
        };
        format!(
            "{what} --media {} --seed {}{}{place}",
            column.media, self.seed, self.effort
        )
    }
}

/// Of two cache states the one that promises less.
fn weaker(before: Option<CacheState>, now: CacheState) -> CacheState {
    match (before, now) {
        (Some(CacheState::ColdUnverified), _) | (_, CacheState::ColdUnverified) => {
            CacheState::ColdUnverified
        }
        (_, now) => now,
    }
}

/// What the samples themselves warn of.
fn judge(metric_kind: MetricKind, unit: Unit, blocks: &[Vec<f64>]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let samples = sorted(blocks.iter().flatten().copied());
    if metric_kind == MetricKind::Space || unit == Unit::Instructions {
        return warnings;
    }
    if unit == Unit::Ns && median(&samples).is_some_and(|median| median < RESOLUTION) {
        warnings.push(Warning::TimerResolution);
    }
    if samples.len() < FEW_SAMPLES {
        warnings.push(Warning::FewSamples);
    }
    if samples.len() < ENOUGH_TO_JUDGE {
        return warnings;
    }
    if outliers(&samples).total() * OUTLIERS > samples.len() {
        warnings.push(Warning::Outliers);
    }
    let medians = sorted(
        blocks
            .iter()
            .filter_map(|block| median(&sorted(block.iter().copied()))),
    );
    if let (Some(least), Some(most)) = (medians.first(), medians.last())
        && *most > DRIFT * least
    {
        warnings.push(Warning::Drift);
    }
    warnings
}

/// What the device below warns of: it changes times, not sizes.
fn device_warnings(metric_kind: MetricKind, device: &Device) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if metric_kind == MetricKind::Space {
        return warnings;
    }
    if device.loop_direct_io == Some(false) {
        warnings.push(Warning::BufferedLoop);
    }
    if device.preallocated == Some(false) {
        warnings.push(Warning::SparseBacking);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use cowlab_testbed::Media;

    use super::*;
    use crate::workload::Effort;

    fn block(values: &[u32]) -> Vec<f64> {
        values.iter().copied().map(f64::from).collect()
    }

    #[test]
    fn few_samples_are_said_to_be_few() {
        let blocks = [block(&[5000, 5000]), block(&[5000])];
        assert_eq!(
            judge(MetricKind::Time, Unit::Ns, &blocks),
            [Warning::FewSamples]
        );
        assert!(judge(MetricKind::Space, Unit::Bytes, &blocks).is_empty());
    }

    #[test]
    fn medians_close_to_the_clock_are_marked() {
        let blocks = [block(&[90; 6]), block(&[110; 6])];
        assert_eq!(
            judge(MetricKind::Time, Unit::Ns, &blocks),
            [Warning::TimerResolution]
        );
    }

    #[test]
    fn blocks_that_drift_apart_are_marked() {
        let blocks = [block(&[5000; 6]), block(&[15_000; 6])];
        assert_eq!(judge(MetricKind::Time, Unit::Ns, &blocks), [Warning::Drift]);
    }

    #[test]
    fn a_series_names_the_command_that_repeats_it() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            run: crate::args::RunArgs,
        }
        let workload = crate::workloads::all()[0];
        let wanted = cowlab_engine::subject::Choice::default();
        let circumstances = Circumstances {
            effort: " --quick",
            seed: 7,
            ..Circumstances::default()
        };
        for subject in crate::subject::measured(&wanted, Effort::Full, Media::Disk) {
            let line = circumstances.repeat(workload, &subject);
            let words = line
                .strip_prefix("cargo xtask bench run")
                .unwrap()
                .split(' ');
            let parsed = <Line as clap::Parser>::try_parse_from(words).unwrap().run;
            assert_eq!(parsed.ids, [workload.id]);
            assert_eq!(parsed.variant, [subject.variant.name]);
            assert_eq!(parsed.backing, [subject.backing]);
            assert_eq!((parsed.seed, parsed.quick), (Some(7), true));
        }
    }

    #[test]
    fn a_cache_state_is_as_good_as_its_worst_sample() {
        let verified = weaker(None, CacheState::ColdVerified);
        assert_eq!(verified, CacheState::ColdVerified);
        let worst = weaker(Some(CacheState::ColdUnverified), CacheState::ColdVerified);
        assert_eq!(worst, CacheState::ColdUnverified);
    }
}
