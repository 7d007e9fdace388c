//! seccomp(2), which rustix and libc lack.
#![expect(unsafe_code, reason = "the system call has no safe binding")]

use rustix::io::{Errno, Result};

/// Loads a filter for the calling thread.
pub(crate) fn load_filter(program: &[libc::sock_filter], flags: u32) -> Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).ok().ok_or(Errno::INVAL)?,
        // The kernel copies the instructions and writes none (kernel/seccomp.c, `seccomp_prepare_user_filter`).
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `sock_fprog` names `len` instructions, which live to the end of the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
