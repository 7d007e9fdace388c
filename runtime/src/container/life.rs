//! From the start of a container to its removal.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::lock::FileLock;
use cowlab_sys::task::Task;
use cowlab_sys::{Cmd, Errno, io};

use super::attach::Session;
use super::place::{Containers, Found, Phase};
use super::record::{Record, State, Step, snapshot_of};
use super::{Error, Result};
use super::{monitor, names};

/// SIGKILL, which no process catches.
const KILL: i32 = 9;

/// SIGTERM, the signal to stop of whoever names none.
const TERMINATE: i32 = 15;

/// The lock of who waits for a status.
const WAITERS: &str = "waiters";

/// How long a process that was sent SIGKILL, or a monitor whose container has ended, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a look at a state that is about to change waits.
const MOMENT: Duration = Duration::from_millis(5);

const READABLE: Ready = Ready {
    readable: true,
    writable: false,
};

/// How a container is started.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// The arguments that have this program be the monitor of a container; its id is added.
    pub monitor: Vec<OsString>,
    /// Whether the program's standard input ends with the command.
    pub input_ends: bool,
    /// Whether what the container's layer holds is measured when the program has ended, before a removal.
    pub measure: bool,
}

/// How a container is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopOptions {
    /// The signal, if not the container's own.
    pub signal: Option<i32>,
    /// How long it may take before it is killed.
    pub time: Duration,
}

/// What goes with a container that is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// One that runs is killed first.
    pub force: bool,
    /// Its anonymous volumes go too.
    pub volumes: bool,
}

/// A monitor that was started before its container was made. It ends when this is dropped.
#[derive(Debug)]
pub struct PrestartedMonitor {
    id: String,
    line: UnixStream,
}

impl PrestartedMonitor {
    /// The id that its container has to have.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Starts a monitor, which waits to be told what to start. Until then it writes errors to this process's stderr.
fn monitor_for(id: String, options: &StartOptions) -> Result<PrestartedMonitor> {
    let (line, there) = io("socketpair", "", UnixStream::pair())?;
    let program = std::env::current_exe();
    let mut command = Cmd::new(io("readlink", "/proc/self/exe", program)?).args(&options.monitor);
    if options.input_ends {
        command = command.arg("--input-ends");
    }
    if options.measure {
        command = command.arg("--measure");
    }
    let errors = io(
        "dup",
        "stderr",
        std::io::stderr().as_fd().try_clone_to_owned(),
    )?;
    command
        .arg(&id)
        .current_dir("/")
        .detach(OwnedFd::from(there), errors)?;
    Ok(PrestartedMonitor { id, line })
}

impl Containers<'_> {
    /// Starts a monitor for a container that does not exist yet, so that the container is created while the process
    /// starts.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`] for a process that cannot be started.
    pub fn prestart_monitor(&self, options: &StartOptions) -> Result<PrestartedMonitor> {
        monitor_for(names::new_id()?, options)
    }

    /// Starts a container that does not run, and returns once its program was started.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::Locked`], [`Error::Start`].
    pub fn start(&self, record: &Record, options: &StartOptions) -> Result<Session> {
        self.start_by(record, || monitor_for(record.id.clone(), options))
    }

    /// Starts a container by its pre-started monitor, as [`start`](Self::start) does.
    pub fn start_prestarted(
        &self,
        record: &Record,
        prestarted: PrestartedMonitor,
    ) -> Result<Session> {
        self.start_by(record, || Ok(prestarted))
    }

    fn start_by(
        &self,
        record: &Record,
        monitor: impl FnOnce() -> Result<PrestartedMonitor>,
    ) -> Result<Session> {
        let started = self.start_locked(record, monitor);
        // One that is removed when it ends is removed when it does not begin (docker's `--rm`).
        let is_ours = |error: &Error| {
            !matches!(
                error,
                Error::WrongState { .. } | Error::Locked { .. } | Error::NotFound { .. }
            )
        };
        if record.remove
            && started.as_ref().is_err_and(is_ours)
            && let Err(left) = self.remove(record, RemoveOptions::default())
        {
            tracing::warn!(error = %left, "left behind");
        }
        started
    }

