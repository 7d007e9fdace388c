//! What is done in a child between fork(2) and execve(2).
#![expect(unsafe_code, reason = "only async-signal-safe calls are allowed there")]

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::process;

/// Has the child keep the descriptors `kept` open under their numbers, and has the kernel send it SIGKILL when the
/// thread that started it ends (PR_SET_PDEATHSIG(2const)).
pub(crate) fn die_with_parent(command: &mut Command, kept: Vec<RawFd>) {
    let parent = i32::try_from(std::process::id()).unwrap_or(-1);
    let prepare = move || prepare_child(parent, &kept);
    // SAFETY: `prepare_child` allocates nothing, takes no lock and makes only system calls (signal-safety(7)).
    unsafe { command.pre_exec(prepare) };
}

/// Has the child take back what [`process::raise_open_files_limit`] did.
pub(crate) fn restore_limits(command: &mut Command) {
    if process::original_open_files_limit().is_some() {
        // SAFETY: reads what was written before the fork and makes one system call (signal-safety(7)).
        unsafe { command.pre_exec(process::restore_open_files_limit) };
    }
}

/// Has the child keep the descriptors `kept` open under their numbers and lead a session of its own (setsid(2)).
pub(crate) fn lead_session(command: &mut Command, kept: Vec<RawFd>) {
    let prepare = move || {
        keep_open(&kept)?;
        // SAFETY: takes nothing; a child that was just forked leads no process group.
        match unsafe { libc::setsid() } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: `prepare` allocates nothing, takes no lock and makes only system calls (signal-safety(7)).
    unsafe { command.pre_exec(prepare) };
}

fn keep_open(kept: &[RawFd]) -> io::Result<()> {
    for fd in kept {
        // SAFETY: takes numbers; clears FD_CLOEXEC of this process's copy of the descriptor alone.
        if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn prepare_child(parent: libc::pid_t, kept: &[RawFd]) -> io::Result<()> {
    keep_open(kept)?;
    // SAFETY: takes numbers.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes nothing and cannot fail.
    let now = unsafe { libc::getppid() };
    // The parent may have ended before the kernel was asked: then nobody would send the signal.
    if now != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}
