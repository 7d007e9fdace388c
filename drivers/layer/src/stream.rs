//! A layer's stream, read and written: compression found by its magic, decoded on a thread of its own, both digests
//! taken on the way; and packed again. Knows nothing of archives.
//!
//! What follows the data is judged as containerd does. A gzip stream may have several members and a
//! zstd stream several frames, skippable ones included; anything else after them is an error.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::digest::{DiffId, Digest};
use crate::error::{LayerError, Result};

/// Messages in flight: enough to keep both threads busy over one slow file, and 1 MiB at most.
const CHUNKS: usize = 4;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// A plain archive.
    #[default]
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames.
    Zstd,
}

impl Compression {
    /// Tells the compression by the first bytes of a stream; four bytes are enough.
    ///
    /// # Errors
    ///
    /// [`LayerError::Unsupported`] for a compression that layers do not have.
    pub fn detect(start: &[u8]) -> Result<Self> {
        let unsupported = |name: &str| {
            Err(LayerError::Unsupported {
                what: format!("a layer compressed with {name}"),
                remedy: "compress it with gzip or zstd, or not at all",
            })
        };
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A frame, or a skippable frame in front of one (RFC 8878, 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', ..] => unsupported("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => unsupported("bzip2"),
            _ => Ok(Self::None),
        }
    }
}

/// What a stream has to be.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The digest of the stream as it comes.
    pub digest: Option<Digest>,
    /// The digest of the archive in it.
    pub diff_id: Option<DiffId>,
    /// The most bytes that the archive may have.
    pub size_limit: Option<u64>,
}

impl ReadOptions {
    /// Whether a digest vouches for the content, so that its end need not prove itself.
    pub(crate) const fn is_vouched_for(&self) -> bool {
        self.digest.is_some() || self.diff_id.is_some()
    }
}

/// What a stream was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The digest of the stream as it came.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of the archive in it.
    pub diff_id: DiffId,
    /// The archive's length in bytes.
    pub uncompressed_size: u64,
    /// How it was packed.
    pub compression: Compression,
}

/// Reads a layer's stream to its end and hands the archive in it to `consume`.
///
/// What `consume` leaves is read and hashed all the same. When its result comes back, the digests
/// asked for are proved.
///
/// # Errors
///
/// [`LayerError::DigestMismatch`], [`LayerError::Truncated`], [`LayerError::Junk`] (a broken
/// compression), [`LayerError::TooLarge`], [`LayerError::Source`], and what `consume` returns.
pub fn read<T>(
    source: &mut (dyn Read + Send),
    options: &ReadOptions,
    consume: impl FnOnce(&mut LayerReader) -> Result<T>,
) -> Result<(T, Content)> {
    let (full, filled) = sync_channel(CHUNKS);
    let (empty, returned) = sync_channel(CHUNKS + 1);
    let limit = options.size_limit;
    let (consumed, content) = std::thread::scope(|scope| {
        let decoder = scope.spawn(move || {
            match (Decoder {
                full: &full,
                returned,
                limit,
            })
            .run(source)
            {
                Ok(content) => Some(content),
                Err(Stop::HungUp) => None,
                Err(Stop::Failed(error)) => {
                    // The consumer learns of it in its place in the stream, after all chunks; one
                    // that has hung up has an error of its own.
                    drop(full.send(Err(error)));
                    None
                }
            }
        });
        let mut reader = LayerReader {
            filled,
            empty,
            chunk: Vec::new(),
            at: 0,
            position: 0,
            ended: false,
        };
        let consumed = consume(&mut reader).and_then(|value| reader.drain().map(|()| value));
        // Hangs up on the decoder, which may wait for room.
        drop(reader);
        let content = decoder
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (consumed, content)
    });
    let value = consumed?;
    let content = content.ok_or_else(|| LayerError::Truncated {
        what: "decoding stopped before the end of the stream".into(),
    })?;
    verify("digest", options.digest, content.digest)?;
    verify("diff_id", options.diff_id, content.diff_id)?;
    Ok((value, content))
}

