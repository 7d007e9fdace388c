//! Applying a layer: its archive unpacked over the parent's tree, whiteouts honored, digests proved.
//!
//! A layer that is not what it should be is an error after which the tree is half-made; the caller
//! throws it away. Nothing is flushed; the caller does that too.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;

use cowlab_sys::{Errno, FileKind, Stat, at, io, reflink, user_namespace};

use crate::archive::Archive;
use crate::entry::{Entry, EntryKind, NameKind, Piece, split};
use crate::error::{EntryName, LayerError, Result};
use crate::metadata::{Existing, Metadata};
use crate::recipe::Recorder;
use crate::stream::{self, Content, ReadOptions};
pub use crate::view::{Duplicates, Target};
use crate::view::{Found, View};
use crate::whiteout;

/// How a layer is applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// What the stream has to be.
    pub read: ReadOptions,
    /// What happens to an entry whose name was there before.
    pub duplicates: Duplicates,
    /// Who owns everything, in place of the owners that the entries have.
    pub owner: Option<(u32, u32)>,
}

/// What a layer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The stream: digests, sizes, compression.
    pub content: Content,
    /// What was in it.
    pub counts: Counts,
    /// The first name that the layer had twice.
    pub first_repeated: Option<EntryName>,
}

/// What was in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All entries, whiteouts included.
    pub entries: u64,
    /// Whiteouts of either kind.
    pub whiteouts: u64,
    /// Bytes of file content that were written.
    pub bytes: u64,
    /// Entries that replaced an earlier one of the same name, directories that repeat aside.
    pub repeated: u64,
    /// Entries that are no part of the tree: what aufs kept for itself.
    pub skipped: u64,
    /// Extended attributes that were left out, because they belong to a file system or to the
    /// host: `trusted.overlay.`, `user.overlay.`, `user.fuseoverlayfs.`, `security.selinux`, and what is in none of the
    /// name spaces `user`, `trusted` and `security` and no POSIX ACL.
    pub dropped_xattrs: u64,
    /// Device files that were left out, because only the host's root may make them (mknod(2)).
    pub left_out: u64,
}

/// Reads a layer from `source` to its end and unpacks it into `target`.
///
/// # Errors
///
/// Any [`LayerError`]. The tree is half-made then.
pub fn apply_to(
    target: Target,
    source: &mut (dyn Read + Send),
    options: &ApplyOptions,
) -> Result<Applied> {
    apply_recorded(target, source, options, None)
}

/// As [`apply_to`], and writes what makes the layer's archive again to `recipe`: see [`recipe`](crate::recipe).
///
/// # Errors
///
/// As [`apply_to`], and when the recipe cannot be written.
pub fn apply_recorded(
    target: Target,
    source: &mut (dyn Read + Send),
    options: &ApplyOptions,
    recipe: Option<&mut dyn Write>,
) -> Result<Applied> {
    let ((counts, first_repeated), content) = stream::read(source, &options.read, |input| {
        let recorder = match recipe {
            Some(recipe) => Some(Recorder::new(recipe)?),
            None => None,
        };
        let mut archive = Archive::new(input, options.read.is_vouched_for(), recorder);
        let mut unpacker = Unpacker::new(View::open(target, options.duplicates)?);
        while let Some(mut entry) = archive.next()? {
            if let Some((uid, gid)) = options.owner {
                (entry.metadata.uid, entry.metadata.gid) = (uid, gid);
            }
            unpacker
                .apply(&entry, &mut archive)
                .map_err(|error| match error {
                    LayerError::Sys(source) => LayerError::Entry {
                        entry: entry.name.clone(),
                        source,
                    },
                    error => error,
                })?;
        }
        archive.finish()?;
        let (counts, first_repeated) = unpacker.finish()?;
        if counts.left_out > 0 {
            let count = counts.left_out;
            tracing::warn!(
                count,
                "device files are left out: only the host's root may make them"
            );
        }
        Ok((counts, first_repeated))
    })?;
    Ok(Applied {
        content,
        counts,
        first_repeated,
    })
}

/// Writes the recipe of an archive without unpacking it, for a layer whose tree is there already.
///
/// # Errors
///
/// What is wrong with the archive, and [`LayerError::Sink`].
pub fn record(
    source: &mut (dyn Read + Send),
    options: &ReadOptions,
    recipe: &mut dyn Write,
) -> Result<Content> {
    let ((), content) = stream::read(source, options, |input| {
        let recorder = Recorder::new(recipe)?;
        let mut archive = Archive::new(input, options.is_vouched_for(), Some(recorder));
        while archive.next()?.is_some() {}
        archive.finish()
    })?;
    Ok(content)
}

/// Makes entries in a tree.
#[derive(Debug)]
struct Unpacker {
    view: View,
    counts: Counts,
}

impl Unpacker {
    fn new(view: View) -> Self {
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
    fn apply(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<()> {
        self.counts.entries += 1;
        self.counts.dropped_xattrs += entry.foreign_xattrs;
        match NameKind::of(&entry.name)? {
            NameKind::Aufs => self.counts.skipped += 1,
            NameKind::Opaque { parents } => {
                self.counts.whiteouts += 1;
                if self.view.go_to(&entry.name, &parents, false)? {
                    whiteout::clear(&mut self.view)?;
                }
            }
            NameKind::Whiteout { parents, name } => self.hide(entry, &parents, name)?,
            NameKind::Entry {
                parents,
                name: Some(name),
            } => match &entry.kind {
                EntryKind::CharDevice(0) => self.hide_by_device(entry, &parents, name)?,
                EntryKind::HardLink(target) => self.link(entry, &parents, name, target)?,
                _ => self.put(entry, &parents, OsStr::from_bytes(name), archive)?,
            },
            NameKind::Entry { name: None, .. } => {
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
    fn finish(mut self) -> Result<(Counts, Option<EntryName>)> {
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
