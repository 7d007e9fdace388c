//! A machine that runs: its streams are passed on, its end is awaited, and where it gives no exit status the reason is
//! found.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use cowlab_sys::terminal::{self, TerminalMode};
use cowlab_sys::{Guard, interrupt, io};

use super::Started;
use crate::console::{self, Panic};
use crate::trailer::Trailer;
use crate::{Accel, Cause, Error, Exit, Lost, Machine, Result};

/// How often the loop looks at the clock, at Ctrl-C and at the size of the console.
const TICK: Duration = Duration::from_millis(100);
/// Pieces on their way; a slow reader slows the guest down.
const QUEUE: usize = 64;
/// The most read at once, in bytes.
const PIECE: usize = 64 << 10;

/// Where the streams of the command go.
pub(crate) struct Sinks<'a> {
    pub(crate) stdout: &'a mut dyn Write,
    pub(crate) stderr: &'a mut dyn Write,
    pub(crate) archive: &'a mut dyn Write,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Stdout,
    Stderr,
    Archive,
}

enum Event {
    Data(Stream, Vec<u8>),
    /// A line of the status port.
    Status(String),
    NoSpace,
}

/// Follows the machine to the end of its command.
pub(crate) fn run(
    mut started: Started,
    machine: &Machine,
    accel: Accel,
    sinks: Sinks<'_>,
) -> Result<Exit> {
    let mut progress = Progress::new(&started, sinks);
    let ended = std::thread::scope(|scope| {
        let ended = read_all(scope, &started).and_then(|events| {
            // The events end with this block: the threads that still read end with them, or with QEMU.
            follow(&mut started, machine, &events, &mut progress)
        });
        started.qemu.kill()?;
        ended
    })?;
    if let Some(code) = progress.done() {
        return Ok(Exit {
            code,
            accel,
            ready: progress.ready.unwrap_or_default(),
        });
    }
    progress.flush()?;
    if progress.ready.is_none() && !interrupt::requested() {
        // A damaged file shows in many ways; which one says nothing to the user.
        machine.image.check()?;
    }
    Err(lost(&mut started, machine, ended, progress.not_ready))
}

/// Connects this process's terminal with the guest's to the end of its command.
pub(crate) fn interact(started: Started, machine: &Machine, accel: Accel) -> Result<Exit> {
    let mut raw = TerminalMode::raw(std::io::stdin())?;
    let exit = connect(&started).and_then(|()| {
        let sinks = Sinks {
            stdout: &mut std::io::sink(),
            stderr: &mut std::io::sink(),
            archive: &mut std::io::sink(),
        };
        run(started, machine, accel, sinks)
    });
    let restored = raw.close();
    let exit = exit?;
    restored.map_err(|leak| leak.source)?;
    Ok(exit)
}

/// Starts the threads between the terminals. They end with the guest, or with the process where they wait for a key.
fn connect(started: &Started) -> Result<()> {
    let Some(terminal) = &started.terminal else {
        return Ok(());
    };
    let clone = |socket: &UnixStream| io("dup", "", socket.try_clone());
    let (mut keys, mut screen) = (clone(terminal)?, clone(terminal)?);
    let mut sizes = clone(&started.ports[0])?;
    std::thread::spawn(move || std::io::copy(&mut std::io::stdin().lock(), &mut keys));
    std::thread::spawn(move || -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let length = screen.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&piece[..length])?;
            stdout.flush()?;
        }
    });
    std::thread::spawn(move || -> std::io::Result<()> {
        let mut told = None;
        loop {
            let size = terminal::size(std::io::stdin());
            if let Some(size) = size.filter(|_| size != told) {
                writeln!(sizes, "{} {}", size.rows, size.columns)?;
                told = Some(size);
            }
            std::thread::sleep(5 * TICK);
        }
    });
    Ok(())
}

/// What has arrived.
struct Progress<'a> {
    sinks: Sinks<'a>,
    /// Of standard output, standard error and the archive.
    trailers: [Trailer; 3],
    code: Option<u8>,
    ready: Option<Duration>,
    not_ready: Option<String>,
    started: Instant,
}

impl<'a> Progress<'a> {
    fn new(started: &Started, sinks: Sinks<'a>) -> Self {
        Self {
            sinks,
            trailers: [(); 3].map(|()| Trailer::new(&started.mark)),
            code: None,
            ready: None,
            not_ready: None,
            started: started.started,
        }
    }

    fn take(&mut self, stream: Stream, piece: &[u8]) -> Result<()> {
        let text = self.trailers[stream as usize].feed(piece);
        self.write(stream, &text)
    }

    fn write(&mut self, stream: Stream, text: &[u8]) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (name, sink) = match stream {
            Stream::Stdout => ("standard output", &mut *self.sinks.stdout),
            Stream::Stderr => ("standard error", &mut *self.sinks.stderr),
            Stream::Archive => ("the archive of results", &mut *self.sinks.archive),
        };
        let written = sink.write_all(text).and_then(|()| sink.flush());
        Ok(io("write", name, written)?)
    }

    /// Passes on what was held back, where no end came.
    fn flush(&mut self) -> Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = self.trailers[stream as usize].rest();
            self.write(stream, &rest)?;
        }
        Ok(())
    }

    fn status(&mut self, line: &str) {
        match line.split_once(' ') {
            _ if line == "ready" => self.ready = Some(self.started.elapsed()),
            Some(("exit", code)) => self.code = code.parse().ok(),
            Some(("failed", reason)) => self.not_ready = Some(reason.to_owned()),
            _ => tracing::warn!(line, "the guest said what nobody understands"),
        }
    }

    /// The exit status, once everything of the command has arrived.
    fn done(&self) -> Option<u8> {
        self.code
            .filter(|_| self.trailers.iter().all(Trailer::ended))
    }
}

