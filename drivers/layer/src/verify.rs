//! Verifies a layer against a tree: compares the archive with the tree in place, without unpacking it.
//!
//! True proves equality; false proves nothing, since opaque directories and names that depend on the order of entries are not
//! compared. Unpacking then tells.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cowlab_sys::{FileKind, Root, at, io, stat};

use crate::archive::Archive;
use crate::entry::{Entry, EntryKind, NameKind, Piece, split};
use crate::error::Result;
use crate::metadata::Metadata;
use crate::stream::{self, ReadOptions};

/// The longest path that one call takes, with the zero at its end (`PATH_MAX`). Entries with longer ones are not judged: the
/// kernel would go the whole way for each.
const PATH_MAX: usize = 4096;
/// How much of a file is compared at a time, in bytes.
const PIECE: usize = 128 << 10;

/// Compares a layer with the tree that shows it over its parents. Returns the paths that the layer speaks of, all of which
/// are in the tree as it says; `None` where one is not, or might not be.
///
/// # Errors
///
/// What is wrong with the stream, and when the tree cannot be read.
pub fn verify(
    tree: &Path,
    source: &mut (dyn Read + Send),
    options: &ReadOptions,
) -> Result<Option<BTreeSet<PathBuf>>> {
    let tree = Root::open(tree)?;
    let (paths, _) = stream::read(source, options, |input| {
        let mut archive = Archive::new(input, options.is_vouched_for(), None);
        let mut paths = BTreeSet::new();
        while let Some(entry) = archive.next()? {
            match mentioned_paths(&tree, &entry, &mut archive)? {
                Some(path) => paths.extend(path),
                None => return Ok(None),
            }
        }
        add_implied(&tree, &mut paths)?;
        Ok(Some(paths))
    })?;
    Ok(paths)
}

/// Adds the directories that paths imply and no entry describes, where they are as such directories are made.
fn add_implied(tree: &Root, paths: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mut above: BTreeSet<PathBuf> = BTreeSet::new();
    for path in &*paths {
        let unknown = |above: &&Path| !paths.contains(*above);
        for path in path.ancestors().skip(1).take_while(unknown) {
            // What is above a directory that is known was looked at with it.
            if !above.insert(path.to_owned()) {
                break;
            }
        }
    }
    for path in above {
        let Some(node) = open(tree, path.strip_prefix("/").unwrap_or(&path))? else {
            continue;
        };
        let found = stat::fstat(&node)?;
        let is_directory = found.kind() == FileKind::Directory;
        if is_directory && Metadata::read(&node, &found)? == Metadata::implied(0, 0) {
            paths.insert(path);
        }
    }
    Ok(())
}

/// The path of an entry that the tree shows, nothing for an entry of no path, or `None`.
fn mentioned_paths(
    tree: &Root,
    entry: &Entry,
    archive: &mut Archive<'_>,
) -> Result<Option<Option<PathBuf>>> {
    let (parents, name, is_gone) = match NameKind::of(&entry.name)? {
        NameKind::Aufs => return Ok(Some(None)),
        NameKind::Opaque { .. } => return Ok(None),
        NameKind::Whiteout { parents, name } => (parents, Some(name), true),
        NameKind::Entry { parents, name } => {
            let is_whiteout = matches!(entry.kind, EntryKind::CharDevice(0));
            (parents, name, is_whiteout)
        }
    };
    let path = joined(parents.into_iter().chain(name));
    if path.as_os_str().len() >= PATH_MAX {
        return Ok(None);
    }
    let is_there = match (is_gone, open(tree, &path)?) {
        (true, node) => node.is_none(),
        (false, None) => false,
        (false, Some(node)) => is_shown(tree, entry, &path, &node, archive)?,
    };
    Ok(is_there.then(|| Some(Path::new("/").join(path))))
}

fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>) -> PathBuf {
    parts.map(OsStr::from_bytes).collect()
}

/// Opens what has a path, without following or waiting for anything.
fn open(tree: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    let opened = tree.open_at(path, at::OFlags::PATH | at::OFlags::NOFOLLOW, 0);
    match opened {
        Ok(node) => Ok(Some(node)),
        Err(error) => match error.errno() {
            Some(
                cowlab_sys::Errno::NOENT | cowlab_sys::Errno::NOTDIR | cowlab_sys::Errno::LOOP,
            ) => Ok(None),
            _ => Err(error.into()),
        },
    }
}

