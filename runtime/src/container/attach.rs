//! The line between a monitor and the command that started it: frames over a socket pair, and the command's side.
//!
//! A frame is a byte for its kind, four bytes for its length (big endian) and that many bytes. The line ends with the
//! command or with the container, whichever is first; the container goes on without it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::terminal::{self, Size};
use cowlab_sys::{io, signals};

use super::{Error, Result, StorageStats};

/// The longest content of a frame, in bytes.
pub(super) const LONGEST: usize = 64 << 10;

/// How many bytes of input are queued for a program; beyond that none is read.
const ROOM: usize = 1 << 20;

/// How long a wait lasts at most, so that a signal that comes just before it is seen.
const TICK: Duration = Duration::from_millis(200);

const INTERRUPT: i32 = 2;
const WINDOW: i32 = 28;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// To the monitor: for the program's standard input.
    Input(Vec<u8>),
    /// To the monitor: standard input has ended.
    InputEnd,
    /// To the monitor: the terminal has this size.
    Resize(u16, u16),
    /// From the monitor: the program was started.
    Started,
    /// From the monitor: it could not be started; the status that shells have for it, and why.
    Failed(i32, String),
    /// From the monitor: standard output.
    Output(Vec<u8>),
    /// From the monitor: standard error.
    Errors(Vec<u8>),
    /// From the monitor: the program has ended with this status.
    Ended(i32),
    /// From the monitor: what the container's layer holds at its end, as JSON.
    Measured(Vec<u8>),
    /// To the monitor, before anything else: the container is there and is to be started.
    Go,
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Input(bytes) => (0, bytes.clone()),
            Self::InputEnd => (1, Vec::new()),
            Self::Resize(rows, columns) => {
                (2, [rows.to_be_bytes(), columns.to_be_bytes()].concat())
            }
            Self::Started => (3, Vec::new()),
            Self::Failed(status, why) => {
                let why = why.as_bytes();
                (
                    4,
                    [&status.to_be_bytes(), &why[..why.len().min(LONGEST - 4)]].concat(),
                )
            }
            Self::Output(bytes) => (5, bytes.clone()),
            Self::Errors(bytes) => (6, bytes.clone()),
            Self::Ended(status) => (7, status.to_be_bytes().to_vec()),
            Self::Measured(bytes) => (8, bytes.clone()),
            Self::Go => (9, Vec::new()),
        };
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        [&[kind][..], &length.to_be_bytes(), &content].concat()
    }

    /// Takes the first frame out of what was received; `None` until all of it is there.
    pub(super) fn decode(received: &mut Vec<u8>) -> Result<Option<Self>> {
        let Some((head, rest)) = received.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(broken());
        }
        let Some(content) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = Self::of(head[0], content).ok_or_else(broken)?;
        received.drain(..5 + length);
        Ok(Some(frame))
    }

    fn of(kind: u8, content: &[u8]) -> Option<Self> {
        Some(match kind {
            0 => Self::Input(content.to_vec()),
            1 => Self::InputEnd,
            2 => {
                let [a, b, c, d] = content.try_into().ok()?;
                Self::Resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            }
            3 => Self::Started,
            4 => {
                let (status, why) = content.split_first_chunk::<4>()?;
                let why = String::from_utf8_lossy(why).into_owned();
                Self::Failed(i32::from_be_bytes(*status), why)
            }
            5 => Self::Output(content.to_vec()),
            6 => Self::Errors(content.to_vec()),
            7 => Self::Ended(i32::from_be_bytes(content.try_into().ok()?)),
            8 => Self::Measured(content.to_vec()),
            9 => Self::Go,
            _ => return None,
        })
    }
}

fn broken() -> Error {
    cowlab_sys::Error::parse("a frame of the monitor", Vec::new()).into()
}

/// The command's side of the line to a container that was started.
#[derive(Debug)]
pub struct Session {
    socket: UnixStream,
    received: Vec<u8>,
    to_send: VecDeque<u8>,
    name: String,
    measured: Option<StorageStats>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The program ended with this status.
    Status(i32),
    /// The monitor died, or has detached this command because it read nothing.
    Lost,
}

impl Session {
    pub(super) fn new(socket: UnixStream, name: &str) -> Self {
        Self {
            socket,
            received: Vec::new(),
            to_send: VecDeque::new(),
            name: name.to_owned(),
            measured: None,
        }
    }

    /// What the container's layer held at the end, where [`StartOptions::measure`](super::StartOptions::measure) asked for
    /// it and nobody removed the container first.
    #[must_use]
    pub const fn measured(&self) -> Option<&StorageStats> {
        self.measured.as_ref()
    }

    /// Has the monitor start the container. One that is dead is met when its answer is read.
    pub(super) fn go(&mut self) -> Result<()> {
        self.send(&Frame::Go)
    }

