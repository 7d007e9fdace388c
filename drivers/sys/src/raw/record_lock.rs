//! Record locks of processes (F_SETLK, fcntl_locking(2)).
#![expect(unsafe_code, reason = "rustix has no lock with a range")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};

/// Takes one byte's lock for this process alone, waiting for it.
pub(crate) fn take(fd: impl AsFd, byte: u32) -> Result<()> {
    set(fd, libc::F_WRLCK, byte)
}

/// Releases one byte's lock of this process.
pub(crate) fn release(fd: impl AsFd, byte: u32) -> Result<()> {
    set(fd, libc::F_UNLCK, byte)
}

fn set(fd: impl AsFd, kind: i32, byte: u32) -> Result<()> {
    let lock = flock(kind, byte, 1)?;
    loop {
        // SAFETY: the command reads a `struct flock` behind the third argument.
        let result = unsafe {
            libc::fcntl(
                fd.as_fd().as_raw_fd(),
                libc::F_SETLKW,
                std::ptr::from_ref(&lock),
            )
        };
        match super::outcome(result.into()) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// The first byte at `from` or after it that another process has locked, and that process; 0 for one of another pid
/// namespace.
pub(crate) fn holder(fd: impl AsFd, from: u32) -> Result<Option<(u32, u32)>> {
    // To the end of the file, however long.
    let mut lock = flock(libc::F_WRLCK, from, 0)?;
    // SAFETY: the command reads and writes a `struct flock` behind the third argument.
    let result = unsafe {
        libc::fcntl(
            fd.as_fd().as_raw_fd(),
            libc::F_GETLK,
            std::ptr::from_mut(&mut lock),
        )
    };
    super::outcome(result.into())?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let byte = u32::try_from(lock.l_start).ok().ok_or(Errno::RANGE)?;
    Ok(Some((byte, u32::try_from(lock.l_pid).unwrap_or(0))))
}

fn flock(kind: i32, start: u32, length: u32) -> Result<libc::flock> {
    Ok(libc::flock {
        l_type: libc::c_short::try_from(kind).ok().ok_or(Errno::OVERFLOW)?,
        l_whence: 0, // SEEK_SET.
        l_start: start.into(),
        l_len: length.into(),
        l_pid: 0,
    })
}
