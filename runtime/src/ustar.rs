//! A writer of plain archives for made-up trees: directories and files in the ustar format (POSIX.1-2001, pax, "ustar
//! Interchange Format").
//!
//! Names are at most 100 bytes long, owners are root, times are the same everywhere. Layers of snapshots are written by
//! `cowlab_snapshots`, which knows all the rest.

use std::io::{self, Read, Write};

/// The unit of an archive, in bytes.
const BLOCK: usize = 512;
/// The most of a file that is in memory at a time, in bytes.
const PIECE: usize = 64 << 10;
/// What a file has to be smaller than, in bytes: eleven octal digits.
const SIZE_LIMIT: usize = 1 << 33;
/// The longest name, in bytes.
const NAME: usize = 100;

/// An archive that is being written to `W`.
#[derive(Debug)]
pub struct Archive<W> {
    sink: W,
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub fn new(sink: W) -> Self {
        Self { sink }
    }

    /// Adds a directory; its name ends without a slash.
    ///
    /// # Errors
    ///
    /// Those of the sink, and `InvalidInput` for a name that does not fit.
    pub fn dir(&mut self, name: &str) -> io::Result<()> {
        self.header(&format!("{name}/"), 0, b'5')
    }

    /// Adds a file of `size` bytes, which `fill` makes piece by piece, first to last; every piece but the last is of
    /// 64 KiB.
    ///
    /// # Errors
    ///
    /// As [`dir`](Self::dir).
    pub fn file(
        &mut self,
        name: &str,
        size: usize,
        mut fill: impl FnMut(&mut [u8]),
    ) -> io::Result<()> {
        self.header(name, size, b'0')?;
        let mut piece = vec![0; PIECE.min(size)];
        let mut left = size;
        while left > 0 {
            let length = left.min(PIECE);
            fill(&mut piece[..length]);
            self.sink.write_all(&piece[..length])?;
            left -= length;
        }
        let padding = size.next_multiple_of(BLOCK) - size;
        self.sink.write_all(&[0; BLOCK][..padding])
    }

    /// Adds a file of `size` bytes, which `source` gives.
    ///
    /// # Errors
    ///
    /// As [`dir`](Self::dir), and `UnexpectedEof` when the source has less.
    pub fn copy(&mut self, name: &str, size: u64, source: &mut dyn Read) -> io::Result<()> {
        let count = usize::try_from(size).map_err(io::Error::other)?;
        self.header(name, count, b'0')?;
        if io::copy(&mut source.take(size), &mut self.sink)? != size {
            let reason = format!("`{name}` became shorter while it was read");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        let padding = count.next_multiple_of(BLOCK) - count;
        self.sink.write_all(&[0; BLOCK][..padding])
    }

    /// Ends the archive and returns the sink.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0; 2 * BLOCK])?;
        Ok(self.sink)
    }

    fn header(&mut self, name: &str, size: usize, kind: u8) -> io::Result<()> {
        if name.len() > NAME {
            let reason = format!("`{name}` is longer than {NAME} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        if size >= SIZE_LIMIT {
            let reason = format!("`{name}` has 8 GiB or more, and the format's limit is below");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let mut block = [0_u8; BLOCK];
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
        self.sink.write_all(&block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnu_tar_reads_what_is_written() {
        let mut archive = Archive::new(Vec::new());
        archive.dir("d").unwrap();
        archive
            .file("d/f", PIECE + 1, |piece| piece.fill(b'x'))
            .unwrap();
        archive.file("d/empty", 0, |_| {}).unwrap();
        let bytes = archive.finish().unwrap();
        let listing = cowlab_sys::cmd::Cmd::new("tar")
            .arg("-tvf-")
            .stdin(bytes)
            .read()
            .unwrap();
        let lines: Vec<_> = listing.lines().collect();
        assert_eq!(lines.len(), 3, "{listing}");
        assert!(lines[1].contains(" 65537 ") && lines[1].ends_with(" d/f"));
    }

    #[test]
    fn refuses_a_name_that_does_not_fit() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.dir(&"n".repeat(NAME)).is_err());
        archive.dir(&"n".repeat(NAME - 1)).unwrap();
    }
}
