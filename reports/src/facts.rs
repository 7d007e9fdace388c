//! What the results say about this host and about each driver that could serve it: the input of the rules.

use std::collections::BTreeMap;

use crate::measurements::Measurements;
use crate::result::{
    Availability, Column, Environment, Impact, Media, Outcome, Place, ResultSet, SeriesId, Status,
    Unit, names,
};
use crate::statistics::{Estimate, Interval, Relevance, Summary, geometric_mean, relevance};

/// Everything the rules may look at.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
    /// The machine the verdict is for.
    pub environment: Option<&'a Environment>,
    /// Drivers with a backing file system that were judged or measured there.
    pub candidates: Vec<Candidate>,
    /// All measured series.
    pub measurements: Measurements<'a>,
    /// Layers of the largest image that was used.
    pub image_layers: Option<u32>,
    /// Where the verdict's evidence was taken.
    pub place: Place,
    /// The media that timings are compared on.
    pub media: Media,
}

/// A claim that does not hold in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortcoming {
    /// Case id.
    pub case: String,
    /// What it means for users.
    pub impact: Impact,
}

/// A driver on a backing file system. Its column's media is [`Media::Disk`] whatever was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Driver, variant, backing and place.
    pub column: Column,
    /// What the probe found; none where it was not probed.
    pub availability: Option<Availability>,
    /// Conformance outcomes by status.
    pub tally: BTreeMap<Status, usize>,
    /// Cases whose claim does not hold and is not declared.
    pub failures: Vec<Shortcoming>,
    /// Cases that deviate as declared.
    pub deviations: Vec<Shortcoming>,
}

/// How the copy-up of one candidate compares with another's over all cases both were measured in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Geometric mean of the ratios; above 1 is slower.
    pub mean: f64,
    /// Cases that are relevantly slower.
    pub slower: usize,
    /// Cases that are relevantly faster.
    pub faster: usize,
    /// All cases that both were measured in.
    pub cases: usize,
}

impl Pace {
    /// Slower in most cases, beyond the noise, and on the whole.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.slower > self.faster && self.slower * 2 >= self.cases && self.mean > 1.0
    }
}

impl Candidate {
    /// Conformance outcomes with a status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.tally.get(&status).copied().unwrap_or(0)
    }

    /// Cases that ran, whatever they found.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.tally.values().sum::<usize>() - self.count(Status::Skip)
    }

    /// Whether the probe says it can not run.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        match &self.availability {
            Some(Availability::Missing { what, .. }) => Some(what),
            _ => None,
        }
    }
}

impl<'a> Facts<'a> {
    /// Collects the facts. Results of the host alone count where there are any, else those of the guest.
    #[must_use]
    pub fn new(set: &'a ResultSet) -> Self {
        let on_host = set
            .outcomes()
            .any(|outcome| outcome.column.place == Place::Host)
            || set
                .series()
                .any(|series| series.column.place == Place::Host);
        let on_guest = set
            .outcomes()
            .any(|outcome| outcome.column.place == Place::Guest)
            || set
                .series()
                .any(|series| series.column.place == Place::Guest);
        let place = if on_guest && !on_host {
            Place::Guest
        } else {
            Place::Host
        };
        let on_disk = set
            .series()
            .any(|series| series.unit == Unit::Ns && series.column.media == Media::Disk);
        Self {
            environment: set
                .environments()
                .into_iter()
                .map(|(_, environment)| environment)
                .find(|environment| environment.place == place),
            candidates: candidates(set, place),
            measurements: Measurements::new(set),
            image_layers: set.images().map(|image| image.layers).max(),
            place,
            media: if on_disk { Media::Disk } else { Media::Memory },
        }
    }

    /// Backing file system of the directory that would hold the containers.
    #[must_use]
    pub fn storage(&self) -> Option<&str> {
        let storage = self.environment?.storage.as_ref()?;
        Some(storage.backing.as_str())
    }

    /// The quoted copy-up operation at a file size.
    #[must_use]
    pub fn copy_up(&self, candidate: &Candidate, size: u64) -> Option<Summary> {
        self.measurements.drivers().find_map(|(id, measurement)| {
            let wanted = id.workload == names::COPY_UP
                && id.unit == Unit::Ns
                && id.column == self.measured_column(candidate)
                && measurement.series.text(names::OP) == Some(names::WRITE_BYTE)
                && measurement.series.number(names::SIZE) == Some(size);
            measurement.summary.filter(|_| wanted)
        })
    }

    /// Compares the copy-up of two candidates; none where no case was measured in both.
    #[must_use]
    pub fn pace(&self, candidate: &Candidate, reference: &Candidate) -> Option<Pace> {
        let (column, other) = (
            self.measured_column(candidate),
            self.measured_column(reference),
        );
        let mut ratios = Vec::new();
        let (mut slower, mut faster) = (0, 0);
        for (id, measurement) in self.measurements.drivers() {
            let timed = id.workload == names::COPY_UP && id.unit == Unit::Ns;
            if !timed || id.column != column {
                continue;
            }
            let namesake = SeriesId {
                column: other.clone(),
                ..id.clone()
            };
            let quotient = measurement
                .summary
                .zip(self.measurements.median(&namesake))
                .and_then(|(summary, reference)| quotient(&summary.median, &reference));
            let Some(quotient) = quotient else { continue };
            match relevance(&quotient, &self.measurements.noise_of(id)) {
                Relevance::Higher => slower += 1,
                Relevance::Lower => faster += 1,
                Relevance::Noise | Relevance::Unknown => {}
            }
            ratios.push(quotient.value);
        }
        Some(Pace {
            mean: geometric_mean(&ratios)?,
            slower,
            faster,
            cases: ratios.len(),
        })
    }

