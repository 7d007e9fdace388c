//! Attributes of files and file systems.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::{Result, sys};

/// The unit of [`Stat::blocks`], in bytes (stat(3type)).
pub const BLOCK: u64 = 512;

/// A point in time, to the nanosecond; before 1970, the seconds are negative and the
/// nanoseconds still count upward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds since 1970.
    pub sec: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nsec: u32,
}

impl Time {
    /// The time of the day as exactly as the machine knows it. No file is stamped with a later one.
    #[must_use]
    pub fn now() -> Self {
        Self::read(ClockId::Realtime)
    }

    /// The clock that file systems stamp from, which stands still between two ticks of the kernel's. Whatever is
    /// stamped after this call is stamped with this time or a later one, however long a tick is late
    /// (`ktime_get_coarse_real_ts64`; multigrain timestamps since 6.13 are only ever finer, thus later).
    #[must_use]
    pub fn stamp() -> Self {
        Self::read(ClockId::RealtimeCoarse)
    }

    fn read(clock: ClockId) -> Self {
        let time = clock_gettime(clock);
        Self {
            sec: time.tv_sec,
            nsec: u32::try_from(time.tv_nsec).unwrap_or_default(),
        }
    }
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// None of the known types.
    Unknown,
}

impl FileKind {
    /// Returns the type in the mode of a file.
    pub fn from_mode(mode: u32) -> Self {
        Self::from_type(FileType::from_raw_mode(mode))
    }

    pub(crate) fn from_type(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::Regular,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn to_type(self) -> FileType {
        match self {
            Self::Regular => FileType::RegularFile,
            Self::Directory => FileType::Directory,
            Self::Symlink => FileType::Symlink,
            Self::CharDevice => FileType::CharacterDevice,
            Self::BlockDevice => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::Unknown => FileType::Unknown,
        }
    }
}

/// The attributes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The device that the file is on; see [`major`] and [`minor`].
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u64,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The device that a device file stands for.
    pub rdev: u64,
    /// The size in bytes.
    pub size: u64,
    /// Allocated units of 512 bytes, whatever the block size.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
    /// Creation, where the file system records it.
    pub btime: Option<Time>,
    /// The mount that the file was reached through, as in mountinfo.
    pub mount_id: u64,
}

impl Stat {
    /// Returns the type of the file.
    pub fn kind(&self) -> FileKind {
        FileKind::from_mode(self.mode)
    }

    /// Returns the permission bits, with set-user-id, set-group-id and sticky bit.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Tells whether this is an overlayfs whiteout: a character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.kind() == FileKind::CharDevice && self.rdev == 0
    }
}

/// Returns the attributes of the file at `path`, not following a symbolic link.
pub fn lstat(path: impl AsRef<Path>) -> Result<Stat> {
    let path = path.as_ref();
    sys("stat", path, query(CWD, path, AtFlags::SYMLINK_NOFOLLOW))
}

/// Returns the attributes of the file at `path`, following symbolic links.
pub fn stat(path: impl AsRef<Path>) -> Result<Stat> {
    let path = path.as_ref();
    sys("stat", path, query(CWD, path, AtFlags::empty()))
}

/// Returns the attributes of an open file, of an `O_PATH` descriptor as well.
pub fn fstat(fd: impl AsFd) -> Result<Stat> {
    sys("fstat", "", query(fd, Path::new(""), AtFlags::EMPTY_PATH))
}

pub(crate) fn query(dir: impl AsFd, path: &Path, flags: AtFlags) -> rustix::io::Result<Stat> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    // Without NO_AUTOMOUNT, looking at a trigger would mount something.
    let found = rustix::fs::statx(dir, path, flags | AtFlags::NO_AUTOMOUNT, wanted)?;
    let time = |t: rustix::fs::StatxTimestamp| Time {
        sec: t.tv_sec,
        nsec: t.tv_nsec,
    };
    Ok(Stat {
        dev: device(found.stx_dev_major, found.stx_dev_minor),
        ino: found.stx_ino,
        mode: found.stx_mode.into(),
        nlink: found.stx_nlink.into(),
        uid: found.stx_uid,
        gid: found.stx_gid,
        rdev: device(found.stx_rdev_major, found.stx_rdev_minor),
        size: found.stx_size,
        blocks: found.stx_blocks,
        atime: time(found.stx_atime),
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        btime: (found.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(found.stx_btime)),
        mount_id: found.stx_mnt_id,
    })
}

/// Returns the device number of a major and a minor number.
pub fn device(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

/// Returns the major number of a device number.
pub fn major(device: u64) -> u32 {
    rustix::fs::major(device)
}

/// Returns the minor number of a device number.
pub fn minor(device: u64) -> u32 {
    rustix::fs::minor(device)
}

/// The size and the fill of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// The type, a magic number of linux/magic.h.
    pub fstype_magic: u64,
    /// The unit of the block counts, in bytes.
    pub block_size: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks that an ordinary user may take.
    pub avail: u64,
    /// All inodes; 0 where they are made as needed.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// The longest file name, in bytes.
    pub name_max: u64,
}

impl StatFs {
    /// Returns the bytes that an ordinary user may still take.
    pub fn available_bytes(&self) -> u64 {
        self.avail.saturating_mul(self.block_size)
    }

    /// Returns the bytes in use.
    pub fn used_bytes(&self) -> u64 {
        self.blocks
            .saturating_sub(self.free)
            .saturating_mul(self.block_size)
    }
}

/// `EXT4_SUPER_MAGIC` (linux/magic.h), which ext2 and ext3 have too.
pub const EXT4_MAGIC: u64 = 0xef53;
/// `XFS_SUPER_MAGIC` (linux/magic.h).
pub const XFS_MAGIC: u64 = 0x5846_5342;
/// `TMPFS_MAGIC` (linux/magic.h).
pub const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Returns the size and the fill of the file system that `path` is on.
pub fn statfs(path: impl AsRef<Path>) -> Result<StatFs> {
    let path = path.as_ref();
    let found = sys("statfs", path, rustix::fs::statfs(path))?;
    // The fields are signed for C's sake; no file system has negative sizes.
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(StatFs {
        fstype_magic: unsigned(found.f_type) & 0xffff_ffff,
        block_size: unsigned(found.f_frsize),
        blocks: found.f_blocks,
        free: found.f_bfree,
        avail: found.f_bavail,
        files: found.f_files,
        files_free: found.f_ffree,
        name_max: unsigned(found.f_namelen),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_kinds_and_devices() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(lstat(&link).unwrap().kind(), FileKind::Symlink);
        let null = stat(&link).unwrap();
        assert_eq!(
            (null.kind(), null.rdev),
            (FileKind::CharDevice, device(1, 3))
        );
        assert_eq!((major(null.rdev), minor(null.rdev)), (1, 3));
        assert!(!null.is_whiteout());
        assert!(statfs(dir.path()).unwrap().block_size >= 512);
    }
}
