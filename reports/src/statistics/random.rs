//! A small generator with a fixed seed: a report must come out the same each time it is made.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Picks one of a list that is not empty. The bias of a multiply-shift over 64 bits is below 2^-50 for any list
    /// that fits into memory.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let product = u128::from(self.bits()) * list.len() as u128;
        let index = usize::try_from(product >> 64).unwrap_or(0);
        &list[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_are_even() {
        let mut random = Random::new(1);
        let mut counts = [0_u32; 7];
        let faces = [0, 1, 2, 3, 4, 5, 6];
        for _ in 0..70_000 {
            counts[*random.pick(&faces)] += 1;
        }
        assert!(counts.iter().all(|count| (9500..10_500).contains(count)));
    }

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }
}
