//! This process's own outputs: what one does not take at once waits, and nothing else does.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cowlab_sys::{Errno, file, io};

use super::Result;

/// How many bytes wait for a reader; beyond that no more are taken for it.
const ROOM: usize = 1 << 20;

/// As much as a pipe that poll(2) calls writable takes without blocking (pipe(7), PIPE_BUF). The output itself is not made
/// non-blocking: others have it as well.
const PIECE: usize = 4096;

/// Standard output or standard error.
#[derive(Debug)]
pub(super) struct Outlet {
    fd: OwnedFd,
    waiting: VecDeque<u8>,
    is_closed: bool,
}

impl Outlet {
    pub(super) fn to(fd: impl AsFd) -> Result<Self> {
        Ok(Self {
            fd: io("dup", "output", fd.as_fd().try_clone_to_owned())?,
            waiting: VecDeque::new(),
            is_closed: false,
        })
    }

    /// Standard output and standard error.
    pub(super) fn both() -> Result<[Self; 2]> {
        Ok([Self::to(std::io::stdout())?, Self::to(std::io::stderr())?])
    }

    /// Has bytes written when they can be; of an output that nobody reads any more they are gone.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.is_closed {
            self.waiting.extend(bytes);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ROOM
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nobody reads it any more.
    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Writes a piece, once poll(2) says that it can be.
    pub(super) fn write(&mut self) -> Result<()> {
        let piece = self.waiting.as_slices().0;
        match file::write_once(&self.fd, &piece[..piece.len().min(PIECE)]) {
            Ok(length) => drop(self.waiting.drain(..length.unwrap_or(0))),
            // EIO: a terminal that was hung up (pty(7)).
            Err(error) if matches!(error.errno(), Some(Errno::PIPE | Errno::IO)) => {
                self.is_closed = true;
                self.waiting.clear();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use cowlab_sys::channel::{self, Ready};

    use super::*;

    const WRITABLE: Ready = Ready {
        readable: false,
        writable: true,
    };

    fn write_all(outlet: &mut Outlet) {
        while !outlet.is_empty() {
            channel::wait(&[(outlet.as_fd(), WRITABLE)], None).unwrap();
            outlet.write().unwrap();
        }
    }

    #[test]
    fn a_pipe_that_does_not_block_gets_everything() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        channel::set_nonblocking(&writer).unwrap();
        let mut outlet = Outlet::to(&writer).unwrap();
        drop(writer);
        outlet.push(&vec![b'x'; ROOM]);
        assert!(!outlet.has_room());
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all.len())
        });
        write_all(&mut outlet);
        drop(outlet);
        assert_eq!(reading.join().unwrap().unwrap(), ROOM);
    }

    #[test]
    fn what_nobody_reads_is_gone() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut outlet = Outlet::to(&writer).unwrap();
        outlet.push(b"x");
        drop(reader);
        write_all(&mut outlet);
        assert!(outlet.is_closed());
        outlet.push(b"y");
        assert!(outlet.is_empty());
    }
}
