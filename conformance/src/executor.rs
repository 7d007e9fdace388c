//! Performs operations in a case's directory and remembers what a case holds open.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};

use cowlab_sys::at::{self, OFlags, RenameFlags};
use cowlab_sys::file::{self, FallocateFlags, IFlags, Mapping};
use cowlab_sys::stat::{self, FileKind, Time};
use cowlab_sys::{fiemap, process, reflink};

use crate::errno::{Code, EAGAIN, EBADF, ENOENT};
use crate::op::Op;
use crate::operation::{Change, Handle, Look, Operation};
use crate::terms::{
    Content, FallocateHow, Field, Flags, InodeFlag, Kind, Lock, Range, RenameHow, Special,
};
use crate::text;
use crate::tree::{Result, Tree};

/// Bytes written at once.
const CHUNK: usize = 1 << 16;

/// Someone who performs operations in one tree.
#[derive(Debug)]
pub struct Executor {
    tree: Tree,
    descriptors: BTreeMap<&'static str, File>,
    mappings: BTreeMap<&'static str, Mapping>,
    inodes: BTreeMap<&'static str, u64>,
}

impl Executor {
    /// Begins in a tree with nothing open.
    #[must_use]
    pub const fn new(tree: Tree) -> Self {
        Self {
            tree,
            descriptors: BTreeMap::new(),
            mappings: BTreeMap::new(),
            inodes: BTreeMap::new(),
        }
    }

    /// Notes the inode numbers that operations to come will ask for.
    pub fn note_inodes(&mut self, ops: &[Op]) {
        for op in ops {
            if let Operation::Look(Look::SameInode { before, .. }) = op.operation
                && let Ok(stat) = self.tree.stat(before)
            {
                self.inodes.insert(before, stat.ino);
            }
        }
    }

    /// Performs an operation and returns what it gave: `ok` for what only changes something.
    pub fn perform(&mut self, op: &Op) -> Result<String> {
        if op.user == 0 {
            self.operation(&op.operation)
        } else {
            process::as_user(op.user, || self.operation(&op.operation))?
        }
    }

    fn operation(&mut self, operation: &Operation) -> Result<String> {
        match operation {
            Operation::Change(change) => self.change(change).map(|()| "ok".to_owned()),
            Operation::Handle(handle) => self.handle(handle),
            Operation::Look(look) => self.look(look),
            Operation::Call { function, .. } => function(&self.tree),
        }
    }

    fn change(&self, change: &Change) -> Result<()> {
        let tree = &self.tree;
        match *change {
            Change::Dir { path, mode } => tree.make_dir(path, mode),
            Change::Write { path, content } => write_content(tree, path, content),
            Change::Append { path, text } => {
                let flags = OFlags::WRONLY | OFlags::APPEND;
                write_all(&tree.open_file(path, flags, 0)?, text)
            }
            Change::WriteAt { path, offset, text } => {
                let file = tree.open_file(path, OFlags::WRONLY, 0)?;
                Ok(file.write_all_at(&text::unescape(text), offset)?)
            }
            Change::Truncate { path, size } => {
                Ok(tree.open_file(path, OFlags::WRONLY, 0)?.set_len(size)?)
            }
            Change::Unlink { path } => tree.unlink(path),
            Change::RemoveDir { path } => tree.remove_dir(path),
            Change::Remove { path } => remove(tree, path),
            Change::RemoveTree { path } => tree.remove_tree(path),
            Change::Rename { from, to, how } => tree.rename(from, to, rename_flags(how)),
            Change::Link { target, path } => tree.link(target, path),
            Change::Symlink { target, path } => tree.symlink(target, path),
            Change::Chmod { path, mode } => tree.chmod(path, mode),
            Change::Chown { path, uid, gid } => tree.chown(path, uid, gid),
            Change::Times { path, sec, nsec } => tree.set_times(path, Time { sec, nsec }),
            Change::SetXattr { path, name, value } => tree.set_xattr(path, name, value),
            Change::SetXattrSized { path, name, size } => {
                tree.set_xattr(path, name, &cowlab_random::bytes(0, size))
            }
            Change::RemoveXattr { path, name } => tree.remove_xattr(path, name),
            Change::Node {
                path,
                special,
                mode,
            } => {
                let (kind, device) = node(special);
                tree.make_node(path, kind, mode, device)
            }
            Change::Sparse { path, size, data } => write_sparse(tree, path, size, data),
            Change::Fallocate { path, how, range } => {
                let file = tree.open_file(path, OFlags::RDWR, 0)?;
                let flags = fallocate_flags(how);
                Ok(file::fallocate(&file, flags, range.offset, range.length)?)
            }
            Change::Clone { from, to } => clone_file(tree, from, to),
            Change::CopyRange { from, to } => copy_range(tree, from, to),
            Change::TmpFile { dir, path, text } => tmp_file(tree, dir, path, text),
            Change::InodeFlag { path, flag, on } => set_inode_flag(tree, path, flag, on),
        }
    }