    fn start_locked(
        &self,
        record: &Record,
        monitor: impl FnOnce() -> Result<PrestartedMonitor>,
    ) -> Result<Session> {
        let _lock = self.lock(record)?;
        let found = self.again(record)?;
        if !matches!(found.phase, Phase::Created | Phase::Exited | Phase::Dead) {
            let needed = match found.phase {
                Phase::Paused => "unpause it instead",
                phase if phase.is_alive() => "it is started already",
                _ => "`rm` removes what is left of it",
            };
            return Err(found.wrong_state(needed));
        }
        let PrestartedMonitor { line, .. } = monitor()?;
        let mut session = Session::new(line, &record.name);
        session.go()?;
        session.started()?;
        Ok(session)
    }

    /// Attaches to a container that runs.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for one that does not, that is paused, or that has no monitor.
    pub fn attach(&self, found: &Found) -> Result<Session> {
        let record = &found.record;
        let needed = match found.phase {
            Phase::Paused => "unpause it before you attach to it",
            Phase::Unwatched => "nobody passes its streams on: `restart` gives it a new monitor",
            phase if phase.is_alive() => {
                match Session::join(&self.dir_of(&record.id), &record.name) {
                    Err(Error::Sys(error))
                        if matches!(error.errno(), Some(Errno::NOENT | Errno::CONNREFUSED)) =>
                    {
                        "it ends just now, or an older cowlab started it"
                    }
                    joined => return joined,
                }
            }
            _ => "start it before you attach to it",
        };
        Err(found.wrong_state(needed))
    }

    pub(super) fn again(&self, record: &Record) -> Result<Found> {
        self.read(&record.id)?.ok_or_else(|| self.gone(record))
    }

    fn gone(&self, record: &Record) -> Error {
        Error::NotFound {
            what: "container",
            name: record.name.clone(),
            list: "cowlab ps -a",
        }
    }

    /// Waits until a container has ended and returns its exit status; `None` where nobody saw it. One that never
    /// started, or has ended, is not waited for.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where it is gone already.
    pub fn wait(&self, record: &Record) -> Result<Option<i32>> {
        // Whoever removes it, as `--rm` has it, leaves its status to be read first.
        let _waiting = self.hold(record, FileLock::shared, WAITERS)?;
        loop {
            let found = self.again(record)?;
            if !found.phase.is_alive() {
                return Ok(found.state.exit_code);
            }
            let process = match found.state.init.as_ref() {
                Some(init) => init.open()?,
                None => None,
            };
            match process {
                Some(task) => drop(channel::wait(&[(task.as_fd(), READABLE)], None)?),
                // It has not begun, or its monitor is about to write down how it ended.
                None => std::thread::sleep(MOMENT),
            }
        }
    }

    /// Takes a lock of a container; one that is removed meanwhile has none.
    fn hold(
        &self,
        record: &Record,
        take: impl Fn(&Path) -> cowlab_sys::Result<FileLock>,
        name: &str,
    ) -> Result<FileLock> {
        take(&self.dir_of(&record.id).join(name)).map_err(|error| match error.errno() {
            Some(Errno::NOENT) => self.gone(record),
            _ => error.into(),
        })
    }

    /// Has those read a container's exit status who wait for it. One who stopped reading is not waited for.
    fn let_waiters_read(&self, id: &str) -> Result<Option<FileLock>> {
        let until = Instant::now() + PATIENCE;
        loop {
            match FileLock::try_exclusive(&self.dir_of(id).join(WAITERS))? {
                None if Instant::now() < until => std::thread::sleep(MOMENT),
                lock => return Ok(lock),
            }
        }
    }

