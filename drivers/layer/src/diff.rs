//! The difference between two trees as a layer: what [`changes`](crate::changes) found, written so
//! that applying it to the parent gives the tree, with every attribute.
//!
//! Entries come in the order of the tree: a directory, then whiteouts of names in it, then the other
//! names sorted by their bytes, each with what is below it. A directory on the way to a change is
//! carried too, for its own sake and for tools that apply the layer alone. Files with several names
//! have their content under the first; the others are hard links to it, and all of them are in the
//! layer. Two types are left out, and what they replaced is whited out: sockets, for which an archive has no type and which
//! outlive no process, and character devices 0:0, which would be whiteouts themselves.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;

use cowlab_sys::cursor::{Cursor, common_prefix, has_prefix};
use cowlab_sys::{FileKind, Stat, at, fiemap, io, stat};

use crate::changes::{Change, ChangeKind};
use crate::digest::DiffId;
use crate::entry::{Piece, SPARSE_LIMIT};
use crate::error::{EntryName, LayerError, Result};
use crate::metadata::Metadata;
use crate::stream::Outlet;
use crate::writer::{ArchiveWriter, Kind};

/// How a difference is written.
#[derive(Debug, Clone, Copy)]
pub struct DiffOptions {
    /// Whether holes stay holes, as GNU sparse files in PAX format 1.0.
    ///
    /// The image specification would rather not have them (layer.md, "Hardlinks" and "Sparse
    /// files": "SHOULD NOT be used"), but GNU tar and everything made with Go read them, and
    /// without them a sparse file of a terabyte is a terabyte. Without, the archive of a tree does
    /// not depend on where its holes are.
    pub sparse: bool,
    /// Whether directories are gone into that something is mounted on.
    pub across_mounts: bool,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            sparse: true,
            across_mounts: false,
        }
    }
}

/// An archive that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The digest of the archive.
    pub diff_id: DiffId,
    /// Its length in bytes.
    pub size: u64,
    /// The entries in it, whiteouts included.
    pub entries: u64,
}

/// Writes `changes`, which [`between`](crate::changes::between) found, of the tree `root`.
///
/// # Errors
///
/// [`LayerError::Sink`]; [`LayerError::Unsupported`] for a name that a layer cannot hold, because
/// it would be a whiteout; and when something cannot be read or changes meanwhile.
pub fn write(
    root: &Path,
    changes: &[Change],
    sink: &mut dyn Write,
    options: &DiffOptions,
) -> Result<Written> {
    let mut diff = Diff {
        cursor: Cursor::open(root)?.across_mounts(options.across_mounts),
        writer: ArchiveWriter::new(Outlet::new(sink)),
        options: *options,
        first_names: HashMap::new(),
        entries: 0,
        buffer: vec![0; 256 * 1024],
    };
    let mut order: Vec<_> = changes
        .iter()
        .map(|change| (relative(change), change.kind))
        .collect();
    // They are sorted by their bytes, which is nearly the order of the tree.
    order.sort_by(tree_order);
    for (path, kind) in order {
        diff.change(path, kind)?;
    }
    let (_, packed) = diff.writer.finish().map_err(LayerError::Sink)?.finish();
    Ok(Written {
        diff_id: packed.digest,
        size: packed.size,
        entries: diff.entries,
    })
}

/// The path of a change without the slash at its beginning.
fn relative(change: &Change) -> &[u8] {
    let path = change.path.as_os_str().as_bytes();
    path.strip_prefix(b"/").unwrap_or(path)
}

/// The order of entries: a directory before what is in it; in a directory whiteouts, then the other names by their bytes.
fn tree_order((a, a_kind): &(&[u8], ChangeKind), (b, b_kind): &(&[u8], ChangeKind)) -> Ordering {
    let common = common_prefix(a, b);
    if has_prefix(b, a.len(), common) || a.is_empty() {
        return a.len().cmp(&b.len());
    }
    if has_prefix(a, b.len(), common) || b.is_empty() {
        return Ordering::Greater;
    }
    // Both paths have a first name that the other has not.
    let start = a[..common].iter().rposition(|byte| *byte == b'/');
    let start = start.map_or(0, |slash| slash + 1);
    let name = |path: &'_ [u8], kind: ChangeKind| {
        let length = path[start..].iter().position(|byte| *byte == b'/');
        let end = length.map_or(path.len(), |length| start + length);
        let is_other = kind != ChangeKind::Deleted || end < path.len();
        (is_other, start..end)
    };
    let ((a_is_other, a_name), (b_is_other, b_name)) = (name(a, *a_kind), name(b, *b_kind));
    (a_is_other, &a[a_name]).cmp(&(b_is_other, &b[b_name]))
}

