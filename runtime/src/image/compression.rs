//! Archives as people have them, of any compression that docker takes: gzip, zstd, xz, bzip2.
//!
//! Layers in registries are packed with gzip or zstd (image specification, `layer.md`); what comes in another packing is
//! packed anew when it is kept as a layer.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use cowlab_layer::stream::Compression;

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

/// Opens a file as an archive: what is in it, unpacked, if that is a tar; `None` for any other file. docker tells archives by
/// their first header as well (moby, `pkg/archive`, `IsArchivePath`).
pub fn open_archive(file: &File) -> io::Result<Option<Box<dyn Read + Send>>> {
    let mut whole = file.try_clone()?;
    let mut first = Vec::new();
    whole.rewind()?;
    let Ok((packing, source)) = detect(&whole) else {
        return Ok(None);
    };
    let header =
        unpacked(packing, source).and_then(|stream| stream.take(512).read_to_end(&mut first));
    if header.is_err() || !is_header(&first) {
        return Ok(None);
    }
    whole.rewind()?;
    let (packing, source) = detect(whole)?;
    unpacked(packing, source).map(Some)
}

/// Whether a block is the header of a tar's entry: its checksum counts the bytes with its own field blank (POSIX.1-2017, pax).
fn is_header(block: &[u8]) -> bool {
    let Some(field) = block.get(148..156).filter(|_| block.len() == 512) else {
        return false;
    };
    let digits = String::from_utf8_lossy(field);
    let digits = digits.trim_matches([' ', '\0']);
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let found = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]);
    u32::from_str_radix(digits, 8).is_ok_and(|told| told == found)
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
