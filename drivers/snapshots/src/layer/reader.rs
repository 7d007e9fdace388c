//! A layer's stream: compression found by its magic, decoded on a thread of its own, both digests
//! taken on the way. Knows nothing of archives.
//!
//! What follows the data is judged as containerd does. A gzip stream may have several members and a
//! zstd stream several frames, skippable ones included; anything else after them is an error.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::decoder::{Decoder, Stop};
use super::digest::{DiffId, Digest};
use super::error::{LayerError, Result};

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
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
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

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

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
}
