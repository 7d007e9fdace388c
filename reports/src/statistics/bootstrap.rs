//! Bootstrap intervals over restart blocks.
//!
//! A resample draws blocks with replacement and then samples of each drawn block with replacement. With few blocks a
//! percentile bootstrap is too narrow, because the blocks at hand can not show how far others would lie; the interval
//! is then widened to hold what every block says by itself.

use super::{Estimate, Interval, quantile, sorted};
use cowlab_random::Random;

/// Resamples per interval: enough that each end rests on 25 of them, few enough that thousands of series take seconds.
pub const RESAMPLES: usize = 1000;

/// Any fixed number would do.
const SEED: u64 = 0x00c0_71ab;

/// Samples below which no interval is given.
const MINIMUM_SAMPLES: usize = 5;

/// Blocks below which no interval is given: one block says nothing about restarts.
const MINIMUM_BLOCKS: usize = 2;

/// Blocks below which the interval is widened to what the blocks say: with six, the chance that all block medians
/// fall on one side of the true median is 2 * (1/2)^6, about 3 percent.
const FEW_BLOCKS: usize = 6;

/// How the blocks of two series belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Block k of one was taken interleaved with block k of the other: what disturbed one disturbed both.
    Paired,
    /// Taken at different times.
    Independent,
}

/// The 95 percent interval of the median; none with fewer than two blocks or five samples.
#[must_use]
pub fn median_interval(blocks: &[Vec<f64>]) -> Option<Interval> {
    let blocks = Blocks::new(blocks.iter());
    if !blocks.suffice() {
        return None;
    }
    let mut random = Random::new(SEED);
    let mut buffer = Vec::new();
    let estimates = sorted((0..RESAMPLES).map(|_| {
        let drawn = blocks.draw(&mut random);
        blocks.median_of(&drawn, &mut random, &mut buffer)
    }));
    let widest = (blocks.count() < FEW_BLOCKS).then(|| span(&blocks.medians()));
    percentiles(&estimates, widest.flatten())
}

/// The ratio of the medians, `numerator / denominator`; none where there are no samples or the denominator is zero.
#[must_use]
pub fn ratio(
    numerator: &[Vec<f64>],
    denominator: &[Vec<f64>],
    pairing: Pairing,
) -> Option<Estimate> {
    let quotient = combine(numerator, denominator, pairing, |a, b| a / b)?;
    quotient.value.is_finite().then_some(quotient)
}

/// The difference of the medians, `minuend - subtrahend`; none where there are no samples.
#[must_use]
pub fn difference(
    minuend: &[Vec<f64>],
    subtrahend: &[Vec<f64>],
    pairing: Pairing,
) -> Option<Estimate> {
    combine(minuend, subtrahend, pairing, |a, b| a - b)
}

/// Applies a function to the medians of two series and of their resamples.
fn combine(
    first: &[Vec<f64>],
    second: &[Vec<f64>],
    pairing: Pairing,
    function: impl Fn(f64, f64) -> f64,
) -> Option<Estimate> {
    let paired = pairing == Pairing::Paired && first.len() == second.len();
    let (first, second) = if paired {
        let both = || {
            let pairs = first.iter().zip(second);
            pairs.filter(|(a, b)| !a.is_empty() && !b.is_empty())
        };
        (
            Blocks::new(both().map(|(a, _)| a)),
            Blocks::new(both().map(|(_, b)| b)),
        )
    } else {
        (Blocks::new(first.iter()), Blocks::new(second.iter()))
    };
    let value = function(first.median()?, second.median()?);
    let interval = if first.suffice() && second.suffice() {
        let mut random = Random::new(SEED);
        let mut buffer = Vec::new();
        let estimates = sorted((0..RESAMPLES).map(|_| {
            let drawn = first.draw(&mut random);
            let a = first.median_of(&drawn, &mut random, &mut buffer);
            let drawn = if paired {
                drawn
            } else {
                second.draw(&mut random)
            };
            function(a, second.median_of(&drawn, &mut random, &mut buffer))
        }));
        let few = first.count().min(second.count()) < FEW_BLOCKS;
        let widest = few.then(|| blockwise(&first, &second, paired, function));
        percentiles(&estimates, widest.flatten())
    } else {
        None
    };
    Some(Estimate { value, interval })
}

/// The span of what single blocks say: of each pair, or of any two where they are not paired.
fn blockwise(
    first: &Blocks<'_>,
    second: &Blocks<'_>,
    paired: bool,
    function: impl Fn(f64, f64) -> f64,
) -> Option<Interval> {
    let (first, second) = (first.medians(), second.medians());
    let values: Vec<f64> = if paired {
        first
            .iter()
            .zip(&second)
            .map(|(a, b)| function(*a, *b))
            .collect()
    } else {
        first
            .iter()
            .flat_map(|a| second.iter().map(|b| function(*a, *b)))
            .collect()
    };
    span(&values)
}

/// The middle 95 percent of sorted estimates, widened to hold another interval. None where an end is no number, as
/// when a resample divides by zero.
fn percentiles(estimates: &[f64], widest: Option<Interval>) -> Option<Interval> {
    let mut interval = Interval {
        low: quantile(estimates, 25)?,
        high: quantile(estimates, 975)?,
    };
    if let Some(widest) = widest {
        interval.low = interval.low.min(widest.low);
        interval.high = interval.high.max(widest.high);
    }
    (interval.low.is_finite() && interval.high.is_finite()).then_some(interval)
}

fn span(values: &[f64]) -> Option<Interval> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    Some(Interval { low, high })
}