fn verify(what: &'static str, expected: Option<Digest>, found: Digest) -> Result<()> {
    match expected {
        Some(expected) if expected != found => Err(LayerError::DigestMismatch {
            what,
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

/// The archive of a layer, chunk by chunk.
#[derive(Debug)]
pub struct LayerReader {
    filled: Receiver<Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    position: u64,
    ended: bool,
}

impl LayerReader {
    /// The bytes at hand, at least one except at the end of the archive.
    ///
    /// # Errors
    ///
    /// What the decoder met.
    pub fn fill(&mut self) -> Result<&[u8]> {
        while self.at == self.chunk.len() && !self.ended {
            let used = std::mem::take(&mut self.chunk);
            self.at = 0;
            // The decoder may be gone already; then the buffer is not needed any more.
            drop(self.empty.try_send(used));
            match self.filled.recv() {
                Ok(chunk) => self.chunk = chunk?,
                Err(_hung_up) => self.ended = true,
            }
        }
        Ok(&self.chunk[self.at..])
    }

    /// Steps over bytes that [`fill`](Self::fill) returned.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(self.at + count <= self.chunk.len());
        self.at += count;
        self.position += u64::try_from(count).unwrap_or(u64::MAX);
    }

    /// How many bytes have been consumed.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Reads what is left.
    pub fn drain(&mut self) -> Result<()> {
        loop {
            let count = self.fill()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count);
        }
    }
}

/// The bytes that one message from the decoder carries at most.
const CHUNK: usize = 256 * 1024;

/// Why decoding ended before the end of the stream.
enum Stop {
    /// Nobody listens any more.
    HungUp,
    Failed(LayerError),
}

/// The end of the pair that reads, hashes and decodes.
struct Decoder<'a> {
    full: &'a SyncSender<Result<Vec<u8>>>,
    returned: Receiver<Vec<u8>>,
    limit: Option<u64>,
}

impl Decoder<'_> {
    /// Decodes the whole stream, sending the archive in it chunk by chunk.
    fn run(&self, source: &mut dyn Read) -> Result<Content, Stop> {
        let failed = |error| Stop::Failed(LayerError::Source(error));
        let mut tee = Tee {
            source,
            hasher: Sha256::new(),
            size: 0,
            failure: None,
        };
        let mut start = [0; 4];
        let count = read_up_to(&mut tee, &mut start).map_err(failed)?;
        let start = &start[..count];
        let compression = Compression::detect(start).map_err(Stop::Failed)?;
        let whole = start.chain(&mut tee);
        let pumped = match compression {
            Compression::None => self.pump(whole, None),
            Compression::Gzip => {
                let input = BufReader::with_capacity(CHUNK, whole);
                self.pump(
                    flate2::bufread::MultiGzDecoder::new(input),
                    Some(Sha256::new()),
                )
            }
            Compression::Zstd => zstd::Decoder::with_buffer(BufReader::with_capacity(CHUNK, whole))
                .map_err(Pump::Decode)
                .and_then(|decoder| self.pump(decoder, Some(Sha256::new()))),
        };
        let (uncompressed_size, hasher) =
            pumped.map_err(|stop| match (stop, tee.failure.take()) {
                (Pump::Stop(stop), _) => stop,
                (Pump::Decode(_), Some(error)) => failed(error),
                (Pump::Decode(error), None) => Stop::Failed(broken(compression, tee.size, &error)),
            })?;
        let digest = Digest::from_hasher(tee.hasher);
        let diff_id = hasher.map_or(digest, Digest::from_hasher);
        Ok(Content {
            digest,
            size: tee.size,
            diff_id,
            uncompressed_size,
            compression,
        })
    }

    /// Sends everything that `input` gives. A stream that is not compressed has no second hasher:
    /// both digests are the same.
    fn pump(
        &self,
        mut input: impl Read,
        mut hasher: Option<Sha256>,
    ) -> Result<(u64, Option<Sha256>), Pump> {
        let mut size = 0;
        loop {
            let mut chunk = self.returned.try_recv().unwrap_or_default();
            chunk.resize(CHUNK, 0);
            let count = read_up_to(&mut input, &mut chunk).map_err(Pump::Decode)?;
            chunk.truncate(count);
            if count == 0 {
                return Ok((size, hasher));
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk);
            }
            size += u64::try_from(count).unwrap_or(u64::MAX);
            if let Some(limit) = self.limit.filter(|limit| size > *limit) {
                return Err(Pump::Stop(Stop::Failed(LayerError::TooLarge { limit })));
            }
            self.full
                .send(Ok(chunk))
                .map_err(|_unsent| Pump::Stop(Stop::HungUp))?;
        }
    }
}

enum Pump {
    Stop(Stop),
    /// The decoder's error, or the source's passed through it.
    Decode(io::Error),
}

fn broken(compression: Compression, size: u64, error: &io::Error) -> LayerError {
    let name = match compression {
        Compression::None => "plain",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let what = format!("the {name} stream ends in the middle, after {size} bytes");
        return LayerError::Truncated { what };
    }
    LayerError::Junk {
        reason: format!("the {name} stream is broken within its first {size} bytes: {error}"),
    }
}

/// Fills `buffer` unless the input ends before.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match input.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Hashes what is read, and remembers a failure of the source so that it is not taken for one of
/// the decoder.
struct Tee<'a> {
    source: &'a mut dyn Read,
    hasher: Sha256,
    size: u64,
    failure: Option<io::Error>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer) {
            Ok(count) => {
                self.hasher.update(&buffer[..count]);
                self.size += u64::try_from(count).unwrap_or(u64::MAX);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::from(error.kind());
                self.failure = Some(error);
                Err(copy)
            }
        }
    }
}

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

/// A stream that was written.
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
        let outlet = Outlet::new(sink);
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
        Ok(outlet.finish())
    }

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

/// Tells the digest and the length of what is written through it.
pub(crate) struct Outlet<W> {
    sink: W,
    hasher: Sha256,
    size: u64,
}

