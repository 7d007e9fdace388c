//! Filters of system calls (seccomp(2)).

use std::path::Path;

use crate::{Result, raw, sys};

/// An instruction of a filter: `struct sock_filter` of the kernel (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// How many instructions a true comparison skips.
    pub jt: u8,
    /// How many instructions a false comparison skips.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// Tells whether this kernel has filters (`CONFIG_SECCOMP_FILTER`; seccomp(2), "/proc interfaces", since Linux 4.14).
pub fn is_supported() -> bool {
    Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

/// Filters the system calls of this thread, and of every thread and program that it starts from now on. The flags are those of
/// `SECCOMP_SET_MODE_FILTER`. It takes CAP_SYS_ADMIN, or the attribute `no_new_privs`.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EINVAL` for a program that the kernel rejects, `EACCES` without the privilege.
pub fn load(program: &[Instruction], flags: u32) -> Result<()> {
    let program: Vec<_> = program
        .iter()
        .map(|&Instruction { code, jt, jf, k }| libc::sock_filter { code, jt, jf, k })
        .collect();
    sys("seccomp", "", raw::seccomp::load_filter(&program, flags))
}