    fn handle(&mut self, handle: &Handle) -> Result<String> {
        match *handle {
            Handle::Open { name, path, flags } => {
                let mode = if flags.create { 0o644 } else { 0 };
                let file = self.tree.open_file(path, open_flags(flags), mode)?;
                self.descriptors.insert(name, file);
            }
            Handle::Close { name } => {
                self.descriptors.remove(name).ok_or(EBADF)?;
            }
            Handle::WriteDescriptor { name, text } => write_all(self.descriptor(name)?, text)?,
            Handle::ReadDescriptor { name } => return read_all(self.descriptor(name)?),
            Handle::TruncateDescriptor { name, size } => self.descriptor(name)?.set_len(size)?,
            Handle::ChmodDescriptor { name, mode } => {
                at::chmod_descriptor(self.descriptor(name)?, mode)?;
            }
            Handle::Fsync { name } => self.descriptor(name)?.sync_all()?,
            Handle::Lock { name, lock } => take_lock(self.descriptor(name)?, lock)?,
            Handle::DescriptorIs { name, path } => {
                let open = stat::fstat(self.descriptor(name)?)?;
                let found = self.tree.stat(path)?;
                return Ok(one_file((open.dev, open.ino) == (found.dev, found.ino)));
            }
            Handle::Map { name, descriptor } => {
                let file = self.descriptor(descriptor)?;
                let length = usize::try_from(file.metadata()?.size()).unwrap_or(usize::MAX);
                let mapping = Mapping::shared(file, length)?;
                self.mappings.insert(name, mapping);
            }
            Handle::ReadMap { name } => {
                let bytes = self.mappings.get(name).ok_or(EBADF)?.read()?;
                return Ok(text::show(&bytes));
            }
        }
        Ok("ok".to_owned())
    }

    fn descriptor(&self, name: &str) -> Result<&File> {
        self.descriptors.get(name).ok_or(EBADF)
    }

    fn look(&self, look: &Look) -> Result<String> {
        let tree = &self.tree;
        match *look {
            Look::Read { path } => Ok(text::show(&tree.read(path)?)),
            Look::Type { path } => match tree.stat(path) {
                Err(ENOENT) => Ok("nothing".to_owned()),
                found => Ok(Kind::of(found?.kind()).name().to_owned()),
            },
            Look::Entries { path } => Ok(join(&tree.list(path)?)),
            Look::ReadLink { path } => {
                let target = tree.read_link(path)?;
                Ok(text::show(target.as_os_str().as_bytes()))
            }
            Look::Stat { path, field } => Ok(show_field(&tree.stat(path)?, field)),
            Look::GetXattr { path, name } => Ok(text::show(&tree.xattr(path, name)?)),
            Look::ListXattr { path } => Ok(join(&tree.xattr_names(path)?)),
            Look::Segments { path } => {
                let file = tree.open_file(path, OFlags::RDONLY, 0)?;
                Ok(show_segments(&fiemap::data_segments(&file)?))
            }
            Look::SameInode { path, before } => {
                let now = tree.stat(path)?.ino;
                let kept = *self.inodes.get(before).ok_or(ENOENT)? == now;
                Ok(if kept { "kept" } else { "changed" }.to_owned())
            }
            Look::SameFile { path, other } => {
                let (one, two) = (tree.stat(path)?, tree.stat(other)?);
                Ok(one_file((one.dev, one.ino) == (two.dev, two.ino)))
            }
        }
    }
}

fn one_file(same: bool) -> String {
    if same { "one file" } else { "two files" }.to_owned()
}

fn join(names: &[OsString]) -> String {
    let names: Vec<_> = names
        .iter()
        .map(|name| text::escape(name.as_bytes()))
        .collect();
    names.join(" ")
}

/// Shows data ranges as `offset+length`.
#[must_use]
pub fn show_segments(segments: &[(u64, u64)]) -> String {
    if segments.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> = segments
        .iter()
        .map(|(offset, length)| format!("{offset}+{length}"))
        .collect();
    shown.join(" ")
}

fn show_field(stat: &stat::Stat, field: Field) -> String {
    let time = |time: Time| format!("{}.{:09}", time.sec, time.nsec);
    match field {
        Field::Mode => format!("{:04o}", stat.permissions()),
        Field::Owner => format!("{}:{}", stat.uid, stat.gid),
        Field::Size => stat.size.to_string(),
        Field::LinkCount => stat.nlink.to_string(),
        Field::ModifyTime => time(stat.mtime),
        Field::AccessTime => time(stat.atime),
        Field::Device => format!("{}:{}", stat::major(stat.rdev), stat::minor(stat.rdev)),
    }
}

fn remove(tree: &Tree, path: &str) -> Result<()> {
    match tree.stat(path)?.kind() {
        FileKind::Directory => tree.remove_dir(path),
        _ => tree.unlink(path),
    }
}

fn write_all(mut file: &File, text: &str) -> Result<()> {
    Ok(file.write_all(&text::unescape(text))?)
}

