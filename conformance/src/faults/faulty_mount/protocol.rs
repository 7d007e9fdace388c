//! Requests and answers of the FUSE protocol for any file system (fuse(4), include/uapi/linux/fuse.h); the testbed reads and writes them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use cowlab_sys::stat::{self, StatFs};
use cowlab_sys::{FileKind, Stat};
use cowlab_testbed::fuse::{self, HEADER, numbers, wide};
use rustix::io::Errno;

/// What a request is answered with: the structure of its kind, or an error.
pub(super) type Answer = Result<Vec<u8>, Errno>;

/// The number of the root directory.
pub(super) const ROOT: u64 = 1;
/// `FUSE_ASYNC_READ`, `FUSE_EXPORT_SUPPORT`, `FUSE_BIG_WRITES`, `FUSE_DONT_MASK`, `FUSE_POSIX_ACL` and `FUSE_MAX_PAGES`. Without
/// `FUSE_WRITEBACK_CACHE`: a write arrives when it is made.
pub(super) const FLAGS: u32 = 1 | 1 << 4 | 1 << 5 | 1 << 6 | ACL | 1 << 22;
/// `FUSE_POSIX_ACL`
pub(super) const ACL: u32 = 1 << 20;
/// `FUSE_POSIX_LOCKS` and `FUSE_FLOCK_LOCKS`: locks are asked for here.
pub(super) const LOCKS: u32 = 1 << 1 | 1 << 10;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Lookup,
    Forget,
    GetAttr,
    SetAttr,
    ReadLink,
    Symlink,
    MkNod,
    MkDir,
    Unlink,
    RmDir,
    Rename,
    Link,
    Open,
    Read,
    Write,
    StatFs,
    Release,
    FSync,
    SetXattr,
    GetXattr,
    ListXattr,
    RemoveXattr,
    Flush,
    Init,
    OpenDir,
    ReadDir,
    ReleaseDir,
    FSyncDir,
    SetLock,
    Create,
    Destroy,
    ForgetBatch,
    FAllocate,
    Rename2,
    Seek,
    CopyRange,
    TmpFile,
    /// What is answered by `ENOSYS`.
    Other,
}

/// `enum fuse_opcode`
const CALLS: &[(u32, Call)] = &[
    (1, Call::Lookup),
    (2, Call::Forget),
    (3, Call::GetAttr),
    (4, Call::SetAttr),
    (5, Call::ReadLink),
    (6, Call::Symlink),
    (8, Call::MkNod),
    (9, Call::MkDir),
    (10, Call::Unlink),
    (11, Call::RmDir),
    (12, Call::Rename),
    (13, Call::Link),
    (14, Call::Open),
    (15, Call::Read),
    (16, Call::Write),
    (17, Call::StatFs),
    (18, Call::Release),
    (20, Call::FSync),
    (21, Call::SetXattr),
    (22, Call::GetXattr),
    (23, Call::ListXattr),
    (24, Call::RemoveXattr),
    (25, Call::Flush),
    (26, Call::Init),
    (27, Call::OpenDir),
    (28, Call::ReadDir),
    (29, Call::ReleaseDir),
    (30, Call::FSyncDir),
    (32, Call::SetLock),
    (33, Call::SetLock),
    (35, Call::Create),
    (38, Call::Destroy),
    (42, Call::ForgetBatch),
    (43, Call::FAllocate),
    (45, Call::Rename2),
    (46, Call::Seek),
    (47, Call::CopyRange),
    (51, Call::TmpFile),
];

/// A request, apart from its header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a>(pub(super) fuse::Request<'a>);

impl<'a> Request<'a> {
    pub(super) fn call(self) -> Call {
        let code = self.0.u32(4);
        let found = CALLS.iter().find(|(number, _)| *number == code);
        found.map_or(Call::Other, |(_, call)| *call)
    }

    /// The file that it is about.
    pub(super) fn node(self) -> u64 {
        self.0.u64(16)
    }

    /// Who asks: user and group.
    pub(super) fn caller(self) -> (u32, u32) {
        (self.0.u32(24), self.0.u32(28))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        self.0.u32(HEADER + at)
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        self.0.u64(HEADER + at)
    }

