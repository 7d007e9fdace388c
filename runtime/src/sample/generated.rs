//! The stand-in for a Debian root file system: a generated tree as a tar.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use cowlab_layer::ArchiveWriter;

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
    let mut tar = ArchiveWriter::new(BufWriter::new(File::create(path)?));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for dir in ["etc", "usr", "usr/bin", "usr/lib", "usr/share"] {
        tar.directory(dir)?;
    }
    let mut number = 0_u32;
    for (count, size) in CLASSES {
        for _ in 0..*count {
            let dir = ["etc", "usr/bin", "usr/lib", "usr/share"][number as usize % 4];
            let content: Vec<u8> = (0..*size).map(|_| next(&mut state)).collect();
            let name = format!("{dir}/file-{number}");
            tar.file(&name, content.len() as u64, &mut content.as_slice())?;
            number += 1;
        }
    }
    tar.finish()?.into_inner()?.sync_all()?;
    fs::metadata(path).map(drop)
}

/// One byte of xorshift64: the same tree on every host, and no compressor shrinks it to nothing.
fn next(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    b'a' + u8::try_from(*state % 26).unwrap_or_default()
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