/// Blocks that hold samples.
struct Blocks<'a> {
    blocks: Vec<&'a [f64]>,
    indices: Vec<usize>,
}

impl<'a> Blocks<'a> {
    fn new(blocks: impl Iterator<Item = &'a Vec<f64>>) -> Self {
        let blocks: Vec<&[f64]> = blocks
            .map(Vec::as_slice)
            .filter(|block| !block.is_empty())
            .collect();
        Self {
            indices: (0..blocks.len()).collect(),
            blocks,
        }
    }

    fn count(&self) -> usize {
        self.blocks.len()
    }

    fn suffice(&self) -> bool {
        let samples: usize = self.blocks.iter().map(|block| block.len()).sum();
        self.count() >= MINIMUM_BLOCKS && samples >= MINIMUM_SAMPLES
    }

    fn median(&self) -> Option<f64> {
        let mut all: Vec<f64> = self.blocks.iter().copied().flatten().copied().collect();
        (!all.is_empty()).then(|| middle(&mut all))
    }

    fn medians(&self) -> Vec<f64> {
        self.blocks
            .iter()
            .map(|block| middle(&mut block.to_vec()))
            .collect()
    }

    /// As many block numbers as there are blocks, with replacement.
    fn draw(&self, random: &mut Random) -> Vec<usize> {
        self.indices
            .iter()
            .map(|_| *random.pick(&self.indices))
            .collect()
    }

    /// The median of samples drawn with replacement from the drawn blocks.
    fn median_of(&self, drawn: &[usize], random: &mut Random, buffer: &mut Vec<f64>) -> f64 {
        buffer.clear();
        for index in drawn {
            let block = self.blocks[*index];
            buffer.extend(block.iter().map(|_| *random.pick(block)));
        }
        middle(buffer)
    }
}

/// The median of samples in any order, which changes; not of none.
fn middle(samples: &mut [f64]) -> f64 {
    let half = samples.len() / 2;
    let even = samples.len().is_multiple_of(2);
    let (below, middle, _) = samples.select_nth_unstable_by(half, f64::total_cmp);
    if even {
        let neighbor = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        f64::midpoint(neighbor, *middle)
    } else {
        *middle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Roughly normal around a center: the mean of twelve even draws.
    fn noisy(
        random: &mut Random,
        center: f64,
        width: f64,
        blocks: usize,
        each: usize,
    ) -> Vec<Vec<f64>> {
        let thousand: Vec<f64> = (0..1000).map(|n| f64::from(n) / 1000.0 - 0.4995).collect();
        let mut sample = || {
            let sum: f64 = (0..12).map(|_| *random.pick(&thousand)).sum();
            center + width * sum
        };
        (0..blocks)
            .map(|_| (0..each).map(|_| sample()).collect())
            .collect()
    }

    #[test]
    fn the_middle_is_the_median() {
        assert_eq!(middle(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(middle(&mut [7.0]), 7.0);
    }

    #[test]
    fn no_interval_without_blocks_and_samples() {
        assert_eq!(median_interval(&[]), None);
        assert_eq!(median_interval(&[vec![1.0; 100]]), None);
        assert_eq!(median_interval(&[vec![1.0, 2.0], vec![3.0, 4.0]]), None);
        assert!(median_interval(&[vec![1.0, 2.0], vec![3.0, 4.0, 5.0]]).is_some());
        assert_eq!(ratio(&[vec![1.0]], &[], Pairing::Paired), None);
        let point = ratio(&[vec![4.0]], &[vec![2.0]], Pairing::Paired).unwrap();
        assert_eq!((point.value, point.interval), (2.0, None));
    }

    #[test]
    fn division_by_zero_gives_nothing() {
        assert_eq!(ratio(&[vec![1.0]], &[vec![0.0]], Pairing::Paired), None);
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let mut random = Random::new(7);
        let runs = 100;
        let held = (0..runs)
            .filter(|_| {
                let blocks = noisy(&mut random, 100.0, 10.0, 8, 8);
                median_interval(&blocks).unwrap().contains(100.0)
            })
            .count();
        assert!(held >= 90, "{held} of {runs}");
    }

    #[test]
    fn pairing_takes_out_what_disturbs_both() {
        let mut random = Random::new(3);
        let mut first = noisy(&mut random, 100.0, 1.0, 8, 9);
        let mut second = noisy(&mut random, 110.0, 1.0, 8, 9);
        for (index, drift) in [0.5, 0.8, 1.0, 1.3, 1.7, 2.2, 2.8, 3.5].iter().enumerate() {
            first[index].iter_mut().for_each(|sample| *sample *= drift);
            second[index].iter_mut().for_each(|sample| *sample *= drift);
        }
        let width = |pairing| {
            let interval = ratio(&second, &first, pairing).unwrap().interval.unwrap();
            assert!(interval.contains(1.1));
            interval.high - interval.low
        };
        assert!(width(Pairing::Paired) * 2.0 < width(Pairing::Independent));
    }

    #[test]
    fn few_blocks_widen_the_interval_to_what_they_say() {
        let blocks = [vec![1.0; 50], vec![2.0; 50], vec![10.0; 50]];
        let interval = median_interval(&blocks).unwrap();
        assert_eq!((interval.low, interval.high), (1.0, 10.0));
    }

    #[test]
    fn the_same_samples_give_the_same_interval() {
        let blocks = noisy(&mut Random::new(11), 50.0, 5.0, 4, 10);
        assert_eq!(median_interval(&blocks), median_interval(&blocks));
    }
}
