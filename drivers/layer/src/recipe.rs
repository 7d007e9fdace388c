//! Recipes: what re-creates a layer's archive, byte for byte, from the tree that it was unpacked to.
//!
//! A recipe holds the archive's headers and padding as they were, and instead of each file's content its
//! path, where the data was, and its SHA-256. It is written while the layer is read (`Recorder`) and
//! read to make the archive again ([`rebuild`]), whose digest tells whether it is the one. It proves
//! nothing by itself: attributes come from the recipe, content from the tree.
//!
//! ```text
//! "cowlab recipe 1\n", then records of: tag (1 byte), body; numbers are 64 bits, little endian
//! 'R'  length, bytes                    bytes of the archive
//! 'F'  length, path, count, count x (offset, length), SHA-256    data of a file
//! 'E'                                   the end
//! ```

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cowlab_sys::{Errno, FileKind, Root, at, stat};
use sha2::{Digest as _, Sha256};

use crate::changes::{Change, ChangeKind};
use crate::digest::DiffId;
use crate::entry::{Entry, EntryKind, NameKind, Piece, SPARSE_LIMIT};
use crate::error::{LayerError, Result};
use crate::stream::Outlet;

const MAGIC: &[u8; 16] = b"cowlab recipe 1\n";
/// The most bytes of the archive in one record.
const RAW_LIMIT: usize = 64 << 10;
/// The longest path that is believed; the kernel's own limit for one call is 4096 (`PATH_MAX`).
const PATH_LIMIT: usize = 64 << 10;
/// How much of a file is read at a time, in bytes.
const PIECE: usize = 256 << 10;

/// Writes a recipe of an archive that is being read.
pub(crate) struct Recorder<'r> {
    sink: &'r mut dyn Write,
    raw: Vec<u8>,
    file: Option<Pending>,
}

/// A file whose content is passing.
struct Pending {
    path: Vec<u8>,
    pieces: Vec<Piece>,
    hasher: Sha256,
}

impl fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl<'r> Recorder<'r> {
    /// Begins a recipe.
    pub(crate) fn new(sink: &'r mut dyn Write) -> Result<Self> {
        sink.write_all(MAGIC).map_err(LayerError::Sink)?;
        Ok(Self {
            sink,
            raw: Vec::new(),
            file: None,
        })
    }

    /// Takes bytes of the archive that the tree does not keep.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(RAW_LIMIT) {
            if self.raw.len() + part.len() > RAW_LIMIT {
                self.flush()?;
            }
            self.raw.extend_from_slice(part);
        }
        Ok(())
    }

    /// Begins an entry: the content of a file is in the tree, all else is not.
    pub(crate) fn begin(&mut self, entry: &Entry) -> Result<()> {
        let EntryKind::File { pieces, .. } = &entry.kind else {
            return Ok(());
        };
        if let NameKind::Entry {
            mut parents,
            name: Some(name),
        } = NameKind::of(&entry.name)?
        {
            parents.push(name);
            self.file = Some(Pending {
                path: parents.join(&b'/'),
                pieces: pieces
                    .iter()
                    .copied()
                    .filter(|piece| piece.length > 0)
                    .collect(),
                hasher: Sha256::new(),
            });
        }
        Ok(())
    }

    /// Takes content of the entry.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.file {
            Some(file) => {
                file.hasher.update(bytes);
                Ok(())
            }
            None => self.raw(bytes),
        }
    }

    /// Ends the content of the entry.
    pub(crate) fn end(&mut self) -> Result<()> {
        let Some(file) = self.file.take().filter(|file| !file.pieces.is_empty()) else {
            return Ok(());
        };
        self.flush()?;
        let mut record = vec![b'F'];
        put_bytes(&mut record, &file.path);
        put(&mut record, file.pieces.len() as u64);
        for piece in &file.pieces {
            put(&mut record, piece.offset);
            put(&mut record, piece.length);
        }
        record.extend_from_slice(&file.hasher.finalize());
        self.sink.write_all(&record).map_err(LayerError::Sink)
    }

    /// Ends the recipe.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.sink.write_all(b"E").map_err(LayerError::Sink)
    }

    fn flush(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let mut record = vec![b'R'];
        put_bytes(&mut record, &self.raw);
        self.raw.clear();
        self.sink.write_all(&record).map_err(LayerError::Sink)
    }
}

