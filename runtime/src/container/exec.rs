//! Another program in a container that runs: a child of this process, in the container's namespaces.

mod converse;

use std::path::{Path, PathBuf};

use cowlab_sys::Root;
use cowlab_sys::task::{self, Task};
use cowlab_sys::terminal::{self, Size};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use super::launch::Launch;
use super::monitor::failed;
use super::place::{Containers, Found, Phase};
use super::streams::Streams;
use super::view::View;
use super::{Result, causes, config, files, prepare, spec, user};
use converse::Conversation;

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

impl Containers<'_> {
    /// Runs a program in a container, on this process's own streams, and returns its exit status.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`](super::Error::WrongState) for a container that does not run, [`Error::Start`](super::Error::Start).
    pub fn exec(&self, found: &Found, options: &ExecOptions) -> Result<i32> {
        let record = &found.record;
        let Some(init) = self.init(found)? else {
            return Err(found.wrong_state("start it first"));
        };
        if found.phase == Phase::Paused {
            return Err(found.wrong_state("unpause it before exec"));
        }
        self.wake(&record.id)?;
        let root = Root::open(Path::new(&format!("/proc/{}/root", init.pid())))?;
        let view = View::new(&root);
        let who = options.user.as_ref().unwrap_or(&record.user);
        let who = user::resolve(&view, who)?;
        let env = config::environment(&record.env, &options.env, options.terminal)?;
        let env = spec::environment(record, &env, &who);
        let cwd = options.cwd.as_ref().unwrap_or(&record.cwd);
        prepare::find_program(&view, &options.args, cwd, &env, &record.name)?;
        let process = spec::process_of(record, &options.args, &env, cwd, options.terminal, &who);
        let place = Scratch::new(&self.dir_of(&record.id))?;
        let path = place.0.join("process.json");
        files::write(&path, &process, files::FileDurability::Boot)?;
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
        let failed = |error: libcontainer::error::LibcontainerError| failed(record, &error);
        let size = terminal::size(std::io::stdout());
        let size = size.unwrap_or(Size {
            rows: 0,
            columns: 0,
        });
        let (launch, launched) = Launch::new(record, size)?;
        causes::keep()?;
        let builder = ContainerBuilder::new(record.id.clone(), SyscallType::default())
            .with_root_path(self.dir_of(&record.id).join("runtime"))
            .map_err(failed)?
            .with_executor(launch);
        let (terminal, interactive) = (options.terminal, options.interactive);
        let (builder, streams) = Streams::connect(builder, terminal, interactive, &place.0)?;
        // libcontainer takes no group away from a program that has none of its own.
        cowlab_sys::process::leave_groups()?;
        let built = builder
            .as_tenant()
            .with_process(Some(process))
            .with_detach(true)
            .build();
        // It says more than libcontainer, which waits for it as well.
        launched.wait(&record.name, &options.args[0])?;
        let pid = built.map_err(failed)?;
        let pid = u32::try_from(pid.as_raw()).unwrap_or_default();
        let ends = streams.open(&record.name)?;
        if let Some(task) = Task::open(pid)? {
            Conversation::new(&task, ends, interactive)?.hold()?;
        }
        Ok(task::wait(pid)?)
    }
}

/// A directory of this call alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self> {
        let unique = cowlab_sys::IdSource::Kernel.uuid("exec")?;
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
