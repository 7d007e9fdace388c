//! The ioctls of device-mapper (linux/dm-ioctl.h), and the semaphore over which udev says that it has seen a device.
#![expect(
    unsafe_code,
    reason = "ioctls and semaphore calls without a safe binding"
)]

use std::os::fd::AsFd;

use rustix::io::{Errno, Result};
use rustix::ioctl::opcode;

use super::{Plain, exchange, outcome, zeroed};

/// `DM_IOCTL`: the group of the codes.
const GROUP: u8 = 0xfd;
/// The first interface with every command that is used here.
const VERSION: [u32; 3] = [4, 2, 0];
/// The size of a request in bytes, of which dmsetup takes as many.
const SIZE: usize = 16 << 10;
/// The size of the header in bytes, behind which the data begin.
pub(crate) const HEADER: usize = std::mem::size_of::<Header>();

/// `struct dm_ioctl`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Header {
    version: [u32; 3],
    data_size: u32,
    /// From the start of the header.
    pub(crate) data_start: u32,
    pub(crate) target_count: u32,
    pub(crate) open_count: i32,
    pub(crate) flags: u32,
    /// In a request the udev cookie, in an answer the number of the last event.
    pub(crate) event_nr: u32,
    padding: u32,
    pub(crate) dev: u64,
    pub(crate) name: [u8; 128],
    pub(crate) uuid: [u8; 129],
    unused: [u8; 7],
}

/// A header with what a command takes or answers behind it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Request {
    pub(crate) header: Header,
    pub(crate) data: [u8; SIZE - HEADER],
}

// SAFETY: `repr(C)`, integers and arrays of integers only.
unsafe impl Plain for Request {}

/// Returns an empty request.
pub(crate) fn request() -> Box<Request> {
    Box::new(zeroed())
}

/// Makes the ioctl `command` on `/dev/mapper/control`.
pub(crate) fn call(control: impl AsFd, command: u8, request: &mut Request) -> Result<()> {
    request.header.version = VERSION;
    request.header.data_size = u32::try_from(SIZE).ok().ok_or(Errno::OVERFLOW)?;
    request.header.data_start = u32::try_from(HEADER).ok().ok_or(Errno::OVERFLOW)?;
    let code = opcode::read_write::<Header>(GROUP, command);
    // SAFETY: every command of the group takes a `struct dm_ioctl` and reads and writes no more than `data_size` bytes
    // from its start, which is the size of the request.
    unsafe { exchange(control.as_fd(), code, request) }
}

/// A System V semaphore, removed on drop.
#[derive(Debug)]
pub(crate) struct Semaphore {
    id: libc::c_int,
}

impl Semaphore {
    /// Makes a semaphore of value 1; `EEXIST` where there is one with this key.
    pub(crate) fn new(key: i32) -> Result<Self> {
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
        // SAFETY: takes numbers.
        let id = unsafe { libc::semget(key, 1, flags) };
        outcome(id.into())?;
        let semaphore = Self { id };
        // SAFETY: SETVAL takes a `union semun` by value, which has the size of a pointer and begins with the number.
        let set = unsafe { libc::semctl(id, 0, libc::SETVAL, 1_usize) };
        outcome(set.into())?;
        Ok(semaphore)
    }

    /// Waits until its value is 0.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut operation = libc::sembuf {
            sem_num: 0,
            sem_op: 0,
            sem_flg: 0,
        };
        rustix::io::retry_on_intr(|| {
            // SAFETY: the second argument points to as many operations as the third says.
            let waited = unsafe { libc::semop(self.id, &raw mut operation, 1) };
            outcome(waited.into())
        })
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID takes no argument.
        let removed = unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) };
        if let Err(errno) = outcome(removed.into()) {
            tracing::error!(%errno, id = self.id, "a semaphore is left behind");
        }
    }
}

const _: () = assert!(HEADER == 312);