    /// Waits until a container has ended and its monitor has done what is to be done then; `false` when the time is over before.
    /// The monitor itself may go on, with output that its command has yet to read.
    fn wait_for_end(&self, found: &Found, time: Duration) -> Result<bool> {
        let until = Instant::now() + time;
        let task = match found.state.init.as_ref() {
            Some(init) => init.open()?,
            None => None,
        };
        if let Some(task) = task {
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if channel::wait(&[(task.as_fd(), READABLE)], Some(left))?[0].readable {
                    break;
                }
                if left.is_zero() {
                    return Ok(false);
                }
            }
        }
        let lock = self.dir_of(&found.record.id).join("monitor.lock");
        let left = until.saturating_duration_since(Instant::now());
        match FileLock::exclusive_within(&lock, left) {
            // It removed itself.
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(true),
            locked => Ok(locked?.is_some()),
        }
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for one that does not run.
    pub fn signal(&self, record: &Record, signal: i32) -> Result<()> {
        let found = self.again(record)?;
        match self.send(&found, signal)? {
            true => Ok(()),
            false => Err(found.wrong_state("only one that runs gets signals")),
        }
    }

    /// Sends a signal; `false` where there is no process to get it. A paused container goes on with it, except with one that is
    /// not to end it where another is (moby, `killWithSignal`).
    fn send(&self, found: &Found, signal: i32) -> Result<bool> {
        let record = &found.record;
        self.wake(&record.id)?;
        let Some(task) = self.init(found)? else {
            return Ok(false);
        };
        task.signal(signal)?;
        let ends = record.stop_signal == TERMINATE || [KILL, record.stop_signal].contains(&signal);
        if found.phase == Phase::Paused && ends {
            self.resume(&record.id)?;
        }
        Ok(true)
    }

    pub(super) fn init(&self, found: &Found) -> Result<Option<Task>> {
        match (&found.state.init, found.phase) {
            (Some(process), Phase::Running | Phase::Paused | Phase::Unwatched) => process.open(),
            _ => Ok(None),
        }
    }

    /// Asks a container to end, and after a time makes it. One that does not run is left alone.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for one that cannot be killed.
    pub fn stop(&self, record: &Record, options: StopOptions) -> Result<()> {
        let found = self.again(record)?;
        if !found.phase.is_alive() {
            return Ok(());
        }
        self.send(&found, options.signal.unwrap_or(record.stop_signal))?;
        if self.wait_for_end(&found, options.time)? {
            return Ok(());
        }
        self.end_now(record)
    }

    /// Stops a container that runs, and starts it; one that does not run is started.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop) and [`start`](Self::start). A container that was stopped and could not be started stays so.
    pub fn restart(
        &self,
        record: &Record,
        stop: StopOptions,
        start: &StartOptions,
    ) -> Result<Session> {
        let _restarting = self.hold(record, FileLock::exclusive, "restart.lock")?;
        self.stop(record, stop)?;
        self.start(record, start)
    }

    /// Whether somebody is restarting the container: its monitor does not remove it then, whatever was asked for.
    pub(super) fn is_restarted(&self, id: &str) -> Result<bool> {
        let lock = self.dir_of(id).join("restart.lock");
        Ok(FileLock::try_exclusive(&lock)?.is_none())
    }

