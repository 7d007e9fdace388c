//! Archives as people have them, of any compression that docker takes: gzip, zstd, xz, bzip2.
//!
//! Layers in registries are packed with gzip or zstd (image specification, `layer.md`); what comes in another packing is
//! packed anew when it is kept as a layer.

use std::io::{self, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use cowlab_snapshots::layer::reader::Compression;

/// How much is read at a time, in bytes.
const PIECE: usize = 256 << 10;

/// The most memory that decoding xz may take: `xz -9` asks for 65 MiB, a hostile header for gigabytes (xz(1), "Memory usage").
const XZ_MEMORY: u64 = 256 << 20;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// As layers are.
    Layer(Compression),
    Xz,
    Bzip2,
}

/// Tells how a stream is packed by its first bytes, the formats' magic numbers; returns it with the whole stream.
pub(super) fn detect<R: Read>(mut source: R) -> io::Result<(Packing, impl Read + use<R>)> {
    let mut start = Vec::new();
    (&mut source).take(4).read_to_end(&mut start)?;
    let packing = match start.as_slice() {
        [0xfd, b'7', b'z', b'X'] => Packing::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9'] => Packing::Bzip2,
        start => Packing::Layer(Compression::detect(start).map_err(io::Error::other)?),
    };
    Ok((packing, Cursor::new(start).chain(source)))
}

/// Reads what is packed so.
pub(super) fn unpacked<'a, R: Read + Send + 'a>(
    packing: Packing,
    source: R,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let buffered = BufReader::with_capacity(PIECE, source);
    Ok(match packing {
        Packing::Layer(Compression::None) => Box::new(buffered),
        Packing::Layer(Compression::Gzip) => Box::new(MultiGzDecoder::new(buffered)),
        Packing::Layer(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(buffered)?),
        Packing::Bzip2 => Box::new(MultiBzDecoder::new(buffered)),
        Packing::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(buffered, stream))
        }
    })
}
