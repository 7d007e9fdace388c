//! Writes samples that are whole numbers as whole numbers: shorter lines, and no `.0` behind nanoseconds.

use serde::ser::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest integer up to which every integer has its own `f64`, 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Real(f64),
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        if (0.0..=EXACT).contains(&value) && value.fract() == 0.0 {
            // The text of a whole f64 in this range is an integer literal; there is no checked conversion to use.
            format!("{value:.0}")
                .parse()
                .map_or(Self::Real(value), Self::Whole)
        } else {
            Self::Real(value)
        }
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Whole(value) => value as Self,
            Number::Real(value) => value,
        }
    }
}

pub(super) fn serialize<S: Serializer>(
    blocks: &[Vec<f64>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if blocks.iter().flatten().any(|sample| !sample.is_finite()) {
        return Err(S::Error::custom("a sample is not a finite number"));
    }
    serializer.collect_seq(
        blocks
            .iter()
            .map(|block| block.iter().copied().map(Number::from).collect::<Vec<_>>()),
    )
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Vec<f64>>, D::Error> {
    let blocks = Vec::<Vec<Number>>::deserialize(deserializer)?;
    Ok(blocks
        .into_iter()
        .map(|block| block.into_iter().map(f64::from).collect())
        .collect())
}
