//! The entries of a layer's archive, one after the other, with what PAX and GNU headers say about
//! them resolved. Judges numbers and sizes; names are judged by [`crate::entry`].
//!
//! As in Go's `archive/tar`, which the layers of the world are written and read with: only files
//! have content, whatever size a header gives other entries; global PAX headers are ignored; what
//! follows the end of the archive is ignored, for the digest covers it. Unlike there, an archive
//! without the two zero blocks at its end is taken for truncated, unless a digest vouches for it.

use std::ffi::OsString;

use cowlab_sys::Time;
use cowlab_sys::stat::device;
use tar_core::parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE, SparseEntry};

use crate::entry::{Entry, EntryKind, Piece, SPARSE_LIMIT};
use crate::error::{EntryName, LayerError, Result};
use crate::metadata::{Metadata, is_portable};
use crate::pax::{Records, user_id};
use crate::recipe::Recorder;
use crate::stream::LayerReader;

/// The most bytes of names, PAX records and extended attributes that one entry may have.
const METADATA_LIMIT: u32 = 8 << 20;
/// An archive that is being read.
#[derive(Debug)]
pub(crate) struct Archive<'r> {
    input: &'r mut LayerReader,
    parser: Parser,
    /// Read from the input and not yet parsed.
    head: Vec<u8>,
    /// Content of the current entry that was not yet read, and the padding after it.
    content: u64,
    padding: u64,
    current: EntryName,
    is_vouched_for: bool,
    recorder: Option<Recorder<'r>>,
}

impl<'r> Archive<'r> {
    /// Starts at the beginning. `is_vouched_for` tells that a digest will be proved at the end. What passes goes into the
    /// recipe, if one is wanted.
    pub(crate) fn new(
        input: &'r mut LayerReader,
        is_vouched_for: bool,
        recorder: Option<Recorder<'r>>,
    ) -> Self {
        let limits = Limits {
            max_metadata_size: METADATA_LIMIT,
            max_sparse_entries: SPARSE_LIMIT,
            ..Limits::default()
        };
        let mut parser = Parser::new(limits);
        // A negative time is an error to it. `Records` reads the same values and is strict.
        parser.set_ignore_pax_errors(true);
        Self {
            input,
            parser,
            head: Vec::new(),
            content: 0,
            padding: 0,
            current: EntryName::default(),
            is_vouched_for,
            recorder,
        }
    }

