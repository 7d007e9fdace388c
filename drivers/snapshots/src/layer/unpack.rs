//! One entry after the other, made in the tree.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;

use cowlab_sys::{Errno, FileKind, Stat, at, io, reflink, user_namespace};

use super::apply::Counts;
use super::archive::{Archive, Entry, EntryKind, Piece};
use super::error::{EntryName, LayerError, Result};
use super::metadata::{Existing, Metadata};
use super::name::{Meaning, split};
use super::view::{Found, View};
use super::whiteout;

/// Makes entries in a tree.
#[derive(Debug)]
pub(super) struct Unpacker {
    view: View,
    counts: Counts,
}

impl Unpacker {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            counts: Counts::default(),
        }
    }

    /// Applies one entry, reading its content from `archive`.
    ///
    /// # Errors
    ///
    /// What is wrong with the entry, or what the system refused for it.
    pub(super) fn apply(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<()> {
        self.counts.entries += 1;
        self.counts.dropped_xattrs += entry.foreign_xattrs;
        match Meaning::of(&entry.name)? {
            Meaning::Aufs => self.counts.skipped += 1,
            Meaning::Opaque { parents } => {
                self.counts.whiteouts += 1;
                if self.view.go_to(&entry.name, &parents, false)? {
                    whiteout::clear(&mut self.view)?;
                }
            }
            Meaning::Whiteout { parents, name } => self.hide(entry, &parents, name)?,
            Meaning::Entry {
                parents,
                name: Some(name),
            } => match &entry.kind {
                EntryKind::CharDevice(0) => self.hide_by_device(entry, &parents, name)?,
                EntryKind::HardLink(target) => self.link(entry, &parents, name, target)?,
                _ => self.put(entry, &parents, OsStr::from_bytes(name), archive)?,
            },
            Meaning::Entry { name: None, .. } => {
                if !matches!(entry.kind, EntryKind::Directory) {
                    let reason = "the root of a layer is a directory";
                    return Err(LayerError::malformed(&entry.name, reason));
                }
                self.view.leave_to(1)?;
                self.describe_directory(entry)?;
            }
        }
        Ok(())
    }

    /// Sets the times of the directories still open. Returns the first name that the layer had twice beside the counts.
    pub(super) fn finish(mut self) -> Result<(Counts, Option<EntryName>)> {
        self.counts.repeated = self.view.repeated;
        let first_repeated = self.view.first_repeated.take();
        self.view.finish()?;
        Ok((self.counts, first_repeated))
    }

    /// A whiteout in the kernel's form: a character device 0:0 (overlayfs.rst, "whiteouts and opaque directories"). It has
    /// the name that it hides, so it replaces an entry of this layer like any other entry.
    fn hide_by_device(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8]) -> Result<()> {
        if self.view.go_to(&entry.name, parents, false)? {
            let name = OsStr::from_bytes(name);
            let key = self.view.key(name);
            self.view.check_duplicate(&entry.name, key)?;
            if self.view.made.remove(&key)
                && at::stat_if_present(self.view.upper(), name)?.is_some()
            {
                self.view.top_mut().is_touched = true;
                whiteout::remove(self.view.upper(), name)?;
            }
        }
        self.hide(entry, parents, name)
    }

    /// A whiteout: the name is what counts, not the type.
    fn hide(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8]) -> Result<()> {
        self.counts.whiteouts += 1;
        if self.view.go_to(&entry.name, parents, false)? {
            whiteout::hide(&mut self.view, OsStr::from_bytes(name))?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        entry: &Entry,
        parents: &[&[u8]],
        name: &OsStr,
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        self.view.go_to(&entry.name, parents, true)?;
        let key = self.view.key(name);
        if matches!(entry.kind, EntryKind::Directory) {
            if !self.view.enter(name)? {
                self.view.check_duplicate(&entry.name, key)?;
                self.view.make_directory(name)?;
            }
            self.describe_directory(entry)?;
        } else {
            self.view.check_duplicate(&entry.name, key)?;
            self.view.materialize()?;
            self.view.top_mut().is_touched = true;
            self.make(entry, name, archive)?;
        }
        self.view.made.insert(key);
        Ok(())
    }

    fn describe_directory(&mut self, entry: &Entry) -> Result<()> {
        if entry.is_opaque {
            whiteout::clear(&mut self.view)?;
        }
        self.view.describe(&entry.metadata)
    }

    /// Makes something that is no directory, in place of whatever has the name.
    fn make(&mut self, entry: &Entry, name: &OsStr, archive: &mut Archive<'_>) -> Result<()> {
        let existing = self.existing();
        let dir = self.view.upper();
        let metadata = &entry.metadata;
        let node = |kind, device| {
            replacing(dir, name, || at::mknod(dir, name, kind, 0o600, device))?;
            Ok(metadata.put_at(dir, name, kind, existing)?)
        };
        match &entry.kind {
            EntryKind::File { pieces, size } => {
                let file = replacing(dir, name, || at::create(dir, name, 0o600))?;
                self.counts.bytes += write(&file, name, pieces, *size, archive)?;
                metadata.put(&file, existing)?;
                Ok(at::set_times(&file, "", metadata.mtime, metadata.mtime)?)
            }
            EntryKind::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                replacing(dir, name, || at::symlink(target, dir, name))?;
                Ok(metadata.put_at(dir, name, FileKind::Symlink, existing)?)
            }
            EntryKind::CharDevice(device) => self.device(name, node(FileKind::CharDevice, *device)),
            EntryKind::BlockDevice(device) => {
                self.device(name, node(FileKind::BlockDevice, *device))
            }
            EntryKind::Fifo => node(FileKind::Fifo, 0),
            EntryKind::Directory | EntryKind::HardLink(_) => {
                unreachable!("directories and hard links are made elsewhere")
            }
        }
    }

    /// Leaves out a device that root of a user namespace may not make, as other runtimes do: a container gets its devices
    /// from the host. What the parent has in its place goes.
    fn device(&mut self, name: &OsStr, made: Result<()>) -> Result<()> {
        match made {
            Err(LayerError::Sys(error))
                if error.errno() == Some(Errno::PERM) && user_namespace::is_inside()? =>
            {
                self.counts.left_out += 1;
                whiteout::hide(&mut self.view, name)
            }
            made => made,
        }
    }

    /// What a new file in the current directory has of extended attributes.
    fn existing(&self) -> Existing {
        if self.view.top().passes_acl_on {
            Existing::Replaced
        } else {
            Existing::None
        }
    }

    /// Makes a further name of a file, of the layer or of its parent. The attributes of the entry
    /// are those of the file and are not set again.
    fn link(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8], target: &[u8]) -> Result<()> {
        let name = OsStr::from_bytes(name);
        let parts = split(&entry.name, target)?;
        let missing = |why| {
            let target = EntryName::new(target);
            LayerError::malformed(&entry.name, format!("its target {target} {why}"))
        };
        let Some((last, above)) = parts.split_last() else {
            return Err(missing("is a directory"));
        };
        let last = OsStr::from_bytes(last);
        if !self.view.go_to(&entry.name, above, false)? {
            return Err(missing("is neither in the layer nor in its parent"));
        }
        match self.view.look_up(last)? {
            Found::Here(stat) | Found::Below(stat) if stat.kind() == FileKind::Directory => {
                return Err(missing("is a directory"));
            }
            Found::Here(_) => {}
            Found::Below(stat) => self.copy_up(last, &stat)?,
            Found::Nothing => return Err(missing("is neither in the layer nor in its parent")),
        }
        let from = io("dup", last, self.view.upper().try_clone())?;
        let from_key = self.view.key(last);
        self.view.go_to(&entry.name, parents, true)?;
        let key = self.view.key(name);
        if key == from_key {
            return Err(missing("is the entry itself"));
        }
        self.view.check_duplicate(&entry.name, key)?;
        self.view.materialize()?;
        self.view.top_mut().is_touched = true;
        let dir = self.view.upper();
        replacing(dir, name, || at::link(&from, last, dir, name))?;
        self.view.made.insert(key);
        Ok(())
    }

    /// Copies what only the parent has into the layer with everything but its other names: those
    /// are other files from then on, as after overlayfs's own copy-up without an index.
    fn copy_up(&mut self, name: &OsStr, stat: &Stat) -> Result<()> {
        self.view.materialize()?;
        self.view.top_mut().is_touched = true;
        let existing = self.existing();
        let dirs = self.view.dirs();
        let (dir, Some(lower)) = (self.view.upper(), &dirs.lower) else {
            unreachable!("the file was found there");
        };
        let metadata = Metadata::read(&at::open_path(lower, name)?, stat)?;
        match stat.kind() {
            FileKind::Regular => {
                let source = File::from(at::open(lower, name, at::OFlags::RDONLY, 0)?);
                let file = at::create(dir, name, 0o600)?;
                reflink::copy_file(&source, &file)?;
                metadata.put(&file, existing)?;
                return Ok(at::set_times(&file, "", stat.atime, stat.mtime)?);
            }
            FileKind::Symlink => at::symlink(at::read_link(lower, name)?, dir, name)?,
            kind => at::mknod(dir, name, kind, 0o600, stat.rdev)?,
        }
        Ok(metadata.put_at(dir, name, stat.kind(), existing)?)
    }
}

/// Calls `make`, and once more after removing what has the name.
fn replacing<T>(dir: &File, name: &OsStr, make: impl Fn() -> cowlab_sys::Result<T>) -> Result<T> {
    match make() {
        Err(error) if error.errno() == Some(Errno::EXIST) => {
            whiteout::remove(dir, name)?;
            Ok(make()?)
        }
        made => Ok(made?),
    }
}

/// Writes the content of a file, leaving its holes, and returns the bytes written.
fn write(
    mut file: &File,
    name: &OsStr,
    pieces: &[Piece],
    size: u64,
    archive: &mut Archive<'_>,
) -> Result<u64> {
    let mut end = 0;
    let mut written = 0;
    for piece in pieces {
        if piece.offset != end {
            io("lseek", name, file.seek(SeekFrom::Start(piece.offset)))?;
        }
        archive.read(piece.length, |bytes| {
            Ok(io("write", name, file.write_all(bytes))?)
        })?;
        end = piece.offset + piece.length;
        written += piece.length;
    }
    if end != size {
        io("ftruncate", name, file.set_len(size))?;
    }
    Ok(written)
}
