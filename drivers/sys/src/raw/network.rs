//! Flags of network devices (netdevice(7)).
#![expect(unsafe_code, reason = "rustix has no ioctls of network devices")]

use std::os::fd::AsFd;

use rustix::io::{Errno, Result};

use super::{Plain, exchange, zeroed};

/// `struct ifreq` (linux/if.h) as far as flags go: a name and a union of 24 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: i16,
    rest: [i16; 11],
}

// SAFETY: `repr(C)`, integers and arrays of integers only.
unsafe impl Plain for Request {}

/// SIOCSIFFLAGS: switches on the device `name` in the network namespace of a socket.
pub(crate) fn raise(socket: impl AsFd, name: &[u8]) -> Result<()> {
    let mut request = zeroed::<Request>();
    let room = request.name.get_mut(..name.len()).ok_or(Errno::INVAL)?;
    room.copy_from_slice(name);
    let opcode = |code| {
        rustix::ioctl::Opcode::try_from(code)
            .ok()
            .ok_or(Errno::INVAL)
    };
    // SAFETY: SIOCGIFFLAGS fills the flags of a `struct ifreq`.
    unsafe { exchange(socket.as_fd(), opcode(libc::SIOCGIFFLAGS)?, &mut request) }?;
    request.flags |= i16::try_from(libc::IFF_UP).ok().ok_or(Errno::INVAL)?;
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq`.
    unsafe { exchange(socket.as_fd(), opcode(libc::SIOCSIFFLAGS)?, &mut request) }
}