impl<W> Outlet<W> {
    pub(crate) fn new(sink: W) -> Self {
        Self {
            sink,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    pub(crate) fn finish(self) -> (W, Packed) {
        let packed = Packed {
            digest: Digest::from_hasher(self.hasher),
            size: self.size,
        };
        (self.sink, packed)
    }
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

    use std::io::{self, Write};

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 1).unwrap()
    }

    fn read_all(mut stream: &[u8], options: &ReadOptions) -> Result<(Vec<u8>, Content)> {
        read(&mut stream, options, |reader| {
            let mut all = Vec::new();
            loop {
                let chunk = reader.fill()?;
                let count = chunk.len();
                if count == 0 {
                    return Ok(all);
                }
                all.extend_from_slice(chunk);
                reader.consume(count);
            }
        })
    }

    fn sample() -> Vec<u8> {
        (0..600_000_u32)
            .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect()
    }

    #[test]
    fn both_digests_are_right_for_every_compression() {
        let data = sample();
        let (head, tail) = data.split_at(234_567);
        let skippable = [
            &[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..],
            &zstd(&data),
        ]
        .concat();
        for (stream, compression) in [
            (data.clone(), Compression::None),
            (gzip(&data), Compression::Gzip),
            ([gzip(head), gzip(tail)].concat(), Compression::Gzip),
            (zstd(&data), Compression::Zstd),
            ([zstd(head), zstd(tail)].concat(), Compression::Zstd),
            (skippable, Compression::Zstd),
        ] {
            let (all, content) = read_all(&stream, &ReadOptions::default()).unwrap();
            assert!(all == data);
            assert_eq!(content.compression, compression);
            assert_eq!(content.digest, Digest::of(&stream));
            assert_eq!(content.diff_id, Digest::of(&data));
            assert_eq!(content.size, u64::try_from(stream.len()).unwrap());
            assert_eq!(content.uncompressed_size, 600_000);
        }
    }

    #[test]
    fn what_is_not_consumed_is_hashed_too() {
        let data = sample();
        let stream = gzip(&data);
        let ((), content) = read(&mut &stream[..], &ReadOptions::default(), |_| Ok(())).unwrap();
        assert_eq!(content.diff_id, Digest::of(&data));
    }

    #[test]
    fn a_wrong_digest_names_both() {
        let data = sample();
        let (right, wrong) = (Digest::of(&data), Digest::of(b"other"));
        for (digest, diff_id, what) in [(wrong, right, "digest"), (right, wrong, "diff_id")] {
            let options = ReadOptions {
                digest: Some(digest),
                diff_id: Some(diff_id),
                ..ReadOptions::default()
            };
            let text = read_all(&data, &options).unwrap_err().to_string();
            assert_eq!(
                text,
                format!("{what} mismatch: expected `{wrong}`, found `{right}`")
            );
        }
    }

    #[test]
    fn cut_and_followed_streams_are_errors() {
        let data = sample();
        for stream in [gzip(&data), zstd(&data)] {
            for cut in [1, 5, stream.len() / 2] {
                let error = read_all(&stream[..stream.len() - cut], &ReadOptions::default());
                assert!(
                    matches!(error, Err(LayerError::Truncated { .. })),
                    "{error:?}"
                );
            }
            let followed = [&stream[..], b"followed by junk"].concat();
            let error = read_all(&followed, &ReadOptions::default()).map(|_| ());
            assert!(matches!(error, Err(LayerError::Junk { .. })), "{error:?}");
        }
    }

    #[test]
    fn other_compressions_are_named() {
        for (magic, name) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"BZh91AY", "bzip2")] {
            let text = read_all(magic, &ReadOptions::default())
                .unwrap_err()
                .to_string();
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let stream = gzip(&vec![0; 2_000_000]);
        let options = ReadOptions {
            size_limit: Some(1_000_000),
            ..ReadOptions::default()
        };
        let error = read_all(&stream, &options).unwrap_err();
        assert!(
            matches!(error, LayerError::TooLarge { limit: 1_000_000 }),
            "{error}"
        );
    }

    #[test]
    fn a_failing_source_is_not_taken_for_a_broken_stream() {
        struct Failing<'a>(&'a [u8]);
        impl Read for Failing<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(io::Error::other("the line is dead")),
                    count => Ok(count),
                }
            }
        }
        let stream = gzip(&sample());
        let error = read(
            &mut Failing(&stream[..10_000]),
            &ReadOptions::default(),
            LayerReader::drain,
        );
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "failed to read the layer's stream: the line is dead");
    }

    #[test]
    fn a_consumer_that_gives_up_stops_the_decoder() {
        let stream = gzip(&vec![0; 5_000_000]);
        let error = read(&mut &stream[..], &ReadOptions::default(), |_| {
            Err::<(), _>(LayerError::Junk {
                reason: "enough".into(),
            })
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "the layer is malformed: enough"
        );
    }

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
