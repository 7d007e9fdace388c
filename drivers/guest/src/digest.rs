//! Checksums of an image's parts, which tell whether it arrived whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use cowlab_sys::{Result, io};
use sha2::{Digest, Sha256};

/// What is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The checksum of a part and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: String,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
}

/// Sums up a file.
pub(crate) fn of(path: &Path) -> Result<Sum> {
    let mut file = io("open", path, File::open(path))?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = io("read", path, file.read(&mut chunk))?;
        if read == 0 {
            let sha256 = hex(&hash.finalize());
            return Ok(Sum { sha256, bytes });
        }
        hash.update(&chunk[..read]);
        bytes += read as u64;
    }
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_sum_that_sha256sum_prints() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("f");
        std::fs::write(&file, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(&file).unwrap().sha256, expected);
    }
}
