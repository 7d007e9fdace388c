//! The stand-in for a Debian root file system: a generated tree as a tar.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Files of each size class: count and bytes. About 40 MB in 3,000 files, the shape of a minimal root:
/// most files small, most bytes in few.
const CLASSES: &[(u32, usize)] = &[
    (1500, 600),
    (1000, 4 << 10),
    (400, 24 << 10),
    (90, 200 << 10),
    (4, 4 << 20),
];

/// Writes the tree as a ustar archive to `path`.
pub(super) fn write_tar(path: &Path) -> io::Result<()> {
    let mut tar = BufWriter::new(File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for dir in ["etc", "usr", "usr/bin", "usr/lib", "usr/share"] {
        header(&mut tar, &format!("{dir}/"), 0, b'5')?;
    }
    let mut number = 0_u32;
    for (count, size) in CLASSES {
        for _ in 0..*count {
            let dir = ["etc", "usr/bin", "usr/lib", "usr/share"][number as usize % 4];
            header(&mut tar, &format!("{dir}/file-{number}"), *size, b'0')?;
            let content: Vec<u8> = std::iter::repeat_with(|| next(&mut state))
                .take(*size)
                .collect();
            tar.write_all(&content)?;
            tar.write_all(&vec![0; size.next_multiple_of(512) - size])?;
            number += 1;
        }
    }
    tar.write_all(&[0; 1024])?;
    tar.into_inner()?.sync_all()?;
    fs::metadata(path).map(drop)
}

/// One byte of xorshift64: the same tree on every host, and no compressor shrinks it to nothing.
fn next(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    b'a' + u8::try_from(*state % 26).unwrap_or_default()
}

/// Writes a ustar header (POSIX.1-2001, pax, "ustar Interchange Format").
fn header(tar: &mut impl Write, name: &str, size: usize, kind: u8) -> io::Result<()> {
    let mut block = [0_u8; 512];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, if kind == b'5' { "0000755" } else { "0000644" });
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "14000000000");
    put(148, "        ");
    put(257, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.write_all(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnu_tar_reads_the_generated_tree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.tar");
        write_tar(&path).unwrap();
        let listing = cowlab_sys::cmd::Cmd::new("tar")
            .arg("-tf")
            .arg(&path)
            .read()
            .unwrap();
        assert_eq!(listing.lines().count(), 5 + 2994);
    }
}
