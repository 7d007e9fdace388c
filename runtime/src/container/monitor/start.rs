//! Starting a container's program by libcontainer.

use cowlab_sys::Errno;
use cowlab_sys::process::{MountNamespace, leave_groups, unshare_mounts};
use cowlab_sys::task::Task;
use cowlab_sys::terminal::Size;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use crate::container::launch::{Launch, Launched};
use crate::container::place::Containers;
use crate::container::record::{Network, Process, Record, State, Step};
use crate::container::streams::{Ends, Streams};
use crate::container::{Error, Result, attach, causes, cgroup, files, prepare};

/// A program that was started, and our ends of its streams.
#[derive(Debug)]
pub(super) struct Started {
    /// The container's first process.
    pub(super) init: Task,
    pub(super) ends: Ends,
}

/// Starts the program of a container, and writes down that it runs before it does.
pub(super) fn start(
    containers: &Containers<'_>,
    record: &Record,
    state: &mut State,
    size: Size,
) -> Result<Started> {
    clear(containers, record)?;
    // libcontainer takes no group away from a program that has none of its own.
    leave_groups()?;
    let home = MountNamespace::current()?;
    unshare_mounts()?;
    let built = build(containers, record, state, size);
    // Back: the mount lives on in the container's own namespace and ends with it.
    home.enter()?;
    let Built {
        mut container,
        streams,
        launched,
    } = built?;
    let started = begin(containers, record, state, &mut container, streams).and_then(|started| {
        launched
            .wait(&record.name, &record.args[0])
            .map(|()| started)
    });
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
    containers.forget_pause(&record.id)?;
    files::remove(&dir.join("console"))
}

/// What libcontainer has made, waiting for the word.
struct Built {
    container: Container,
    streams: Streams,
    launched: Launched,
}

fn build(
    containers: &Containers<'_>,
    record: &Record,
    state: &mut State,
    size: Size,
) -> Result<Built> {
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
        files::FileDurability::Boot,
    )?;
    let failed = |error: libcontainer::error::LibcontainerError| failed(record, &error);
    let (launch, launched) = Launch::new(record, size)?;
    causes::keep()?;
    let builder = ContainerBuilder::new(record.id.clone(), SyscallType::default())
        .with_root_path(dir.join("runtime"))
        .map_err(failed)?
        .with_executor(launch);
    let (terminal, interactive) = (record.terminal, record.interactive);
    let (builder, streams) = Streams::connect(builder, terminal, interactive, &dir)?;
    let container = builder
        .as_init(&bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(failed)?;
    Ok(Built {
        container,
        streams,
        launched,
    })
}

/// libcontainer's reason, to its bottom.
pub(in crate::container) fn failed(
    record: &Record,
    error: &libcontainer::error::LibcontainerError,
) -> Error {
    Error::Start {
        name: record.name.clone(),
        reason: causes::chain(error),
        status: 125,
    }
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
    let ends = streams.open(&record.name)?;
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
    Ok(Started { init, ends })
}

/// Releases what libcontainer made (cgroups, its records), and what the driver holds for the mount.
pub(super) fn release(containers: &Containers<'_>, id: &str, snapshot: &str) {
    release_container(containers, id);
    match containers.store().deactivate(snapshot) {
        // A removal that was cut off took it away.
        Ok(()) | Err(cowlab_snapshots::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(%error, "the driver still holds something for the mount"),
    }
}

/// Releases what libcontainer made.
pub(super) fn release_container(containers: &Containers<'_>, id: &str) {
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
    for name in ["console", attach::SOCKET] {
        match files::remove(&dir.join(name)) {
            Err(Error::Sys(error)) if error.errno() == Some(Errno::NOENT) => {}
            Err(error) => tracing::warn!(%error, "left behind"),
            Ok(()) => {}
        }
    }
}
