//! A tar archive written entry by entry: ustar headers, and PAX records for what does not fit them.
//!
//! One tree has one archive: no names of users, no access or change times, records in the order of
//! their keys, and a record only where the header cannot say the same. Names that are not UTF-8 go
//! into PAX records as they are, under `hdrcharset=BINARY` (POSIX pax, "pax Extended Header"), as
//! GNU tar and Go read them.

use std::io::{self, Read, Write};

use cowlab_sys::Time;
use cowlab_sys::stat::{major, minor};
use tar_core::Header;

use crate::entry::Piece;
use crate::metadata::Metadata;
use crate::pax::{self, RecordMap};

/// The largest number that fits the seven octal digits of an id.
const ID_LIMIT: u32 = 0o7_777_777;
/// The largest number that fits the eleven octal digits of a size or a time.
const NUMBER_LIMIT: u64 = 0o77_777_777_777;
/// Zeros to fill a block up with.
const BLOCK: [u8; 512] = [0; 512];

/// The type of an entry, with what only that type has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// A file and its size; the content follows with [`ArchiveWriter::content`].
    File(u64),
    /// A file with holes: the pieces of data and the size. The data follows.
    Sparse(&'a [Piece], u64),
    Directory,
    Symlink(&'a [u8]),
    HardLink(&'a [u8]),
    CharDevice(u64),
    BlockDevice(u64),
    Fifo,
}

/// An archive that is being written to `W`.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    sink: W,
    padding: usize,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    pub fn new(sink: W) -> Self {
        Self { sink, padding: 0 }
    }

    /// Adds a directory that root owns, with mode 0755 and a time that is the same everywhere; its name ends without a slash.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name.as_bytes(), Kind::Directory, &plain(0o755))
    }

    /// Adds a file of `size` bytes, which `source` gives, with mode 0644; else as [`directory`](Self::directory).
    ///
    /// # Errors
    ///
    /// Those of the sink and the source, and `UnexpectedEof` when the source has less.
    pub fn file(&mut self, name: &str, size: u64, source: &mut dyn Read) -> io::Result<()> {
        self.entry(name.as_bytes(), Kind::File(size), &plain(0o644))?;
        if io::copy(&mut source.take(size), &mut self.sink)? != size {
            let reason = format!("`{name}` became shorter while it was read");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        self.padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or_default();
        Ok(())
    }

    /// Writes the header of an entry. `path` is relative to the root, without a slash at its end.
    pub(crate) fn entry(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        metadata: &Metadata,
    ) -> io::Result<()> {
        let mut records = RecordMap::new();
        let mut header = Header::new_ustar();
        let map = match kind {
            Kind::Sparse(pieces, size) => {
                records.insert(b"GNU.sparse.major".to_vec(), b"1".to_vec());
                records.insert(b"GNU.sparse.minor".to_vec(), b"0".to_vec());
                records.insert(b"GNU.sparse.name".to_vec(), path.to_vec());
                records.insert(b"GNU.sparse.realsize".to_vec(), decimal(size));
                sparse_map(pieces)
            }
            _ => Vec::new(),
        };
        match kind {
            // The name is in the records; tools that do not know sparse files see this one.
            Kind::Sparse(..) => set_name(&mut header, &mut records, b"GNUSparseFile.0/data"),
            Kind::Directory => set_name(&mut header, &mut records, &[path, b"/"].concat()),
            _ => set_name(&mut header, &mut records, path),
        }
        set_kind(&mut header, &mut records, kind, length(&map));
        set_metadata(&mut header, &mut records, metadata);
        pax::put_xattrs(&mut records, &metadata.xattrs);
        let names: [&[u8]; 3] = [b"path", b"linkpath", b"GNU.sparse.name"];
        let is_text = |name: &Vec<u8>| std::str::from_utf8(name).is_ok();
        if !names
            .iter()
            .filter_map(|key| records.get(*key))
            .all(is_text)
        {
            records.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
        }
        self.extended(&records)?;
        header.set_checksum();
        self.pad()?;
        self.sink.write_all(header.as_bytes())?;
        self.sink.write_all(&map)
    }

    /// Writes a part of the content of the last entry.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        self.padding = (self.padding + 512 - bytes.len() % 512) % 512;
        Ok(())
    }

    /// Ends the archive and returns the sink.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.sink.write_all(&[0; 2 * 512])?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    /// Writes the header that carries the records for the next one.
    fn extended(&mut self, records: &RecordMap) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let data = pax::encode(records);
        let mut header = Header::new_ustar();
        let bytes = header.as_mut_bytes();
        field(bytes, NAME, b"././@PaxHeader");
        octal(bytes, MODE, 0o644);
        octal(bytes, UID, 0);
        octal(bytes, GID, 0);
        octal(bytes, SIZE, length(&data));
        octal(bytes, MTIME, 0);
        bytes[TYPE] = b'x';
        header.set_checksum();
        self.pad()?;
        self.sink.write_all(header.as_bytes())?;
        self.content(&data)
    }

    fn pad(&mut self) -> io::Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.sink.write_all(&BLOCK[..padding])
    }
}

/// What an entry has of which nothing but the content matters. No time of day: the same content is the same archive.
fn plain(mode: u32) -> Metadata {
    Metadata {
        mode,
        mtime: Time {
            sec: 0o14_000_000_000,
            nsec: 0,
        },
        ..Metadata::implied(0, 0)
    }
}