    /// Skips what is left of the current entry and returns the next, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`LayerError::Truncated`], [`LayerError::Junk`], [`LayerError::Malformed`],
    /// [`LayerError::Unsupported`] and what the stream meets.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        self.read(self.content, |_| Ok(()))?;
        if let Some(recorder) = &mut self.recorder {
            recorder.end()?;
        }
        self.content = std::mem::take(&mut self.padding);
        self.read(self.content, |_| Ok(()))?;
        let mut wanted = HEADER_SIZE;
        loop {
            let position = self.position();
            self.gather(wanted)?;
            let (consumed, entry) = match self.parser.parse(&self.head) {
                Ok(ParseEvent::NeedData { min_bytes }) => {
                    if self.head.len() < wanted {
                        return self.end_of_stream();
                    }
                    // A long sparse map is asked for in small steps and parsed anew at each.
                    let is_long = self.head.len() > 32 * HEADER_SIZE;
                    wanted = min_bytes.max(if is_long { self.head.len() * 2 } else { 0 });
                    continue;
                }
                Ok(ParseEvent::Entry { consumed, entry }) => (consumed, resolve(&entry, None)),
                Ok(ParseEvent::SparseEntry {
                    consumed,
                    entry,
                    sparse_map,
                    real_size,
                }) => (consumed, resolve(&entry, Some((sparse_map, real_size)))),
                Ok(ParseEvent::GlobalExtensions { consumed, .. }) => {
                    check_numbers(&self.head[..consumed])?;
                    self.drop_head(consumed)?;
                    wanted = HEADER_SIZE;
                    continue;
                }
                Ok(ParseEvent::End { .. }) => return Ok(None),
                Err(error) => {
                    // A number that is cut off is the cause of what the parser meets behind it.
                    if !matches!(error, ParseError::Header(_)) {
                        check_numbers(&self.head)?;
                    }
                    return Err(self.junk(position, &error));
                }
            };
            check_numbers(&self.head[..consumed])?;
            self.drop_head(consumed)?;
            let (entry, content) = entry?;
            if let Some(recorder) = &mut self.recorder {
                recorder.begin(&entry)?;
            }
            self.current = entry.name.clone();
            self.content = content;
            self.padding = content.next_multiple_of(512) - content;
            return Ok(Some(entry));
        }
    }

    /// Hands the next `count` bytes of the entry's content to `sink`, in the pieces that come.
    ///
    /// # Errors
    ///
    /// [`LayerError::Truncated`], and what the stream and `sink` return.
    pub(crate) fn read(
        &mut self,
        count: u64,
        mut sink: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut left = count.min(self.content);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let taken = if self.head.is_empty() {
                let chunk = self.input.fill()?;
                let chunk = &chunk[..chunk.len().min(most)];
                if chunk.is_empty() {
                    let what = format!("it ends within the content of {}", self.current);
                    return Err(LayerError::Truncated { what });
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.content(chunk)?;
                }
                sink(chunk)?;
                let taken = chunk.len();
                self.input.consume(taken);
                taken
            } else {
                let taken = self.head.len().min(most);
                if let Some(recorder) = &mut self.recorder {
                    recorder.content(&self.head[..taken])?;
                }
                sink(&self.head[..taken])?;
                self.head.drain(..taken);
                taken
            };
            let taken = u64::try_from(taken).unwrap_or(left);
            left -= taken;
            self.content -= taken;
        }
        Ok(())
    }

    /// Reads what follows the last entry into the recipe, if there is one, and ends it.
    ///
    /// # Errors
    ///
    /// What the stream and the recipe's sink meet.
    pub(crate) fn finish(self) -> Result<()> {
        let Some(mut recorder) = self.recorder else {
            return Ok(());
        };
        recorder.raw(&self.head)?;
        loop {
            let chunk = self.input.fill()?;
            if chunk.is_empty() {
                return recorder.finish();
            }
            recorder.raw(chunk)?;
            let count = chunk.len();
            self.input.consume(count);
        }
    }

    fn drop_head(&mut self, count: usize) -> Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.raw(&self.head[..count])?;
        }
        self.head.drain(..count);
        Ok(())
    }

    fn position(&self) -> u64 {
        let ahead = u64::try_from(self.head.len()).unwrap_or(0);
        self.input.position().saturating_sub(ahead)
    }

    /// Reads until `wanted` bytes are at hand or the stream ends.
    fn gather(&mut self, wanted: usize) -> Result<()> {
        while self.head.len() < wanted {
            let chunk = self.input.fill()?;
            if chunk.is_empty() {
                break;
            }
            let taken = chunk.len().min(wanted - self.head.len());
            self.head.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken);
        }
        Ok(())
    }

    fn end_of_stream(&self) -> Result<Option<Entry>> {
        let is_between_entries = self.head.iter().all(|byte| *byte == 0);
        if is_between_entries && self.is_vouched_for {
            return Ok(None);
        }
        let what = if is_between_entries {
            "the zero blocks that end an archive are missing, and no digest vouches for the content"
                .to_owned()
        } else if self.current == EntryName::default() {
            "it ends within the first header".to_owned()
        } else {
            format!("it ends within the header after {}", self.current)
        };
        Err(LayerError::Truncated { what })
    }

    fn junk(&self, position: u64, error: &ParseError) -> LayerError {
        let reason = if self.current == EntryName::default() && position == 0 {
            format!("it is no tar archive: {error}")
        } else {
            format!("at byte {position}, after {}: {error}", self.current)
        };
        LayerError::Junk { reason }
    }
}