struct Diff<'w> {
    cursor: Cursor,
    writer: ArchiveWriter<Outlet<&'w mut dyn Write>>,
    options: DiffOptions,
    /// The first name of each file that has several.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    entries: u64,
    buffer: Vec<u8>,
}

impl Diff<'_> {
    /// Writes one change and, before it, the directories on the way that were not written yet.
    fn change(&mut self, path: &[u8], kind: ChangeKind) -> Result<()> {
        if path.is_empty() {
            let root = self.cursor.root();
            let metadata = Metadata::read(root, &stat::fstat(root)?)?;
            return self.emit(b".", Kind::Directory, &metadata);
        }
        let mut names = self
            .cursor
            .climb_to(Path::new(OsStr::from_bytes(path)))?
            .iter()
            .peekable();
        while let Some(name) = names.next() {
            let change = names.peek().is_none().then_some(kind);
            if change == Some(ChangeKind::Deleted) {
                return self.whiteout(name);
            }
            if !self.name(name, change)? {
                break;
            }
            self.cursor.enter(name)?;
        }
        Ok(())
    }

    /// The path of a name in the current directory.
    fn join(&self, name: &[u8]) -> Vec<u8> {
        let path = self.cursor.path().as_os_str().as_bytes();
        match path.is_empty() {
            true => name.to_vec(),
            false => [path, b"/", name].concat(),
        }
    }

    fn emit(&mut self, path: &[u8], kind: Kind<'_>, metadata: &Metadata) -> Result<()> {
        self.entries += 1;
        self.writer
            .entry(path, kind, metadata)
            .map_err(LayerError::Sink)
    }

    fn whiteout(&mut self, name: &OsStr) -> Result<()> {
        let path = self.join(&[b".wh.", name.as_bytes()].concat());
        let metadata = Metadata {
            mode: 0,
            ..Metadata::implied(0, 0)
        };
        self.emit(&path, Kind::File(0), &metadata)
    }

    /// Writes a name of the current directory; tells whether it is a directory.
    fn name(&mut self, name: &OsStr, change: Option<ChangeKind>) -> Result<bool> {
        let path = self.join(name.as_bytes());
        if name.as_bytes().starts_with(b".wh.") {
            return Err(LayerError::Unsupported {
                what: format!(
                    "{} in a layer, where it would be a whiteout,",
                    EntryName::new(path)
                ),
                remedy: "rename it: names in `.wh.` are reserved",
            });
        }
        let about = |source| LayerError::Entry {
            entry: EntryName::new(path.clone()),
            source,
        };
        let stat = at::stat(self.cursor.dir(), name).map_err(about)?;
        let is_directory = stat.kind() == FileKind::Directory;
        if stat.kind() == FileKind::Socket || stat.is_whiteout() {
            if change == Some(ChangeKind::Modified) {
                self.whiteout(name)?;
            }
            return Ok(false);
        }
        if stat.nlink > 1 && !is_directory {
            if let Some(first) = self.first_names.get(&(stat.dev, stat.ino)) {
                let first = first.clone();
                let metadata = Metadata {
                    xattrs: Vec::new(),
                    ..plain(&stat)
                };
                self.emit(&path, Kind::HardLink(&first), &metadata)?;
                return Ok(false);
            }
            self.first_names.insert((stat.dev, stat.ino), path.clone());
        }
        let node = at::open_path(self.cursor.dir(), name).map_err(about)?;
        let metadata = Metadata::read(&node, &stat).map_err(about)?;
        match stat.kind() {
            FileKind::Regular => {
                let file = at::open(self.cursor.dir(), name, at::OFlags::RDONLY, 0);
                self.file(&path, &file.map_err(about)?.into(), stat.size, &metadata)?;
            }
            FileKind::Symlink => {
                let target = at::read_link(self.cursor.dir(), name).map_err(about)?;
                let target = target.into_os_string().into_vec();
                self.emit(&path, Kind::Symlink(&target), &metadata)?;
            }
            FileKind::Directory => self.emit(&path, Kind::Directory, &metadata)?,
            FileKind::CharDevice => self.emit(&path, Kind::CharDevice(stat.rdev), &metadata)?,
            FileKind::BlockDevice => self.emit(&path, Kind::BlockDevice(stat.rdev), &metadata)?,
            FileKind::Fifo => self.emit(&path, Kind::Fifo, &metadata)?,
            FileKind::Socket | FileKind::Unknown => {}
        }
        Ok(is_directory)
    }

    fn file(&mut self, path: &[u8], file: &File, size: u64, metadata: &Metadata) -> Result<()> {
        let about = |source| LayerError::Entry {
            entry: EntryName::new(path),
            source,
        };
        let whole = [Piece {
            offset: 0,
            length: size,
        }];
        let pieces = match self.options.sparse {
            true => data_pieces(file, size).map_err(about)?,
            false => None,
        };
        let pieces = pieces.filter(|pieces| pieces.len() <= SPARSE_LIMIT);
        match &pieces {
            Some(pieces) => self.emit(path, Kind::Sparse(pieces, size), metadata)?,
            None => self.emit(path, Kind::File(size), metadata)?,
        }
        for piece in pieces.as_deref().unwrap_or(&whole) {
            self.piece(path, file, *piece)?;
        }
        Ok(())
    }

    fn piece(&mut self, path: &[u8], mut file: &File, piece: Piece) -> Result<()> {
        let about = |source| LayerError::Entry {
            entry: EntryName::new(path),
            source,
        };
        io("lseek", "", file.seek(SeekFrom::Start(piece.offset))).map_err(about)?;
        let mut left = piece.length;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let count = match file.read(&mut self.buffer[..most]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => io("read", "", result).map_err(about)?,
            };
            if count == 0 {
                let reason = "the file became shorter while it was read";
                return Err(LayerError::malformed(&EntryName::new(path), reason));
            }
            let written = self.writer.content(&self.buffer[..count]);
            written.map_err(LayerError::Sink)?;
            left -= u64::try_from(count).unwrap_or(left);
        }
        Ok(())
    }
}

