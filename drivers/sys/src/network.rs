//! The one thing about networks that a container without one needs: its own loopback device.

use std::fs::File;

use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use std::os::fd::AsFd;

use crate::{Result, io, raw, sys};

/// Switches the loopback device on in the network namespace of a process.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EPERM` without root.
///
/// # Panics
///
/// Never: nothing in the thread panics.
pub fn raise_loopback(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = io("open", &path, File::open(&path))?;
    // A network namespace is a thread's own; the thread ends, and this one stays where it is.
    std::thread::scope(|scope| {
        let raise = scope.spawn(|| {
            let kind = Some(LinkNameSpaceType::Network);
            let moved = move_into_link_name_space(namespace.as_fd(), kind);
            sys("setns", &path, moved)?;
            let any = socket(AddressFamily::INET, SocketType::DGRAM, None);
            let any = sys("socket", &path, any)?;
            sys("ioctl SIOCSIFFLAGS", "lo", raw::network::raise(&any, b"lo"))
        });
        raise
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
