//! Requests and answers of the FUSE protocol as they go through `/dev/fuse` (fuse(4), include/uapi/linux/fuse.h).

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use cowlab_sys::stat::{self, StatFs};
use cowlab_sys::{FileKind, Stat};
use rustix::io::Errno;

/// What a request is answered with: the structure of its kind, or an error.
pub(super) type Answer = Result<Vec<u8>, Errno>;

/// The number of the root directory.
pub(super) const ROOT: u64 = 1;
/// The longest write that the kernel may send, in bytes.
const LONGEST: usize = 1 << 20;
const PAGES: u16 = 256;
/// The longest that a mount is waited for, and how often.
const LONGEST_START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
/// The size of a `fuse_in_header`; what is asked follows it.
const HEADER: usize = 40;
/// The version that is spoken; newer kernels speak it too.
const VERSION: (u32, u32) = (7, 31);
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

/// A request as it was read. Numbers that are not there are 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a>(pub(super) &'a [u8]);

impl<'a> Request<'a> {
    pub(super) fn call(self) -> Call {
        let code = self.header_u32(4);
        let found = CALLS.iter().find(|(number, _)| *number == code);
        found.map_or(Call::Other, |(_, call)| *call)
    }

    /// What the answer names again.
    pub(super) fn unique(self) -> u64 {
        self.header_u64(8)
    }

    /// The file that it is about.
    pub(super) fn node(self) -> u64 {
        self.header_u64(16)
    }

    /// Who asks: user and group.
    pub(super) fn caller(self) -> (u32, u32) {
        (self.header_u32(24), self.header_u32(28))
    }

    /// What follows the header.
    fn body(self) -> &'a [u8] {
        self.0.get(HEADER..).unwrap_or_default()
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        self.header_u32(HEADER + at)
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        self.header_u64(HEADER + at)
    }

    /// A name, without the NUL at its end.
    pub(super) fn name(self, at: usize) -> &'a OsStr {
        let bytes = self.body().get(at..).unwrap_or_default();
        OsStr::from_bytes(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
    }

    /// Two names, one after the other.
    pub(super) fn names(self, at: usize) -> (&'a OsStr, &'a OsStr) {
        let first = self.name(at);
        (first, self.name(at + first.len() + 1))
    }

    /// Bytes from a place on.
    pub(super) fn bytes(self, at: usize) -> &'a [u8] {
        self.body().get(at..).unwrap_or_default()
    }

    fn header_u32(self, at: usize) -> u32 {
        let bytes = self.0.get(at..at + 4);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }

    fn header_u64(self, at: usize) -> u64 {
        let bytes = self.0.get(at..at + 8);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    }
}

/// Answers the kernel's requests until the last mount is gone. No answer is expected where `handle` has none.
pub(super) fn serve(
    device: impl AsFd,
    mut handle: impl FnMut(Request<'_>) -> Option<Answer>,
) -> rustix::io::Result<()> {
    let mut buffer = vec![0; LONGEST + 8192];
    let begun = Instant::now();
    loop {
        let length = match rustix::io::read(&device, &mut buffer[..]) {
            Ok(length) => length,
            Err(Errno::NODEV) => return Ok(()),
            // The request was interrupted before it was read.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
            // The mount is about to be made (fs/fuse/dev.c, `fuse_get_dev`).
            Err(Errno::PERM) if begun.elapsed() < LONGEST_START => {
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(error),
        };
        let request = Request(&buffer[..length]);
        let Some(answer) = handle(request) else {
            continue;
        };
        let (error, body) = match &answer {
            Ok(body) => (0, body.as_slice()),
            Err(errno) => (-errno.raw_os_error(), &[][..]),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let mut reply = Vec::with_capacity(16 + body.len());
        reply.extend(length.to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(request.unique().to_ne_bytes());
        reply.extend(body);
        match rustix::io::write(&device, &reply) {
            // Nobody waits for it any more.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn narrow<const N: usize>(all: [u32; N]) -> Vec<u8> {
    all.into_iter().flat_map(u32::to_ne_bytes).collect()
}

pub(super) fn wide<const N: usize>(all: [u64; N]) -> Vec<u8> {
    all.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// `fuse_init_out`
pub(super) fn init(flags: u32) -> Vec<u8> {
    let longest = u32::try_from(LONGEST).unwrap_or(u32::MAX);
    let mut out = narrow([VERSION.0, VERSION.1, longest, flags]);
    // max_background, congestion_threshold
    out.extend([0; 4]);
    // max_write and time_gran: a nanosecond
    out.extend(narrow([longest, 1]));
    out.extend(PAGES.to_ne_bytes());
    out.resize(64, 0);
    out
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
    out.extend(narrow([
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
    [wide([handle]), narrow([0, 0])].concat()
}

/// `fuse_write_out` and `fuse_getxattr_out`: a size.
pub(super) fn size(bytes: usize) -> Vec<u8> {
    narrow([u32::try_from(bytes).unwrap_or(u32::MAX), 0])
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
    [counts, narrow([block, name, block, 0, 0, 0, 0, 0, 0, 0])].concat()
}

/// A `fuse_dirent`; `next` is where a reader goes on.
pub(super) fn directory_entry(inode: u64, next: u64, kind: FileKind, name: &OsStr) -> Vec<u8> {
    let name = name.as_bytes();
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut out = [wide([inode, next]), narrow([length, directory_type(kind)])].concat();
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
        assert_eq!(init(FLAGS).len(), 64);
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