fn put(record: &mut Vec<u8>, number: u64) {
    record.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    put(record, bytes.len() as u64);
    record.extend_from_slice(bytes);
}

/// An archive that was made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The digest of the archive.
    pub diff_id: DiffId,
    /// Its length in bytes.
    pub size: u64,
    /// Files whose content is not what it was, or is gone. With any, the archive is not the one.
    pub lost: Vec<Change>,
}

/// Makes the archive of a recipe again, with the content that the files have in `tree`. To the end, whatever is missing, so
/// that every loss is told; no link in the tree is followed.
///
/// # Errors
///
/// [`LayerError::Recipe`], [`LayerError::Sink`], and when the tree cannot be read.
pub fn rebuild(recipe: &mut dyn Read, tree: &Path, sink: &mut dyn Write) -> Result<Rebuilt> {
    let mut recipe = Recipe(recipe);
    let mut output = Outlet::new(sink);
    let root = Root::open(tree)?;
    let mut lost = Vec::new();
    if recipe.array::<16>()? != *MAGIC {
        return Err(broken("it is none of this version"));
    }
    let mut buffer = vec![0; PIECE];
    loop {
        match recipe.array::<1>()? {
            [b'R'] => write(&mut output, &recipe.bytes(RAW_LIMIT)?)?,
            [b'F'] => {
                let path = recipe.bytes(PATH_LIMIT)?;
                let path = PathBuf::from(OsStr::from_bytes(&path));
                let pieces = recipe.pieces()?;
                let digest = recipe.array::<32>()?;
                let kind = copy(&root, &path, &pieces, &digest, &mut buffer, &mut output)?;
                let path = Path::new("/").join(path);
                lost.extend(kind.map(|kind| Change { path, kind }));
            }
            [b'E'] => break,
            _ => return Err(broken("it has a record of no known kind")),
        }
    }
    lost.sort();
    let (_, packed) = output.finish();
    Ok(Rebuilt {
        diff_id: packed.digest,
        size: packed.size,
        lost,
    })
}

/// Copies the data of a file; tells what became of it if it is not what it was.
fn copy(
    root: &Root,
    path: &Path,
    pieces: &[Piece],
    digest: &[u8; 32],
    buffer: &mut [u8],
    output: &mut Outlet<&mut dyn Write>,
) -> Result<Option<ChangeKind>> {
    // What took a file's place may be a FIFO, whose open would wait for a writer.
    let flags = at::OFlags::RDONLY | at::OFlags::NONBLOCK | at::OFlags::NOFOLLOW;
    let file = match root.open_at(path, flags, 0) {
        Ok(file) => file,
        Err(error) => {
            return match error.errno() {
                Some(Errno::NOENT) => Ok(Some(ChangeKind::Deleted)),
                Some(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(Some(ChangeKind::Modified)),
                _ => Err(error.into()),
            };
        }
    };
    if stat::fstat(&file)?.kind() != FileKind::Regular {
        return Ok(Some(ChangeKind::Modified));
    }
    let mut file = File::from(file);
    let mut hasher = Sha256::new();
    for piece in pieces {
        cowlab_sys::io("lseek", path, file.seek(SeekFrom::Start(piece.offset)))?;
        let mut left = piece.length;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let count = match file.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => cowlab_sys::io("read", path, result)?,
            };
            if count == 0 {
                return Ok(Some(ChangeKind::Modified));
            }
            hasher.update(&buffer[..count]);
            write(output, &buffer[..count])?;
            left -= count as u64;
        }
    }
    let same = hasher.finalize()[..] == digest[..];
    Ok((!same).then_some(ChangeKind::Modified))
}

fn write(output: &mut Outlet<&mut dyn Write>, bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).map_err(LayerError::Sink)
}

struct Recipe<'r>(&'r mut dyn Read);

impl Recipe<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0
            .read_exact(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn count(&mut self, limit: usize) -> Result<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        match count <= limit {
            true => Ok(count),
            false => Err(broken("a number in it is too large")),
        }
    }

    fn bytes(&mut self, limit: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.count(limit)?];
        self.0
            .read_exact(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        Ok(bytes)
    }

    fn pieces(&mut self) -> Result<Vec<Piece>> {
        let count = self.count(SPARSE_LIMIT)?;
        let piece = |_| {
            Ok(Piece {
                offset: self.number()?,
                length: self.number()?,
            })
        };
        (0..count).map(piece).collect()
    }
}

