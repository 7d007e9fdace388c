//! What a run will cost, said before it starts: time, peak bytes, every mount.
//!
//! The rates are deliberately coarse and on the slow side. They only divide the time among the batches of a run and give
//! a person an idea; what was really taken is in the results.

use std::fmt;
use std::time::Duration;

use cowlab_driver::Bytes;
use cowlab_testbed::Media;

use crate::workload::MetricKind;

/// Restart blocks below which no interval can be given.
pub const LEAST_BLOCKS: usize = 2;

/// What has to stay free on the disk that carries the backing files.
pub const KEEP_FREE: Bytes = Bytes::gib(1);

/// What the life of a snapshot costs on a medium, besides the bytes it moves: it is made, mounted, unmounted and
/// destroyed, with a handful of flushes.
fn fixed(media: Media, metric_kind: MetricKind) -> Duration {
    match (media, metric_kind) {
        (Media::Memory, MetricKind::ColdTime) => Duration::from_millis(30),
        (Media::Memory, _) => Duration::from_millis(10),
        (Media::Disk, MetricKind::ColdTime) => Duration::from_millis(60),
        (Media::Disk, _) => Duration::from_millis(15),
    }
}

/// Bytes a second that a file system on a loop device copies and flushes, on the average of those that share extents and
/// those that do not.
const fn rate(media: Media) -> u64 {
    match media {
        Media::Memory => 1600 << 20,
        Media::Disk => 500 << 20,
    }
}

/// The time that `bytes` take on a medium.
#[must_use]
pub fn transfer(media: Media, bytes: Bytes) -> Duration {
    let micros = u128::from(bytes.0) * 1_000_000 / u128::from(rate(media));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The time of one sample of an arm in which so many snapshots live and so many bytes move.
#[must_use]
pub fn sample(
    media: Media,
    metric_kind: MetricKind,
    snapshots_created: u32,
    bytes: Bytes,
) -> Duration {
    fixed(media, metric_kind) * snapshots_created + transfer(media, bytes)
}

/// The cost of a whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    /// Expected time.
    pub time: Duration,
    /// The most bytes of backing files on disk at one time.
    pub disk: Bytes,
    /// The most bytes of backing files in memory at one time.
    pub memory: Bytes,
    /// The most file systems mounted at one time, by name.
    pub backings: Vec<String>,
    /// Series that will be measured.
    pub series: usize,
}

impl fmt::Display for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "about {}, {} series, at most {} on disk and {} in memory, on {}",
            minutes(self.time),
            self.series,
            self.disk,
            self.memory,
            self.backings.join(", ")
        )
    }
}

/// A time for people: `45 s`, `3 min 20 s`.
#[must_use]
pub fn minutes(time: Duration) -> String {
    let seconds = time.as_secs().max(1);
    if seconds < 60 {
        format!("{seconds} s")
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// How long a batch may take: its share of what is left.
#[must_use]
pub fn share(left: Duration, batch: Duration, all_left: Duration) -> Duration {
    if all_left.is_zero() {
        return left;
    }
    left.mul_f64((batch.as_secs_f64() / all_left.as_secs_f64()).min(1.0))
}

/// Whether another restart block may begin.
#[must_use]
pub fn goes_on(done: usize, wanted: usize, spent: Duration, allowed: Option<Duration>) -> bool {
    if done >= wanted {
        return false;
    }
    let Some(allowed) = allowed else {
        return true;
    };
    let per_block = spent / u32::try_from(done.max(1)).unwrap_or(u32::MAX);
    done < LEAST_BLOCKS.min(wanted) || spent + per_block <= allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_run_out_of_time_still_gets_an_interval() {
        assert!(goes_on(1, 5, 100 * SECOND, Some(SECOND)));
        assert!(!goes_on(2, 5, 100 * SECOND, Some(SECOND)));
        assert!(goes_on(2, 5, 2 * SECOND, Some(3 * SECOND)));
        assert!(!goes_on(3, 5, 3 * SECOND, Some(3 * SECOND)));
        assert!(!goes_on(1, 1, SECOND, None));
    }

    #[test]
    fn what_one_leg_saves_the_next_ones_get() {
        assert_eq!(share(60 * SECOND, SECOND, 3 * SECOND), 20 * SECOND);
        assert_eq!(share(60 * SECOND, SECOND, SECOND), 60 * SECOND);
        assert_eq!(share(60 * SECOND, SECOND, Duration::ZERO), 60 * SECOND);
    }

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(minutes(Duration::ZERO), "1 s");
        assert_eq!(minutes(200 * SECOND), "3 min 20 s");
    }
}
