//! Every unsafe block of the workspace: the system calls and ioctls that rustix does not offer,
//! each behind a function whose types make any call of it sound.
//!
//! It carries bytes and numbers across the border and gives them no meaning: that is up to the
//! modules above.
#![expect(
    unsafe_code,
    reason = "ioctls and system calls without a safe binding end here"
)]

pub(crate) mod child;
pub(crate) mod device_mapper;
pub(crate) mod network;
pub(crate) mod quota;
pub(crate) mod record_lock;
pub(crate) mod seccomp;
pub(crate) mod verity;
pub(crate) mod zfs_library;

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use linux_raw_sys::btrfs::{
    btrfs_ioctl_get_subvol_info_args, btrfs_ioctl_ino_lookup_args, btrfs_ioctl_search_key,
};
use linux_raw_sys::general::mount_attr;
use linux_raw_sys::ioctl as code;
use linux_raw_sys::loop_device::{
    LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, LOOP_GET_STATUS64, LOOP_SET_CAPACITY,
    loop_config, loop_info64,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};

/// Extents asked for in one FIEMAP call: 14 KiB of them.
pub(crate) const FIEMAP_EXTENTS: usize = 256;
/// Room for found items in one tree search, in 8-byte words: 64 KiB, more than the largest item.
pub(crate) const SEARCH_WORDS: usize = 8192;

/// cachestat(2), which libc lacks; system calls since 424 have one number everywhere.
const SYS_CACHESTAT: libc::c_long = 451;

/// A type of plain integers, for which all bytes zero is a value and any bytes are.
///
/// # Safety
///
/// Only for `repr(C)` types made of integers and arrays of them.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: `repr(C)`, integers and arrays of integers only.
unsafe impl Plain for loop_config {}
// SAFETY: as above.
unsafe impl Plain for loop_info64 {}
// SAFETY: as above.
unsafe impl Plain for btrfs_ioctl_ino_lookup_args {}
// SAFETY: as above.
unsafe impl Plain for btrfs_ioctl_get_subvol_info_args {}
// SAFETY: as above.
unsafe impl Plain for Fiemap {}
// SAFETY: as above.
unsafe impl Plain for TreeSearch {}

/// Returns the value of all zero bytes.
pub(crate) fn zeroed<T: Plain>() -> T {
    // SAFETY: all zero bytes are a value of a `Plain` type.
    unsafe { std::mem::zeroed() }
}

/// `struct fiemap` with its array (linux/fiemap.h).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Fiemap {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) flags: u32,
    pub(crate) mapped_extents: u32,
    pub(crate) extent_count: u32,
    reserved: u32,
    pub(crate) extents: [FiemapExtent; FIEMAP_EXTENTS],
}

/// `struct fiemap_extent` (linux/fiemap.h).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct FiemapExtent {
    pub(crate) logical: u64,
    pub(crate) physical: u64,
    pub(crate) length: u64,
    reserved64: [u64; 2],
    pub(crate) flags: u32,
    reserved: [u32; 3],
}

/// `struct btrfs_ioctl_search_args_v2` with its buffer (linux/btrfs.h).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TreeSearch {
    pub(crate) key: btrfs_ioctl_search_key,
    buf_size: u64,
    buffer: [u64; SEARCH_WORDS],
}

impl TreeSearch {
    /// Returns the bytes of the found items.
    pub(crate) fn bytes(&self) -> &[u8] {
        let length = std::mem::size_of_val(&self.buffer);
        // SAFETY: the pointer and the length are those of a live array of integers, borrowed for
        // as long as the result; any byte is a `u8`.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr().cast::<u8>(), length) }
    }
}

/// One ioctl: its code and its argument, a pointer or an integer in a pointer's place.
struct Call {
    opcode: Opcode,
    argument: *mut c_void,
}

// SAFETY: a `Call` is made in this module only, with an argument that its code asks for; the
// output is the call's own return value, so the pointer is not read again.
unsafe impl Ioctl for Call {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<IoctlOutput> {
        Ok(output)
    }
}

