//! Medians with honest intervals.
//!
//! Samples come in restart blocks: samples of one block share a mount, a cache and a moment, so they are alike in ways
//! that samples of another block are not. Every interval here is a bootstrap over blocks first and samples second, with
//! a fixed seed, so the same samples give the same interval on any machine. Outliers are labelled and never dropped.

mod bootstrap;
mod quantile;
mod relevance;

pub use bootstrap::{Pairing, RESAMPLES, difference, median_interval, ratio};
pub use quantile::{Outliers, geometric_mean, median, outliers, quantile, sorted};
pub use relevance::{MINIMUM_CHANGE, NoiseFloor, Relevance, noise_floor, relevance};

use serde::Serialize;

/// A 95 percent confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the interval holds a value.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// A number with its uncertainty. Without an interval nothing may be concluded from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The number, in the unit of the samples.
    pub value: f64,
    /// Its interval; none where the samples are too few for one.
    pub interval: Option<Interval>,
}

/// What is said about the samples of one series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Number of samples.
    pub samples: usize,
    /// Number of restart blocks that hold samples.
    pub blocks: usize,
    /// Median with its interval.
    pub median: Estimate,
    /// 95th percentile.
    pub p95: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// Samples far from the others; they are part of all numbers above.
    pub outliers: Outliers,
}

/// Summarizes a series; none where there are no samples.
#[must_use]
pub fn summarize(blocks: &[Vec<f64>]) -> Option<Summary> {
    let mut summary = describe(blocks)?;
    summary.median.interval = median_interval(blocks);
    Some(summary)
}

/// Summarizes a series without an interval, which costs far more than all the rest.
#[must_use]
pub fn describe(blocks: &[Vec<f64>]) -> Option<Summary> {
    let samples = sorted(blocks.iter().flatten().copied());
    let (min, max) = (*samples.first()?, *samples.last()?);
    Some(Summary {
        samples: samples.len(),
        blocks: blocks.iter().filter(|block| !block.is_empty()).count(),
        median: Estimate {
            value: median(&samples)?,
            interval: None,
        },
        p95: quantile(&samples, 950)?,
        min,
        max,
        outliers: outliers(&samples),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_about_no_samples() {
        assert_eq!(summarize(&[]), None);
        assert_eq!(summarize(&[vec![], vec![]]), None);
    }

    #[test]
    fn one_sample_has_a_median_and_no_interval() {
        let summary = summarize(&[vec![5.0]]).unwrap();
        assert_eq!(summary.median.value, 5.0);
        assert_eq!(summary.median.interval, None);
        assert_eq!((summary.samples, summary.blocks), (1, 1));
    }

    #[test]
    fn equal_samples_have_an_interval_of_no_width() {
        let summary = summarize(&[vec![4096.0; 3], vec![4096.0; 3]]).unwrap();
        let interval = summary.median.interval.unwrap();
        assert_eq!((interval.low, interval.high), (4096.0, 4096.0));
        assert_eq!(summary.outliers, Outliers::default());
    }
}
