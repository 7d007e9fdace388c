//! The stream that an archive is packed into: compressed, with the digest of what goes out.

use std::fmt;
use std::io::{self, Write};

use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use zstd::stream::write::Encoder as ZstdEncoder;

use super::digest::Digest;
use super::error::{LayerError, Result};
use super::reader::Compression;

/// The level of gzip that the tool has by default.
const GZIP_LEVEL: u32 = 6;
/// The level of zstd that the tool has by default.
const ZSTD_LEVEL: i32 = 3;
/// What the encoders are given at a time, in bytes: what they make depends on where their input is cut.
const PIECE: usize = 64 << 10;

/// Compresses what is written to it. Only [`finish`](Self::finish) makes the stream whole.
pub struct Packer<W: Write> {
    encoder: Encoder<W>,
    /// Less than a piece.
    pending: Vec<u8>,
}

enum Encoder<W: Write> {
    None(Outlet<W>),
    Gzip(GzEncoder<Outlet<W>>),
    Zstd(ZstdEncoder<'static, Outlet<W>>),
}

/// What came out of a [`Packer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the stream.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl<W: Write> Packer<W> {
    /// Starts a stream. The same bytes give the same stream, in whatever pieces they come: no time and no name is in it.
    ///
    /// # Errors
    ///
    /// When the encoder cannot be made.
    pub fn new(sink: W, compression: Compression) -> Result<Self> {
        let outlet = Outlet {
            sink,
            hasher: Sha256::new(),
            size: 0,
        };
        let encoder = match compression {
            Compression::None => Encoder::None(outlet),
            Compression::Gzip => {
                Encoder::Gzip(GzEncoder::new(outlet, flate2::Compression::new(GZIP_LEVEL)))
            }
            Compression::Zstd => {
                Encoder::Zstd(ZstdEncoder::new(outlet, ZSTD_LEVEL).map_err(LayerError::Sink)?)
            }
        };
        Ok(Self {
            encoder,
            pending: Vec::with_capacity(PIECE),
        })
    }

    /// Ends the stream and returns the sink.
    ///
    /// # Errors
    ///
    /// [`LayerError::Sink`].
    pub fn finish(mut self) -> Result<(W, Packed)> {
        self.encode().map_err(LayerError::Sink)?;
        let outlet = match self.encoder {
            Encoder::None(outlet) => Ok(outlet),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        };
        let mut outlet = outlet.map_err(LayerError::Sink)?;
        outlet.sink.flush().map_err(LayerError::Sink)?;
        let packed = Packed {
            digest: Digest::from_hasher(outlet.hasher),
            size: outlet.size,
        };
        Ok((outlet.sink, packed))
    }
}

impl<W: Write> Packer<W> {
    fn encode(&mut self) -> io::Result<()> {
        let sink: &mut dyn Write = match &mut self.encoder {
            Encoder::None(outlet) => outlet,
            Encoder::Gzip(encoder) => encoder,
            Encoder::Zstd(encoder) => encoder,
        };
        sink.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() == PIECE {
            self.encode()?;
        }
        let count = bytes.len().min(PIECE - self.pending.len());
        self.pending.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Does nothing: flushing an encoder halfway would change what it makes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> fmt::Debug for Packer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

struct Outlet<W> {
    sink: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Write for Outlet<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::reader::{ReadOptions, read};

    #[test]
    fn what_is_packed_reads_back() {
        let data: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let pack = || {
                let mut packer = Packer::new(Vec::new(), compression).unwrap();
                for chunk in data.chunks(77_777) {
                    packer.write_all(chunk).unwrap();
                    packer.flush().unwrap();
                }
                packer.finish().unwrap()
            };
            let (stream, packed) = pack();
            assert_eq!(pack().1, packed);
            let ((), content) = read(&mut &stream[..], &ReadOptions::default(), |reader| {
                reader.drain()
            })
            .unwrap();
            assert_eq!(content.compression, compression);
            assert_eq!((content.digest, content.size), (packed.digest, packed.size));
            assert_eq!(content.diff_id, Digest::of(&data));
        }
    }
}
