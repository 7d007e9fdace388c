//! Starting a container's program by libcontainer.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use cowlab_sys::process::{MountNamespace, leave_groups, unshare_mounts};
use cowlab_sys::task::Task;
use cowlab_sys::{Errno, channel, io};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use crate::container::config::Network;
use crate::container::place::Containers;
use crate::container::record::{Process, Record, State, Step};
use crate::container::seccomp::Filtered;
use crate::container::{Error, Result, cgroup, files, prepare};

/// A program that was started, and the other ends of its streams.
#[derive(Debug)]
pub(super) struct Started {
    /// The container's first process.
    pub(super) init: Task,
    /// What it reads; `None` where that is `/dev/null`, or the terminal in `output`.
    pub(super) input: Option<File>,
    /// What it writes: standard output, or everything to a terminal.
    pub(super) output: File,
    /// What it writes to standard error; a terminal has none.
    pub(super) errors: Option<File>,
}

impl Started {
    /// Whether `output` is a terminal.
    pub(super) fn has_terminal(&self) -> bool {
        self.errors.is_none()
    }
}

/// Starts the program of a container, and writes down that it runs before it does.
pub(super) fn start(
    containers: &Containers<'_>,
    record: &Record,
    state: &mut State,
) -> Result<Started> {
    clear(containers, record)?;
    // libcontainer takes no group away from a program that has none of its own.
    leave_groups()?;
    let home = MountNamespace::current()?;
    unshare_mounts()?;
    let built = build(containers, record, state);
    // Back: the mount lives on in the container's own namespace and ends with it.
    home.enter()?;
    let (mut container, streams) = built?;
    let started = begin(containers, record, state, &mut container, streams);
    if started.is_err()
        && let Err(error) = container.delete(true)
    {
        tracing::warn!(%error, "libcontainer could not take the container back");
    }
    started
}

/// Removes what an earlier run left: a reboot may have ended it.
fn clear(containers: &Containers<'_>, record: &Record) -> Result<()> {
    let dir = containers.dir_of(&record.id);
    for name in ["runtime", "bundle"] {
        let path = dir.join(name);
        if path.exists() {
            cowlab_sys::dir::remove_tree(&path)?;
        }
        files::make_dir(&path)?;
    }
    files::make_dir(&dir.join("rootfs"))?;
    files::remove(&dir.join("console"))
}

/// This side's ends of the streams; with a terminal, who waits for it.
#[derive(Debug)]
enum Streams {
    Pipes {
        input: Option<File>,
        output: File,
        errors: File,
    },
    Terminal(UnixListener),
}

