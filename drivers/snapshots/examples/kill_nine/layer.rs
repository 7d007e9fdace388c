//! Layers that can be told whole: every file follows from the layer's name.

use std::fs;
use std::path::Path;

use crate::Outcome;

/// Files in a layer; enough that an apply or a copy lasts a while.
pub(crate) const FILES: u64 = 96;

/// A seeded generator (splitmix64): the same seed makes the same choices.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

/// The content of a file of a layer.
pub(crate) fn content(layer: &str, file: u64) -> Vec<u8> {
    let seed = layer.bytes().fold(file, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = Random(seed);
    let length = 1 + random.below(3000);
    std::iter::repeat_with(|| random.next().to_le_bytes())
        .take(length / 8 + 1)
        .flatten()
        .collect()
}

/// The directory that a layer's files are in.
pub(crate) fn place_of(layer: &str) -> String {
    layer.replace('/', "_")
}

/// Writes a layer's files.
pub(crate) fn write_layer(root: &Path, layer: &str) -> Outcome<()> {
    let dir = root.join(place_of(layer));
    fs::create_dir(&dir)?;
    for file in 0..FILES {
        fs::write(dir.join(file.to_string()), content(layer, file))?;
    }
    Ok(())
}

/// Makes the archive of a layer: ustar, plain.
pub(crate) fn archive_of(layer: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |name: &str, kind: u8, mode: &str, data: &[u8]| {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, mode);
        put(108, "0000000\x000000000\0");
        put(124, &format!("{:011o}\0", data.len()));
        put(136, "00000000000\0        ");
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    };
    let dir = place_of(layer);
    add(&format!("{dir}/"), b'5', "0000755\0", &[]);
    for file in 0..FILES {
        add(
            &format!("{dir}/{file}"),
            b'0',
            "0000644\0",
            &content(layer, file),
        );
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
