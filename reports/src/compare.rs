//! Two result sets side by side, series by series.
//!
//! A series is compared with its namesake alone ([`SeriesId`]). Where kernel, processor, device, mount options or cache
//! state differ, the comparison is refused with the differences: such a ratio would say something about the machines
//! and be read as if it said something about the drivers.
//!
//! Times are judged by their intervals and the A/A controls. Counted series (unit `instructions`) have neither: they are
//! the same in every run of one build, so a change is what lies beyond the spread over their seeds, and beyond 3 percent.

use std::fmt;

use serde::Serialize;

use crate::measurements::{Measurement, Measurements};
use crate::result::{Counted, Device, Environment, Place, ResultSet, SeriesId, Unit};
use crate::statistics::{
    Estimate, MINIMUM_CHANGE, NoiseFloor, Pairing, Relevance, ratio, relevance,
};

/// What happened to a series between two result sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change", content = "because")]
pub enum Change {
    /// Relevantly less of what is measured: faster, or smaller.
    Better,
    /// Relevantly more of what is measured: slower, or larger.
    Worse,
    /// Nothing beyond the noise.
    NoRelevantChange,
    /// Too few samples, or no A/A control.
    Unknown,
    /// Refused: what differs between the two.
    NotComparable(Vec<String>),
    /// Only in the first set.
    Gone,
    /// Only in the second set.
    New,
}

impl Change {
    /// The word for it in a unit.
    #[must_use]
    pub fn word(&self, unit: Unit) -> &'static str {
        match (self, unit) {
            (Self::Better, Unit::Ns) => "faster",
            (Self::Worse, Unit::Ns) => "slower",
            (Self::Better, Unit::Instructions) => "fewer instructions",
            (Self::Worse, Unit::Instructions) => "more instructions",
            (Self::Better, _) => "smaller",
            (Self::Worse, _) => "larger",
            (Self::NoRelevantChange, _) => "no relevant change",
            (Self::Unknown, _) => "unknown",
            (Self::NotComparable(_), _) => "not comparable",
            (Self::Gone, _) => "gone",
            (Self::New, _) => "new",
        }
    }
}

/// One series in two result sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The series.
    pub id: SeriesId,
    /// Median in the first set.
    pub before: Option<Estimate>,
    /// Median in the second set.
    pub after: Option<Estimate>,
    /// `after / before`; none where the two are not comparable.
    pub ratio: Option<Estimate>,
    /// The noise the ratio was judged by, the larger one of the two sets.
    pub noise: NoiseFloor,
    /// The verdict.
    pub change: Change,
}

impl fmt::Display for Compared {
    /// The series, the verdict and the ratio on one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.id, self.change.word(self.id.unit))?;
        if let Some(ratio) = self.ratio {
            write!(formatter, ", {:.3} times", ratio.value)?;
            if let Some(interval) = ratio.interval {
                write!(formatter, " [{:.3}, {:.3}]", interval.low, interval.high)?;
            }
            write!(formatter, ", noise {:.3}", self.noise.factor)?;
        }
        if let Change::NotComparable(reasons) = &self.change {
            write!(formatter, " ({})", reasons.join("; "))?;
        }
        Ok(())
    }
}

/// All series of two result sets, in the order of their identities.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// Every series that is in either set.
    pub series: Vec<Compared>,
}

impl Comparison {
    /// Whether there is a finding (exit code 1): anything that got relevantly worse, and of what was counted any relevant
    /// change. Fewer instructions without a reason are work that is no longer done.
    #[must_use]
    pub fn has_finding(&self) -> bool {
        self.series.iter().any(|compared| match compared.change {
            Change::Worse => true,
            Change::Better => compared.id.unit == Unit::Instructions,
            _ => false,
        })
    }

    /// Whether not one series could be judged (exit code 3).
    #[must_use]
    pub fn is_inconclusive(&self) -> bool {
        !self.series.iter().any(|compared| {
            matches!(
                compared.change,
                Change::Better | Change::Worse | Change::NoRelevantChange
            )
        })
    }

    /// Number of series with a verdict.
    #[must_use]
    pub fn count(&self, change: &Change) -> usize {
        self.series
            .iter()
            .filter(|compared| compared.change == *change)
            .count()
    }
}