/// Rejects headers with a number in base 256 that is negative, a time aside, or needs more than 63 bits. `tar-core` shifts
/// the upper bits out without an error, and would take the rest for the number.
///
/// `headers` is an entry's header behind the extended headers that belong to it, with their content.
fn check_numbers(mut headers: &[u8]) -> Result<()> {
    while let Some((header, rest)) = headers.split_at_checked(HEADER_SIZE) {
        let checked = |what: &str, field: &[u8]| {
            number(field)
                .filter(|number| *number >= 0 || what == "time")
                .ok_or_else(|| {
                    let name = header[..100].split(|byte| *byte == 0).next();
                    let reason = format!("its {what} in base 256 is out of range");
                    LayerError::malformed(&EntryName::new(name.unwrap_or_default()), reason)
                })
        };
        let size = checked("size", &header[124..136])?;
        checked("time", &header[136..148])?;
        // Extended headers are passed over, whose content may have any bytes.
        let size = if size == 0 {
            octal(&header[124..136])
        } else {
            usize::try_from(size).ok()
        };
        let padded = size.and_then(|size| size.checked_next_multiple_of(HEADER_SIZE));
        headers = match header[156] {
            b'x' | b'g' | b'L' | b'K' => padded
                .and_then(|padded| rest.get(padded..))
                .unwrap_or_default(),
            b'S' => {
                // Pairs of offset and length, the size after four of them, and blocks of 21 more pairs.
                let here = header[386..482].chunks_exact(12).chain([&header[483..495]]);
                let more = rest
                    .chunks_exact(HEADER_SIZE)
                    .flat_map(|block| block[..504].chunks_exact(12));
                here.chain(more)
                    .try_for_each(|field| checked("sparse map", field).map(drop))?;
                break;
            }
            // A block of zeros that stands alone is skipped.
            0 if header.iter().all(|byte| *byte == 0) => rest,
            _ => break,
        };
    }
    Ok(())
}

/// A number in octal digits, if it is one; `tar-core` reads it strictly.
fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// A number in base 256, in two's complement; zero where the field is text, which `tar-core` reads strictly.
fn number(field: &[u8]) -> Option<i64> {
    // The first bit marks base 256, the second is the sign.
    match field[0] & 0xc0 {
        0x80 | 0xc0 => {}
        _ => return Some(0),
    }
    let sign = if field[0] & 0x40 == 0 { 0 } else { 0xff };
    let (upper, lower) = field.split_last_chunk::<8>()?;
    let extends = upper.iter().enumerate().all(|(at, byte)| match at {
        0 => byte | 0x80 == sign | 0x80,
        _ => *byte == sign,
    });
    let number = i64::from_be_bytes(*lower);
    (extends && (number < 0) == (sign != 0)).then_some(number)
}

/// Makes an entry and the length of its content of what the parser has.
fn resolve(
    parsed: &ParsedEntry<'_>,
    sparse: Option<(Vec<SparseEntry>, u64)>,
) -> Result<(Entry, u64)> {
    let name = EntryName::new(&*parsed.path);
    let malformed = |reason: String| LayerError::malformed(&name, reason);
    let records = parsed
        .pax
        .map_or_else(|| Ok(Records::default()), Records::read);
    let records = records.map_err(malformed)?;
    let header_id = |what: &str, number| {
        user_id(number).ok_or_else(|| malformed(format!("its {what} {number} is out of range")))
    };
    let uid = records
        .uid
        .map_or_else(|| header_id("uid", parsed.uid), Ok)?;
    let gid = records
        .gid
        .map_or_else(|| header_id("gid", parsed.gid), Ok)?;
    // The header's base-256 numbers are two's complement, of which the parser keeps 64 bits.
    let header_time = || Time {
        sec: parsed.mtime.cast_signed(),
        nsec: 0,
    };
    let size = records.size.unwrap_or(parsed.size);
    let real_size = sparse.as_ref().map_or(0, |(_, real_size)| *real_size);
    // No file is larger (off_t is signed), and padding a larger one would overflow.
    if i64::try_from(size.max(real_size)).is_err() {
        return Err(malformed(format!(
            "its size {} is out of range",
            size.max(real_size)
        )));
    }
    let (kind, content) = kind(parsed, &name, size, sparse)?;
    let opaque =
        |(name, value): &(OsString, Vec<u8>)| name == "trusted.overlay.opaque" && value == b"y";
    let is_opaque = matches!(kind, EntryKind::Directory) && records.xattrs.iter().any(opaque);
    let (xattrs, foreign): (Vec<_>, Vec<_>) = records
        .xattrs
        .into_iter()
        .partition(|(name, _)| is_portable(name));
    let metadata = Metadata {
        mode: parsed.mode & 0o7777,
        uid,
        gid,
        mtime: records.mtime.unwrap_or_else(header_time),
        xattrs,
    };
    let foreign_xattrs = u64::try_from(foreign.len()).unwrap_or(u64::MAX);
    Ok((
        Entry {
            name,
            kind,
            metadata,
            foreign_xattrs,
            is_opaque,
        },
        content,
    ))
}