    /// Kills what runs of a container and waits for its end.
    fn end_now(&self, record: &Record) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let Some(found) = self.read(&record.id)? else {
                return Ok(());
            };
            if !found.phase.is_alive() {
                return Ok(());
            }
            if let Some(task) = self.init(&found)? {
                task.signal(KILL)?;
                // What stands still does not end (cgroups(7), "freezer").
                self.resume(&record.id)?;
            }
            // A monitor that is still starting it writes its number down a moment later.
            self.wait_for_end(&found, Duration::from_millis(100))?;
        }
        Err(Error::WrongState {
            name: record.name.clone(),
            state: "running".to_owned(),
            needed: "it was killed and does not end: a process of it may wait for a device"
                .to_owned(),
        })
    }

    /// Ends whatever runs of a container whose state cannot be read: libcontainer has its own record.
    fn end_unknown(&self, id: &str, snapshot: &str) -> Result<()> {
        monitor::release(self, id, snapshot);
        let until = Instant::now() + PATIENCE;
        while FileLock::try_exclusive(&self.dir_of(id).join("monitor.lock"))?.is_none() {
            if Instant::now() > until {
                return Err(Error::Locked {
                    name: id.to_owned(),
                });
            }
            std::thread::sleep(MOMENT);
        }
        // Once more: a cgroup can go only when the last process has.
        monitor::release(self, id, snapshot);
        Ok(())
    }

    /// Removes a container whose record cannot be read, by its name, its id or the start of its id: what runs of it is
    /// ended. Anonymous volumes stay, for nobody knows them.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find); [`Error::Store`].
    pub fn remove_damaged(&self, text: &str) -> Result<String> {
        let id = self.id_of(text)?;
        let _lock = FileLock::exclusive(&self.dir_of(&id).join("lock"))?;
        let snapshot = snapshot_of(&id);
        self.end_unknown(&id, &snapshot)?;
        self.discard(&id, &snapshot, None)?;
        Ok(id)
    }

    /// Removes a container with its writable layer.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for one that runs, unless forced.
    pub fn remove(&self, record: &Record, options: RemoveOptions) -> Result<()> {
        let found = self.again(record)?;
        if found.phase == Phase::Damaged {
            if !options.force {
                return Err(found.wrong_state("force the removal with -f"));
            }
            self.end_unknown(&record.id, &record.snapshot)?;
        }
        if found.phase.is_alive() {
            if !options.force {
                let needed = "stop it first, or force the removal with -f";
                return Err(found.wrong_state(needed));
            }
            self.end_now(record)?;
        }
        let _lock = match self.lock(record) {
            // It removed itself, as `--rm` has it.
            Err(_) if !self.dir_of(&record.id).join("container.json").exists() => return Ok(()),
            lock => lock?,
        };
        let Some(found) = self.read(&record.id)? else {
            return Ok(());
        };
        if found.phase.is_alive() {
            return Err(Error::Locked {
                name: record.name.clone(),
            });
        }
        // The store lets go of what the driver holds, too.
        monitor::release_container(self, &record.id);
        self.take_away(record, options.volumes)
    }

    /// Removes a container whose program has ended, from its monitor: its anonymous volumes go too, as docker has it for
    /// `--rm`.
    pub(super) fn remove_ended(&self, record: &Record) -> Result<()> {
        self.take_away(record, true)
    }

    fn take_away(&self, record: &Record, with_volumes: bool) -> Result<()> {
        // From here on it is being removed, whoever goes on.
        let mut state = match self.state(&record.id) {
            Err(Error::Damaged { .. }) => State::new(),
            state => state?,
        };
        state.step = Step::Removing;
        self.write_state(record, &state)?;
        let _unread = self.let_waiters_read(&record.id)?;
        // Before the record, which says what they are: a removal that is cut off goes on.
        if with_volumes || record.remove {
            self.remove_anonymous_volumes(record)?;
        }
        self.discard(&record.id, &record.snapshot, Some(&record.name))
    }

    /// Removes the volumes that were made for a container that is being removed, unless another one has them.
    pub(super) fn remove_anonymous_volumes(&self, record: &Record) -> Result<()> {
        for mount in &record.mounts {
            if let super::mounts::Attached::Volume {
                name,
                anonymous: true,
                ..
            } = mount
            {
                let container = Some(record.id.as_str());
                match self.volumes().remove_for(container, name, self) {
                    Ok(()) | Err(Error::NotFound { .. } | Error::VolumeInUse { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