/// Compares every series of two result sets, the first being the one from before.
#[must_use]
pub fn compare(before: &ResultSet, after: &ResultSet) -> Comparison {
    let (before, after) = (Measurements::new(before), Measurements::new(after));
    let mut ids: Vec<&SeriesId> = before
        .iter()
        .chain(after.iter())
        .map(|(id, _)| id)
        .collect();
    ids.sort();
    ids.dedup();
    // A series that moved to another place is one series, not one that is gone and one that is new.
    let only = |id: &SeriesId, one: &Measurements<'_>, other: &Measurements<'_>| {
        one.get(id).is_some() && other.get(id).is_none()
    };
    let moved =
        |from: &SeriesId, to: &SeriesId| only(from, &before, &after) && only(to, &after, &before);
    ids.retain(|id| !moved(&elsewhere(id), id));
    let series = ids
        .into_iter()
        .map(|id| {
            let (old, new) = (before.get(id), after.get(id));
            let twin = elsewhere(id);
            if moved(id, &twin) {
                return refused(id, old, &twin);
            }
            let noise = if id.unit == Unit::Instructions {
                spread(&[old, new])
            } else {
                louder(before.noise_of(id), after.noise_of(id))
            };
            compare_one(id, old, new, noise)
        })
        .collect();
    Comparison { series }
}

/// The same series in the other place.
fn elsewhere(id: &SeriesId) -> SeriesId {
    let mut id = id.clone();
    id.column.place = match id.column.place {
        Place::Host => Place::Guest,
        Place::Guest => Place::Host,
    };
    id
}

/// A series of one place against one of another.
fn refused(id: &SeriesId, before: Option<&Measurement<'_>>, after: &SeriesId) -> Compared {
    let reason = format!(
        "place differs: `{}` and `{}`",
        id.column.place, after.column.place
    );
    Compared {
        change: Change::NotComparable(vec![reason]),
        ..compare_one(id, before, None, spread(&[]))
    }
}

fn louder(first: NoiseFloor, second: NoiseFloor) -> NoiseFloor {
    NoiseFloor {
        factor: first.factor.max(second.factor),
        // Without a control in one of the two sets its noise is not known.
        controls: first.controls.min(second.controls),
    }
}

fn counted<'a>(measurement: Option<&Measurement<'a>>) -> Option<&'a Counted> {
    measurement?.series.counted.as_ref()
}

/// The floor of a counted series: what the seeds of either side make of the same work, at least the minimum.
fn spread(sides: &[Option<&Measurement<'_>>]) -> NoiseFloor {
    let floors = || sides.iter().copied().filter_map(counted);
    NoiseFloor {
        factor: floors().fold(MINIMUM_CHANGE, |factor, one| factor.max(one.floor)),
        controls: floors().map(|one| one.seeds.len()).min().unwrap_or(0),
    }
}

fn compare_one(
    id: &SeriesId,
    before: Option<&Measurement<'_>>,
    after: Option<&Measurement<'_>>,
    noise: NoiseFloor,
) -> Compared {
    let (ratio, change) = match (before, after) {
        (Some(before), Some(after)) => judge(id.unit, before, after, &noise),
        (Some(_), None) => (None, Change::Gone),
        _ => (None, Change::New),
    };
    let median = |measurement: Option<&Measurement<'_>>| {
        let over_seeds = counted(measurement).map(point);
        over_seeds.or_else(|| Some(measurement?.summary?.median))
    };
    Compared {
        id: id.clone(),
        before: median(before),
        after: median(after),
        ratio,
        noise,
        change,
    }
}