    pub(super) fn name(self, at: usize) -> &'a OsStr {
        OsStr::from_bytes(self.0.name(HEADER + at))
    }

    /// Two names, one after the other.
    pub(super) fn names(self, at: usize) -> (&'a OsStr, &'a OsStr) {
        let first = self.name(at);
        (first, self.name(at + first.len() + 1))
    }

    pub(super) fn bytes(self, at: usize) -> &'a [u8] {
        self.0.bytes(HEADER + at)
    }
}

/// `fuse_attr`
fn attr(stat: &Stat) -> Vec<u8> {
    let unsigned = |time: i64| u64::from_ne_bytes(time.to_ne_bytes());
    let mut out = wide([
        stat.ino,
        stat.size,
        stat.blocks,
        unsigned(stat.atime.sec),
        unsigned(stat.mtime.sec),
        unsigned(stat.ctime.sec),
    ]);
    let links = u32::try_from(stat.nlink).unwrap_or(u32::MAX);
    out.extend(numbers([
        stat.atime.nsec,
        stat.mtime.nsec,
        stat.ctime.nsec,
        stat.mode,
        links,
        stat.uid,
        stat.gid,
        encode_device(stat.rdev),
        4096,
        0,
    ]));
    out
}

/// A device number in 32 bits (include/linux/kdev_t.h, `new_encode_dev`).
fn encode_device(device: u64) -> u32 {
    let (major, minor) = (stat::major(device), stat::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// A device number of 32 bits (include/linux/kdev_t.h, `new_decode_dev`).
pub(super) fn decode_device(device: u32) -> u64 {
    let major = (device & 0xf_ff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    stat::device(major, minor)
}

/// `fuse_attr_out`, which the kernel does not keep.
pub(super) fn attributes(stat: &Stat) -> Vec<u8> {
    [wide([0, 0]), attr(stat)].concat()
}

/// `fuse_entry_out`, which the kernel does not keep.
pub(super) fn entry(node: u64, stat: &Stat) -> Vec<u8> {
    [wide([node, 0, 0, 0, 0]), attr(stat)].concat()
}

/// `fuse_open_out`
pub(super) fn opened(handle: u64) -> Vec<u8> {
    [wide([handle]), numbers([0, 0])].concat()
}

/// `fuse_write_out` and `fuse_getxattr_out`: a size.
pub(super) fn size(bytes: usize) -> Vec<u8> {
    numbers([u32::try_from(bytes).unwrap_or(u32::MAX), 0])
}

/// `fuse_statfs_out`
pub(super) fn file_system(found: &StatFs) -> Vec<u8> {
    let narrowed = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let (block, name) = (narrowed(found.block_size), narrowed(found.name_max));
    let counts = wide([
        found.blocks,
        found.free,
        found.avail,
        found.files,
        found.files_free,
    ]);
    [counts, numbers([block, name, block, 0, 0, 0, 0, 0, 0, 0])].concat()
}

/// A `fuse_dirent`; `next` is where a reader goes on.
pub(super) fn directory_entry(inode: u64, next: u64, kind: FileKind, name: &OsStr) -> Vec<u8> {
    let name = name.as_bytes();
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut out = [wide([inode, next]), numbers([length, directory_type(kind)])].concat();
    out.extend(name);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// A type as directories have it (`DT_REG` and others).
const fn directory_type(kind: FileKind) -> u32 {
    match kind {
        FileKind::Unknown => 0,
        FileKind::Fifo => 1,
        FileKind::CharDevice => 2,
        FileKind::Directory => 4,
        FileKind::BlockDevice => 6,
        FileKind::Regular => 8,
        FileKind::Symlink => 10,
        FileKind::Socket => 12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the structures in include/uapi/linux/fuse.h.
    #[test]
    fn answers_are_as_long_as_the_kernel_has_them() {
        let stat = stat::lstat("/").unwrap();
        assert_eq!(entry(2, &stat).len(), 128);
        assert_eq!(attributes(&stat).len(), 104);
        assert_eq!(opened(1).len(), 16);
        assert_eq!(file_system(&stat::statfs("/").unwrap()).len(), 80);
        let name = OsStr::new("name");
        assert_eq!(directory_entry(1, 1, FileKind::Regular, name).len(), 32);
    }

    #[test]
    fn device_numbers_of_32_bits_are_those_of_64() {
        for (major, minor) in [(1, 3), (259, 70_000), (0, 0), (4095, 255)] {
            let device = stat::device(major, minor);
            assert_eq!(decode_device(encode_device(device)), device);
        }
    }
}
