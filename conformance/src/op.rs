//! The words of a case: an operation and its expected result, one per line.
//!
//! ```ignore
//! steps: &[
//!     open("log", "/f", Flags::READ),
//!     append("/f", "more"),
//!     read_descriptor("log").gives("textmore"),
//!     rename("/d", "/e").fails(EXDEV),
//! ],
//! ```
//!
//! Without a word about the result an operation must do what it does in the plain directory, error number
//! included. In a layer it must also succeed there: a layer that fails says nothing.

use std::fmt;

use crate::errno::Code;
use crate::operation::{Change, Function, Handle, Look, Operation};
use crate::terms::{
    Content, FallocateHow, Field, Flags, InodeFlag, Kind, Lock, Range, RenameHow, Special,
};

/// An operation and what is expected of it.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    /// What is done or looked at.
    pub operation: Operation,
    /// The expected result.
    pub expect: Expect,
    /// The user and group it is done as. Not 0: without capabilities.
    pub user: u32,
}

/// The expected result of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// What the plain directory gives.
    Same,
    /// Success, with whatever value.
    Success,
    /// This error number.
    Failure(Code),
    /// This value.
    Value(&'static str),
    /// The plain directory's value, which must be another than this one: a case that guards against a vacuous claim.
    Not(&'static str),
}

impl Op {
    const fn new(operation: Operation) -> Self {
        Self {
            operation,
            expect: Expect::Same,
            user: 0,
        }
    }

    /// Expects this error number, here and in the plain directory.
    #[must_use]
    pub const fn fails(self, code: Code) -> Self {
        Self {
            expect: Expect::Failure(code),
            ..self
        }
    }

    /// Expects success, here and in the plain directory.
    #[must_use]
    pub const fn succeeds(self) -> Self {
        Self {
            expect: Expect::Success,
            ..self
        }
    }

    /// Expects this value, here and in the plain directory.
    #[must_use]
    pub const fn gives(self, value: &'static str) -> Self {
        Self {
            expect: Expect::Value(value),
            ..self
        }
    }

    /// Expects the plain directory's value, which is not this one.
    #[must_use]
    pub const fn differs_from(self, value: &'static str) -> Self {
        Self {
            expect: Expect::Not(value),
            ..self
        }
    }

    /// Does it as an ordinary user: user and group id, no other groups, no capabilities.
    #[must_use]
    pub const fn by(self, user: u32) -> Self {
        Self { user, ..self }
    }
}

/// Declares constructors that fill in a variant of [`Operation`] from arguments of the same names.
macro_rules! constructors {
    ($($(#[doc = $doc:literal])+ $name:ident($($field:ident: $kind:ty),*) = $group:ident $variant:ident;)*) => {
        $($(#[doc = $doc])+
        #[must_use]
        pub const fn $name($($field: $kind),*) -> Op {
            Op::new(Operation::$group($group::$variant { $($field),* }))
        })*
    };
}

constructors! {
    /// Makes a directory with this mode.
    dir(path: &'static str, mode: u32) = Change Dir;
    /// Writes a few bytes at an offset of a file that is there.
    write_at(path: &'static str, offset: u64, text: &'static str) = Change WriteAt;
    /// Appends text to a file that is there.
    append(path: &'static str, text: &'static str) = Change Append;
    /// Cuts or extends a file to a size.
    truncate(path: &'static str, size: u64) = Change Truncate;
    /// Removes a name that is no directory.
    unlink(path: &'static str) = Change Unlink;
    /// Removes an empty directory.
    remove_dir(path: &'static str) = Change RemoveDir;
    /// Removes a file or an empty directory.
    remove(path: &'static str) = Change Remove;
    /// Removes a directory with everything below it.
    remove_tree(path: &'static str) = Change RemoveTree;
    /// Makes `path` another name of `target`.
    link(target: &'static str, path: &'static str) = Change Link;
    /// Makes a symbolic link at `path`.
    symlink(target: &'static str, path: &'static str) = Change Symlink;
    /// Sets the mode.
    chmod(path: &'static str, mode: u32) = Change Chmod;
    /// Sets the owner.
    chown(path: &'static str, uid: u32, gid: u32) = Change Chown;
    /// Sets access and modification time.
    mtime(path: &'static str, sec: i64, nsec: u32) = Change Times;
    /// Sets an extended attribute.
    set_xattr(path: &'static str, name: &'static str, value: &'static [u8]) = Change SetXattr;
    /// Sets an extended attribute of that many bytes.
    set_xattr_sized(path: &'static str, name: &'static str, size: usize) = Change SetXattrSized;
    /// Removes an extended attribute.
    remove_xattr(path: &'static str, name: &'static str) = Change RemoveXattr;
    /// Makes a file of `size` bytes with data in these ranges only.
    sparse(path: &'static str, size: u64, data: &'static [Range]) = Change Sparse;
    /// Makes `to` a reflinked copy of `from`.
    clone_file(from: &'static str, to: &'static str) = Change Clone;
    /// Copies `from` to `to` inside the kernel.
    copy_range(from: &'static str, to: &'static str) = Change CopyRange;
    /// Makes a file without a name in `dir`, then gives it the name `path`.
    tmp_file(dir: &'static str, path: &'static str, text: &'static str) = Change TmpFile;
    /// Opens a file and keeps the descriptor under a name.
    open(name: &'static str, path: &'static str, flags: Flags) = Handle Open;
    /// Closes a descriptor.
    close(name: &'static str) = Handle Close;
    /// Writes at a descriptor's position.
    write_descriptor(name: &'static str, text: &'static str) = Handle WriteDescriptor;
    /// Reads a descriptor from the start to the end.
    read_descriptor(name: &'static str) = Handle ReadDescriptor;
    /// Cuts or extends the file behind a descriptor.
    truncate_descriptor(name: &'static str, size: u64) = Handle TruncateDescriptor;
    /// Sets the mode of the file behind a descriptor.
    chmod_descriptor(name: &'static str, mode: u32) = Handle ChmodDescriptor;
    /// Flushes the file behind a descriptor.
    fsync(name: &'static str) = Handle Fsync;
    /// Locks the file behind a descriptor, without waiting.
    lock(name: &'static str, lock: Lock) = Handle Lock;
    /// Looks whether descriptor and path are one inode: `one file` or `two files`.
    descriptor_is(name: &'static str, path: &'static str) = Handle DescriptorIs;
    /// Maps the file behind a descriptor, shared and for reading, under a name.
    map(name: &'static str, descriptor: &'static str) = Handle Map;
    /// Reads a mapping.
    read_map(name: &'static str) = Handle ReadMap;
    /// Reads the whole content: text when short, else size and digest.
    read(path: &'static str) = Look Read;
    /// Looks what is there: a type, or `nothing`.
    look(path: &'static str) = Look Type;
    /// Lists the names in a directory, sorted, separated by a space.
    list(path: &'static str) = Look Entries;
    /// Reads a symbolic link.
    read_link(path: &'static str) = Look ReadLink;
    /// Reads one field of stat(2).
    stat(path: &'static str, field: Field) = Look Stat;
    /// Reads an extended attribute.
    get_xattr(path: &'static str, name: &'static str) = Look GetXattr;
    /// Lists the names of the extended attributes, sorted, separated by a space.
    list_xattr(path: &'static str) = Look ListXattr;
    /// Lists the data ranges of a file.
    segments(path: &'static str) = Look Segments;
}

/// Writes a file with this text, mode 0644, in place of what it held.
#[must_use]
pub const fn write(path: &'static str, text: &'static str) -> Op {
    let content = Content::Text(text);
    Op::new(Operation::Change(Change::Write { path, content }))
}

/// Writes a file with `size` bytes that follow from `seed`, mode 0644.
#[must_use]
pub const fn write_sized(path: &'static str, size: u64, seed: u64) -> Op {
    let content = Content::Seeded { size, seed };
    Op::new(Operation::Change(Change::Write { path, content }))
}

/// Renames, replacing the target.
#[must_use]
pub const fn rename(from: &'static str, to: &'static str) -> Op {
    let how = RenameHow::Replace;
    Op::new(Operation::Change(Change::Rename { from, to, how }))
}

/// Renames with flags of renameat2(2).
#[must_use]
pub const fn rename_with(from: &'static str, to: &'static str, how: RenameHow) -> Op {
    Op::new(Operation::Change(Change::Rename { from, to, how }))
}

/// Makes a FIFO.
#[must_use]
pub const fn fifo(path: &'static str, mode: u32) -> Op {
    let special = Special::Fifo;
    Op::new(Operation::Change(Change::Node {
        path,
        special,
        mode,
    }))
}

/// Makes a socket that nothing is bound to.
#[must_use]
pub const fn socket(path: &'static str, mode: u32) -> Op {
    let special = Special::Socket;
    Op::new(Operation::Change(Change::Node {
        path,
        special,
        mode,
    }))
}

/// Makes a character device.
#[must_use]
pub const fn char_device(path: &'static str, mode: u32, major: u32, minor: u32) -> Op {
    let special = Special::CharDevice { major, minor };
    Op::new(Operation::Change(Change::Node {
        path,
        special,
        mode,
    }))
}

/// Makes a block device.
#[must_use]
pub const fn block_device(path: &'static str, mode: u32, major: u32, minor: u32) -> Op {
    let special = Special::BlockDevice { major, minor };
    Op::new(Operation::Change(Change::Node {
        path,
        special,
        mode,
    }))
}

/// Runs a function of the case: `what` names it in differences, about `path`.
#[must_use]
pub const fn call(path: &'static str, what: &'static str, function: Function) -> Op {
    Op::new(Operation::Call {
        what,
        path,
        function,
    })
}

/// A range of bytes.
#[must_use]
pub const fn range(offset: u64, length: u64) -> Range {
    Range { offset, length }
}

/// Makes a hole in a file.
#[must_use]
pub const fn punch_hole(path: &'static str, offset: u64, length: u64) -> Op {
    fallocate(path, FallocateHow::PunchHole, offset, length)
}

/// Calls fallocate(2).
#[must_use]
pub const fn fallocate(path: &'static str, how: FallocateHow, offset: u64, length: u64) -> Op {
    let range = Range { offset, length };
    Op::new(Operation::Change(Change::Fallocate { path, how, range }))
}

/// Sets or clears the immutable attribute.
#[must_use]
pub const fn immutable(path: &'static str, on: bool) -> Op {
    let flag = InodeFlag::Immutable;
    Op::new(Operation::Change(Change::InodeFlag { path, flag, on }))
}

/// Sets or clears the append-only attribute.
#[must_use]
pub const fn append_only(path: &'static str, on: bool) -> Op {
    let flag = InodeFlag::AppendOnly;
    Op::new(Operation::Change(Change::InodeFlag { path, flag, on }))
}

/// Checks the whole content of a file.
#[must_use]
pub const fn reads(path: &'static str, text: &'static str) -> Op {
    read(path).gives(text)
}

/// Checks that there is nothing.
#[must_use]
pub const fn absent(path: &'static str) -> Op {
    look(path).gives("nothing")
}

/// Checks what kind of file there is.
#[must_use]
pub const fn is_a(path: &'static str, kind: Kind) -> Op {
    look(path).gives(kind.name())
}

/// Checks the names in a directory: sorted, separated by a space.
#[must_use]
pub const fn entries(path: &'static str, names: &'static str) -> Op {
    list(path).gives(names)
}

/// Checks that a path has the inode number that it had when the steps began.
#[must_use]
pub const fn same_inode(path: &'static str) -> Op {
    kept_inode(path, path)
}

/// Checks that a path has the inode number that the path `before` had when the steps began.
#[must_use]
pub const fn kept_inode(before: &'static str, path: &'static str) -> Op {
    Op::new(Operation::Look(Look::SameInode { path, before })).gives("kept")
}

/// Checks that two paths are one inode.
#[must_use]
pub const fn same_file(path: &'static str, other: &'static str) -> Op {
    Op::new(Operation::Look(Look::SameFile { path, other })).gives("one file")
}

/// A path of one name of 255 bytes, the longest there is (NAME_MAX).
pub const NAME_255: &str = {
    const BYTES: [u8; 256] = {
        let mut bytes = [b'n'; 256];
        bytes[0] = b'/';
        bytes
    };
    text(&BYTES)
};

/// The text that constant ASCII bytes spell: for names and targets too long to write down.
#[must_use]
pub const fn text(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("the bytes are not UTF-8"),
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => formatter.write_str("as in a plain directory"),
            Self::Success => formatter.write_str("ok"),
            Self::Failure(code) => code.fmt(formatter),
            Self::Value(value) => formatter.write_str(value),
            Self::Not(value) => write!(formatter, "other than {value}"),
        }
    }
}
