//! A throw-away root, its commands as processes, and what they leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use cowlab_conformance::product;
use cowlab_driver::Settings;
use cowlab_runtime::graph::Graph;
use cowlab_sys::fault::{self, Fault};
use cowlab_sys::task::Task;
use cowlab_sys::{Cmd, Errno, processes};
use cowlab_testbed::Run;
use serde_json::Value;

use crate::cowlab;
use crate::traces::Traces;

/// The program of the containers that go on, and its argument, by which its process is known.
pub(crate) const LASTING: [&str; 2] = ["/bin/sleep", "100000"];
/// The file of a container whose content is listed; the image has it.
pub(crate) const FILE: &str = "/testfile";

const STOP: i32 = 19;
pub(crate) const KILL: i32 = 9;
/// How long what a command began may go on after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A root with a place for what goes in and out.
pub(crate) struct TestRoot {
    pub(crate) dir: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) driver: &'static str,
    /// What the driver is told about its place when the root is made.
    pub(crate) settings: Settings,
    /// The fault that its commands run with.
    pub(crate) fault: Option<Fault>,
}

/// A process that works on the root.
#[derive(Debug)]
struct Worker {
    pid: u32,
    command: String,
}

impl Worker {
    fn is_monitor(&self) -> bool {
        self.command.contains(" monitor ")
    }

    fn is_lasting(&self) -> bool {
        self.command == LASTING.join(" ")
    }
}

impl TestRoot {
    /// A root that is made by the first command, with the files of the image that containers are made of.
    pub(crate) fn new(
        run: &Run,
        dir: PathBuf,
        driver: &'static str,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let scratch = run.scratch("in-and-out")?;
        // A difference of the suite is no error of the standard library's.
        let files = product::base_tar().map_err(|difference| anyhow!("{difference}"))?;
        fs::write(scratch.join("tree.tar"), files)?;
        Ok(Self {
            dir,
            scratch,
            driver,
            settings,
            fault: None,
        })
    }

