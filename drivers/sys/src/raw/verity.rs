//! fs-verity: the ioctl that protects a file.
#![expect(unsafe_code, reason = "an ioctl without a binding")]

use std::os::fd::AsFd;

use linux_raw_sys::ioctl as code;
use rustix::io::Result;

use super::{Plain, exchange, zeroed};

/// `FS_VERITY_HASH_ALG_SHA256` (linux/fsverity.h).
const SHA256: u32 = 1;

/// `struct fsverity_enable_arg` (linux/fsverity.h).
#[derive(Clone, Copy)]
#[repr(C)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

// SAFETY: `repr(C)`, integers and arrays of integers only.
unsafe impl Plain for EnableArg {}

/// FS_IOC_ENABLE_VERITY with SHA-256, blocks of 4096 bytes, no salt and no signature.
pub(crate) fn enable(fd: impl AsFd) -> Result<()> {
    let mut argument = EnableArg {
        version: 1,
        hash_algorithm: SHA256,
        block_size: 4096,
        ..zeroed()
    };
    // SAFETY: FS_IOC_ENABLE_VERITY reads a `struct fsverity_enable_arg`, whose pointers have no bytes behind them.
    unsafe { exchange(fd.as_fd(), code::FS_IOC_ENABLE_VERITY, &mut argument) }
}
