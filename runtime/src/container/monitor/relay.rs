//! Between a program's streams, the log and the command that watches: nothing waits for anybody for ever.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::task::{self, Task};
use cowlab_sys::terminal::{self, Size};

use super::start::Started;
use crate::container::Result;
use crate::container::attach::{Frame, LONGEST};
use crate::container::log::{LogOptions, LogWriter, Stream};

/// What is kept for a slow reader, in bytes; beyond it the writer waits, as in a pipe.
const ROOM: usize = 1 << 20;

/// How long a reader that is behind at the end gets.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The command at the other end of the line, as long as it is there.
#[derive(Debug)]
pub(super) struct Client {
    socket: Option<UnixStream>,
    received: Vec<u8>,
    to_send: Vec<u8>,
    /// Whether the program's standard input ends with the line.
    input_ends: bool,
}

impl Client {
    pub(super) fn new(socket: UnixStream, input_ends: bool) -> Result<Self> {
        channel::set_nonblocking(&socket)?;
        Ok(Self {
            socket: Some(socket),
            received: Vec::new(),
            to_send: Vec::new(),
            input_ends,
        })
    }

    /// Has a frame sent when there is room; a command that is gone gets none.
    pub(super) fn send(&mut self, frame: &Frame) {
        if self.socket.is_some() {
            self.to_send.extend(frame.encode());
            self.flush();
        }
    }

    fn flush(&mut self) {
        while let Some(socket) = &mut self.socket
            && !self.to_send.is_empty()
        {
            match socket.write(&self.to_send) {
                Ok(length) => drop(self.to_send.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.leave(),
            }
        }
    }

    /// Sends what is left, to a command that reads.
    pub(super) fn flush_at_last(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        while let Some(socket) = &self.socket
            && !self.to_send.is_empty()
        {
            let left = until.saturating_duration_since(Instant::now());
            let wish = Ready {
                readable: false,
                writable: true,
            };
            if left.is_zero() || channel::wait(&[(socket.as_fd(), wish)], Some(left)).is_err() {
                return;
            }
            self.flush();
        }
    }

    fn leave(&mut self) {
        self.socket = None;
        self.to_send.clear();
    }

    /// What the command sent; an empty list where it has left.
    fn receive(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut buffer = [0; 16 << 10];
        let Some(socket) = &mut self.socket else {
            return frames;
        };
        match socket.read(&mut buffer) {
            Ok(0) => self.leave(),
            Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.leave(),
        }
        loop {
            match Frame::decode(&mut self.received) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                // Whoever sends nonsense is no command of ours.
                Err(_) => {
                    self.leave();
                    return frames;
                }
            }
        }
    }
}

/// All that a monitor passes on.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) client: Client,
    log: LogWriter,
    init: Task,
    input: Option<File>,
    to_input: Vec<u8>,
    /// Whether the input ends when all of `to_input` is written.
    input_ended: bool,
    terminal: bool,
    output: Option<File>,
    errors: Option<File>,
}

/// What there is to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Init,
    Client,
    Input,
    Output(Stream),
}

impl Relay {
    pub(super) fn new(
        client: Client,
        started: Started,
        log: &Path,
        options: LogOptions,
    ) -> Result<Self> {
        let terminal = started.has_terminal();
        let Started {
            init,
            input,
            output,
            errors,
        } = started;
        for file in [Some(&output), errors.as_ref(), input.as_ref()]
            .into_iter()
            .flatten()
        {
            channel::set_nonblocking(file)?;
        }
        Ok(Self {
            client,
            log: LogWriter::open(log, options)?,
            init,
            input,
            to_input: Vec::new(),
            input_ended: false,
            terminal,
            output: Some(output),
            errors,
        })
    }

    /// Passes on until the container's first process has ended; returns its status.
    pub(super) fn run(&mut self) -> Result<i32> {
        loop {
            let mut status = None;
            for source in self.ready()? {
                match source {
                    Source::Init => status = Some(self.reap()?),
                    Source::Client => self.serve(),
                    Source::Input => self.feed(),
                    Source::Output(stream) => drop(self.pass(stream)),
                }
            }
            if let Some(status) = status {
                for stream in [Stream::Stdout, Stream::Stderr] {
                    while self.pass(stream) {}
                }
                if let Err(error) = self.log.finish() {
                    tracing::error!(%error, "the log lacks its last line");
                }
                return Ok(status);
            }
        }
    }