/// Makes an ioctl that reads and writes `value`.
///
/// # Safety
///
/// The kernel must take `opcode` to be about a `T`.
unsafe fn exchange<T: Plain>(fd: BorrowedFd<'_>, opcode: Opcode, value: &mut T) -> Result<()> {
    let call = Call {
        opcode,
        argument: std::ptr::from_mut(value).cast(),
    };
    // SAFETY: the argument points to a live, exclusively borrowed `T`, which the caller vouches
    // for; whatever bytes the kernel leaves there are a `T`, for it is `Plain`.
    unsafe { rustix::ioctl::ioctl(fd, call) }.map(drop)
}

/// Makes an ioctl whose argument is an integer and returns its result.
///
/// # Safety
///
/// The kernel must take the argument of `opcode` to be an integer, or ignore it.
unsafe fn with_integer(fd: BorrowedFd<'_>, opcode: Opcode, integer: usize) -> Result<i32> {
    let call = Call {
        opcode,
        argument: std::ptr::without_provenance_mut(integer),
    };
    // SAFETY: the kernel does not follow the argument, as the caller vouches.
    unsafe { rustix::ioctl::ioctl(fd, call) }
}

/// FIEMAP: maps from `request.start` for `request.length` bytes into `request.extents`.
pub(crate) fn fiemap(fd: impl AsFd, request: &mut Fiemap) -> Result<()> {
    request.extent_count = u32::try_from(FIEMAP_EXTENTS).ok().ok_or(Errno::OVERFLOW)?;
    // SAFETY: FS_IOC_FIEMAP takes a `struct fiemap` followed by `extent_count` extents, which is
    // the length of the array.
    unsafe { exchange(fd.as_fd(), code::FS_IOC_FIEMAP, request) }
}

// SAFETY: an array of integers.
unsafe impl Plain for [u64; 2] {}

/// BLKDISCARD: gives up `length` bytes from `offset` on.
pub(crate) fn discard(fd: impl AsFd, offset: u64, length: u64) -> Result<()> {
    // SAFETY: BLKDISCARD reads two 64-bit integers.
    unsafe { exchange(fd.as_fd(), code::BLKDISCARD, &mut [offset, length]) }
}

/// LOOP_CONFIGURE: binds a file to the loop device `fd`.
pub(crate) fn loop_configure(fd: impl AsFd, config: &mut loop_config) -> Result<()> {
    // SAFETY: LOOP_CONFIGURE takes a `struct loop_config`.
    unsafe { exchange(fd.as_fd(), LOOP_CONFIGURE, config) }
}

/// LOOP_GET_STATUS64: tells what the loop device `fd` is bound to; `ENXIO` for a free one.
pub(crate) fn loop_status(fd: impl AsFd) -> Result<loop_info64> {
    let mut info = zeroed::<loop_info64>();
    // SAFETY: LOOP_GET_STATUS64 fills a `struct loop_info64`.
    unsafe { exchange(fd.as_fd(), LOOP_GET_STATUS64, &mut info) }?;
    Ok(info)
}

/// LOOP_CLR_FD: frees the loop device `fd`, or has its last close free it.
pub(crate) fn loop_clear(fd: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_CLR_FD ignores its argument.
    unsafe { with_integer(fd.as_fd(), LOOP_CLR_FD, 0) }.map(drop)
}

/// LOOP_SET_CAPACITY: has the loop device `fd` take its file's present size.
pub(crate) fn loop_set_capacity(fd: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_SET_CAPACITY ignores its argument.
    unsafe { with_integer(fd.as_fd(), LOOP_SET_CAPACITY, 0) }.map(drop)
}

/// LOOP_CTL_GET_FREE: returns the number of a loop device that is free now.
pub(crate) fn loop_next_free(control: impl AsFd) -> Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE ignores its argument.
    let number = unsafe { with_integer(control.as_fd(), LOOP_CTL_GET_FREE, 0) }?;
    u32::try_from(number).ok().ok_or(Errno::NXIO)
}