fn kind(
    parsed: &ParsedEntry<'_>,
    name: &EntryName,
    size: u64,
    sparse: Option<(Vec<SparseEntry>, u64)>,
) -> Result<(EntryKind, u64)> {
    let target = || match &parsed.link_target {
        Some(target) if !target.contains(&0) => Ok(target.to_vec()),
        _ => Err(LayerError::malformed(name, "a link without a target")),
    };
    let device = || device_number(parsed, name);
    let kind = match parsed.entry_type {
        EntryType::Regular if parsed.path.ends_with(b"/") && size == 0 => EntryKind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => {
            let (pieces, size, content) = match sparse {
                Some((map, real_size)) => pieces(name, &map, real_size)?,
                None => (
                    vec![Piece {
                        offset: 0,
                        length: size,
                    }],
                    size,
                    size,
                ),
            };
            return Ok((EntryKind::File { pieces, size }, content));
        }
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink(target()?),
        EntryType::Link => EntryKind::HardLink(target()?),
        EntryType::Char => EntryKind::CharDevice(device()?),
        EntryType::Block => EntryKind::BlockDevice(device()?),
        EntryType::Fifo => EntryKind::Fifo,
        other => {
            return Err(LayerError::Unsupported {
                what: format!(
                    "layer entry {name} of type `{}`",
                    other.to_byte().escape_ascii()
                ),
                remedy: "layers hold files, directories, links, devices and FIFOs",
            });
        }
    };
    Ok((kind, 0))
}

/// Linux has 12 bits for the major and 20 for the minor number (kernel, `linux/kdev_t.h`).
fn device_number(parsed: &ParsedEntry<'_>, name: &EntryName) -> Result<u64> {
    let (major, minor) = (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0));
    if major >= 1 << 12 || minor >= 1 << 20 {
        let reason = format!("its device number {major}:{minor} is out of range");
        return Err(LayerError::malformed(name, reason));
    }
    Ok(device(major, minor))
}

/// Proves that a sparse map is in order and within the file. Its own sum is the length of the
/// content: `tar-core` forgets a PAX 1.0 map's own length where there is a `size` record too.
fn pieces(name: &EntryName, map: &[SparseEntry], real_size: u64) -> Result<(Vec<Piece>, u64, u64)> {
    let (mut end, mut content) = (0, 0_u64);
    for piece in map {
        let next = piece
            .offset
            .checked_add(piece.length)
            .filter(|next| *next <= real_size);
        let (Some(next), true) = (next, piece.offset >= end) else {
            let reason = "its sparse map is out of order or leads out of the file";
            return Err(LayerError::malformed(name, reason));
        };
        end = next;
        content += piece.length;
    }
    let pieces = map.iter().filter(|piece| piece.length > 0);
    let pieces = pieces.map(|piece| Piece {
        offset: piece.offset,
        length: piece.length,
    });
    Ok((pieces.collect(), real_size, content))
}
