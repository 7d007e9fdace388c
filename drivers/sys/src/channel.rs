//! Sockets between processes of this host, and waiting for several descriptors at once.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::{Errno, Result, sys};

/// What a descriptor is waited for, and whether it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// There is something to read, the other side is closed, or there is an error to be read.
    pub readable: bool,
    /// Writing would not block.
    pub writable: bool,
}

/// Waits until one of the descriptors is ready as wished, or the time is over; then none is ready. Without a time it
/// waits as long as it takes. A signal ends the wait as the time does.
pub fn wait(wishes: &[(BorrowedFd<'_>, Ready)], time: Option<Duration>) -> Result<Vec<Ready>> {
    let mut fds: Vec<PollFd<'_>> = wishes
        .iter()
        .map(|(fd, wish)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, wish.readable);
            flags.set(PollFlags::OUT, wish.writable);
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match rustix::event::poll(&mut fds, time.as_ref()) {
        Err(Errno::INTR) => return Ok(vec![Ready::default(); wishes.len()]),
        polled => sys("poll", "", polled)?,
    };
    let ended = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let ready = fds.iter().zip(wishes).map(|(fd, (_, wish))| {
        let came = fd.revents();
        Ready {
            readable: wish.readable && came.intersects(PollFlags::IN | ended),
            writable: wish.writable && came.intersects(PollFlags::OUT | ended),
        }
    });
    Ok(ready.collect())
}

/// Has reads and writes of the descriptor, and of every copy of it, return `EAGAIN` rather than wait.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    let flags = sys("fcntl", "", rustix::fs::fcntl_getfl(&fd))?;
    let flags = flags | rustix::fs::OFlags::NONBLOCK;
    sys("fcntl", "", rustix::fs::fcntl_setfl(&fd, flags))
}

/// Receives one descriptor over a connected Unix socket (unix(7), `SCM_RIGHTS`); `None` where the other side closed the
/// socket or sent none.
pub fn receive_descriptor(socket: impl AsFd) -> Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0_u8; 64];
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut parts, &mut control, flags);
    sys("recvmsg", "", received)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn waits_for_what_is_ready() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let wish = Ready {
            readable: true,
            writable: false,
        };
        let poll = |time| wait(&[(reader.as_fd(), wish)], Some(time)).unwrap()[0];
        assert!(!poll(Duration::ZERO).readable);
        writer.write_all(b"x").unwrap();
        assert!(poll(Duration::from_secs(5)).readable);
        let wish = Ready {
            readable: false,
            writable: true,
        };
        assert!(wait(&[(writer.as_fd(), wish)], None).unwrap()[0].writable);
    }

    #[test]
    fn a_closed_side_is_readable() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let wish = Ready {
            readable: true,
            writable: false,
        };
        assert!(wait(&[(reader.as_fd(), wish)], None).unwrap()[0].readable);
    }

    #[test]
    fn a_closed_socket_sends_no_descriptor() {
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(there);
        assert!(receive_descriptor(here).unwrap().is_none());
    }
}
