//! Identifiers that only have to differ from all others.

use cowlab_random::Random;

use crate::{Error, Result, io};

/// Where such identifiers come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IdSource {
    /// The kernel's random number generator.
    #[default]
    Kernel,
    /// A seed: the same identifiers in every run, for measurements that must repeat. Two things of one seed differ by
    /// their names alone, so this is for throw-away things.
    Seed(u64),
}

impl IdSource {
    /// Draws a UUID (RFC 9562, version 4) for the thing of that name.
    ///
    /// # Errors
    ///
    /// When the kernel's generator cannot be read.
    pub fn uuid(self, of: &str) -> Result<String> {
        if let Some(uuid) = self.fixed_uuid(of) {
            return Ok(uuid);
        }
        let path = "/proc/sys/kernel/random/uuid";
        let uuid = io("read", path, std::fs::read_to_string(path))?;
        let uuid = uuid.trim();
        if uuid.len() == "00000000-0000-4000-8000-000000000000".len() {
            Ok(uuid.to_owned())
        } else {
            Err(Error::parse(path, uuid))
        }
    }

    /// The UUID that the seed gives the thing of that name; `None` without a seed.
    #[must_use]
    pub fn fixed_uuid(self, of: &str) -> Option<String> {
        let Self::Seed(seed) = self else {
            return None;
        };
        let mut state = mix(seed);
        for byte in of.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        let high = (mix(state) & !0xf000) | 0x4000;
        let low = (mix(state.wrapping_add(1)) & !(0b11 << 62)) | (0b10 << 62);
        Some(format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        ))
    }
}

/// Every bit of `state` changes half of the output.
const fn mix(state: u64) -> u64 {
    Random::new(state).number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_uuid_and_names_tell_apart() {
        let uuid = |seed, of| IdSource::Seed(seed).uuid(of).unwrap();
        assert_eq!(uuid(1, "ext4"), uuid(1, "ext4"));
        assert_ne!(uuid(1, "ext4"), uuid(1, "xfs"));
        assert_ne!(uuid(1, "ext4"), uuid(2, "ext4"));
        assert_ne!(uuid(0, ""), uuid(1, ""));
    }

    #[test]
    fn a_seeded_uuid_looks_like_a_random_one() {
        for id_source in [IdSource::Seed(7), IdSource::Kernel] {
            let uuid = id_source.uuid("x").unwrap();
            let digits: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(digits, [8, 4, 4, 4, 12]);
            assert_eq!(&uuid[14..15], "4");
            assert!(["8", "9", "a", "b"].contains(&&uuid[19..20]), "{uuid}");
        }
    }

    #[test]
    fn the_kernel_never_repeats() {
        let draw = || IdSource::Kernel.uuid("x").unwrap();
        assert_ne!(draw(), draw());
        assert_eq!(IdSource::Kernel.fixed_uuid("x"), None);
    }
}
