//! Between a program's streams, the log and the commands that watch: nothing waits for anybody for ever.
//!
//! Output goes to the log first, then into a bounded queue for each command, the one that started the container and those that
//! attached since. A command that reads slowly slows the program down, as
//! a pipe does, and loses nothing. One that itself does nothing any more while its queue is full is detached: the program and the
//! log go on.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::task::{self, Task};
use cowlab_sys::terminal::{self, Size};

use super::start::Started;
use crate::container::Result;
use crate::container::attach::{Frame, LONGEST};
use crate::container::log::{LogOptions, LogWriter, Stream};
use crate::container::streams::Ends;

/// How many bytes are queued for a reader; beyond that the writer waits, as at a pipe.
const ROOM: usize = 4 << 20;

/// How long a command with a full queue may give no sign of life before it is detached: it was stopped, or hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// SIGKILL.
const KILL: i32 = 9;

/// A command at the other end of its line, as long as it is there.
#[derive(Debug)]
pub(super) struct Client {
    socket: Option<UnixStream>,
    received: Vec<u8>,
    to_send: VecDeque<u8>,
    /// When the command last took some bytes, or sent some.
    active: Instant,
    patience: Duration,
    /// Whether the program's standard input ends with the line.
    input_ends: bool,
}

impl Client {
    pub(super) fn new(socket: UnixStream, input_ends: bool) -> Result<Self> {
        channel::set_nonblocking(&socket)?;
        Ok(Self {
            socket: Some(socket),
            received: Vec::new(),
            to_send: VecDeque::new(),
            active: Instant::now(),
            patience: PATIENCE,
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
            match socket.write(self.to_send.as_slices().0) {
                Ok(length) => {
                    self.to_send.drain(..length);
                    self.active = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.leave(),
            }
        }
    }

    /// What there is to wait for at the line: poll(2) reports a closed one even where nothing is asked of it.
    fn mount_request(&self, takes: bool) -> Option<(BorrowedFd<'_>, Ready)> {
        let mount_request = Ready {
            readable: takes,
            writable: !self.to_send.is_empty(),
        };
        let socket = self
            .socket
            .as_ref()
            .filter(|_| mount_request != Ready::default())?;
        Some((socket.as_fd(), mount_request))
    }

    /// Whether more output may be queued.
    fn has_room(&self) -> bool {
        self.to_send.len() < ROOM
    }

    /// How long a command without room may still take; `None` where there is room.
    fn time_left(&self) -> Option<Duration> {
        match self.has_room() {
            true => None,
            false => Some(self.patience.saturating_sub(self.active.elapsed())),
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
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                self.active = Instant::now();
            }
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

/// Sends what is left, however long a command takes to read it: the container has ended, and nobody waits for this process.
pub(super) fn flush_at_last(clients: &mut Vec<Client>) {
    loop {
        clients.retain(|client| !client.to_send.is_empty());
        let mount_requests: Vec<_> = clients
            .iter()
            .filter_map(|client| client.mount_request(false))
            .collect();
        if mount_requests.is_empty() || channel::wait(&mount_requests, None).is_err() {
            return;
        }
        clients.iter_mut().for_each(Client::flush);
    }
}

/// All that a monitor passes on.
#[derive(Debug)]
pub(super) struct Relay {
    clients: Vec<Client>,
    /// Where commands attach.
    listener: UnixListener,
    log: LogWriter,
    init: Task,
    input: Option<File>,
    to_input: VecDeque<u8>,
    /// Whether the input ends with that of a command, as it does where the container was started for one that has input.
    input_ends: bool,
    /// Whether the input ends when all of `to_input` is written.
    input_ended: bool,
    terminal: bool,
    output: Option<File>,
    errors: Option<File>,
    /// Whether the program is killed when no command is left that watches it.
    pub(super) ends_with_command: bool,
}

/// What there is to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Init,
    Listener,
    Client(usize),
    Input,
    Output(Stream),
}

impl Relay {
    pub(super) fn new(
        client: Client,
        listener: UnixListener,
        started: Started,
        log: &Path,
        options: LogOptions,
    ) -> Result<Self> {
        let Started { init, ends } = started;
        ends.set_nonblocking()?;
        channel::set_nonblocking(&listener)?;
        let terminal = ends.has_terminal();
        let Ends {
            input,
            output,
            errors,
        } = ends;
        Ok(Self {
            input_ends: client.input_ends,
            clients: vec![client],
            listener,
            log: LogWriter::open(log, options)?,
            init,
            input,
            to_input: VecDeque::new(),
            input_ended: false,
            terminal,
            output: Some(output),
            errors,
            ends_with_command: false,
        })
    }

    /// Has a frame sent to every command.
    pub(super) fn send(&mut self, frame: &Frame) {
        for client in &mut self.clients {
            client.send(frame);
        }
    }

    /// Sends what is left.
    pub(super) fn flush_at_last(mut self) {
        flush_at_last(&mut self.clients);
    }

    /// Passes on until the container's first process has ended; returns its status.
    pub(super) fn run(&mut self) -> Result<i32> {
        let status = loop {
            if let Some(status) = self.pass_what_is_ready()? {
                break status;
            }
        };
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.pass(stream) {}
        }
        if let Err(error) = self.log.finish() {
            tracing::error!(%error, "the log lacks its last line");
        }
        Ok(status)
    }

    /// Waits until there is something to pass on, and does so; returns the status of the first process once it has ended.
    fn pass_what_is_ready(&mut self) -> Result<Option<i32>> {
        for client in &mut self.clients {
            if client.time_left() == Some(Duration::ZERO) {
                tracing::warn!("a command gives no sign of life: it is detached");
                client.leave();
            }
        }
        self.see_off();
        let mut status = None;
        for source in self.ready()? {
            match source {
                Source::Init => status = Some(self.reap()?),
                Source::Listener => self.welcome()?,
                Source::Client(place) => self.serve(place),
                Source::Input => self.feed(),
                Source::Output(stream) => drop(self.pass(stream)),
            }
        }
        self.see_off();
        Ok(status)
    }

    fn ready(&self) -> Result<Vec<Source>> {
        let mount_request = |readable, writable| Ready { readable, writable };
        let has_room = self.clients.iter().all(Client::has_room);
        let takes = self.to_input.len() < ROOM;
        let mut mount_requests = vec![
            (self.init.as_fd(), mount_request(true, false)),
            (self.listener.as_fd(), mount_request(true, false)),
        ];
        let mut sources = vec![Source::Init, Source::Listener];
        for (place, client) in self.clients.iter().enumerate() {
            if let Some(mount_request) = client.mount_request(takes) {
                mount_requests.push(mount_request);
                sources.push(Source::Client(place));
            }
        }
        let terminal = self.output.as_ref().filter(|_| self.terminal);
        if let Some(input) = self.input.as_ref().or(terminal)
            && !self.to_input.is_empty()
        {
            mount_requests.push((input.as_fd(), mount_request(false, true)));
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
                mount_requests.push((file.as_fd(), mount_request(true, false)));
                sources.push(Source::Output(stream));
            }
        }
        let time_left = self.clients.iter().filter_map(Client::time_left).min();
        let ready = channel::wait(&mount_requests, time_left)?;
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

    /// Takes a command that attaches.
    fn welcome(&mut self) -> Result<()> {
        match self.listener.accept() {
            Ok((socket, _)) => self.clients.push(Client::new(socket, false)?),
            // It is gone again.
            Err(error) => tracing::debug!(%error, "nobody attaches"),
        }
        Ok(())
    }

    /// Removes commands that have left.
    fn see_off(&mut self) {
        let has_left = |client: &Client| client.socket.is_none();
        if self
            .clients
            .iter()
            .any(|one| has_left(one) && one.input_ends)
        {
            self.input_ended = true;
            self.feed();
        }
        self.clients.retain(|client| !has_left(client));
        if self.ends_with_command
            && self.clients.is_empty()
            && let Err(error) = self.init.signal(KILL)
        {
            tracing::warn!(%error, "a program without its command goes on");
        }
    }

    fn serve(&mut self, place: usize) {
        let client = &mut self.clients[place];
        client.flush();
        for frame in client.receive() {
            match frame {
                Frame::Input(bytes) => self.to_input.extend(bytes),
                Frame::InputEnd => self.input_ended |= self.input_ends,
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
            match input.write(self.to_input.as_slices().0) {
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
        self.send(&match stream {
            Stream::Stdout => Frame::Output(buffer),
            Stream::Stderr => Frame::Errors(buffer),
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::container::log::Logs;

    /// Starts a program that writes `size` bytes to a command at the other end of the returned socket; the log is in `place`.
    fn relay(place: &Path, size: usize, patience: Duration) -> (UnixStream, Relay) {
        let (there, here) = UnixStream::pair().unwrap();
        let mut client = Client::new(here, false).unwrap();
        client.patience = patience;
        let (output, mut their_output) = std::io::pipe().unwrap();
        let (errors, _) = std::io::pipe().unwrap();
        let lines = b"123456789012345\n".repeat(size / 16);
        std::thread::spawn(move || their_output.write_all(&lines));
        let started = Started {
            // This process stands for one that goes on.
            init: Task::open(std::process::id()).unwrap().unwrap(),
            ends: Ends {
                input: None,
                output: OwnedFd::from(output).into(),
                errors: Some(OwnedFd::from(errors).into()),
            },
        };
        let log = place.join("log.json");
        let listener = UnixListener::bind(place.join("attach")).unwrap();
        let relay = Relay::new(client, listener, started, &log, LogOptions::default()).unwrap();
        (there, relay)
    }

    fn pass_all(relay: &mut Relay) {
        while relay.output.is_some() {
            relay.pass_what_is_ready().unwrap();
        }
    }

    fn logged(place: &Path) -> usize {
        let mut logs = Logs::open(&place.join("log.json"), LogOptions::default());
        let lines = std::iter::from_fn(|| logs.next_line().unwrap());
        lines.map(|line| line.log.len()).sum()
    }

    #[test]
    fn command_that_reads_nothing_is_detached_and_the_log_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let size = ROOM + (2 << 20);
        let (there, mut relay) = relay(place.path(), size, Duration::from_millis(50));
        pass_all(&mut relay);
        assert!(relay.clients.is_empty());
        assert_eq!(logged(place.path()), size);
        drop(there);
    }

    #[test]
    fn command_that_reads_slowly_gets_everything() {
        let place = tempfile::tempdir().unwrap();
        let size = ROOM + (2 << 20);
        let (mut there, mut relay) = relay(place.path(), size, Duration::from_secs(60));
        let reader = std::thread::spawn(move || {
            let (mut received, mut buffer, mut count) = (Vec::new(), vec![0; LONGEST], 0);
            loop {
                std::thread::sleep(Duration::from_millis(1));
                match there.read(&mut buffer).unwrap() {
                    0 => return count,
                    length => received.extend_from_slice(&buffer[..length]),
                }
                while let Some(frame) = Frame::decode(&mut received).unwrap() {
                    if let Frame::Output(bytes) = frame {
                        count += bytes.len();
                    }
                }
            }
        });
        pass_all(&mut relay);
        relay.flush_at_last();
        assert_eq!(reader.join().unwrap(), size);
    }
}