/// BTRFS_IOC_TREE_SEARCH_V2: finds items from `search.key` on; `key.nr_items` says how many.
pub(crate) fn btrfs_tree_search(fd: impl AsFd, search: &mut TreeSearch) -> Result<()> {
    search.buf_size = u64::try_from(std::mem::size_of_val(&search.buffer))
        .ok()
        .ok_or(Errno::OVERFLOW)?;
    // SAFETY: BTRFS_IOC_TREE_SEARCH_V2 takes a search key and a buffer size, and writes no more
    // than that size behind them, which is the size of the array.
    unsafe { exchange(fd.as_fd(), code::BTRFS_IOC_TREE_SEARCH_V2, search) }
}

/// BTRFS_IOC_INO_LOOKUP: resolves an inode to its path in its subvolume.
pub(crate) fn btrfs_ino_lookup(
    fd: impl AsFd,
    request: &mut btrfs_ioctl_ino_lookup_args,
) -> Result<()> {
    // SAFETY: BTRFS_IOC_INO_LOOKUP takes a `struct btrfs_ioctl_ino_lookup_args`.
    unsafe { exchange(fd.as_fd(), code::BTRFS_IOC_INO_LOOKUP, request) }
}

/// BTRFS_IOC_GET_SUBVOL_INFO: describes the subvolume that `fd` is in.
pub(crate) fn btrfs_subvolume_info(fd: impl AsFd) -> Result<btrfs_ioctl_get_subvol_info_args> {
    let mut info = zeroed::<btrfs_ioctl_get_subvol_info_args>();
    // SAFETY: BTRFS_IOC_GET_SUBVOL_INFO fills a `struct btrfs_ioctl_get_subvol_info_args`.
    unsafe { exchange(fd.as_fd(), code::BTRFS_IOC_GET_SUBVOL_INFO, &mut info) }?;
    Ok(info)
}

/// Makes a btrfs ioctl about one 64-bit number, in place.
fn btrfs_number(fd: impl AsFd, opcode: Opcode, number: &mut u64) -> Result<()> {
    let call = Call {
        opcode,
        argument: std::ptr::from_mut(number).cast(),
    };
    // SAFETY: this private function is called with codes that read or write a `__u64` only.
    unsafe { rustix::ioctl::ioctl(fd, call) }.map(drop)
}

/// BTRFS_IOC_START_SYNC: starts a commit and returns its transaction.
pub(crate) fn btrfs_start_sync(fd: impl AsFd) -> Result<u64> {
    let mut transaction = 0;
    btrfs_number(fd, code::BTRFS_IOC_START_SYNC, &mut transaction)?;
    Ok(transaction)
}

/// BTRFS_IOC_WAIT_SYNC: waits until a transaction is on disk.
pub(crate) fn btrfs_wait_sync(fd: impl AsFd, mut transaction: u64) -> Result<()> {
    btrfs_number(fd, code::BTRFS_IOC_WAIT_SYNC, &mut transaction)
}

/// BTRFS_IOC_SUBVOL_GETFLAGS: returns the flags of the subvolume whose root `fd` is.
pub(crate) fn btrfs_flags(fd: impl AsFd) -> Result<u64> {
    let mut flags = 0;
    btrfs_number(fd, code::BTRFS_IOC_SUBVOL_GETFLAGS, &mut flags)?;
    Ok(flags)
}

/// BTRFS_IOC_SUBVOL_SETFLAGS: sets the flags of the subvolume whose root `fd` is.
pub(crate) fn btrfs_set_flags(fd: impl AsFd, mut flags: u64) -> Result<()> {
    btrfs_number(fd, code::BTRFS_IOC_SUBVOL_SETFLAGS, &mut flags)
}

/// BTRFS_IOC_SYNC: commits the running transaction.
pub(crate) fn btrfs_sync(fd: impl AsFd) -> Result<()> {
    // SAFETY: BTRFS_IOC_SYNC ignores its argument.
    unsafe { with_integer(fd.as_fd(), code::BTRFS_IOC_SYNC, 0) }.map(drop)
}

/// mount_setattr(2) on the mount that `fd` is the root of.
pub(crate) fn mount_setattr(fd: impl AsFd, attributes: &mount_attr) -> Result<()> {
    // SAFETY: the path is a C string, the fourth argument points to a live `struct mount_attr`
    // and the fifth is its size; the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<mount_attr>(),
        )
    };
    outcome(result)
}

