//! A tar archive written entry by entry: ustar headers, and PAX records for what does not fit them.
//!
//! One tree has one archive: no names of users, no access or change times, records in the order of
//! their keys, and a record only where the header cannot say the same. Names that are not UTF-8 go
//! into PAX records as they are, under `hdrcharset=BINARY` (POSIX pax, "pax Extended Header"), as
//! GNU tar and Go read them.

use std::io::Write;

use cowlab_sys::stat::{major, minor};
use sha2::{Digest as _, Sha256};
use tar_core::Header;

use crate::digest::{DiffId, Digest};
use crate::entry::Piece;
use crate::error::{LayerError, Result};
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
    /// A file and its size; the content follows with [`Writer::content`].
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

/// An archive being written.
pub(crate) struct Writer<'w> {
    sink: &'w mut dyn Write,
    hasher: Sha256,
    size: u64,
    padding: usize,
}

impl<'w> Writer<'w> {
    pub(crate) fn new(sink: &'w mut dyn Write) -> Self {
        Self {
            sink,
            hasher: Sha256::new(),
            size: 0,
            padding: 0,
        }
    }

    /// Writes the header of an entry. `path` is relative to the root, without a slash at its end.
    pub(crate) fn entry(&mut self, path: &[u8], kind: Kind<'_>, metadata: &Metadata) -> Result<()> {
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
        self.put(header.as_bytes())?;
        self.put(&map)
    }

    /// Writes a part of the content of the last entry.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes)?;
        self.padding = (self.padding + 512 - bytes.len() % 512) % 512;
        Ok(())
    }

    /// Ends the archive and returns its digest and size.
    pub(crate) fn finish(mut self) -> Result<(DiffId, u64)> {
        self.pad()?;
        self.put(&BLOCK)?;
        self.put(&BLOCK)?;
        self.sink.flush().map_err(LayerError::Sink)?;
        Ok((Digest::from_hasher(self.hasher), self.size))
    }

    /// Writes the header that carries the records for the next one.
    fn extended(&mut self, records: &RecordMap) -> Result<()> {
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
        self.put(header.as_bytes())?;
        self.content(&data)
    }

    fn pad(&mut self) -> Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.put(&BLOCK[..padding])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += length(bytes);
        self.sink.write_all(bytes).map_err(LayerError::Sink)
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
        let mut sink = Vec::new();
        let mut writer = Writer::new(&mut sink);
        writer.entry(b"a", Kind::File(700), &metadata).unwrap();
        writer.content(&[1; 300]).unwrap();
        writer.content(&[1; 400]).unwrap();
        writer.entry(b"d", Kind::Directory, &metadata).unwrap();
        let (_, size) = writer.finish().unwrap();
        assert_eq!(size, 512 + 1024 + 512 + 1024);
        assert_eq!(sink.len(), 3072);
    }
}
