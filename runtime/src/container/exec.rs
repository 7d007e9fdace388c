//! Another program in a container that runs: a child of this process, in the container's namespaces.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::task::{self, Task};
use cowlab_sys::{Root, io, signals, terminal};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use super::place::{Containers, Found};
use super::seccomp::{Filtered, Seccomp};
use super::view::View;
use super::{Error, Result, files, prepare, spec, user};

/// How a program is run.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, added to the container's.
    pub env: Vec<String>,
    /// The working directory, if not the container's.
    pub cwd: Option<String>,
    /// `user[:group]`, if not the container's.
    pub user: Option<String>,
    /// Whether the program gets a terminal.
    pub terminal: bool,
    /// Whether the program reads this process's standard input.
    pub interactive: bool,
}

/// SIGWINCH.
const WINDOW: i32 = 28;

/// How long a wait lasts at most, so that a signal that comes just before it is seen.
const TICK: Duration = Duration::from_millis(200);

impl Containers<'_> {
    /// Runs a program in a container, on this process's own streams, and returns its exit status.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] for a container that does not run, [`Error::Start`].
    pub fn exec(&self, found: &Found, options: &ExecOptions) -> Result<i32> {
        let record = &found.record;
        let Some(init) = self.init(found)? else {
            return Err(Error::WrongState {
                name: record.name.clone(),
                state: found.phase.word().to_owned(),
                needed: "start it first".to_owned(),
            });
        };
        self.wake(&record.id)?;
        let root = Root::open(Path::new(&format!("/proc/{}/root", init.pid())))?;
        let view = View::new(&root);
        let who = options.user.as_ref().unwrap_or(&record.user);
        let who = user::resolve(&view, who)?;
        let mut env = record.env.clone();
        if options.terminal && !env.iter().any(|one| one.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        env.push(format!("HOME={}", who.home));
        env.extend(options.env.iter().cloned());
        let cwd = options.cwd.as_ref().unwrap_or(&record.cwd);
        prepare::find_program(&view, &options.args, cwd, &env, &record.name)?;
        let mut process = spec::process_of(&options.args, &env, cwd, options.terminal, &who);
        if record.seccomp != Seccomp::Unconfined {
            spec::let_load_filters(&mut process);
        }
        let place = Scratch::new(&self.dir_of(&record.id))?;
        let path = place.0.join("process.json");
        files::write(&path, &process, files::Lasting::Boot)?;
        self.join(found, options, &path, &place)
    }

    fn join(
        &self,
        found: &Found,
        options: &ExecOptions,
        process: &Path,
        place: &Scratch,
    ) -> Result<i32> {
        let record = &found.record;
        let failed = |error: libcontainer::error::LibcontainerError| Error::Start {
            name: record.name.clone(),
            reason: error.to_string(),
            status: 126,
        };
        let mut builder = ContainerBuilder::new(record.id.clone(), SyscallType::default())
            .with_root_path(self.dir_of(&record.id).join("runtime"))
            .map_err(failed)?
            .with_executor(Filtered::of(record)?);
        let mut console = None;
        if options.terminal {
            let path = place.0.join("console");
            let dir = io("open", &place.0, File::open(&place.0))?;
            let short = cowlab_sys::at::descriptor_path(&dir).join("console");
            console = Some(io("bind", &path, UnixListener::bind(short))?);
            builder = builder.with_console_socket(Some(path));
        } else if !options.interactive {
            builder = builder.with_stdin(io("open", "/dev/null", File::open("/dev/null"))?);
        }
        // libcontainer takes no group away from a program that has none of its own.
        cowlab_sys::process::leave_groups()?;
        let pid = builder
            .as_tenant()
            .with_process(Some(process))
            .with_detach(true)
            .build()
            .map_err(failed)?;
        let pid = u32::try_from(pid.as_raw()).unwrap_or_default();
        if let Some(console) = console {
            let (socket, _) = io("accept", "console", console.accept())?;
            if let Some(terminal) = channel::receive_descriptor(&socket)?
                && let Some(task) = Task::open(pid)?
            {
                converse(File::from(terminal), &task, options.interactive)?;
            }
        }
        Ok(task::wait(pid)?)
    }
}

/// Passes keys and output between this process's terminal and the program's, until the program ends.
fn converse(mut terminal: File, task: &Task, interactive: bool) -> Result<()> {
    let _raw = match interactive {
        true => terminal::RawMode::enter(std::io::stdin()).ok(),
        false => None,
    };
    let resize = |terminal: &File| {
        if let Some(size) = terminal::size(std::io::stdout())
            && let Err(error) = terminal::set_size(terminal, size)
        {
            tracing::debug!(%error, "the terminal keeps its size");
        }
    };
    signals::catch(&[WINDOW])?;
    resize(&terminal);
    channel::set_nonblocking(&terminal)?;
    let (mut reads_input, mut ended) = (interactive, false);
    loop {
        while signals::take().is_some() {
            resize(&terminal);
        }
        let more = pass(&mut terminal)?;
        if !more || ended {
            return Ok(());
        }
        let wish = |readable| Ready {
            readable,
            writable: false,
        };
        let stdin = std::io::stdin();
        let wishes: [(BorrowedFd<'_>, Ready); 3] = [
            (task.as_fd(), wish(true)),
            (terminal.as_fd(), wish(true)),
            (stdin.as_fd(), wish(true)),
        ];
        let count = if reads_input { 3 } else { 2 };
        let ready = channel::wait(&wishes[..count], Some(TICK))?;
        // Once more for what it wrote last.
        ended = ready[0].readable;
        if ready.get(2).is_some_and(|ready| ready.readable) {
            let mut keys = [0; 4096];
            match cowlab_sys::file::read_once(std::io::stdin(), &mut keys) {
                Ok(0) | Err(_) => reads_input = false,
                Ok(length) => io("write", "terminal", terminal.write_all(&keys[..length]))?,
            }
        }
    }
}

/// Prints what a terminal has; `false` once nobody has its other side open.
fn pass(terminal: &mut File) -> Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match terminal.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                let mut out = std::io::stdout().lock();
                let written = out.write_all(&buffer[..length]).and_then(|()| out.flush());
                io("write", "stdout", written)?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // EIO: see pty(7).
            Err(_) => return Ok(false),
        }
    }
}

/// A directory of this call alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self> {
        let unique = cowlab_sys::Chance::Kernel.uuid("exec")?;
        let path = dir.join(format!("exec-{unique}"));
        files::make_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = cowlab_sys::dir::remove_tree(&self.0)
        {
            tracing::warn!(%error, "left behind");
        }
    }
}