    /// Bytes allocated per byte changed, the geometric mean over all measured changes.
    #[must_use]
    pub fn capacity(&self, candidate: &Candidate) -> Option<f64> {
        let overheads: Vec<f64> = self
            .measurements
            .drivers()
            .filter(|(id, _)| {
                id.workload == names::CAPACITY_CHANGE
                    && id.unit == Unit::Bytes
                    && id.column.media == self.capacity_media()
                    && same_but_media(&id.column, &candidate.column)
            })
            .filter_map(|(_, measurement)| {
                let changed = measurement.series.number(names::CHANGE)?;
                let allocated = measurement.summary?.median.value;
                (changed > 0 && allocated > 0.0).then(|| allocated / changed as f64)
            })
            .collect();
        geometric_mean(&overheads)
    }

    /// The column under which a candidate's timings stand.
    fn measured_column(&self, candidate: &Candidate) -> Column {
        Column {
            media: self.media,
            ..candidate.column.clone()
        }
    }

    /// Space is the same on every media, so it may have been measured on one alone.
    fn capacity_media(&self) -> Media {
        let on_disk = self
            .measurements
            .drivers()
            .any(|(id, _)| id.workload == names::CAPACITY_CHANGE && id.column.media == Media::Disk);
        if on_disk { Media::Disk } else { Media::Memory }
    }
}

/// The ratio of two medians with the widest interval that theirs allow: wider than a bootstrap of the ratio, so what is
/// relevant here is relevant there, and cheap enough to ask for every pair of candidates.
fn quotient(numerator: &Estimate, denominator: &Estimate) -> Option<Estimate> {
    let interval = numerator
        .interval
        .zip(denominator.interval)
        .filter(|(_, below)| below.low > 0.0)
        .map(|(above, below)| Interval {
            low: above.low / below.high,
            high: above.high / below.low,
        });
    (denominator.value > 0.0).then(|| Estimate {
        value: numerator.value / denominator.value,
        interval,
    })
}

fn same_but_media(first: &Column, second: &Column) -> bool {
    let on_disk = |column: &Column| Column {
        media: Media::Disk,
        ..column.clone()
    };
    on_disk(first) == on_disk(second)
}

fn candidates(set: &ResultSet, place: Place) -> Vec<Candidate> {
    let mut candidates = BTreeMap::new();
    let columns = set
        .outcomes()
        .map(|outcome| &outcome.column)
        .chain(set.series().map(|series| &series.column))
        .filter(|column| column.place == place);
    for column in columns {
        let column = Column {
            media: Media::Disk,
            ..column.clone()
        };
        candidates
            .entry(column.clone())
            .or_insert_with(|| candidate(set, column));
    }
    // What a probe refused never ran and has no other line; it is a candidate all the same, to be told why not.
    for probe in set.probes().filter(|probe| probe.place == place) {
        let column = Column {
            driver: probe.driver.clone(),
            variant: probe.variant.clone(),
            backing: probe.backing.clone().unwrap_or_default(),
            media: Media::Disk,
            place,
        };
        if matches!(probe.availability, Availability::Missing { .. }) {
            candidates
                .entry(column.clone())
                .or_insert_with(|| candidate(set, column));
        }
    }
    candidates.into_values().collect()
}

fn candidate(set: &ResultSet, column: Column) -> Candidate {
    let outcomes: Vec<&Outcome> = set
        .outcomes()
        .filter(|outcome| same_but_media(&outcome.column, &column))
        .collect();
    let mut tally = BTreeMap::new();
    for outcome in &outcomes {
        *tally.entry(outcome.status).or_insert(0) += 1;
    }
    let shortcomings = |wanted: fn(Status) -> bool| {
        outcomes
            .iter()
            .filter(|outcome| wanted(outcome.status))
            .map(|outcome| Shortcoming {
                case: outcome.case.clone(),
                impact: outcome
                    .deviation
                    .as_ref()
                    .map_or(outcome.impact, |deviation| deviation.impact),
            })
            .collect()
    };
    Candidate {
        availability: availability(set, &column),
        tally,
        // A stale declaration fails the run, but the claim holds: it speaks against nobody's data.
        failures: shortcomings(|status| matches!(status, Status::Fail | Status::OrderDependent)),
        deviations: shortcomings(|status| status == Status::Deviates),
        column,
    }
}

/// The probe of the column itself, or the one that holds for every backing.
fn availability(set: &ResultSet, column: &Column) -> Option<Availability> {
    let probes = || {
        set.probes().filter(|probe| {
            probe.driver == column.driver
                && probe.variant == column.variant
                && probe.place == column.place
        })
    };
    let on_backing =
        || probes().find(|probe| probe.backing.as_deref() == Some(column.backing.as_str()));
    let anywhere = || probes().find(|probe| probe.backing.is_none());
    on_backing()
        .or_else(anywhere)
        .map(|probe| probe.availability.clone())
}
