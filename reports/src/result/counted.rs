//! Series that count instructions instead of time.

use serde::{Deserialize, Serialize};

use crate::statistics::{median, sorted};

/// What a series of unit `instructions` was taken over, and what it comes to.
///
/// The guest's clock counts instructions, so a series is the same in every run of one build on one kernel. What is left
/// is chance of another kind: where things happen to lie in memory, and hashes. Each seed is a boot of its own with
/// another layout, and the spread over them says how far two builds may differ though they do the same work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// The seed of each block of the series, in order.
    pub seeds: Vec<u64>,
    /// Median of the medians of the blocks, in instructions, rounded down.
    pub median: u64,
    /// The largest median of a block divided by the smallest: a factor below which a change is none.
    pub floor: f64,
}

impl Counted {
    /// Sums up blocks, one for each seed; none where there are no seeds, or a block is missing or has no samples.
    #[must_use]
    pub fn of(seeds: &[u64], blocks: &[Vec<f64>]) -> Option<Self> {
        if seeds.len() != blocks.len() {
            return None;
        }
        let medians: Option<Vec<f64>> = blocks
            .iter()
            .map(|block| median(&sorted(block.iter().copied())))
            .collect();
        let medians = sorted(medians?);
        let (least, most) = (*medians.first()?, *medians.last()?);
        Some(Self {
            seeds: seeds.to_vec(),
            median: whole(median(&medians)?),
            // No work at all in one boot and some in another: nothing can be concluded from that.
            floor: if most == 0.0 {
                1.0
            } else {
                most / least.max(1.0)
            },
        })
    }
}

/// A count as the number it is.
fn whole(count: f64) -> u64 {
    // The text of a finite f64 without decimals is an integer literal; there is no checked conversion to use.
    format!("{:.0}", count.max(0.0).floor())
        .parse()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_spread_are_those_of_the_seeds() {
        let blocks = [vec![100.0, 9000.0, 90.0], vec![110.0], vec![120.0, 121.0]];
        let counted = Counted::of(&[1, 2, 3], &blocks).unwrap();
        assert_eq!(counted.median, 110);
        assert!((counted.floor - 1.205).abs() < 1e-12);
        assert_eq!(counted.seeds, [1, 2, 3]);
    }

    #[test]
    fn what_every_seed_counts_alike_has_no_spread() {
        let counted = Counted::of(&[7], &[vec![5.0, 5.0]]).unwrap();
        assert_eq!((counted.median, counted.floor), (5, 1.0));
        let nothing = Counted::of(&[1, 2], &[vec![0.0], vec![0.0]]).unwrap();
        assert_eq!((nothing.median, nothing.floor), (0, 1.0));
    }

    #[test]
    fn a_seed_without_samples_is_no_result() {
        assert_eq!(Counted::of(&[], &[]), None);
        assert_eq!(Counted::of(&[1, 2], &[vec![5.0]]), None);
        assert_eq!(Counted::of(&[1, 2], &[vec![5.0], vec![]]), None);
    }
}
