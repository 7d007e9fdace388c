//! Order statistics.

use serde::Serialize;

/// Sorts samples; those that are no numbers sort last, which a results file never holds.
pub fn sorted(samples: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    samples
}

/// The median of sorted samples; none where there are none.
#[must_use]
pub fn median(sorted: &[f64]) -> Option<f64> {
    quantile(sorted, 500)
}

/// A quantile of sorted samples in thousandths (950 is the 95th percentile), interpolated linearly between neighbors
/// (type 7 of Hyndman and Fan, "Sample quantiles in statistical packages", 1996). None where there are no samples.
#[must_use]
pub fn quantile(sorted: &[f64], thousandths: usize) -> Option<f64> {
    let position = sorted.len().checked_sub(1)? * thousandths.min(1000);
    let (index, rest) = (position / 1000, position % 1000);
    let low = *sorted.get(index)?;
    let high = *sorted.get(index + 1).unwrap_or(&low);
    Some(low + (high - low) * (rest as f64 / 1000.0))
}

/// The geometric mean, the right mean for ratios; none where there are no values or one is not positive.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| *value <= 0.0) {
        return None;
    }
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    Some((sum / values.len() as f64).exp())
}

/// How many samples lie far from the middle half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Outliers {
    /// Farther than 1.5 and at most 3 times the interquartile range.
    pub mild: usize,
    /// Farther than 3 times the interquartile range.
    pub severe: usize,
}

impl Outliers {
    /// All of them.
    #[must_use]
    pub fn total(self) -> usize {
        self.mild + self.severe
    }
}

/// Labels outliers of sorted samples by Tukey's fences (Exploratory Data Analysis, 1977).
#[must_use]
pub fn outliers(sorted: &[f64]) -> Outliers {
    let (Some(first), Some(third)) = (quantile(sorted, 250), quantile(sorted, 750)) else {
        return Outliers::default();
    };
    let range = third - first;
    let outside = |factor: f64| {
        sorted
            .iter()
            .filter(|sample| **sample < first - factor * range || **sample > third + factor * range)
            .count()
    };
    let severe = outside(3.0);
    Outliers {
        mild: outside(1.5) - severe,
        severe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let samples = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(median(&samples), Some(2.5));
        assert_eq!(quantile(&samples, 0), Some(1.0));
        assert_eq!(quantile(&samples, 1000), Some(4.0));
        assert_eq!(quantile(&samples, 250), Some(1.75));
        assert_eq!(quantile(&[], 500), None);
        assert_eq!(quantile(&[7.0], 950), Some(7.0));
    }

    #[test]
    fn geometric_mean_of_a_ratio_and_its_inverse_is_one() {
        let mean = geometric_mean(&[4.0, 0.25]).unwrap();
        assert!((mean - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
    }

    #[test]
    fn outliers_are_told_apart_by_distance() {
        let mut samples: Vec<f64> = (0..100).map(f64::from).collect();
        samples.extend([200.0, 1000.0]);
        assert_eq!(outliers(&samples), Outliers { mild: 1, severe: 1 });
    }
}