    /// Waits until the program was started.
    pub(super) fn started(&mut self) -> Result<()> {
        let failed = |reason: String, status| Error::Start {
            name: self.name.clone(),
            reason,
            status,
        };
        loop {
            match Frame::decode(&mut self.received)? {
                Some(Frame::Started) => return Ok(()),
                Some(Frame::Failed(status, why)) => return Err(failed(why, status)),
                Some(_) => continue,
                None => {}
            }
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(failed("its monitor died".to_owned(), 125)),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => io("read", "the monitor", Err(error))?,
            }
        }
    }

    /// Passes standard input, if `input`, and both outputs between this process and the program until it ends. With a
    /// terminal on both sides the one here is raw meanwhile. `signal` gets the signals that come, except a terminal's own.
    ///
    /// # Errors
    ///
    /// When this process's streams or the line break.
    pub fn attach(
        &mut self,
        input: bool,
        terminal: bool,
        mut signal: impl FnMut(i32),
    ) -> Result<End> {
        let _raw = match terminal && input {
            true => terminal::RawMode::enter(std::io::stdin()).ok(),
            false => None,
        };
        signals::catch(&[1, INTERRUPT, 3, 15, WINDOW])?;
        // A program may write more than it reads: who waited to send its input would not read its output.
        channel::set_nonblocking(&self.socket)?;
        if terminal {
            self.resize()?;
        }
        let mut reads_input = input;
        // What came together with the news of the start: of a short program that is all.
        if let Some(end) = self.take_frames()? {
            return Ok(end);
        }
        loop {
            while let Some(caught) = signals::take() {
                match caught {
                    WINDOW if terminal => self.resize()?,
                    WINDOW => {}
                    other => signal(other),
                }
            }
            let wish = |readable, writable| Ready { readable, writable };
            let stdin = std::io::stdin();
            let wishes: [(BorrowedFd<'_>, Ready); 2] = [
                (self.socket.as_fd(), wish(true, !self.to_send.is_empty())),
                (stdin.as_fd(), wish(true, false)),
            ];
            let has_room = self.to_send.len() < ROOM;
            // poll(2) reports a closed descriptor even where nothing is asked of it.
            let count = if reads_input && has_room { 2 } else { 1 };
            let ready = channel::wait(&wishes[..count], Some(TICK))?;
            if ready[0].writable {
                self.flush()?;
            }
            if ready[0].readable
                && let Some(end) = self.take_output()?
            {
                return Ok(end);
            }
            if ready.get(1).is_some_and(|ready| ready.readable) {
                reads_input = self.give_input()?;
            }
        }
    }

    fn take_output(&mut self) -> Result<Option<End>> {
        let mut buffer = [0; 32 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Ok(Some(End::Lost)),
            Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Ok(Some(End::Lost));
            }
            Err(error) => io("read", "the monitor", Err(error))?,
        }
        self.take_frames()
    }

    /// Takes what was received; returns how the session ended, once that is told.
    fn take_frames(&mut self) -> Result<Option<End>> {
        while let Some(frame) = Frame::decode(&mut self.received)? {
            match frame {
                Frame::Output(bytes) => write_all(&mut std::io::stdout(), &bytes)?,
                Frame::Errors(bytes) => write_all(&mut std::io::stderr(), &bytes)?,
                Frame::Measured(bytes) => self.measured = serde_json::from_slice(&bytes).ok(),
                Frame::Ended(status) => return Ok(Some(End::Status(status))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Passes on what can be read; `false` once there is nothing more.
    fn give_input(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 << 10];
        // Not by `Stdin`, whose own buffer poll(2) does not know of.
        // An error means that the terminal went away.
        let length = cowlab_sys::file::read_once(std::io::stdin(), &mut buffer).unwrap_or_default();
        let frame = match length {
            0 => Frame::InputEnd,
            length => Frame::Input(buffer[..length].to_vec()),
        };
        self.send(&frame)?;
        Ok(length > 0)
    }

    fn resize(&mut self) -> Result<()> {
        match terminal::size(std::io::stdout()) {
            Some(Size { rows, columns }) => self.send(&Frame::Resize(rows, columns)),
            None => Ok(()),
        }
    }

    fn send(&mut self, frame: &Frame) -> Result<()> {
        self.to_send.extend(frame.encode());
        self.flush()
    }

    /// Sends what is queued, as much as the monitor takes.
    fn flush(&mut self) -> Result<()> {
        while !self.to_send.is_empty() {
            match self.socket.write(self.to_send.as_slices().0) {
                Ok(length) => drop(self.to_send.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The container has ended: what it wrote is still to be read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.to_send.clear(),
                Err(error) => io("write", "the monitor", Err(error))?,
            }
        }
        Ok(())
    }
}

/// Writes to one of this process's own outputs. One that nobody reads any more takes nothing away from the program.
fn write_all(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(io("write", "the output", written)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_in_pieces() {
        let frames = [
            Frame::Input(b"abc".to_vec()),
            Frame::InputEnd,
            Frame::Resize(24, 80),
            Frame::Started,
            Frame::Failed(127, "no program".to_owned()),
            Frame::Output(Vec::new()),
            Frame::Errors(vec![0; 1000]),
            Frame::Ended(-1),
            Frame::Measured(b"{}".to_vec()),
            Frame::Go,
        ];
        let mut received = Vec::new();
        let mut found = Vec::new();
        for byte in frames.iter().flat_map(Frame::encode) {
            received.push(byte);
            found.extend(Frame::decode(&mut received).unwrap());
        }
        assert_eq!(found, frames);
        assert!(received.is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Frame::decode(&mut vec![10, 0, 0, 0, 0]).is_err());
        assert!(Frame::decode(&mut vec![0, 255, 0, 0, 0]).is_err());
        assert!(Frame::decode(&mut vec![7, 0, 0, 0, 1, 5]).is_err());
    }

    #[test]
    fn an_end_that_comes_with_the_start_is_seen() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let frames = [Frame::Started, Frame::Ended(3)];
        there
            .write_all(&frames.each_ref().map(Frame::encode).concat())
            .unwrap();
        drop(there);
        let mut session = Session::new(here, "box");
        session.started().unwrap();
        assert_eq!(session.take_frames().unwrap(), Some(End::Status(3)));
    }

    #[test]
    fn a_monitor_that_dies_is_told() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let error = Session::new(here, "box").started().unwrap_err();
        assert!(error.to_string().contains("its monitor died"), "{error}");
    }
}
