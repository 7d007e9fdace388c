//! What an operation does, as data. Written by the constructors in [`crate::op`], performed by the runner.

use crate::errno::Code;
use crate::tree::Tree;

/// What is done, or what is looked at.
///
/// Paths are absolute below the case's directory: `/f` is the case's own `/f`. A byte that is no UTF-8 is
/// written as `\xNN`. Directories on the way may be symbolic links; they are followed as in a chroot. The last
/// component is not followed, except where the text says so.
#[derive(Debug, Clone, Copy)]
#[expect(
    missing_docs,
    reason = "the fields are the arguments of the system call that the variant names"
)]
pub enum Act {
    // What changes the tree.
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

    // Descriptors and mappings, kept under a name until closed or to the end of the steps.
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

    // What is looked at.
    /// The whole content, following symbolic links: text when short, else a digest.
    Read { path: &'static str },
    /// The type, or `nothing`.
    Look { path: &'static str },
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
    /// Whether at most that many bytes are allocated: `within` or `beyond`.
    AllocatesAtMost { path: &'static str, bytes: u64 },

    /// Something else: a named function over the case's directory.
    Call {
        what: &'static str,
        path: &'static str,
        function: Function,
    },
}

/// A named function over the case's directory: what it found, as text without volatile numbers, or an error number.
pub type Function = fn(&Tree) -> Result<String, Code>;

/// What a file is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// This text.
    Text(&'static str),
    /// `size` bytes that follow from the seed, the same on every machine.
    Seeded {
        /// Bytes.
        size: u64,
        /// Any number: other seeds give other bytes.
        seed: u64,
    },
}

/// A range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The flags of renameat2(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameHow {
    /// No flag: replaces the target.
    Replace,
    /// RENAME_NOREPLACE.
    NoReplace,
    /// RENAME_EXCHANGE.
    Exchange,
    /// RENAME_WHITEOUT.
    Whiteout,
}

/// The modes of fallocate(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallocateHow {
    /// Allocates, and extends the file.
    Allocate,
    /// FALLOC_FL_KEEP_SIZE.
    KeepSize,
    /// FALLOC_FL_PUNCH_HOLE.
    PunchHole,
    /// FALLOC_FL_ZERO_RANGE.
    ZeroRange,
}

/// A special file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// A FIFO.
    Fifo,
    /// A socket that nothing is bound to.
    Socket,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// The type of a file, as differences name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    /// The name used in differences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "directory",
            Self::Symlink => "symbolic link",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
        }
    }
}

/// A field of stat(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Permission bits, octal.
    Mode,
    /// `uid:gid`.
    Owner,
    /// Bytes.
    Size,
    /// Number of names.
    LinkCount,
    /// Modification time as `seconds.nanoseconds`: for times that were set, not for times that happened.
    ModifyTime,
    /// Access time as `seconds.nanoseconds`.
    AccessTime,
}

/// An attribute of ioctl_iflags(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeFlag {
    /// FS_IMMUTABLE_FL.
    Immutable,
    /// FS_APPEND_FL.
    AppendOnly,
}

/// A lock, taken without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// flock(2), LOCK_SH.
    FlockShared,
    /// flock(2), LOCK_EX.
    FlockExclusive,
    /// fcntl(2), F_OFD_SETLK with F_WRLCK on the whole file.
    OfdExclusive,
}

/// The flags of open(2), combined by the methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// O_CREAT, with mode 0644.
    pub create: bool,
    /// O_EXCL.
    pub exclusive: bool,
    /// O_TRUNC.
    pub truncate: bool,
    /// O_APPEND.
    pub append: bool,
    /// O_DIRECTORY.
    pub directory: bool,
    /// O_NOFOLLOW.
    pub no_follow: bool,
    /// O_DIRECT.
    pub direct: bool,
}

impl Flags {
    const NONE: Self = Self {
        read: false,
        write: false,
        create: false,
        exclusive: false,
        truncate: false,
        append: false,
        directory: false,
        no_follow: false,
        direct: false,
    };
    /// O_RDONLY.
    pub const READ: Self = Self {
        read: true,
        ..Self::NONE
    };
    /// O_WRONLY.
    pub const WRITE: Self = Self {
        write: true,
        ..Self::NONE
    };
    /// O_RDWR.
    pub const BOTH: Self = Self {
        read: true,
        write: true,
        ..Self::NONE
    };

    /// Adds O_CREAT.
    #[must_use]
    pub const fn create(self) -> Self {
        Self {
            create: true,
            ..self
        }
    }

    /// Adds O_EXCL.
    #[must_use]
    pub const fn exclusive(self) -> Self {
        Self {
            exclusive: true,
            ..self
        }
    }

    /// Adds O_TRUNC.
    #[must_use]
    pub const fn truncate(self) -> Self {
        Self {
            truncate: true,
            ..self
        }
    }

    /// Adds O_APPEND.
    #[must_use]
    pub const fn append(self) -> Self {
        Self {
            append: true,
            ..self
        }
    }

    /// Adds O_DIRECTORY.
    #[must_use]
    pub const fn directory(self) -> Self {
        Self {
            directory: true,
            ..self
        }
    }

    /// Adds O_NOFOLLOW.
    #[must_use]
    pub const fn no_follow(self) -> Self {
        Self {
            no_follow: true,
            ..self
        }
    }

    /// Adds O_DIRECT.
    #[must_use]
    pub const fn direct(self) -> Self {
        Self {
            direct: true,
            ..self
        }
    }
}