fn write_content(tree: &Tree, path: &str, content: Content) -> Result<()> {
    match content {
        Content::Text(text) => tree.write(path, &text::unescape(text)),
        Content::Seeded { size, seed } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
            let file = tree.open_file(path, flags, 0o644)?;
            write_seeded(
                &file,
                Range {
                    offset: 0,
                    length: size,
                },
                seed,
            )
        }
    }
}

fn write_seeded(file: &File, range: Range, seed: u64) -> Result<()> {
    let mut bytes = cowlab_random::Random::new(seed);
    let mut buffer = vec![0; CHUNK];
    let mut offset = range.offset;
    let end = range.offset + range.length;
    while offset < end {
        let length = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
        bytes.fill(&mut buffer[..length]);
        file.write_all_at(&buffer[..length], offset)?;
        offset += u64::try_from(length).unwrap_or(u64::MAX);
    }
    Ok(())
}

fn write_sparse(tree: &Tree, path: &str, size: u64, data: &[Range]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = tree.open_file(path, flags, 0o644)?;
    file.set_len(size)?;
    for range in data {
        write_seeded(&file, *range, range.offset)?;
    }
    Ok(())
}

fn read_all(mut file: &File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(text::show(&bytes))
}

fn clone_file(tree: &Tree, from: &str, to: &str) -> Result<()> {
    let (source, target) = pair(tree, from, to)?;
    Ok(reflink::clone_file(&source, &target)?)
}

fn copy_range(tree: &Tree, from: &str, to: &str) -> Result<()> {
    let (source, target) = pair(tree, from, to)?;
    while file::copy_range(&source, &target, usize::MAX >> 1)? > 0 {}
    Ok(())
}

fn pair(tree: &Tree, from: &str, to: &str) -> Result<(File, File)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    Ok((
        tree.open_file(from, OFlags::RDONLY, 0)?,
        tree.open_file(to, flags, 0o644)?,
    ))
}

fn tmp_file(tree: &Tree, dir: &str, path: &str, text: &str) -> Result<()> {
    let file = tree.open_file(dir, OFlags::TMPFILE | OFlags::RDWR, 0o644)?;
    write_all(&file, text)?;
    let (parent, name) = tree.parent(path)?;
    Ok(file::link_unnamed(&file, parent, name)?)
}

fn set_inode_flag(tree: &Tree, path: &str, flag: InodeFlag, on: bool) -> Result<()> {
    let file = tree.open_file(path, OFlags::RDONLY, 0)?;
    let mask = match flag {
        InodeFlag::Immutable => IFlags::IMMUTABLE,
        InodeFlag::AppendOnly => IFlags::APPEND,
    };
    let mut flags = file::inode_flags(&file)?;
    flags.set(mask, on);
    Ok(file::set_inode_flags(&file, flags)?)
}

fn take_lock(file: &File, lock: Lock) -> Result<()> {
    let taken = match lock {
        Lock::FlockShared => file.try_lock_shared(),
        Lock::FlockExclusive => file.try_lock(),
        Lock::OfdExclusive => return Ok(file::try_lock(file)?),
    };
    match taken {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(EAGAIN),
        Err(TryLockError::Error(error)) => Err(Code::from(error)),
    }
}

fn node(special: Special) -> (FileKind, u64) {
    match special {
        Special::Fifo => (FileKind::Fifo, 0),
        Special::Socket => (FileKind::Socket, 0),
        Special::CharDevice { major, minor } => (FileKind::CharDevice, stat::device(major, minor)),
        Special::BlockDevice { major, minor } => {
            (FileKind::BlockDevice, stat::device(major, minor))
        }
    }
}

fn rename_flags(how: RenameHow) -> RenameFlags {
    match how {
        RenameHow::Replace => RenameFlags::empty(),
        RenameHow::NoReplace => RenameFlags::NOREPLACE,
        RenameHow::Exchange => RenameFlags::EXCHANGE,
        RenameHow::Whiteout => RenameFlags::WHITEOUT,
    }
}

fn fallocate_flags(how: FallocateHow) -> FallocateFlags {
    match how {
        FallocateHow::Allocate => FallocateFlags::empty(),
        FallocateHow::KeepSize => FallocateFlags::KEEP_SIZE,
        FallocateHow::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        FallocateHow::ZeroRange => FallocateFlags::ZERO_RANGE,
    }
}

fn open_flags(flags: Flags) -> OFlags {
    let access = match (flags.read, flags.write) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    let chosen = [
        (flags.create, OFlags::CREATE),
        (flags.exclusive, OFlags::EXCL),
        (flags.truncate, OFlags::TRUNC),
        (flags.append, OFlags::APPEND),
        (flags.directory, OFlags::DIRECTORY),
        (flags.no_follow, OFlags::NOFOLLOW),
        (flags.direct, OFlags::DIRECT),
    ];
    chosen
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(access, |all, (_, flag)| all | flag)
}