fn judge(
    unit: Unit,
    before: &Measurement<'_>,
    after: &Measurement<'_>,
    noise: &NoiseFloor,
) -> (Option<Estimate>, Change) {
    let reasons = differences(before, after);
    if !reasons.is_empty() {
        return (None, Change::NotComparable(reasons));
    }
    if unit == Unit::Instructions {
        return judge_counts(counted(Some(before)), counted(Some(after)), noise);
    }
    let Some(quotient) = ratio(
        &after.series.blocks,
        &before.series.blocks,
        Pairing::Independent,
    ) else {
        return (None, Change::Unknown);
    };
    // Space is counted, not timed: identical arms do not differ, so it needs no control.
    let counted = NoiseFloor {
        controls: noise.controls.max(usize::from(unit != Unit::Ns)),
        ..*noise
    };
    let change = match relevance(&quotient, &counted) {
        Relevance::Lower => Change::Better,
        Relevance::Higher => Change::Worse,
        Relevance::Noise => Change::NoRelevantChange,
        Relevance::Unknown => Change::Unknown,
    };
    (Some(quotient), change)
}

/// Counts are exact, so there is no interval: the ratio of the medians is beyond the floor or it is not.
fn judge_counts(
    before: Option<&Counted>,
    after: Option<&Counted>,
    noise: &NoiseFloor,
) -> (Option<Estimate>, Change) {
    let (Some(before), Some(after)) = (before, after) else {
        return (None, Change::Unknown);
    };
    if before.median == after.median {
        return (Some(exactly(1.0)), Change::NoRelevantChange);
    }
    if before.median == 0 {
        return (None, Change::Worse);
    }
    let quotient = after.median as f64 / before.median as f64;
    let change = if quotient > noise.factor {
        Change::Worse
    } else if quotient < 1.0 / noise.factor {
        Change::Better
    } else {
        Change::NoRelevantChange
    };
    (Some(exactly(quotient)), change)
}

fn point(counted: &Counted) -> Estimate {
    exactly(counted.median as f64)
}

const fn exactly(value: f64) -> Estimate {
    Estimate {
        value,
        interval: None,
    }
}

/// What keeps two series from being compared, one phrase each.
fn differences(before: &Measurement<'_>, after: &Measurement<'_>) -> Vec<String> {
    let mut reasons = match (before.environment, after.environment) {
        (Some(before), Some(after)) => environments_differ(before, after),
        _ => vec!["the environment of one side is not known".to_owned()],
    };
    reasons.extend(devices_differ(&before.series.device, &after.series.device));
    reasons.extend(differs(
        "cache state",
        before.series.cache.name(),
        after.series.cache.name(),
    ));
    reasons
}

fn environments_differ(before: &Environment, after: &Environment) -> Vec<String> {
    let facts = |environment: &Environment| {
        [
            ("kernel", environment.kernel_release.clone()),
            ("kernel version", environment.kernel_version.clone()),
            ("architecture", environment.architecture.clone()),
            ("processor", environment.cpu_model.clone()),
            ("cores", environment.cores.to_string()),
            ("place", environment.place.to_string()),
            (
                "frequency governor",
                environment
                    .facts
                    .get("cpufreq governor")
                    .cloned()
                    .unwrap_or_default(),
            ),
        ]
    };
    let mut reasons: Vec<String> = facts(before)
        .into_iter()
        .zip(facts(after))
        .filter_map(|((what, before), (_, after))| differs(what, &before, &after))
        .collect();
    // What the kernel keeps for itself at boot moves MemTotal by some pages; that is the same memory.
    let (least, most) = (
        before.memory_bytes.min(after.memory_bytes),
        before.memory_bytes.max(after.memory_bytes),
    );
    if most - least > most / 50 {
        reasons.push(format!("memory differs: {least} and {most} bytes"));
    }
    reasons
}

fn devices_differ(before: &Device, after: &Device) -> Vec<String> {
    let facts = |device: &Device| {
        [
            ("mkfs", device.mkfs.clone().unwrap_or_default()),
            ("mount options", device.mount_options.clone()),
            ("device size", device.bytes.to_string()),
            ("sector size", shown(device.sector_size)),
            ("loop direct I/O", shown(device.loop_direct_io)),
            ("preallocation", shown(device.preallocated)),
            (
                "file system below the loop device",
                device.below.clone().unwrap_or_default(),
            ),
        ]
    };
    facts(before)
        .into_iter()
        .zip(facts(after))
        .filter_map(|((what, before), (_, after))| differs(what, &before, &after))
        .collect()
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn differs(what: &str, before: &str, after: &str) -> Option<String> {
    (before != after).then(|| format!("{what} differs: `{before}` and `{after}`"))
}