fn broken(reason: &str) -> LayerError {
    LayerError::Recipe {
        reason: reason.to_owned(),
    }
}

fn unreadable(error: &io::Error) -> LayerError {
    LayerError::Recipe {
        reason: match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
            _ => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cowlab_tarball::Entry;

    use super::*;
    use crate::Digest;
    use crate::apply::{ApplyOptions, Target, apply_recorded, record};
    use crate::fixture::archive_of;
    use crate::stream::ReadOptions;

    fn sample() -> Vec<u8> {
        let padded = [&b"xyz"[..], &[1; 509]].concat();
        let archive = archive_of(&[
            Entry::dir("d/"),
            Entry::file("d/a", b"content"),
            Entry::file("./d/empty", b""),
            Entry::file("big", vec![7; 700_000]),
            Entry::symlink("s", "d/a"),
            Entry::link("d/b", "d/a"),
            Entry::file("d/.wh.gone", b""),
            Entry::file("last", padded).size(3),
        ]);
        // Padding that is not zero and a trailer longer than need be are kept as they are.
        [archive, vec![0; 9 * 512]].concat()
    }

    fn unpacked(archive: &[u8]) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let mut recipe = Vec::new();
        let target = Target::base(dir.path()).unwrap();
        let options = ApplyOptions {
            read: ReadOptions {
                diff_id: Some(Digest::of(archive)),
                ..ReadOptions::default()
            },
            ..ApplyOptions::default()
        };
        apply_recorded(target, &mut &*archive, &options, Some(&mut recipe)).unwrap();
        (dir, recipe)
    }

    #[test]
    fn an_archive_is_made_again_byte_for_byte() {
        let archive = sample();
        let (dir, recipe) = unpacked(&archive);
        assert!(recipe.len() < 16_384, "{}", recipe.len());
        let mut again = Vec::new();
        let rebuilt = rebuild(&mut &recipe[..], dir.path(), &mut again).unwrap();
        assert!(again == archive);
        assert_eq!(rebuilt.diff_id, Digest::of(&archive));
        assert_eq!((rebuilt.size, rebuilt.lost), (archive.len() as u64, vec![]));
    }

    #[test]
    fn recording_alone_gives_the_recipe_of_unpacking() {
        let archive = sample();
        let (_dir, unpacked) = unpacked(&archive);
        let mut recorded = Vec::new();
        record(&mut &*archive, &ReadOptions::default(), &mut recorded).unwrap();
        assert!(recorded == unpacked);
    }

    #[test]
    fn every_loss_is_told() {
        let archive = sample();
        let (dir, recipe) = unpacked(&archive);
        fs::write(dir.path().join("big"), vec![8; 700_000]).unwrap();
        fs::remove_file(dir.path().join("d/a")).unwrap();
        fs::remove_file(dir.path().join("last")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("last")).unwrap();
        let rebuilt = rebuild(&mut &recipe[..], dir.path(), &mut io::sink()).unwrap();
        let lost: Vec<_> = rebuilt
            .lost
            .iter()
            .map(|change| (change.path.to_str().unwrap(), change.kind))
            .collect();
        assert_eq!(
            lost,
            [
                ("/big", ChangeKind::Modified),
                ("/d/a", ChangeKind::Deleted),
                ("/last", ChangeKind::Modified)
            ]
        );
        assert_ne!(rebuilt.diff_id, Digest::of(&archive));
    }

    #[test]
    fn a_broken_recipe_is_refused() {
        let (dir, recipe) = unpacked(&sample());
        let mut wrong = recipe.clone();
        wrong[17] = 0xff;
        wrong[24] = 0xff;
        for recipe in [&recipe[..recipe.len() - 1], &recipe[..20], &wrong, b"text"] {
            let refused = rebuild(&mut &*recipe, dir.path(), &mut io::sink());
            assert!(
                matches!(refused, Err(LayerError::Recipe { .. })),
                "{refused:?}"
            );
        }
    }
}
