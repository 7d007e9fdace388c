//! The monitor: one small process a container, from its start to its end.
//!
//! It mounts the snapshot, has libcontainer start the program, keeps the output, takes the exit status and writes it down
//! before it tells anybody. It is the subreaper of what it starts, leads a session of its own, and has no thread but one
//! when libcontainer forks.

mod relay;
mod start;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use cowlab_sys::lock::FileLock;
use cowlab_sys::terminal::Size;
use cowlab_sys::{io, signals, task};
use cowlab_units::Timestamp;

use super::attach::{self, Frame};
use super::place::{Containers, Found};
use super::record::{Process, State, Step};
use super::{Error, Result, files, streams};
use relay::{Client, Relay};
pub(super) use start::failed;

/// SIGHUP, SIGINT and SIGTERM are the container's business, not the monitor's: nobody ends it half-way by accident.
const IGNORED: [i32; 3] = [1, 2, 15];

/// How long the monitor of the run before may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the monitor of a container to its end. `line` leads to the command that wants it started; with
/// `input_ends` the program's standard input ends with it; with `measure` it tells at the end what the container's layer
/// holds.
///
/// # Errors
///
/// What could not be written down. A program that does not start is told over the line and is no error here.
pub fn run(
    containers: &Containers<'_>,
    id: &str,
    line: OwnedFd,
    input_ends: bool,
    measure: bool,
) -> Result<()> {
    let mut line = UnixStream::from(line);
    let Some(size) = is_wanted(&mut line)? else {
        return Ok(());
    };
    complain_to(&containers.dir_of(id).join("monitor.log"))?;
    let mut client = Client::new(line, input_ends)?;
    match begin(containers, id, size) {
        Ok(started) => finish(containers, started, client, measure),
        Err(error) => {
            let status = match &error {
                Error::Start { status, .. } => *status,
                _ => 125,
            };
            client.send(&Frame::Failed(status, reason(&error)));
            relay::flush_at_last(&mut vec![client]);
            Ok(())
        }
    }
}

/// Waits for the word that the container is to be started, with the size of its terminal; `None` where the command ended without
/// it.
fn is_wanted(line: &mut UnixStream) -> Result<Option<Size>> {
    let mut word = Frame::Go(0, 0).encode();
    match line.read_exact(&mut word) {
        Ok(()) => match Frame::decode(&mut word)? {
            Some(Frame::Go(rows, columns)) => Ok(Some(Size { rows, columns })),
            _ => Err(cowlab_sys::Error::parse("the first word to a monitor", word).into()),
        },
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Ok(io("read", "the command", Err(error))?),
    }
}

/// Has this process complain to a file from now on: the command's own errors are not the monitor's to write to for ever.
fn complain_to(path: &Path) -> Result<()> {
    let mut log = OpenOptions::new();
    log.append(true).create(true).mode(0o600);
    let log = io("open", path, log.open(path))?;
    Ok(cowlab_sys::terminal::redirect_output(&log)?)
}

/// Without what the command puts before it.
fn reason(error: &Error) -> String {
    match error {
        Error::Start { reason, .. } => reason.clone(),
        error => error.to_string(),
    }
}

/// A program that was started.
struct StartedContainer {
    found: Found,
    program: start::Started,
    listener: UnixListener,
    lock: FileLock,
}

/// Starts the program; whatever fails is written down as well.
fn begin(containers: &Containers<'_>, id: &str, size: Size) -> Result<StartedContainer> {
    let found = containers.read(id)?.ok_or_else(|| Error::NotFound {
        what: "container",
        name: id.to_owned(),
        list: "cowlab ps -a",
    })?;
    // At most one monitor a container, whatever the records say. One that has written down that its program ended is still
    // ending itself.
    let path = containers.dir_of(id).join("monitor.lock");
    let lock = FileLock::exclusive_within(&path, PATIENCE)?.ok_or_else(|| Error::WrongState {
        name: found.record.name.clone(),
        state: "running".to_owned(),
        needed: "it has a monitor already".to_owned(),
    })?;
    signals::catch(IGNORED)?;
    task::become_subreaper()?;
    let mut state = State {
        step: Step::Starting,
        monitor: Some(Process::of(std::process::id())?),
        init: None,
        exit_code: None,
        error: None,
        ..found.state.clone()
    };
    containers.keep_room(id)?;
    // Before anybody reads that it runs: whoever attaches early waits to be taken.
    let dir = containers.dir_of(id);
    files::remove(&dir.join(attach::SOCKET))?;
    let listener = streams::listen(&dir, attach::SOCKET)?;
    containers.write_state(&found.record, &state)?;
    let started = start::start(containers, &found.record, &mut state, size);
    match started {
        Ok(started) => Ok(StartedContainer {
            found,
            program: started,
            listener,
            lock,
        }),
        Err(error) => {
            state.step = Step::Exited;
            state.finished = Some(now());
            state.exit_code = Some(match &error {
                Error::Start { status, .. } => *status,
                _ => 125,
            });
            state.error = Some(reason(&error));
            containers.write_state(&found.record, &state)?;
            start::release(containers, id, &found.record.snapshot);
            Err(error)
        }
    }
}

/// Passes the output on until the program ends, and writes down how.
fn finish(
    containers: &Containers<'_>,
    started: StartedContainer,
    client: Client,
    measure: bool,
) -> Result<()> {
    let record = &started.found.record;
    let log = containers.dir_of(&record.id).join("log.json");
    let mut relay = Relay::new(client, started.listener, started.program, &log, record.log)?;
    relay.ends_with_command = record.is_borrower();
    relay.send(&Frame::Started);
    let status = relay.run();
    let mut state = containers.state(&record.id)?;
    state.step = Step::Exited;
    state.finished = Some(now());
    match &status {
        Ok(status) => state.exit_code = Some(*status),
        Err(error) => state.error = Some(format!("the exit status is not known: {error}")),
    }
    // The container is gone before anybody reads that it is: what comes next may mount its layer.
    let is_removed =
        record.remove && !record.is_borrower() && !containers.is_restarted(&record.id)?;
    if measure || !is_removed {
        start::release(containers, &record.id, &record.snapshot);
    } else {
        release_container(containers, &record.id);
    }
    containers.write_state(record, &state)?;
    if measure {
        match containers.storage(record) {
            Ok(stats) => relay.send(&Frame::Measured(stats.to_json())),
            Err(error) => tracing::warn!(%error, "what it wrote is not measured"),
        }
    }
    if is_removed {
        containers.remove_ended(record)?;
    }
    drop(started.lock);
    if let Ok(status) = status {
        relay.send(&Frame::Ended(status));
    }
    relay.flush_at_last();
    Ok(())
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

/// Releases what libcontainer holds for a container that is removed next: what the driver holds goes with the snapshot.
pub(super) fn release_container(containers: &Containers<'_>, id: &str) {
    start::release_container(containers, id);
}

/// Releases what libcontainer and the driver hold for a container whose monitor did not: it died.
pub(super) fn release(containers: &Containers<'_>, id: &str, snapshot: &str) {
    start::release(containers, id, snapshot);
}