fn is_shown(
    tree: &Root,
    entry: &Entry,
    path: &Path,
    node: &OwnedFd,
    archive: &mut Archive<'_>,
) -> Result<bool> {
    let found = stat::fstat(node)?;
    let kind = found.kind();
    if let EntryKind::HardLink(target) = &entry.kind {
        let target = joined(split(&entry.name, target)?.into_iter());
        let Some(other) = open(tree, &target)? else {
            return Ok(false);
        };
        let other = stat::fstat(&other)?;
        return Ok((found.dev, found.ino) == (other.dev, other.ino));
    }
    let mut wanted = entry.metadata.clone();
    wanted.xattrs.sort();
    if kind == FileKind::Symlink {
        // Linux has one mode for all of them.
        wanted.mode = found.permissions();
    }
    let mut metadata = Metadata::read(node, &found)?;
    metadata.xattrs.sort();
    if entry.is_opaque || wanted != metadata {
        return Ok(false);
    }
    match &entry.kind {
        EntryKind::File { pieces, size } => {
            if kind != FileKind::Regular || found.size != *size {
                return Ok(false);
            }
            let file =
                File::from(tree.open_at(path, at::OFlags::RDONLY | at::OFlags::NOFOLLOW, 0)?);
            has_content(&file, path, pieces, *size, archive)
        }
        EntryKind::Symlink(target) => {
            let content = at::read_link(node, "")?;
            Ok(kind == FileKind::Symlink && content.as_os_str().as_bytes() == target.as_slice())
        }
        EntryKind::Directory => Ok(kind == FileKind::Directory),
        EntryKind::CharDevice(device) => Ok(kind == FileKind::CharDevice && found.rdev == *device),
        EntryKind::BlockDevice(device) => {
            Ok(kind == FileKind::BlockDevice && found.rdev == *device)
        }
        EntryKind::Fifo => Ok(kind == FileKind::Fifo),
        EntryKind::HardLink(_) => Ok(false),
    }
}

/// Compares a file with the content of an entry; where the entry has a hole, the file has zeros.
fn has_content(
    mut file: &File,
    path: &Path,
    pieces: &[Piece],
    size: u64,
    archive: &mut Archive<'_>,
) -> Result<bool> {
    let mut buffer = vec![0; PIECE];
    let mut end = 0;
    let mut same = true;
    let last = Piece {
        offset: size,
        length: 0,
    };
    for piece in pieces.iter().copied().chain([last]) {
        while same && end < piece.offset {
            let most = usize::try_from(piece.offset - end)
                .unwrap_or(PIECE)
                .min(PIECE);
            io("read", path, file.read_exact(&mut buffer[..most]))?;
            same = buffer[..most].iter().all(|byte| *byte == 0);
            end += most as u64;
        }
        if !same {
            return Ok(false);
        }
        io("lseek", path, file.seek(SeekFrom::Start(piece.offset)))?;
        archive.read(piece.length, |bytes| {
            for part in bytes.chunks(PIECE) {
                io("read", path, file.read_exact(&mut buffer[..part.len()]))?;
                same &= buffer[..part.len()] == *part;
            }
            Ok(())
        })?;
        end = piece.offset + piece.length;
    }
    Ok(same)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cowlab_tarball::Entry;

    use super::*;
    use crate::apply::{ApplyOptions, Target, apply_to};
    use crate::fixture::archive_of;

    fn sample() -> Vec<Entry> {
        vec![
            Entry::dir("d/"),
            Entry::file("d/a", b"content"),
            Entry::link("d/b", "d/a"),
            Entry::symlink("s", "d/a"),
            Entry::file(".wh.gone", b""),
            Entry::file("x", b"attributes").record("SCHILY.xattr.user.note", b"text"),
        ]
    }

    fn look(tree: &Path, entries: &[Entry]) -> Option<usize> {
        let found = verify(tree, &mut &*archive_of(entries), &ReadOptions::default());
        found.unwrap().map(|paths| paths.len())
    }

    #[test]
    fn a_tree_shows_its_layer_until_something_changes() {
        type Change = fn(&Path);
        let changes: [Change; 6] = [
            |dir| fs::write(dir.join("d/a"), "Content").unwrap(),
            |dir| fs::remove_file(dir.join("s")).unwrap(),
            |dir| fs::write(dir.join("gone"), "here").unwrap(),
            |dir| {
                fs::remove_file(dir.join("d/b")).unwrap();
                fs::copy(dir.join("d/a"), dir.join("d/b"))
                    .map(drop)
                    .unwrap();
            },
            |dir| cowlab_sys::xattr::set(dir.join("x"), "user.note", b"Text").unwrap(),
            |dir| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
                fs::set_permissions(dir.join("d"), mode).unwrap();
            },
        ];
        for change in changes {
            let dir = tempfile::tempdir().unwrap();
            let target = Target::base(dir.path()).unwrap();
            apply_to(
                target,
                &mut &*archive_of(&sample()),
                &ApplyOptions::default(),
            )
            .unwrap();
            assert!(look(dir.path(), &sample()).is_some_and(|count| count >= 6));
            change(dir.path());
            assert_eq!(look(dir.path(), &sample()), None);
        }
    }

    #[test]
    fn what_is_not_judged_is_no_proof() {
        let dir = tempfile::tempdir().unwrap();
        let opaque = vec![Entry::dir("d/"), Entry::file("d/.wh..wh..opq", b"")];
        let target = Target::base(dir.path()).unwrap();
        apply_to(target, &mut &*archive_of(&opaque), &ApplyOptions::default()).unwrap();
        assert_eq!(look(dir.path(), &opaque), None);
    }
}