fn build(
    containers: &Containers<'_>,
    record: &Record,
    state: &mut State,
) -> Result<(Container, Streams)> {
    let dir = containers.dir_of(&record.id);
    let rootfs = dir.join("rootfs");
    // Ends with the mount namespace.
    let rootfs = containers.store().mount(&record.snapshot, &rootfs)?.keep();
    let prepared = prepare::prepare(containers, record, &rootfs)?;
    for path in prepared.scaffold {
        if !state.scaffold.contains(&path) {
            state.scaffold.push(path);
        }
    }
    // Before anything runs: a diff has to know what is no change of the container's.
    containers.write_state(record, state)?;
    let bundle = dir.join("bundle");
    files::write(
        &bundle.join("config.json"),
        &prepared.spec,
        files::Lasting::Boot,
    )?;
    let failed = |error: libcontainer::error::LibcontainerError| failed(record, &error);
    let builder = ContainerBuilder::new(record.id.clone(), SyscallType::default())
        .with_root_path(dir.join("runtime"))
        .map_err(failed)?
        .with_executor(Filtered::of(record)?);
    let (builder, streams) = connect(builder, record, &dir)?;
    let container = builder
        .as_init(&bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(failed)?;
    Ok((container, streams))
}

/// libcontainer's reason, to its bottom.
fn failed(record: &Record, error: &libcontainer::error::LibcontainerError) -> Error {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    Error::Start {
        name: record.name.clone(),
        reason,
        status: 125,
    }
}

fn connect(
    builder: ContainerBuilder,
    record: &Record,
    dir: &Path,
) -> Result<(ContainerBuilder, Streams)> {
    if record.terminal {
        let path = dir.join("console");
        // By way of the open directory: a socket's path has 107 bytes at most (unix(7)).
        let place = io("open", dir, File::open(dir))?;
        let short = cowlab_sys::at::descriptor_path(&place).join("console");
        let listener = io("bind", &path, UnixListener::bind(short))?;
        let builder = builder.with_console_socket(Some(path));
        return Ok((builder, Streams::Terminal(listener)));
    }
    let (their_input, input): (OwnedFd, _) = if record.interactive {
        let (reader, writer) = io("pipe", "", std::io::pipe())?;
        (reader.into(), Some(OwnedFd::from(writer).into()))
    } else {
        let null = Path::new("/dev/null");
        (io("open", null, File::open(null))?.into(), None)
    };
    let (output, their_output) = io("pipe", "", std::io::pipe())?;
    let (errors, their_errors) = io("pipe", "", std::io::pipe())?;
    let builder = builder
        .with_stdin(their_input)
        .with_stdout(their_output)
        .with_stderr(their_errors);
    let streams = Streams::Pipes {
        input,
        output: OwnedFd::from(output).into(),
        errors: OwnedFd::from(errors).into(),
    };
    Ok((builder, streams))
}

fn begin(
    containers: &Containers<'_>,
    record: &Record,
    state: &mut State,
    container: &mut Container,
    streams: Streams,
) -> Result<Started> {
    let lost = |reason: &str| Error::Start {
        name: record.name.clone(),
        reason: reason.to_owned(),
        status: 125,
    };
    let pid = container
        .pid()
        .and_then(|pid| u32::try_from(pid.as_raw()).ok());
    let pid = pid.ok_or_else(|| lost("libcontainer tells no process"))?;
    let init = Task::open(pid)?.ok_or_else(|| lost("its first process ended at once"))?;
    let (input, output, errors) = match streams {
        Streams::Pipes {
            input,
            output,
            errors,
        } => (input, output, Some(errors)),
        Streams::Terminal(listener) => {
            let (socket, _) = io("accept", "console", listener.accept())?;
            let terminal = channel::receive_descriptor(&socket)?;
            let terminal = terminal.ok_or_else(|| lost("it sent no terminal"))?;
            (None, File::from(terminal), None)
        }
    };
    if record.network == Network::None
        && let Err(error) = cowlab_sys::network::raise_loopback(pid)
    {
        tracing::warn!(%error, "the loopback device is off");
    }
    state.step = Step::Running;
    state.init = Some(Process::of(pid)?);
    state.started = Some(super::now());
    containers.write_state(record, state)?;
    container.start().map_err(|error| failed(record, &error))?;
    Ok(Started {
        init,
        input,
        output,
        errors,
    })
}

/// Takes back what libcontainer made (cgroups, its records), and what the driver held for the mount.
pub(super) fn let_go(containers: &Containers<'_>, id: &str, snapshot: &str) {
    take_back(containers, id);
    match containers.store().deactivate(snapshot) {
        // A removal that was cut off took it away.
        Ok(()) | Err(cowlab_snapshots::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(%error, "the driver still holds something for the mount"),
    }
}

/// Takes back what libcontainer made.
pub(super) fn take_back(containers: &Containers<'_>, id: &str) {
    let dir = containers.dir_of(id);
    let place = dir.join("runtime").join(id);
    if place.exists() {
        let deleted = Container::load(place).and_then(|mut container| container.delete(true));
        if let Err(error) = deleted {
            // Its record may be half-written, and its cgroup may have had a process that was about to end.
            match cgroup::remove(id) {
                Ok(()) => tracing::debug!(%error, "removed without libcontainer"),
                Err(reason) => {
                    tracing::warn!(%error, reason, "libcontainer could not take the container back");
                }
            }
        }
    }
    match files::remove(&dir.join("console")) {
        Err(Error::Sys(error)) if error.errno() == Some(Errno::NOENT) => {}
        Err(error) => tracing::warn!(%error, "left behind"),
        Ok(()) => {}
    }
}