/// Fields of a ustar header (POSIX pax, "ustar Interchange Format").
const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const GID: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const TYPE: usize = 156;
const LINK: std::ops::Range<usize> = 157..257;
const MAJOR: std::ops::Range<usize> = 329..337;
const MINOR: std::ops::Range<usize> = 337..345;

type HeaderBytes = [u8; 512];

fn field(bytes: &mut HeaderBytes, range: std::ops::Range<usize>, value: &[u8]) {
    let field = &mut bytes[range];
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// Writes octal digits and a NUL. The caller has seen to it that they fit.
fn octal(bytes: &mut HeaderBytes, range: std::ops::Range<usize>, number: u64) {
    let digits = format!("{number:0width$o}", width = range.len() - 1);
    field(bytes, range, digits.as_bytes());
}

fn set_name(header: &mut Header, records: &mut RecordMap, name: &[u8]) {
    if name.len() > NAME.len() || !name.is_ascii() {
        records.insert(b"path".to_vec(), name.to_vec());
    }
    field(header.as_mut_bytes(), NAME, name);
}

/// The type, and the fields that depend on it. The content of a sparse file begins with its map.
fn set_kind(header: &mut Header, records: &mut RecordMap, kind: Kind<'_>, map: u64) {
    let bytes = header.as_mut_bytes();
    let (kind_byte, size, link, device) = match kind {
        Kind::File(size) => (b'0', size, None, None),
        Kind::Sparse(pieces, _) => (
            b'0',
            map + pieces.iter().map(|piece| piece.length).sum::<u64>(),
            None,
            None,
        ),
        Kind::HardLink(target) => (b'1', 0, Some(target), None),
        Kind::Symlink(target) => (b'2', 0, Some(target), None),
        Kind::CharDevice(device) => (b'3', 0, None, Some(device)),
        Kind::BlockDevice(device) => (b'4', 0, None, Some(device)),
        Kind::Directory => (b'5', 0, None, None),
        Kind::Fifo => (b'6', 0, None, None),
    };
    bytes[TYPE] = kind_byte;
    if size <= NUMBER_LIMIT {
        octal(bytes, SIZE, size);
    } else {
        // Base-256 as in GNU tar. A sparse file has no record: readers differ on what it counts.
        let mut number = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        number[4..].copy_from_slice(&size.to_be_bytes());
        field(bytes, SIZE, &number);
        if matches!(kind, Kind::File(_)) {
            records.insert(b"size".to_vec(), decimal(size));
        }
    }
    if let Some(target) = link {
        if target.len() > LINK.len() || !target.is_ascii() {
            records.insert(b"linkpath".to_vec(), target.to_vec());
        }
        field(bytes, LINK, target);
    }
    octal(
        bytes,
        MAJOR,
        device.map_or(0, |device| major(device).into()),
    );
    octal(
        bytes,
        MINOR,
        device.map_or(0, |device| minor(device).into()),
    );
}

fn set_metadata(header: &mut Header, records: &mut RecordMap, metadata: &Metadata) {
    let bytes = header.as_mut_bytes();
    octal(bytes, MODE, metadata.mode.into());
    for (range, key, id) in [(UID, "uid", metadata.uid), (GID, "gid", metadata.gid)] {
        if id > ID_LIMIT {
            records.insert(key.into(), decimal(id.into()));
        }
        octal(bytes, range, if id > ID_LIMIT { 0 } else { id.into() });
    }
    let whole = u64::try_from(metadata.mtime.sec)
        .ok()
        .filter(|sec| *sec <= NUMBER_LIMIT);
    if whole.is_none() || metadata.mtime.nsec != 0 {
        records.insert(b"mtime".to_vec(), pax::seconds(metadata.mtime).into_bytes());
    }
    octal(bytes, MTIME, whole.unwrap_or(0));
}

/// The map at the head of a sparse file's content (GNU tar manual, "Storing Sparse Files", 1.0).
fn sparse_map(pieces: &[Piece]) -> Vec<u8> {
    let mut map = format!("{}\n", pieces.len()).into_bytes();
    for piece in pieces {
        map.extend_from_slice(format!("{}\n{}\n", piece.offset, piece.length).as_bytes());
    }
    map.resize(map.len().next_multiple_of(512), 0);
    map
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_follows_the_content_only() {
        let metadata = Metadata::implied(0, 0);
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.entry(b"a", Kind::File(700), &metadata).unwrap();
        writer.content(&[1; 300]).unwrap();
        writer.content(&[1; 400]).unwrap();
        writer.entry(b"d", Kind::Directory, &metadata).unwrap();
        assert_eq!(writer.finish().unwrap().len(), 512 + 1024 + 512 + 1024);
    }

    #[test]
    fn gnu_tar_reads_what_is_written() {
        let mut archive = ArchiveWriter::new(Vec::new());
        let long = "n".repeat(150);
        archive.directory("d").unwrap();
        archive.file("d/f", 65_537, &mut io::repeat(b'x')).unwrap();
        archive.file(&long, 0, &mut io::empty()).unwrap();
        let bytes = archive.finish().unwrap();
        let listing = cowlab_sys::cmd::Cmd::new("tar")
            .arg("-tvf-")
            .stdin(bytes)
            .read()
            .unwrap();
        let lines: Vec<_> = listing.lines().collect();
        assert_eq!(lines.len(), 3, "{listing}");
        assert!(lines[1].contains(" 65537 ") && lines[1].ends_with(" d/f"));
        assert!(lines[2].ends_with(&long));
    }

    #[test]
    fn a_source_that_ends_early_is_an_error() {
        let mut archive = ArchiveWriter::new(Vec::new());
        let error = archive.file("f", 4, &mut &b"abc"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
