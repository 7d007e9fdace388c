//! Numbers and bytes that follow from a seed, and a hash: the same on every machine and in every version.
//!
//! Crates promise no such thing of their generators and the standard library none of its hasher, and results, ids and
//! repeated runs depend on it.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts the sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts a sequence of its own for a part of a run, so that leaving out one part does not change the others.
    #[must_use]
    pub fn stream(seed: u64, names: &[&str]) -> Self {
        let mut state = seed;
        for byte in names.iter().flat_map(|name| name.bytes().chain([0])) {
            state = Self(state ^ u64::from(byte)).number();
        }
        Self(state)
    }

    /// The next 64 bits.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which counts as 1 where it is 0. The bias is below `end / 2^64`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("usize fits in 64 bits");
        usize::try_from(self.number() % end).expect("smaller than a usize")
    }

    /// Picks one of a list that is not empty. The bias of a multiply-shift over 64 bits is below 2^-50 for any list
    /// that fits into memory.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let product = u128::from(self.number()) * list.len() as u128;
        let index = usize::try_from(product >> 64).unwrap_or(0);
        &list[index]
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

/// The first `size` bytes of the sequence of a seed.
#[must_use]
pub fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Random::new(seed).fill(&mut bytes);
    bytes
}

/// FNV-1a, 64 bits.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.number(), 6_457_827_717_110_365_317);
        assert_eq!(random.number(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn bytes_are_the_beginning_of_one_sequence() {
        assert_eq!(bytes(1, 4), [0xc1, 0x5c, 0x02, 0x89]);
        assert_ne!(bytes(1, 64), bytes(2, 64));
        assert_eq!(bytes(7, 13)[..8], bytes(7, 8)[..]);
    }

    #[test]
    fn streams_of_other_names_differ() {
        let first = |names: &[&str]| Random::stream(1, names).number();
        assert_ne!(first(&["ab", "c"]), first(&["a", "bc"]));
    }

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
}
