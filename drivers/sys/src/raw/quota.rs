//! Project ids of inodes, and quotactl_fd(2).
#![expect(unsafe_code, reason = "ioctls and a system call without a binding")]

use std::os::fd::{AsFd, AsRawFd};

use linux_raw_sys::general::fsxattr;
use linux_raw_sys::ioctl as code;
use rustix::io::Result;

use super::{Plain, exchange, outcome, zeroed};

/// `PRJQUOTA` (linux/quota.h).
const PROJECTS: u32 = 2;
/// `FS_QSTATV_VERSION1` (linux/dqblk_xfs.h).
const STATE_VERSION: i8 = 1;

/// A command of quotactl(2), without the kind of quota.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Command {
    /// `Q_SETQUOTA`.
    Set = 0x80_0008,
    /// `Q_GETNEXTQUOTA`.
    GetNext = 0x80_0009,
    /// `Q_XGETQSTATV`.
    State = 0x5808,
}

/// `struct if_nextdqblk` (linux/quota.h), which is a `struct if_dqblk` with its padding used.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Quota {
    /// In units of 1024 bytes, whatever the file system.
    pub(crate) block_hard: u64,
    pub(crate) block_soft: u64,
    pub(crate) bytes: u64,
    inode_hard: u64,
    inode_soft: u64,
    pub(crate) inodes: u64,
    block_time: u64,
    inode_time: u64,
    pub(crate) valid: u32,
    pub(crate) id: u32,
}

/// The beginning of `struct fs_quota_statv` (linux/dqblk_xfs.h), and more room than the rest of it takes.
#[derive(Clone, Copy)]
#[repr(C)]
struct State {
    version: i8,
    pad: u8,
    flags: u16,
    rest: [u64; 31],
}

// SAFETY: `repr(C)`, integers and arrays of integers only.
unsafe impl Plain for fsxattr {}
// SAFETY: as above.
unsafe impl Plain for Quota {}
// SAFETY: as above.
unsafe impl Plain for State {}

/// FS_IOC_FSGETXATTR.
pub(crate) fn attributes(fd: impl AsFd) -> Result<fsxattr> {
    let mut attributes = zeroed();
    // SAFETY: FS_IOC_FSGETXATTR fills a `struct fsxattr`.
    unsafe { exchange(fd.as_fd(), code::FS_IOC_FSGETXATTR, &mut attributes) }?;
    Ok(attributes)
}

/// FS_IOC_FSSETXATTR.
pub(crate) fn set_attributes(fd: impl AsFd, mut attributes: fsxattr) -> Result<()> {
    // SAFETY: FS_IOC_FSSETXATTR reads a `struct fsxattr`.
    unsafe { exchange(fd.as_fd(), code::FS_IOC_FSSETXATTR, &mut attributes) }
}

/// `Q_SETQUOTA`: what of the limits is valid becomes those of the project.
pub(crate) fn set(fd: impl AsFd, id: u32, quota: &mut Quota) -> Result<()> {
    // SAFETY: the command reads a `struct if_dqblk`, which a `Quota` begins with.
    unsafe { control(fd, Command::Set, id, quota) }
}

/// `Q_GETNEXTQUOTA`: the first project from `id` on that has files or limits.
pub(crate) fn next(fd: impl AsFd, id: u32) -> Result<Quota> {
    let mut quota = zeroed();
    // SAFETY: the command fills a `struct if_nextdqblk`.
    unsafe { control(fd, Command::GetNext, id, &mut quota) }?;
    Ok(quota)
}

/// `Q_XGETQSTATV`: which quotas are kept and which are enforced (`FS_QUOTA_*`).
pub(crate) fn state(fd: impl AsFd) -> Result<u16> {
    let mut state = State {
        version: STATE_VERSION,
        ..zeroed()
    };
    // SAFETY: the command fills a `struct fs_quota_statv`, of 160 bytes in version 1.
    unsafe { control(fd, Command::State, 0, &mut state) }?;
    Ok(state.flags)
}

/// quotactl_fd(2) about projects.
///
/// # Safety
///
/// The kernel must take the argument of `command` to be no longer than a `T`.
unsafe fn control<T: Plain>(
    fd: impl AsFd,
    command: Command,
    id: u32,
    argument: &mut T,
) -> Result<()> {
    // SAFETY: the fourth argument points to a live, exclusively borrowed `T`, which the caller vouches for; whatever
    // bytes the kernel leaves there are a `T`, for it is `Plain`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            fd.as_fd().as_raw_fd(),
            (command as u32) << 8 | PROJECTS,
            id,
            std::ptr::from_mut(argument),
        )
    };
    outcome(result)
}