fn plain(stat: &Stat) -> Metadata {
    Metadata {
        mode: stat.permissions(),
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        xattrs: Vec::new(),
    }
}

/// The unit of holes: the smallest of the file systems in use. Others report larger pieces for the
/// same file; the zeros in those are told apart here.
const UNIT: usize = 4096;

/// Lists the pieces of data of a file that has holes, the same whatever file system keeps it; `None` for a file without.
fn data_pieces(file: &File, size: u64) -> cowlab_sys::Result<Option<Vec<Piece>>> {
    let segments = fiemap::data_segments(file)?;
    let data: u64 = segments.iter().map(|(_, length)| *length).sum();
    if data >= size {
        return Ok(None);
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut buffer = vec![0; 64 * UNIT];
    for (start, length) in segments {
        let mut offset = start;
        let end = start + length;
        while offset < end {
            // Blocks are cut at multiples of the unit, wherever a segment begins.
            let unit = u64::try_from(UNIT).unwrap_or(4096);
            let room = u64::try_from(buffer.len()).unwrap_or(unit) - offset % unit;
            let wanted = usize::try_from(room.min(end - offset)).unwrap_or(UNIT);
            io(
                "pread",
                "",
                file.read_exact_at(&mut buffer[..wanted], offset),
            )?;
            let mut at = 0;
            while at < wanted {
                let position = offset + u64::try_from(at).unwrap_or(0);
                let left = UNIT - usize::try_from(position % unit).unwrap_or(0);
                let block = &buffer[at..wanted.min(at + left)];
                if block.iter().any(|byte| *byte != 0) {
                    extend(
                        &mut pieces,
                        position,
                        u64::try_from(block.len()).unwrap_or(0),
                    );
                }
                at += block.len();
            }
            offset += u64::try_from(wanted).unwrap_or(end - offset);
        }
    }
    // GNU tar gives a file that ends in a hole its size only by an empty piece at the end.
    if pieces
        .last()
        .is_none_or(|last| last.offset + last.length < size)
    {
        pieces.push(Piece {
            offset: size,
            length: 0,
        });
    }
    Ok(Some(pieces))
}

fn extend(pieces: &mut Vec<Piece>, offset: u64, length: u64) {
    match pieces.last_mut() {
        Some(last) if last.offset + last.length == offset => last.length += length,
        _ => pieces.push(Piece { offset, length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_beside_holes_are_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[0; 300_000], 1 << 20).unwrap();
        file.write_all_at(b"x", (1 << 20) + 5000).unwrap();
        file.write_all_at(b"end", (10 << 20) - 3).unwrap();
        let expected = [
            Piece {
                offset: (1 << 20) + 4096,
                length: 4096,
            },
            Piece {
                offset: (10 << 20) - 4096,
                length: 4096,
            },
        ];
        // A file system without holes reports none.
        if let Some(pieces) = data_pieces(&file, 10 << 20).unwrap() {
            assert_eq!(pieces, expected);
        }
        file.set_len(20 << 20).unwrap();
        if let Some(pieces) = data_pieces(&file, 20 << 20).unwrap() {
            let end = Piece {
                offset: 20 << 20,
                length: 0,
            };
            assert_eq!(pieces, [&expected[..], &[end]].concat());
        }
        assert_eq!(
            data_pieces(&tempfile::tempfile().unwrap(), 0).unwrap(),
            None
        );
    }
}