    fn ready(&self) -> Result<Vec<Source>> {
        let wish = |readable, writable| Ready { readable, writable };
        let has_room = self.client.to_send.len() < ROOM;
        let mut wishes = vec![(self.init.as_fd(), wish(true, false))];
        let mut sources = vec![Source::Init];
        if let Some(socket) = &self.client.socket {
            let takes = self.to_input.len() < ROOM;
            wishes.push((socket.as_fd(), wish(takes, !self.client.to_send.is_empty())));
            sources.push(Source::Client);
        }
        let terminal = self.output.as_ref().filter(|_| self.terminal);
        if let Some(input) = self.input.as_ref().or(terminal)
            && !self.to_input.is_empty()
        {
            wishes.push((input.as_fd(), wish(false, true)));
            sources.push(Source::Input);
        }
        let outputs = [
            (&self.output, Stream::Stdout),
            (&self.errors, Stream::Stderr),
        ];
        for (file, stream) in outputs {
            if let Some(file) = file
                && has_room
            {
                wishes.push((file.as_fd(), wish(true, false)));
                sources.push(Source::Output(stream));
            }
        }
        let ready = channel::wait(&wishes, None)?;
        let came = |ready: &Ready| ready.readable || ready.writable;
        let pairs = sources.into_iter().zip(ready);
        Ok(pairs
            .filter(|(_, ready)| came(ready))
            .map(|(source, _)| source)
            .collect())
    }

    /// Takes the status of every child that has ended; returns that of the container's first process.
    fn reap(&self) -> Result<i32> {
        let mut found = None;
        while let Some((pid, status)) = task::reap()? {
            if pid == self.init.pid() {
                found = Some(status);
            }
        }
        match found {
            Some(status) => Ok(status),
            // Whoever traces it has the status first (ptrace(2), "Death under ptrace").
            None => Ok(task::wait(self.init.pid())?),
        }
    }

    fn serve(&mut self) {
        self.client.flush();
        for frame in self.client.receive() {
            match frame {
                Frame::Input(bytes) => self.to_input.extend(bytes),
                Frame::InputEnd => self.input_ended = true,
                Frame::Resize(rows, columns) => {
                    if let Some(output) = self.output.as_ref().filter(|_| self.terminal)
                        && let Err(error) = terminal::set_size(output, Size { rows, columns })
                    {
                        tracing::debug!(%error, "the terminal keeps its size");
                    }
                }
                _ => {}
            }
        }
        if self.client.socket.is_none() && self.client.input_ends {
            self.input_ended = true;
        }
        self.feed();
    }

    /// Writes what was sent to the program's input, as much as it takes.
    fn feed(&mut self) {
        let terminal = self.output.as_mut().filter(|_| self.terminal);
        let Some(input) = self.input.as_mut().or(terminal) else {
            self.to_input.clear();
            return;
        };
        while !self.to_input.is_empty() {
            match input.write(&self.to_input) {
                Ok(length) => drop(self.to_input.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nobody reads any more.
                Err(_) => {
                    self.to_input.clear();
                    self.input = None;
                    return;
                }
            }
        }
        if self.input_ended {
            self.input = None;
        }
    }

    /// Passes on some output; `false` where there is none.
    fn pass(&mut self, stream: Stream) -> bool {
        let slot = match stream {
            Stream::Stdout => &mut self.output,
            Stream::Stderr => &mut self.errors,
        };
        let Some(file) = slot else {
            return false;
        };
        let mut buffer = vec![0; LONGEST];
        let length = match file.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            // A terminal that nobody has open any more says EIO (pty(7)).
            Err(_) => 0,
        };
        if length == 0 {
            *slot = None;
            return false;
        }
        buffer.truncate(length);
        // A full disk costs the log its lines and the program nothing.
        if let Err(error) = self.log.write(stream, &buffer) {
            tracing::error!(%error, "output is not in the log");
        }
        self.client.send(&match stream {
            Stream::Stdout => Frame::Output(buffer),
            Stream::Stderr => Frame::Errors(buffer),
        });
        true
    }
}
