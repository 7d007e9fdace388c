//! When a difference may decide anything.
//!
//! Two arms that run the same thing (an A/A control) differ too; how far they differ is the noise of the run. A
//! difference is relevant only where its whole interval lies beyond that noise. rustc-perf draws the same line between
//! a significant and a relevant change.

use serde::Serialize;

use super::Estimate;

/// The factor below which no change is relevant, however quiet the run: 3 percent.
pub const MINIMUM_CHANGE: f64 = 1.03;

/// How far identical arms differed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NoiseFloor {
    /// A factor of at least [`MINIMUM_CHANGE`]; only intervals that lie beyond it are relevant.
    pub factor: f64,
    /// Number of A/A controls behind it; with none the factor is only the minimum.
    pub controls: usize,
}

/// What a ratio means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relevance {
    /// Relevantly below 1.
    Lower,
    /// Relevantly above 1.
    Higher,
    /// Not beyond the noise.
    Noise,
    /// There is no interval, or no control that tells the noise.
    Unknown,
}

/// The noise floor from the ratios of A/A controls: how far the interval of any of them lies from 1.
///
/// What samples differ by is in their intervals already; the floor is what the intervals do not cover. So a noisy
/// series has a wide interval and does not make all others look noisy, and no control of a run is ever relevant in it.
/// A control without an interval says nothing.
#[must_use]
pub fn noise_floor(controls: &[Estimate]) -> NoiseFloor {
    let distances: Vec<f64> = controls
        .iter()
        .filter_map(|control| control.interval)
        .filter(|interval| interval.low > 0.0)
        .map(|interval| interval.low.max(1.0 / interval.high).max(1.0))
        .collect();
    NoiseFloor {
        factor: distances.iter().copied().fold(MINIMUM_CHANGE, f64::max),
        controls: distances.len(),
    }
}

/// Judges a ratio: relevant where its whole interval lies beyond the noise.
#[must_use]
pub fn relevance(ratio: &Estimate, noise: &NoiseFloor) -> Relevance {
    match ratio.interval {
        None => Relevance::Unknown,
        Some(_) if noise.controls == 0 => Relevance::Unknown,
        Some(interval) if interval.low > noise.factor => Relevance::Higher,
        Some(interval) if interval.high < 1.0 / noise.factor => Relevance::Lower,
        Some(_) => Relevance::Noise,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interval;
    use super::*;

    fn estimate(value: f64, low: f64, high: f64) -> Estimate {
        Estimate {
            value,
            interval: Some(Interval { low, high }),
        }
    }

    #[test]
    fn the_floor_is_never_below_the_minimum() {
        let quiet = noise_floor(&[estimate(1.001, 0.99, 1.01)]);
        assert_eq!(quiet.factor, MINIMUM_CHANGE);
        assert_eq!(noise_floor(&[]).controls, 0);
    }

    #[test]
    fn the_floor_is_the_same_in_both_directions() {
        let up = noise_floor(&[estimate(1.5, 1.25, 2.0)]);
        let down = noise_floor(&[estimate(0.7, 0.5, 0.8)]);
        assert!((up.factor - 1.25).abs() < 1e-12);
        assert!((up.factor - down.factor).abs() < 1e-12);
    }

    #[test]
    fn a_wide_interval_around_one_is_no_noise_of_others() {
        let floor = noise_floor(&[estimate(3.0, 0.5, 9.0), estimate(1.01, 0.99, 1.02)]);
        assert_eq!((floor.factor, floor.controls), (MINIMUM_CHANGE, 2));
        let point = Estimate {
            value: 3.0,
            interval: None,
        };
        assert_eq!(noise_floor(&[point]).controls, 0);
    }

    #[test]
    fn only_intervals_beyond_the_noise_are_relevant() {
        let noise = NoiseFloor {
            factor: 1.1,
            controls: 4,
        };
        let judge = |value, low, high| relevance(&estimate(value, low, high), &noise);
        assert_eq!(judge(1.3, 1.2, 1.4), Relevance::Higher);
        assert_eq!(judge(0.7, 0.6, 0.8), Relevance::Lower);
        assert_eq!(judge(1.3, 1.05, 1.6), Relevance::Noise);
        assert_eq!(judge(1.02, 1.01, 1.03), Relevance::Noise);
        let point = Estimate {
            value: 9.0,
            interval: None,
        };
        assert_eq!(relevance(&point, &noise), Relevance::Unknown);
        let unjudged = NoiseFloor {
            factor: 1.03,
            controls: 0,
        };
        assert_eq!(
            relevance(&estimate(9.0, 8.0, 10.0), &unjudged),
            Relevance::Unknown
        );
    }
}
