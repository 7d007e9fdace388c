//! Between this process's streams and those of a program that it started in a container: neither waits for the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::task::Task;
use cowlab_sys::terminal::{self, TerminalMode};
use cowlab_sys::{Errno, file, signals};

use crate::container::Result;
use crate::container::attach::{TICK, WINDOW};
use crate::container::outlet::Outlet;
use crate::container::streams::Ends;

/// How many bytes of input wait for the program; beyond that none is read.
const ROOM: usize = 1 << 20;

/// What is read at once.
const PIECE: usize = 64 << 10;

/// As much as may be left in the program's pipes and terminal when it has ended; what others of its making write after that is
/// not waited for.
const LEFT: usize = 1 << 20;

/// All that is passed on.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    task: &'a Task,
    terminal: bool,
    input: Option<File>,
    /// Standard output, or the terminal, and standard error; none once it has ended.
    outputs: [Option<File>; 2],
    outlets: [Outlet; 2],
    to_input: VecDeque<u8>,
    reads_input: bool,
    _raw: Option<TerminalMode>,
}

/// What there is to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Task,
    Stdin,
    Input,
    Output(usize),
    Outlet(usize),
}

impl<'a> Conversation<'a> {
    pub(super) fn new(task: &'a Task, ends: Ends, interactive: bool) -> Result<Self> {
        ends.set_nonblocking()?;
        let terminal = ends.has_terminal();
        if terminal {
            signals::catch([WINDOW])?;
            resize(&ends.output);
        }
        Ok(Self {
            task,
            terminal,
            input: ends.input,
            outputs: [Some(ends.output), ends.errors],
            outlets: Outlet::both()?,
            to_input: VecDeque::new(),
            reads_input: interactive,
            _raw: match terminal && interactive {
                true => TerminalMode::raw(std::io::stdin()).ok(),
                false => None,
            },
        })
    }

    /// Passes on until the program has ended and all that it wrote is written.
    pub(super) fn hold(&mut self) -> Result<()> {
        loop {
            while signals::take().is_some() {
                if let Some(terminal) = &self.outputs[0] {
                    resize(terminal);
                }
            }
            let ready = self.ready(true)?;
            for source in ready.iter().copied() {
                self.pass(source)?;
            }
            if ready.contains(&Source::Task) {
                break;
            }
        }
        for place in 0..self.outputs.len() {
            let mut left = LEFT;
            while left > 0 {
                match self.read(place) {
                    0 => break,
                    length => left = left.saturating_sub(length),
                }
            }
        }
        self.input = None;
        self.outputs = [None, None];
        while !self.outlets.iter().all(Outlet::is_empty) {
            for source in self.ready(false)? {
                self.pass(source)?;
            }
        }
        Ok(())
    }

    fn ready(&self, runs: bool) -> Result<Vec<Source>> {
        let stdin = std::io::stdin();
        let read = Ready {
            readable: true,
            writable: false,
        };
        let write = Ready {
            readable: false,
            writable: true,
        };
        let mut mount_requests: Vec<(Source, BorrowedFd<'_>, Ready)> = Vec::new();
        if runs {
            mount_requests.push((Source::Task, self.task.as_fd(), read));
        }
        if runs && self.reads_input && self.to_input.len() < ROOM {
            mount_requests.push((Source::Stdin, stdin.as_fd(), read));
        }
        if let Some(input) = self.input()
            && !self.to_input.is_empty()
        {
            mount_requests.push((Source::Input, input.as_fd(), write));
        }
        for (place, outlet) in self.outlets.iter().enumerate() {
            if let Some(output) = &self.outputs[place]
                && outlet.has_room()
            {
                mount_requests.push((Source::Output(place), output.as_fd(), read));
            }
            if !outlet.is_empty() {
                mount_requests.push((Source::Outlet(place), outlet.as_fd(), write));
            }
        }
        let fds: Vec<_> = mount_requests
            .iter()
            .map(|(_, fd, mount_request)| (*fd, *mount_request))
            .collect();
        let ready = channel::wait(&fds, Some(TICK))?;
        let came = |ready: &Ready| ready.readable || ready.writable;
        let pairs = mount_requests.iter().zip(ready);
        Ok(pairs
            .filter(|(_, ready)| came(ready))
            .map(|((source, ..), _)| *source)
            .collect())
    }

    /// Where input goes.
    fn input(&self) -> Option<&File> {
        let terminal = self.outputs[0].as_ref().filter(|_| self.terminal);
        self.input.as_ref().or(terminal)
    }

    fn pass(&mut self, source: Source) -> Result<()> {
        match source {
            Source::Task => {}
            Source::Stdin => self.take_input(),
            Source::Input => self.feed(),
            Source::Output(place) => drop(self.read(place)),
            Source::Outlet(place) => {
                self.outlets[place].write()?;
                if self.outlets[place].is_closed() {
                    // The program has SIGPIPE then, or SIGHUP, as if it wrote there itself.
                    self.outputs[place] = None;
                }
            }
        }
        Ok(())
    }

    fn take_input(&mut self) {
        let mut buffer = [0; 16 << 10];
        match file::read_once(std::io::stdin(), &mut buffer) {
            // Others may have made it non-blocking, and have read what there was.
            Err(error) if error.errno() == Some(Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.reads_input = false,
            Ok(length) => self.to_input.extend(&buffer[..length]),
        }
        self.feed();
    }

    /// Writes to the program's input as much as it takes, and ends it after the last.
    fn feed(&mut self) {
        while !self.to_input.is_empty() {
            let piece = self.to_input.as_slices().0;
            let Some(mut input) = self.input() else {
                self.to_input.clear();
                break;
            };
            match input.write(piece) {
                Ok(length) => drop(self.to_input.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The program has closed it: what else comes is nobody's.
                Err(_) => {
                    self.to_input.clear();
                    self.reads_input = false;
                }
            }
        }
        if !self.reads_input {
            self.input = None;
        }
    }

    /// Reads some output; returns how much.
    fn read(&mut self, place: usize) -> usize {
        let Some(output) = &mut self.outputs[place] else {
            return 0;
        };
        let mut buffer = vec![0; PIECE];
        match output.read(&mut buffer) {
            Ok(length) if length > 0 => {
                self.outlets[place].push(&buffer[..length]);
                length
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            // It has ended; a terminal that nobody has open any more says EIO (pty(7)).
            _ => {
                self.outputs[place] = None;
                0
            }
        }
    }
}

fn resize(terminal: &File) {
    if let Some(size) = terminal::size(std::io::stdout())
        && let Err(error) = terminal::set_size(terminal, size)
    {
        tracing::debug!(%error, "the terminal keeps its size");
    }
}