/// cachestat(2) of the whole file: pages cached, dirty, under write-back, evicted and recently
/// evicted.
pub(crate) fn cachestat(fd: impl AsFd) -> Result<[u64; 5]> {
    // `struct cachestat_range`: offset and length, where length 0 is to the end of the file.
    let range = [0_u64; 2];
    let mut counts = [0_u64; 5];
    // SAFETY: the second argument points to two and the third to five 64-bit numbers, which is
    // what `struct cachestat_range` and `struct cachestat` are.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            fd.as_fd().as_raw_fd(),
            range.as_ptr(),
            counts.as_mut_ptr(),
            0,
        )
    };
    outcome(result)?;
    Ok(counts)
}

/// What [`ofd_lock`] does to a whole file's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
    /// No lock.
    Released,
}

/// F_OFD_SETLK, or F_OFD_SETLKW where `wait`: locks the whole file for this open description.
pub(crate) fn ofd_lock(fd: impl AsFd, kind: LockKind, wait: bool) -> Result<()> {
    let lock_type = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
        LockKind::Released => libc::F_UNLCK,
    };
    let lock = libc::flock {
        l_type: libc::c_short::try_from(lock_type)
            .ok()
            .ok_or(Errno::OVERFLOW)?,
        l_whence: 0, // SEEK_SET; with the zeros below: from the start to the end of the file.
        l_start: 0,
        l_len: 0,
        l_pid: 0, // F_OFD_SETLK demands 0.
    };
    let command = if wait {
        libc::F_OFD_SETLKW
    } else {
        libc::F_OFD_SETLK
    };
    // SAFETY: both commands read a `struct flock` behind the third argument.
    let result = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, std::ptr::from_ref(&lock)) };
    outcome(result.into())
}

/// unshare(2) with these flags, for the calling thread; CLONE_FILES is left out.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> Result<()> {
    let flags = flags - rustix::thread::UnshareFlags::FILES;
    // SAFETY: the call is unsafe for CLONE_FILES alone, which is not asked for.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// unshare(2) with CLONE_FILES, then close_range(2) of all but the standard streams and `kept`: nothing else is left in the
/// thread's table that a number could be taken for.
pub(crate) fn unshare_descriptors(kept: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept: Vec<u32> = kept
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .collect();
    kept.sort_unstable();
    // SAFETY: whoever calls holds no other descriptor in this thread, as `process::unshare_descriptors` demands.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }?;
    let mut first = 3;
    for number in kept.into_iter().filter(|number| *number >= 3) {
        if first < number {
            close_range(first, number - 1)?;
        }
        first = number + 1;
    }
    close_range(first, u32::MAX)
}

/// close_range(2) in a table that is the calling thread's own.
fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: takes numbers; `unshare_descriptors`, the only caller, says whose descriptors they are.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
    outcome(closed).map(drop)
}

/// Pages of a file, mapped and shared. Only their address is given out, never a
/// reference: the file can change at any time.
#[derive(Debug)]
pub(crate) struct Pages {
    address: usize,
    length: usize,
}

impl Pages {
    /// Maps the first `length` bytes of a file; `EINVAL` for none.
    pub(crate) fn map(
        file: impl AsFd,
        length: usize,
        access: rustix::mm::ProtFlags,
    ) -> Result<Self> {
        use rustix::mm::{MapFlags, mmap};
        let anywhere = std::ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let pages = unsafe { mmap(anywhere, length, access, MapFlags::SHARED, file, 0) }?;
        Ok(Self {
            address: pages.addr(),
            length,
        })
    }

    /// Returns where the pages are.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// Returns how many bytes were mapped.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let pages = std::ptr::without_provenance_mut(self.address);
        // SAFETY: the range was mapped by `map`, and no reference into it was ever made.
        if let Err(errno) = unsafe { rustix::mm::munmap(pages, self.length) } {
            tracing::error!(%errno, "a mapping is left behind");
        }
    }
}

/// The longest handle (MAX_HANDLE_SZ, linux/fs.h), in bytes.
const MAX_HANDLE: usize = 128;