/// Why the loop ended.
enum End {
    Done,
    /// QEMU closed its streams.
    Closed,
    Because(Cause),
}

fn follow(
    started: &mut Started,
    machine: &Machine,
    events: &Receiver<Event>,
    progress: &mut Progress<'_>,
) -> Result<End> {
    loop {
        match events.recv_timeout(TICK) {
            Ok(Event::Data(stream, piece)) => progress.take(stream, &piece)?,
            Ok(Event::Status(line)) => progress.status(&line),
            Ok(Event::NoSpace) => {
                return Ok(End::Because(Cause::NoSpace(started.scratch_dir.clone())));
            }
            Err(RecvTimeoutError::Timeout) => started.console.trim()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(End::Closed),
        }
        if progress.done().is_some() || progress.not_ready.is_some() {
            return Ok(End::Done);
        }
        if interrupt::requested() {
            return Ok(End::Because(Cause::Interrupted));
        }
        if started.started.elapsed() > machine.time_limit {
            return Ok(End::Because(Cause::TimeLimit(machine.time_limit)));
        }
    }
}

/// Finds out why there is no exit status. The machine has ended.
fn lost(started: &mut Started, machine: &Machine, end: End, not_ready: Option<String>) -> Error {
    let gather = |started: &mut Started| -> Result<(String, i32, String)> {
        Ok((
            started.console.text()?,
            started.qemu.wait()?,
            started.message()?,
        ))
    };
    let (console, status, message) = match gather(started) {
        Ok(gathered) => gathered,
        Err(error) => return error,
    };
    let cause = match (end, console::panic(&console), not_ready) {
        (End::Because(cause), ..) => cause,
        (_, Some(Panic::OutOfMemory), _) => Cause::OutOfMemory(machine.memory_mib),
        (_, Some(Panic::Other(reason)), _) => Cause::Panic(reason),
        (_, None, Some(reason)) => Cause::NotReady(reason),
        (_, None, None) => Cause::Ended { status, message },
    };
    Error::Lost(Box::new(Lost::new(cause, &console)))
}

/// Starts a thread for each stream; the events end when all streams have.
fn read_all<'scope>(
    scope: &'scope Scope<'scope, '_>,
    started: &Started,
) -> Result<Receiver<Event>> {
    let (sender, events) = sync_channel(QUEUE);
    let [status, stdout, stderr, archive] = &started.ports;
    for (stream, socket) in [
        (Stream::Stdout, stdout),
        (Stream::Stderr, stderr),
        (Stream::Archive, archive),
    ] {
        let (socket, sender) = (io("dup", "", socket.try_clone())?, sender.clone());
        scope.spawn(move || pass_on(socket, stream, &sender));
    }
    let (lines, to) = (io("dup", "", status.try_clone())?, sender.clone());
    scope.spawn(move || read_lines(lines, &to, |line| Some(Event::Status(line))));
    if let Some(control) = &started.control {
        let mut lines = io("dup", "", control.try_clone())?;
        // The machine protocol sends events to who has asked for its capabilities (QEMU, qmp-spec).
        let asked = lines.write_all(b"{\"execute\":\"qmp_capabilities\"}\n");
        if let Err(error) = asked {
            tracing::debug!(%error, "QEMU ended at once");
        }
        scope.spawn(move || read_lines(lines, &sender, no_space));
    }
    Ok(events)
}

fn pass_on(mut socket: UnixStream, stream: Stream, events: &SyncSender<Event>) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = socket.read(&mut piece) {
        let data = Event::Data(stream, piece[..length].to_vec());
        if events.send(data).is_err() {
            return;
        }
    }
}

fn read_lines(
    socket: UnixStream,
    events: &SyncSender<Event>,
    event: impl Fn(String) -> Option<Event>,
) {
    for line in BufReader::new(socket).lines() {
        let Ok(line) = line else { return };
        if let Some(event) = event(line)
            && events.send(event).is_err()
        {
            return;
        }
    }
}

/// Reads an event of the machine protocol: QEMU pauses a machine whose disk finds no space on the host.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `read_lines` wants"
)]
fn no_space(line: String) -> Option<Event> {
    let message: serde_json::Value = serde_json::from_str(&line).ok()?;
    let full = message["event"] == "BLOCK_IO_ERROR" && message["data"]["nospace"] == true;
    full.then_some(Event::NoSpace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_full_host_from_other_events() {
        let event = |nospace| {
            no_space(format!(
                r#"{{"event": "BLOCK_IO_ERROR", "data": {{"device": "scratch", "nospace": {nospace}, "action": "stop"}}}}"#
            ))
        };
        assert!(matches!(event(true), Some(Event::NoSpace)));
        assert!(event(false).is_none());
        assert!(no_space(r#"{"QMP": {"version": {}}}"#.into()).is_none());
        assert!(no_space("no json".into()).is_none());
    }
}
