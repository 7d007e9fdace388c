//! What is kept about a container: the record, written once, and the state, replaced at every step.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cowlab_sys::task::{Task, TaskId};
use cowlab_units::Timestamp;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::Result;
use super::log::LogOptions;
use super::mounts::Attached;
use super::seccomp::Seccomp;

/// What a container sees of the host's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A loopback device of its own, and nothing else.
    #[default]
    None,
    /// The host's network, as it is.
    Host,
}

/// The active snapshot with the layer of the container that has this id.
pub(super) fn snapshot_of(id: &str) -> String {
    format!("container/{id}")
}

/// What was asked for. Nothing in it changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits, random.
    pub id: String,
    /// The name, unique in the root.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The digest of the image's configuration.
    pub image_id: Option<String>,
    /// The committed snapshot that the container started from; `None` for an image without layers.
    pub parent: Option<String>,
    /// The active snapshot with the container's own layer.
    pub snapshot: String,
    /// The image's configuration when the container was made: what a commit starts from.
    pub image_config: ImageConfiguration,
    /// When it was made.
    pub created: Timestamp,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, in order.
    pub env: Vec<String>,
    /// Where the program starts.
    pub cwd: String,
    /// `user[:group]`, by name or number; empty is root.
    pub user: String,
    /// Whether the program has a terminal.
    pub terminal: bool,
    /// Whether the program's standard input stays open.
    pub interactive: bool,
    /// The host name inside; empty is the start of the id.
    pub hostname: String,
    /// Whether the root file system cannot be written.
    pub read_only: bool,
    /// The network.
    pub network: Network,
    /// The filter of its system calls.
    #[serde(default)]
    pub seccomp: Seccomp,
    /// The most that the writable layer may hold, in bytes.
    pub size_limit: Option<u64>,
    /// Volumes, bind mounts and tmpfs, in the order of their mount points.
    pub mounts: Vec<Attached>,
    /// Whether the container is removed when it ends.
    pub remove: bool,
    /// The boot in which an ephemeral container was made: of one that `run --rm` makes and starts, only this record is flushed,
    /// so that it can be removed after a power cut.
    #[serde(default)]
    pub ephemeral: Option<String>,
    /// The signal that asks the program to end.
    pub stop_signal: i32,
    /// The labels of the image and of the command line.
    pub labels: BTreeMap<String, String>,
    /// How the log is kept.
    pub log: LogOptions,
}

impl Record {
    /// The first twelve digits of the id, which people use.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Whether its layer is a snapshot of somebody else's: see [`CreateOptions::borrowed`](super::CreateOptions::borrowed).
    #[must_use]
    pub fn is_borrower(&self) -> bool {
        self.snapshot != snapshot_of(&self.id)
    }

    /// The name of the host that it sees.
    pub(super) fn host_name(&self) -> &str {
        match self.hostname.as_str() {
            "" => self.short_id(),
            name => name,
        }
    }
}

/// A process as it is kept in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The process number.
    pub pid: u32,
    /// The start in clock ticks since the boot.
    pub start: u64,
    /// The boot.
    pub boot: String,
}

impl Process {
    /// Describes a process that runs now.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let TaskId { pid, start, boot } = TaskId::of(pid)?;
        Ok(Self { pid, start, boot })
    }

    /// Opens it; `None` where it has ended.
    pub(super) fn open(&self) -> Result<Option<Task>> {
        let id = TaskId {
            pid: self.pid,
            start: self.start,
            boot: self.boot.clone(),
        };
        Ok(id.open()?)
    }
}

/// A step of a container's life, as it was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It is being made; whoever made it may have died.
    Creating,
    /// It has never been started.
    Created,
    /// A monitor is about to start it.
    Starting,
    /// Its program was started.
    Running,
    /// Its program has ended, or could not be started.
    Exited,
    /// It is being removed.
    Removing,
}

/// What happened to a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The last step that was written.
    pub step: Step,
    /// The monitor of the last start.
    pub monitor: Option<Process>,
    /// The container's first process.
    pub init: Option<Process>,
    /// When the program was last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub finished: Option<Timestamp>,
    /// The exit status; `None` while it runs, and where nobody saw it.
    pub exit_code: Option<i32>,
    /// Why the last start failed, or why the exit status is not known.
    pub error: Option<String>,
    /// Mount points that the image lacks and that were made for mounts. They are no change of the container's.
    #[serde(default)]
    pub scaffold: Vec<PathBuf>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            step: Step::Creating,
            monitor: None,
            init: None,
            started: None,
            finished: None,
            exit_code: None,
            error: None,
            scaffold: Vec::new(),
        }
    }
}
