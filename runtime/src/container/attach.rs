//! The line between a monitor and a command, the one that started it or one that attaches: frames over a socket, and the
//! command's side.
//!
//! A frame is a byte for its kind, four bytes for its length (big endian) and that many bytes. The line ends with the
//! command or with the container, whichever is first; the container goes on without it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::terminal::{self, Size};
use cowlab_sys::{Errno, io, signals};

use super::keys::DetachKeys;
use super::log::Stream;
use super::outlet::Outlet;
use super::{Error, Result, StorageStats, streams};

/// Where a monitor takes commands that attach, in the container's directory.
pub(super) const SOCKET: &str = "attach.sock";

/// The longest content of a frame, in bytes.
pub(super) const LONGEST: usize = 64 << 10;

/// How many bytes of input are queued for a program; beyond that none is read.
const ROOM: usize = 1 << 20;

/// How long a wait lasts at most, so that a signal that comes just before it is seen.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// How often the monitor hears of a command whose own reader is slow.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How long a program may go on whose output nobody reads any more and still have its status told.
const GRACE: Duration = Duration::from_secs(1);

/// SIGWINCH.
pub(super) const WINDOW: i32 = 28;

/// What ends a command that has nothing left to pass a signal on to: SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

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
    /// To the monitor, before anything else: the container is there and is to be started, on a terminal of this size where
    /// there is one, else of none.
    Go(u16, u16),
    /// To the monitor: this command goes on, and its own reader is slow.
    Alive,
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
            Self::Go(rows, columns) => (9, [rows.to_be_bytes(), columns.to_be_bytes()].concat()),
            Self::Alive => (10, Vec::new()),
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
            2 | 9 => {
                let [a, b, c, d] = content.try_into().ok()?;
                let (rows, columns) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                match kind {
                    2 => Self::Resize(rows, columns),
                    _ => Self::Go(rows, columns),
                }
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
            10 => Self::Alive,
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
    status: Option<i32>,
    /// Whether the line has ended.
    is_lost: bool,
    /// Whether the program was started for another command.
    has_joined: bool,
}

/// How a command is attached.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// Whether the program gets this process's standard input.
    pub input: bool,
    /// Whether the program has a terminal. With input the one here is raw meanwhile.
    pub terminal: bool,
    /// Whether signals are passed on; else those that end a process end the session.
    pub passes_signals: bool,
    /// What is typed at a terminal to end the session.
    pub detach_keys: DetachKeys,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The program ended with this status.
    Status(i32),
    /// The monitor died, or has detached this command because it read nothing.
    Lost,
    /// Nobody reads this process's output any more; the program goes on.
    Unread,
    /// The keys that detach were typed; the program goes on.
    Detached,
    /// A signal came that is not passed on; the program goes on.
    Signal(i32),
}

/// What becomes of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Goes,
    Ends,
    Detaches,
}

impl Session {
    pub(super) fn new(socket: UnixStream, name: &str) -> Self {
        Self {
            socket,
            received: Vec::new(),
            to_send: VecDeque::new(),
            name: name.to_owned(),
            measured: None,
            status: None,
            is_lost: false,
            has_joined: false,
        }
    }

