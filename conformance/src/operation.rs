//! What an operation does, as data. Written by the constructors in [`crate::op`], performed by
//! [`crate::executor`].
//!
//! Paths are absolute below the case's directory: `/f` is the case's own `/f`. A byte that is no UTF-8 is
//! written as `\xNN`. Directories on the way may be symbolic links; they are followed as in a chroot. The last
//! component is not followed, except where the text says so.

use std::borrow::Cow;

use crate::errno::Code;
use crate::terms::{
    Content, FallocateHow, Field, Flags, InodeFlag, Lock, Range, RenameHow, Special,
};
use crate::tree::Tree;

/// What is done, or what is looked at.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Changes the tree.
    Change(Change),
    /// Works on a descriptor or a mapping.
    Handle(Handle),
    /// Looks at the tree.
    Look(Look),
    /// Something else: a named function over the case's directory.
    Call {
        /// Names it in differences.
        what: &'static str,
        /// What it is about.
        path: &'static str,
        /// Does it.
        function: Function,
    },
}

/// A named function over the case's directory: what it found, as text without volatile numbers, or an error number.
pub type Function = fn(&Tree) -> Result<String, Code>;

/// What changes the tree.
#[derive(Debug, Clone, Copy)]
#[expect(
    missing_docs,
    reason = "the fields are the arguments of the call that the variant names"
)]
pub enum Change {
    /// mkdir(2), then chmod(2).
    Dir { path: &'static str, mode: u32 },
    /// open(2) with O_CREAT and O_TRUNC, mode 0644, following symbolic links; then write(2).
    Write {
        path: &'static str,
        content: Content,
    },
    /// open(2) with O_APPEND, following symbolic links; then write(2).
    Append {
        path: &'static str,
        text: &'static str,
    },
    /// open(2) for writing, then pwrite(2).
    WriteAt {
        path: &'static str,
        offset: u64,
        text: &'static str,
    },
    /// truncate(2).
    Truncate { path: &'static str, size: u64 },
    /// unlink(2).
    Unlink { path: &'static str },
    /// rmdir(2).
    RemoveDir { path: &'static str },
    /// remove(3): unlink(2), or rmdir(2) where it is a directory.
    Remove { path: &'static str },
    /// Deletes a directory with everything below it.
    RemoveTree { path: &'static str },
    /// renameat2(2).
    Rename {
        from: &'static str,
        to: &'static str,
        how: RenameHow,
    },
    /// link(2): `path` becomes another name of `target`.
    Link {
        target: &'static str,
        path: &'static str,
    },
    /// symlink(2).
    Symlink {
        target: &'static str,
        path: &'static str,
    },
    /// chmod(2), not following.
    Chmod { path: &'static str, mode: u32 },
    /// lchown(2).
    Chown {
        path: &'static str,
        uid: u32,
        gid: u32,
    },
    /// utimensat(2): access and modification time, not following.
    Times {
        path: &'static str,
        sec: i64,
        nsec: u32,
    },
    /// lsetxattr(2).
    SetXattr {
        path: &'static str,
        name: &'static str,
        value: &'static [u8],
    },
    /// lsetxattr(2) with a value of `size` bytes that a seed determines.
    SetXattrSized {
        path: &'static str,
        name: &'static str,
        size: usize,
    },
    /// lremovexattr(2).
    RemoveXattr {
        path: &'static str,
        name: &'static str,
    },
    /// mknod(2), then chmod(2).
    Node {
        path: &'static str,
        special: Special,
        mode: u32,
    },
    /// Makes a file of `size` bytes that holds data in these ranges only.
    Sparse {
        path: &'static str,
        size: u64,
        data: &'static [Range],
    },
    /// fallocate(2).
    Fallocate {
        path: &'static str,
        how: FallocateHow,
        range: Range,
    },
    /// FICLONE of a whole file.
    Clone {
        from: &'static str,
        to: &'static str,
    },
    /// copy_file_range(2) of a whole file.
    CopyRange {
        from: &'static str,
        to: &'static str,
    },
    /// open(2) with O_TMPFILE in `dir`, write(2), linkat(2) to `path`.
    TmpFile {
        dir: &'static str,
        path: &'static str,
        text: &'static str,
    },
    /// Sets or clears an attribute of ioctl_iflags(2).
    InodeFlag {
        path: &'static str,
        flag: InodeFlag,
        on: bool,
    },
}

/// What works on descriptors and mappings, which are kept under a name until closed or to the end of the
/// steps.
#[derive(Debug, Clone, Copy)]
#[expect(
    missing_docs,
    reason = "the fields are the arguments of the call that the variant names"
)]
pub enum Handle {
    /// open(2), following symbolic links.
    Open {
        name: &'static str,
        path: &'static str,
        flags: Flags,
    },
    /// close(2).
    Close { name: &'static str },
    /// write(2) at the descriptor's position.
    WriteDescriptor {
        name: &'static str,
        text: &'static str,
    },
    /// pread(2) from the start to the end.
    ReadDescriptor { name: &'static str },
    /// ftruncate(2).
    TruncateDescriptor { name: &'static str, size: u64 },
    /// fchmod(2).
    ChmodDescriptor { name: &'static str, mode: u32 },
    /// fsync(2).
    Fsync { name: &'static str },
    /// flock(2) or an OFD lock of fcntl(2), without waiting.
    Lock { name: &'static str, lock: Lock },
    /// Whether the descriptor and the path are one inode: device and inode number.
    DescriptorIs {
        name: &'static str,
        path: &'static str,
    },
    /// mmap(2), shared, for reading, of the whole file behind a descriptor.
    Map {
        name: &'static str,
        descriptor: &'static str,
    },
    /// Reads a mapping from its start.
    ReadMap { name: &'static str },
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
#[expect(
    missing_docs,
    reason = "the fields are the arguments of the call that the variant names"
)]
pub enum Look {
    /// The whole content, following symbolic links: text when short, else a digest.
    Read { path: &'static str },
    /// The type, or `nothing`.
    Type { path: &'static str },
    /// The names in a directory, sorted, separated by a space.
    Entries { path: &'static str },
    /// The target of a symbolic link.
    ReadLink { path: &'static str },
    /// One field of stat(2), not following.
    Stat { path: &'static str, field: Field },
    /// The value of an extended attribute.
    GetXattr {
        path: &'static str,
        name: &'static str,
    },
    /// The names of the extended attributes, sorted, separated by a space.
    ListXattr { path: &'static str },
    /// The data ranges that SEEK_DATA and SEEK_HOLE show.
    Segments { path: &'static str },
    /// Whether a path has the inode number that `before` had when the steps began: `kept` or `changed`.
    SameInode {
        path: &'static str,
        before: &'static str,
    },
    /// Whether two paths are one inode: `one file` or `two files`.
    SameFile {
        path: &'static str,
        other: &'static str,
    },
}

impl Operation {
    /// What it is about, and the aspect of it, as a difference names them.
    #[must_use]
    pub fn subject(&self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::Change(change) => change.subject(),
            Self::Handle(handle) => handle.subject(),
            Self::Look(look) => look.subject(),
            Self::Call { what, path, .. } => (path, (*what).into()),
        }
    }
}

impl Change {
    fn subject(&self) -> (&'static str, Cow<'static, str>) {
        match *self {
            Self::Dir { path, .. } => (path, "mkdir".into()),
            Self::Write { path, .. } | Self::WriteAt { path, .. } => (path, "write".into()),
            Self::Append { path, .. } => (path, "append".into()),
            Self::Truncate { path, .. } => (path, "truncate".into()),
            Self::Unlink { path } => (path, "unlink".into()),
            Self::RemoveDir { path } => (path, "rmdir".into()),
            Self::Remove { path } | Self::RemoveTree { path } => (path, "remove".into()),
            Self::Rename { from, to, .. } => (from, format!("rename to {to}").into()),
            Self::Link { target, path } => (path, format!("link to {target}").into()),
            Self::Symlink { path, .. } => (path, "symlink".into()),
            Self::Chmod { path, .. } => (path, "chmod".into()),
            Self::Chown { path, .. } => (path, "chown".into()),
            Self::Times { path, .. } => (path, "utimensat".into()),
            Self::SetXattr { path, name, .. } | Self::SetXattrSized { path, name, .. } => {
                (path, format!("set {name}").into())
            }
            Self::RemoveXattr { path, name } => (path, format!("remove {name}").into()),
            Self::Node { path, .. } => (path, "mknod".into()),
            Self::Sparse { path, .. } => (path, "write".into()),
            Self::Fallocate { path, .. } => (path, "fallocate".into()),
            Self::Clone { from, to } => (to, format!("clone of {from}").into()),
            Self::CopyRange { from, to } => (to, format!("copy of {from}").into()),
            Self::TmpFile { path, .. } => (path, "link of an unnamed file".into()),
            Self::InodeFlag { path, flag, .. } => (path, format!("set {}", flag.name()).into()),
        }
    }
}

impl Handle {
    fn subject(&self) -> (&'static str, Cow<'static, str>) {
        match *self {
            Self::Open { path, .. } => (path, "open".into()),
            Self::Close { name } => (name, "close".into()),
            Self::WriteDescriptor { name, .. } => (name, "write".into()),
            Self::ReadDescriptor { name } | Self::ReadMap { name } => (name, "content".into()),
            Self::TruncateDescriptor { name, .. } => (name, "ftruncate".into()),
            Self::ChmodDescriptor { name, .. } => (name, "fchmod".into()),
            Self::Fsync { name } => (name, "fsync".into()),
            Self::Lock { name, lock } => (name, lock.name().into()),
            Self::DescriptorIs { name, path } => (path, format!("inode of {name}").into()),
            Self::Map { name, .. } => (name, "mmap".into()),
        }
    }
}

impl Look {
    fn subject(&self) -> (&'static str, Cow<'static, str>) {
        match *self {
            Self::Read { path } => (path, "content".into()),
            Self::Type { path } => (path, "type".into()),
            Self::Entries { path } => (path, "entries".into()),
            Self::ReadLink { path } => (path, "target".into()),
            Self::Stat { path, field } => (path, field.name().into()),
            Self::GetXattr { path, name } => (path, name.into()),
            Self::ListXattr { path } => (path, "attributes".into()),
            Self::Segments { path } => (path, "data ranges".into()),
            Self::SameInode { path, .. } => (path, "inode number".into()),
            Self::SameFile { path, other } => (path, format!("inode of {other}").into()),
        }
    }
}