/// `struct file_handle` with room for any handle (linux/fcntl.h).
#[repr(C)]
struct FileHandle {
    handle_bytes: u32,
    handle_type: i32,
    handle: [u8; MAX_HANDLE],
}

/// name_to_handle_at(2) of an open file; the handle itself is dropped.
pub(crate) fn name_to_handle(fd: impl AsFd) -> Result<()> {
    let mut handle = FileHandle {
        handle_bytes: u32::try_from(MAX_HANDLE).ok().ok_or(Errno::OVERFLOW)?,
        handle_type: 0,
        handle: [0; MAX_HANDLE],
    };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: the kernel writes at most `handle_bytes` bytes behind the header, which are there, and
    // one integer; the name is an empty C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            std::ptr::from_mut(&mut handle),
            std::ptr::from_mut(&mut mount_id),
            libc::AT_EMPTY_PATH,
        )
    };
    outcome(result)
}

/// signal(2) with a handler, which glibc installs with `SA_RESTART`: system calls that wait go on.
pub(crate) fn handle_signal(
    signal: libc::c_int,
    handler: extern "C" fn(libc::c_int),
) -> Result<()> {
    // SAFETY: the handler has the C signature that signal(2) wants and lives as long as the program;
    // that it does only what signal-safety(7) allows is up to `interrupt`, its one user.
    let previous = unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    if previous == libc::SIG_ERR {
        return outcome(-1);
    }
    Ok(())
}

/// Has a signal take its default effect (rt_sigaction(2)).
pub(crate) fn default_signal(signal: libc::c_int) {
    /// The size of the kernel's set of signals, in bytes.
    const SET: usize = 8;
    // SIG_DFL, no flags and an empty mask are all zeros; the kernel's structure has 32 bytes at most.
    let default = [0_u64; 4];
    // SAFETY: the kernel reads the structure and writes none, for there is nowhere to write the old one.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            default.as_ptr(),
            std::ptr::null_mut::<u64>(),
            SET,
        )
    };
}

/// Has signals 1 to `highest` take their default effect (rt_sigaction(2)) and unblocks all (sigprocmask(2)). By the bare system call:
/// those that glibc keeps for itself may be ignored as well. SIGKILL and SIGSTOP cannot be set, and are as they are.
pub(crate) fn default_signals(highest: libc::c_int) -> Result<()> {
    (1..=highest).for_each(default_signal);
    // SAFETY: zeros are an empty set, as sigemptyset(3) makes it on Linux.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the call reads the set and writes nothing back.
    let result =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
    outcome(result.into())
}

/// A signal by its number, which may be a real-time one: rustix leaves those to the C library, whose own are 32 and 33.
pub(crate) fn signal(number: libc::c_int) -> Option<rustix::process::Signal> {
    let is_known = (1..=64).contains(&number) && number != 32 && number != 33;
    // SAFETY: the number is one of the kernel's and not one that the C library keeps for itself.
    is_known.then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}

/// execve(2). Returns only where it failed.
pub(crate) fn execve(
    path: &std::ffi::CStr,
    arguments: &[std::ffi::CString],
    environment: &[std::ffi::CString],
) -> Errno {
    let pointers = |all: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        let pointers = all.iter().map(|one| one.as_ptr());
        pointers.chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with a null pointer and point to C strings that live to the end of the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// _exit(2): ends the process at once, which signal-safety(7) allows in a handler.
pub(crate) fn exit_now(status: libc::c_int) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Starts to write the dirty pages of a whole file (sync_file_range(2)).
pub(crate) fn start_writing(fd: impl AsFd) -> Result<()> {
    // SAFETY: takes numbers; a length of zero means to the end.
    let result =
        unsafe { libc::sync_file_range(fd.as_fd().as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    outcome(result.into())
}

/// gnu_get_libc_version(3).
pub(crate) fn libc_version() -> &'static std::ffi::CStr {
    // SAFETY: takes nothing.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: the result is a C string in the library itself.
    unsafe { std::ffi::CStr::from_ptr(version) }
}

/// Turns a libc result into an error number.
fn outcome(result: libc::c_long) -> Result<()> {
    if result >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