    /// Joins a container that runs.
    pub(super) fn join(dir: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            has_joined: true,
            ..Self::new(streams::connect(dir, SOCKET)?, name)
        })
    }

    /// What the container's layer held at the end, where [`StartOptions::measure`](super::StartOptions::measure) asked for
    /// it and nobody removed the container first.
    #[must_use]
    pub const fn measured(&self) -> Option<&StorageStats> {
        self.measured.as_ref()
    }

    /// Has the monitor start the container. One that is dead is met when its answer is read.
    pub(super) fn go(&mut self) -> Result<()> {
        let size = terminal::size(std::io::stdout());
        let Size { rows, columns } = size.unwrap_or(Size {
            rows: 0,
            columns: 0,
        });
        self.send(&Frame::Go(rows, columns))
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

    /// Passes standard input, if asked for, and both outputs between this process and the program until it ends. `signal` gets
    /// the signals that come and are passed on, except a terminal's own.
    ///
    /// # Errors
    ///
    /// When this process's streams or the line break.
    pub fn attach(&mut self, options: AttachOptions, mut signal: impl FnMut(i32)) -> Result<End> {
        let terminal = options.terminal;
        let _raw = match terminal && options.input {
            true => terminal::TerminalMode::raw(std::io::stdin()).ok(),
            false => None,
        };
        signals::catch(signals::passed_on())?;
        // A program may write more than it reads: who waited to send its input would not read its output.
        channel::set_nonblocking(&self.socket)?;
        if terminal {
            self.resize()?;
        }
        let mut outlets = Outlet::both()?;
        let mut detach_keys = terminal.then_some(options.detach_keys);
        let mut reads_input = options.input;
        let mut told = Instant::now();
        let mut unread = None;
        // What came together with the news of the start: of a short program that is all.
        self.take_frames(&mut outlets)?;
        loop {
            while let Some(caught) = signals::take() {
                match (caught, self.status) {
                    (WINDOW, _) if terminal => self.resize()?,
                    (ending, Some(status)) if ENDING.contains(&ending) => {
                        return Ok(End::Status(status));
                    }
                    (other, _) if options.passes_signals => signal(other),
                    (ending, _) if ENDING.contains(&ending) => return Ok(End::Signal(ending)),
                    _ => {}
                }
            }
            if let Some(end) = self.end(&outlets, &mut unread) {
                return Ok(end);
            }
            if !outlets.iter().all(Outlet::has_room) && told.elapsed() >= SIGN_OF_LIFE {
                self.send(&Frame::Alive)?;
                told = Instant::now();
            }
            if self.pass(&mut outlets, reads_input)? {
                match self.give_input(detach_keys.as_mut())? {
                    Input::Goes => {}
                    Input::Ends => reads_input = false,
                    Input::Detaches => return Ok(End::Detached),
                }
            }
        }
    }

    /// Hands both outputs to `sink` until the program ends, or `stops` says so, which is asked now and then; returns the program's
    /// status, `None` where its monitor died or the wait was cut short.
    ///
    /// # Errors
    ///
    /// When the line breaks.
    pub fn outputs(
        &mut self,
        mut sink: impl FnMut(Stream, &[u8]),
        stops: impl Fn() -> bool,
    ) -> Result<Option<i32>> {
        loop {
            while let Some(frame) = Frame::decode(&mut self.received)? {
                match frame {
                    Frame::Output(bytes) => sink(Stream::Stdout, &bytes),
                    Frame::Errors(bytes) => sink(Stream::Stderr, &bytes),
                    Frame::Ended(status) => return Ok(Some(status)),
                    _ => {}
                }
            }
            let readable = Ready {
                readable: true,
                writable: false,
            };
            if stops() {
                return Ok(None);
            }
            if !channel::wait(&[(self.socket.as_fd(), readable)], Some(TICK))?[0].readable {
                continue;
            }
            let mut buffer = [0; 32 << 10];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => io("read", "the monitor", Err(error))?,
            }
        }
    }

    /// How the session ended, if it did. `unread` is since when nobody reads an output.
    fn end(&self, outlets: &[Outlet; 2], unread: &mut Option<Instant>) -> Option<End> {
        if let Some(status) = self.status {
            let is_all = outlets.iter().all(Outlet::is_empty);
            return is_all.then_some(End::Status(status));
        }
        if outlets.iter().any(Outlet::is_closed) {
            let since = unread.get_or_insert_with(Instant::now);
            return (since.elapsed() >= GRACE).then_some(End::Unread);
        }
        self.is_lost.then_some(End::Lost)
    }

    /// Waits for what there is to pass on, and does so but for the input: returns whether there is some.
    fn pass(&mut self, outlets: &mut [Outlet; 2], reads_input: bool) -> Result<bool> {
        let mount_request = |readable, writable| Ready { readable, writable };
        let takes = self.status.is_none() && outlets.iter().all(Outlet::has_room);
        let line = mount_request(takes, !self.to_send.is_empty());
        let stdin = std::io::stdin();
        // poll(2) reports a closed descriptor even where nothing is asked of it.
        let reads = self.status.is_none() && reads_input && self.to_send.len() < ROOM;
        let all: [(BorrowedFd<'_>, Ready, bool); 4] = [
            (self.socket.as_fd(), line, line != Ready::default()),
            (stdin.as_fd(), mount_request(true, false), reads),
            (
                outlets[0].as_fd(),
                mount_request(false, true),
                !outlets[0].is_empty(),
            ),
            (
                outlets[1].as_fd(),
                mount_request(false, true),
                !outlets[1].is_empty(),
            ),
        ];
        let wanted = |place: &usize| all[*place].2;
        let places: Vec<usize> = (0..all.len()).filter(wanted).collect();
        let mount_requests: Vec<_> = places
            .iter()
            .map(|place| (all[*place].0, all[*place].1))
            .collect();
        let came = channel::wait(&mount_requests, Some(TICK))?;
        let mut ready = [Ready::default(); 4];
        for (place, came) in places.into_iter().zip(came) {
            ready[place] = came;
        }
        for (outlet, ready) in outlets.iter_mut().zip(&ready[2..]) {
            if ready.writable {
                outlet.write()?;
            }
        }
        if ready[0].writable {
            self.flush()?;
        }
        if ready[0].readable {
            self.take_output(outlets)?;
        }
        Ok(ready[1].readable)
    }

    fn take_output(&mut self, outlets: &mut [Outlet; 2]) -> Result<()> {
        let mut buffer = [0; 32 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.is_lost = true,
            Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.is_lost = true,
            Err(error) => io("read", "the monitor", Err(error))?,
        }
        self.take_frames(outlets)
    }

    /// Takes what was received.
    fn take_frames(&mut self, [out, errors]: &mut [Outlet; 2]) -> Result<()> {
        while let Some(frame) = Frame::decode(&mut self.received)? {
            match frame {
                Frame::Output(bytes) => out.push(&bytes),
                Frame::Errors(bytes) => errors.push(&bytes),
                Frame::Measured(bytes) => self.measured = serde_json::from_slice(&bytes).ok(),
                Frame::Ended(status) => self.status = Some(status),
                _ => {}
            }
        }
        Ok(())
    }

    /// Passes on what can be read.
    fn give_input(&mut self, detach_keys: Option<&mut DetachKeys>) -> Result<Input> {
        let mut buffer = [0; 16 << 10];
        // Not by `Stdin`, whose own buffer poll(2) does not know of.
        let length = match cowlab_sys::file::read_once(std::io::stdin(), &mut buffer) {
            Ok(length) => length,
            // Others may have made it non-blocking, and have read what there was.
            Err(error) if error.errno() == Some(Errno::AGAIN) => return Ok(Input::Goes),
            // The terminal went away.
            Err(_) => 0,
        };
        if length == 0 {
            self.send(&Frame::InputEnd)?;
            return Ok(Input::Ends);
        }
        let typed = &buffer[..length];
        let (content, detaches) = match detach_keys {
            Some(keys) => keys.take(typed),
            None => (typed.to_vec(), false),
        };
        if !content.is_empty() {
            self.send(&Frame::Input(content))?;
        }
        match detaches {
            true => Ok(Input::Detaches),
            false => Ok(Input::Goes),
        }
    }

    fn resize(&mut self) -> Result<()> {
        let Some(Size { rows, columns }) = terminal::size(std::io::stdout()) else {
            return Ok(());
        };
        // The size may be the same, and a program draws anew only when it changes: docker changes it first as well.
        if std::mem::take(&mut self.has_joined) {
            self.send(&Frame::Resize(
                rows.saturating_add(1),
                columns.saturating_add(1),
            ))?;
        }
        self.send(&Frame::Resize(rows, columns))
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
            Frame::Go(24, 80),
            Frame::Alive,
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
        assert!(Frame::decode(&mut vec![11, 0, 0, 0, 0]).is_err());
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
        let mut outlets = Outlet::both().unwrap();
        session.take_frames(&mut outlets).unwrap();
        assert_eq!(session.end(&outlets, &mut None), Some(End::Status(3)));
    }

    #[test]
    fn a_monitor_that_dies_is_told() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let error = Session::new(here, "box").started().unwrap_err();
        assert!(error.to_string().contains("its monitor died"), "{error}");
    }
}
