//! The arguments of operations: file types, flags, contents, ranges.

use cowlab_sys::stat::FileKind;

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
    /// None of the types that stat(2) knows.
    Unknown,
}

impl Kind {
    /// The type as the kernel names it.
    #[must_use]
    pub const fn of(kind: FileKind) -> Self {
        match kind {
            FileKind::Regular => Self::File,
            FileKind::Directory => Self::Dir,
            FileKind::Symlink => Self::Symlink,
            FileKind::CharDevice => Self::CharDevice,
            FileKind::BlockDevice => Self::BlockDevice,
            FileKind::Fifo => Self::Fifo,
            FileKind::Socket => Self::Socket,
            FileKind::Unknown => Self::Unknown,
        }
    }

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
            Self::Unknown => "unknown type",
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
    /// `major:minor` of a device.
    Device,
}

impl Field {
    /// The name used in differences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Size => "size",
            Self::LinkCount => "link count",
            Self::ModifyTime => "modification time",
            Self::AccessTime => "access time",
            Self::Device => "device",
        }
    }
}

/// An attribute of ioctl_iflags(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeFlag {
    /// FS_IMMUTABLE_FL.
    Immutable,
    /// FS_APPEND_FL.
    AppendOnly,
}

impl InodeFlag {
    /// The name used in differences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Immutable => "the immutable attribute",
            Self::AppendOnly => "the append-only attribute",
        }
    }
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

impl Lock {
    /// The name used in differences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlockShared => "shared flock",
            Self::FlockExclusive => "exclusive flock",
            Self::OfdExclusive => "exclusive OFD lock",
        }
    }
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