    /// The path of what goes in or out, as a word.
    pub(crate) fn place(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    /// A command of `cowlab` on the root.
    pub(crate) fn command(&self, words: &[&str]) -> anyhow::Result<Cmd> {
        let root = self.dir.display().to_string();
        // Behind the verb, and before what `exec` and `run` pass on.
        let verbs = match words {
            ["container" | "image" | "volume" | "system", ..] => 2,
            _ => 1,
        };
        let (verb, rest) = words.split_at(verbs);
        let command = cowlab()?
            .args(verb)
            .args(["--root", &root, "--driver", self.driver])
            .args(
                self.settings
                    .iter()
                    .map(|(name, value)| format!("--driver-opt={name}={value}")),
            )
            .args(rest);
        Ok(match self.fault {
            Some(fault) => command.env(fault::VARIABLE, fault.id()),
            None => command,
        })
    }

    /// Runs a command that has to be done.
    pub(crate) fn ok(&self, words: &[&str]) -> anyhow::Result<String> {
        Ok(self.command(words)?.read()?)
    }

    /// The rows that a command prints.
    pub(crate) fn json(&self, words: &[&str]) -> anyhow::Result<Vec<Value>> {
        let text = self.ok(words)?;
        let value = serde_json::from_str(&text);
        value.with_context(|| format!("`{}` printed `{text}`", words.join(" ")))
    }

    /// Writes what commands copy in, and the context of an image that is built of it.
    pub(crate) fn write_input(&self, text: &str) -> anyhow::Result<()> {
        const DOCKERFILE: &str = "ARG BASE\nFROM ${BASE}\nRUN touch /built\nCOPY file /copied\n";
        let context = self.scratch.join("context");
        fs::create_dir_all(&context)?;
        fs::write(context.join("Dockerfile"), DOCKERFILE)?;
        for dir in [&self.scratch, &context] {
            fs::write(dir.join("file"), text)?;
        }
        Ok(())
    }

    /// Removes what commands wrote outside.
    pub(crate) fn clear_output(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.scratch)? {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().contains("out"))
            {
                cowlab_sys::dir::remove_tree(&path)?;
            }
        }
        Ok(())
    }

    /// The ids of containers, of which there may be no more than a directory.
    pub(crate) fn ids(&self) -> anyhow::Result<Vec<String>> {
        let place = self.dir.join("containers");
        let entries = fs::read_dir(&place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = match entries {
            // A file system that a failed write broke cannot list them; processes are found by their command lines then.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => Vec::new(),
            entries => entries.with_context(|| place.display().to_string())?,
        };
        let names = entries
            .iter()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter(|name| name.len() >= 64).collect())
    }

    /// The processes that work on the root or are in a container's cgroup.
    fn workers(&self) -> anyhow::Result<Vec<Worker>> {
        let ids = self.ids()?;
        let root = self.dir.display().to_string();
        let own = std::process::id();
        let mut workers = Vec::new();
        for pid in processes::all()?.into_iter().filter(|pid| *pid != own) {
            let read = |file: &str| {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let command = read("cmdline").trim().to_owned();
            // One that nobody has waited for yet has none.
            if command.is_empty() {
                continue;
            }
            let cgroup = read("cgroup");
            if command.contains(&root) || ids.iter().any(|id| cgroup.contains(id)) {
                workers.push(Worker { pid, command });
            }
        }
        Ok(workers)
    }

    /// Kills everything that works on the root at once: all stand still before the first gets to know of another's end.
    pub(crate) fn kill_all(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut known = 0;
        loop {
            let workers = self.workers()?;
            for worker in &workers {
                signal(worker.pid, STOP)?;
            }
            if workers.len() == known {
                break;
            }
            known = workers.len();
        }
        loop {
            let workers = self.workers()?;
            if workers.is_empty() {
                return Ok(());
            }
            for worker in &workers {
                signal(worker.pid, KILL)?;
            }
            // What a commit paused does not end; at a reboot there is nothing that stands still.
            thaw(&self.ids()?);
            if Instant::now() > until {
                bail!("these do not end: {workers:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has the processes that the records name be of another boot, or have others their numbers.
    pub(crate) fn forget_boot(&self, by_boot: bool) -> anyhow::Result<()> {
        for id in self.ids()? {
            let path = self.dir.join("containers").join(id).join("state.json");
            let Ok(text) = fs::read(&path) else {
                continue;
            };
            let mut state: Value = serde_json::from_slice(&text)?;
            for name in ["monitor", "init"] {
                let process = &mut state[name];
                if process.is_null() {
                    continue;
                }
                match by_boot {
                    true => process["boot"] = "00000000-0000-0000-0000-000000000000".into(),
                    false => process["pid"] = std::process::id().into(),
                }
            }
            fs::write(&path, state.to_string())?;
        }
        Ok(())
    }

    /// Has the graph written to, as the next command does: from then on a killed command's transaction is seen or never will be.
    pub(crate) fn end_transactions(&self) -> anyhow::Result<()> {
        let graph = Graph::open(&self.dir.join("graph.db"))?;
        Ok(graph.set_meta(&[("proof", "killed-commands")])?)
    }

    /// Waits until nothing works on the root but containers that run, with their monitors.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let workers = self.workers()?;
            let rows = self.json(&["ps", "-a", "--json"])?;
            let alive = |word: &str| rows.iter().filter(|row| row["state"] == word).count();
            let running = alive("running") + alive("paused");
            let rest = workers
                .iter()
                .any(|one| !one.is_monitor() && !one.is_lasting());
            let monitors = workers.iter().filter(|one| one.is_monitor()).count();
            let programs = workers.iter().filter(|one| one.is_lasting()).count();
            if !rest && monitors == running && programs == running && alive("starting") == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                let rows: Vec<_> = rows.iter().map(Value::to_string).collect();
                bail!(
                    "the root does not settle: {workers:?} work on {}",
                    rows.join(", ")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads a file of a container.
    pub(crate) fn copy_out(&self, id: &str, file: &str) -> anyhow::Result<Vec<u8>> {
        let copy = self.scratch.join("out-file");
        self.ok(&["cp", &format!("{id}:{file}"), &copy.display().to_string()])?;
        Ok(fs::read(&copy)?)
    }

    /// The directory of a volume's content.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.dir.join("volumes").join(name).join("_data")
    }

    /// What differs from the traces of an empty root, but for lock files of layers, which stay, a fixed number.
    pub(crate) fn differences(
        &self,
        empty: &Traces,
        ids: &[String],
    ) -> anyhow::Result<Vec<String>> {
        let locks = format!("{}/", self.dir.join("locks").display());
        let mut differences = empty.differences(&Traces::take(&self.dir, ids)?);
        differences.retain(|line| !line.contains(&locks));
        Ok(differences)
    }
}

fn signal(pid: u32, signal: i32) -> anyhow::Result<()> {
    match Task::open(pid) {
        Ok(Some(task)) => Ok(task.signal(signal)?),
        // It ended meanwhile.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Has what stands still go on, in cgroups of either version; one without that file never stood still.
fn thaw(ids: &[String]) {
    for id in ids {
        for (place, word) in [("freezer/cowlab", "THAWED"), ("cowlab", "0")] {
            let dir = Path::new("/sys/fs/cgroup").join(place).join(id);
            let file = match word {
                "0" => dir.join("cgroup.freeze"),
                _ => dir.join("freezer.state"),
            };
            if let Err(error) = fs::write(&file, word) {
                tracing::trace!(file = %file.display(), %error, "not thawed");
            }
        }
    }
}
