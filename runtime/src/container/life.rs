//! From the start of a container to its removal.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::task::Task;
use cowlab_sys::{Cmd, io};

use super::attach::Session;
use super::monitor;
use super::place::{Containers, Found, Phase};
use super::record::{Record, Step};
use super::{Error, Result};

/// SIGKILL, which no process catches.
const KILL: i32 = 9;

/// How long a process that was sent SIGKILL, or a monitor whose container has ended, may take.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// What goes with a container that is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// One that runs is killed first.
    pub force: bool,
    /// Its anonymous volumes go too.
    pub volumes: bool,
}

impl Containers<'_> {
    /// Starts a container that does not run, and returns once its program was started.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::Locked`], [`Error::Start`].
    pub fn start(&self, record: &Record, options: &StartOptions) -> Result<Session> {
        let _lock = self.lock(record)?;
        let found = self.again(record)?;
        if !matches!(found.phase, Phase::Created | Phase::Exited | Phase::Dead) {
            return Err(Error::WrongState {
                name: record.name.clone(),
                state: found.phase.word().to_owned(),
                needed: match found.phase.is_alive() {
                    true => "it is started already".to_owned(),
                    false => "`rm` removes what is left of it".to_owned(),
                },
            });
        }
        let (here, there) = io("socketpair", "", UnixStream::pair())?;
        let path = self.dir_of(&record.id).join("monitor.log");
        let mut log = OpenOptions::new();
        log.append(true).create(true).mode(0o600);
        let log = io("open", &path, log.open(&path))?;
        let program = std::env::current_exe();
        let mut command =
            Cmd::new(io("readlink", "/proc/self/exe", program)?).args(&options.monitor);
        if options.input_ends {
            command = command.arg("--input-ends");
        }
        if options.measure {
            command = command.arg("--measure");
        }
        let command = command.arg(&record.id).current_dir("/");
        command.detach(OwnedFd::from(there), log)?;
        let mut session = Session::new(here, &record.name);
        session.started()?;
        Ok(session)
    }

    fn again(&self, record: &Record) -> Result<Found> {
        self.read(&record.id)?.ok_or_else(|| Error::NotFound {
            what: "container",
            name: record.name.clone(),
            list: "cowlab ps -a",
        })
    }

    /// Waits until a container has ended and returns its exit status; `None` where nobody saw it. One that never
    /// started, or has ended, is not waited for.
    ///
    /// # Errors
    ///
    /// When it cannot be looked at.
    pub fn wait(&self, record: &Record) -> Result<Option<i32>> {
        loop {
            // One with `--rm` is gone when it has ended.
            let Some(found) = self.read(&record.id)? else {
                return Ok(None);
            };
            if !found.phase.is_alive() {
                return Ok(found.state.exit_code);
            }
            self.wait_for_end(&found, None)?;
        }
    }

    /// Waits for the monitor, or where that has died for the container itself; `false` when the time is over before.
    fn wait_for_end(&self, found: &Found, time: Option<Duration>) -> Result<bool> {
        let open = |process: &Option<super::record::Process>| match process {
            Some(process) => process.open(),
            None => Ok(None),
        };
        let task = match open(&found.state.monitor)? {
            Some(task) => Some(task),
            None => open(&found.state.init)?,
        };
        let Some(task) = task else {
            return Ok(true);
        };
        let until = time.map(|time| Instant::now() + time);
        loop {
            let wish = Ready {
                readable: true,
                writable: false,
            };
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if channel::wait(&[(task.as_fd(), wish)], left)?[0].readable {
                return Ok(true);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for one that does not run.
    pub fn signal(&self, record: &Record, signal: i32) -> Result<()> {
        let found = self.again(record)?;
        match self.init(&found)? {
            Some(task) => Ok(task.signal(signal)?),
            None => Err(Error::WrongState {
                name: record.name.clone(),
                state: found.phase.word().to_owned(),
                needed: "only one that runs gets signals".to_owned(),
            }),
        }
    }

    pub(super) fn init(&self, found: &Found) -> Result<Option<Task>> {
        match (&found.state.init, found.phase) {
            (Some(process), Phase::Running | Phase::Unwatched) => process.open(),
            _ => Ok(None),
        }
    }

    /// Asks a container to end, and after a time makes it. One that does not run is left alone.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for one that cannot be killed.
    pub fn stop(&self, record: &Record, time: Duration) -> Result<()> {
        let found = self.again(record)?;
        if !found.phase.is_alive() {
            return Ok(());
        }
        if let Some(task) = self.init(&found)? {
            task.signal(record.stop_signal)?;
        }
        if self.wait_for_end(&found, Some(time))? {
            return Ok(());
        }
        self.end_now(record)
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
            }
            // A monitor that is still starting it writes its number down a moment later.
            self.wait_for_end(&found, Some(Duration::from_millis(100)))?;
        }
        Err(Error::WrongState {
            name: record.name.clone(),
            state: "running".to_owned(),
            needed: "it was killed and does not end: a process of it may wait for a device"
                .to_owned(),
        })
    }

    /// Removes a container with its writable layer.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for one that runs, unless forced.
    pub fn remove(&self, record: &Record, options: RemoveOptions) -> Result<()> {
        let found = self.again(record)?;
        if found.phase.is_alive() {
            if !options.force {
                return Err(Error::WrongState {
                    name: record.name.clone(),
                    state: found.phase.word().to_owned(),
                    needed: "stop it first, or force the removal with -f".to_owned(),
                });
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
        monitor::let_go(self, &found);
        self.take_away(record, options.volumes)
    }

    /// Removes a container whose program has ended, from its monitor: its anonymous volumes go too, as docker has it for
    /// `--rm`.
    pub(super) fn remove_ended(&self, record: &Record) -> Result<()> {
        self.take_away(record, true)
    }

    fn take_away(&self, record: &Record, with_volumes: bool) -> Result<()> {
        // From here on it is being removed, whoever goes on.
        let mut state = self.state(&record.id)?;
        state.step = Step::Removing;
        self.write_state(&record.id, &state)?;
        self.discard(record)?;
        if !with_volumes {
            return Ok(());
        }
        for mount in &record.mounts {
            if let super::mounts::Attached::Volume {
                name,
                anonymous: true,
                ..
            } = mount
            {
                match self.volumes().remove(name, self) {
                    Ok(()) | Err(Error::NotFound { .. } | Error::VolumeInUse { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
