//! The order in which samples are taken: random, and the same for the same seed.
//!
//! Arms that are to be compared take turns, so that whatever drifts on the machine hits all of them. Every round holds
//! each arm once, in an order of its own: an arm that always ran second would inherit the first one's caches.

/// A small random number generator (`SplitMix64`, Steele and others, 2014): the same numbers for the same seed on every
/// machine and in every version.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts a stream of its own for a part of the run, so that leaving out one part does not reorder the others.
    #[must_use]
    pub fn stream(seed: u64, names: &[&str]) -> Self {
        let mut state = seed;
        for byte in names.iter().flat_map(|name| name.bytes().chain([0])) {
            state = Self(state ^ u64::from(byte)).number();
        }
        Self(state)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0. The bias is below `end / 2^64`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("usize fits in 64 bits");
        usize::try_from(self.number() % end).expect("smaller than a usize")
    }

    /// Puts a list in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }

    /// Fills a buffer with bytes that neither compress nor repeat.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.number().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The turns of one block at one point: `rounds` rounds, each with every arm once, in random order.
pub fn turns(random: &mut Random, arms: usize, rounds: u32) -> Vec<usize> {
    let mut turns = Vec::new();
    for _ in 0..rounds {
        let mut round: Vec<usize> = (0..arms).collect();
        random.shuffle(&mut round);
        turns.extend(round);
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.number(), 6_457_827_717_110_365_317);
        assert_eq!(random.number(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_same_seed_gives_the_same_turns() {
        let draw = |seed| turns(&mut Random::stream(seed, &["copy-up", "ext4"]), 7, 5);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn streams_of_other_names_differ() {
        let first = |names: &[&str]| Random::stream(1, names).number();
        assert_ne!(first(&["ab", "c"]), first(&["a", "bc"]));
    }

    #[test]
    fn every_round_holds_every_arm_once() {
        let turns = turns(&mut Random::new(1), 5, 40);
        for round in turns.chunks(5) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn no_arm_has_a_favorite_place() {
        let turns = turns(&mut Random::new(1), 4, 4000);
        for place in 0..4 {
            let first = turns.chunks(4).filter(|round| round[place] == 0).count();
            assert!((850..1150).contains(&first), "{first} times at {place}");
        }
    }
}
