//! The thread that reads a layer's stream: decoding, and both digests.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender};

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::error::{LayerError, Result};
use super::reader::{Compression, Content};

/// The bytes that one message from the decoder carries at most.
const CHUNK: usize = 256 * 1024;

/// Why decoding ended before the end of the stream.
pub(super) enum Stop {
    /// Nobody listens any more.
    HungUp,
    Failed(LayerError),
}

/// The end of the pair that reads, hashes and decodes.
pub(super) struct Decoder<'a> {
    pub(super) full: &'a SyncSender<Result<Vec<u8>>>,
    pub(super) returned: Receiver<Vec<u8>>,
    pub(super) limit: Option<u64>,
}

impl Decoder<'_> {
    /// Decodes the whole stream, sending the archive in it chunk by chunk.
    pub(super) fn run(&self, source: &mut dyn Read) -> Result<Content, Stop> {
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
