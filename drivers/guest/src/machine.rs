//! A machine to run one command in: its parts, its files, and its start.

mod initrd;
mod kvm;
mod qemu;
mod session;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlab_sys::cmd::Running;
use cowlab_sys::{Cmd, file, io, process, stat};

use self::qemu::{PORTS, Plan};
use self::session::Sinks;
use crate::console::Console;
use crate::{Accel, Error, Image, Result};

/// Its memory unless told otherwise, in MiB.
pub const DEFAULT_MEMORY_MIB: u32 = 2048;
/// Its time limit unless told otherwise.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(3600);
/// The size of its scratch disk unless told otherwise, in bytes; what is not written takes no space on the host.
pub const DEFAULT_SCRATCH_BYTES: u64 = 32 << 30;
/// With less free space than this a scratch disk is refused, in bytes.
const LEAST_SPACE: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Where scratch disks lie, unless `COWLAB_TEST_DIR` says otherwise.
const SCRATCH_DIR: &str = "/var/tmp";

/// A throw-away machine that runs one command. Nothing of it stays: it lives in memory and in files without names, and
/// the kernel ends it when the thread that runs it ends.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The image it boots.
    pub image: Image,
    /// Files and directories of the host, and where they are in the guest. The directories above them belong to root.
    pub payload: Vec<(PathBuf, PathBuf)>,
    /// The program and its arguments. It runs as root in `/root` and reads nothing.
    pub command: Vec<OsString>,
    /// Environment variables of the command.
    pub env: Vec<(String, OsString)>,
    /// Paths in the guest that come back as an archive when the command has ended.
    pub results: Vec<String>,
    /// Memory in MiB. Half of it may become files in `/`, `/tmp` and `/dev/shm`.
    pub memory_mib: u32,
    /// From the start of the machine to the command's end.
    pub time_limit: Duration,
    /// The size of the disk at `/var/tmp`, in bytes; with 0 it is in memory.
    pub scratch_bytes: u64,
    /// With a seed, the guest's clock counts instructions, everything is in memory, and what the command writes
    /// arrives at its end: two runs of the same files are the same.
    pub deterministic: Option<u64>,
    /// How the processor is made; the fastest that boots unless told.
    pub accel: Option<Accel>,
}

/// How a machine ended whose command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The command's exit status, as shells have it.
    pub code: u8,
    /// What ran it.
    pub accel: Accel,
    /// From the start of QEMU to the start of the command.
    pub ready: Duration,
}

/// Both ends of a socket, of which one is QEMU's.
pub(crate) struct Ends {
    pub(crate) ours: UnixStream,
    theirs: OwnedFd,
}

/// A started machine.
pub(crate) struct Started {
    pub(crate) qemu: Running,
    pub(crate) started: Instant,
    /// In the order of [`PORTS`].
    pub(crate) ports: [UnixStream; 4],
    pub(crate) control: Option<UnixStream>,
    pub(crate) terminal: Option<UnixStream>,
    pub(crate) console: Console,
    /// What QEMU says.
    pub(crate) output: File,
    /// The end of the command's streams.
    pub(crate) mark: String,
    pub(crate) scratch_dir: PathBuf,
}

impl Machine {
    /// Makes a machine of an image, with no command yet.
    pub fn new(image: Image) -> Self {
        Self {
            image,
            payload: Vec::new(),
            command: Vec::new(),
            env: Vec::new(),
            results: Vec::new(),
            memory_mib: DEFAULT_MEMORY_MIB,
            time_limit: DEFAULT_TIME_LIMIT,
            scratch_bytes: DEFAULT_SCRATCH_BYTES,
            deterministic: None,
            accel: None,
        }
    }

    /// Runs the command. What it writes goes on at once, in the order of each stream; the results are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] where there is no exit status, with the console's end; [`Error::Sys`] where QEMU cannot be
    /// started or an output takes nothing more; [`Error::Payload`], [`Error::Memory`] and [`Error::Scratch`].
    pub fn run(&self, stdout: &mut dyn Write, stderr: &mut dyn Write) -> Result<Exit> {
        self.run_for_results(stdout, stderr, &mut std::io::sink())
    }

    /// As [`run`](Self::run); `archive` gets [`Machine::results`] as a tar archive with paths relative to the root.
    pub fn run_for_results(
        &self,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
        archive: &mut dyn Write,
    ) -> Result<Exit> {
        let mode = if self.deterministic.is_some() {
            initrd::Mode::Counted
        } else {
            initrd::Mode::Streamed
        };
        let (started, accel) = self.start(mode)?;
        let sinks = Sinks {
            stdout,
            stderr,
            archive,
        };
        session::run(started, self, accel, sinks)
    }

    /// Runs the command on this process's terminal and returns its exit status.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); [`Error::Sys`] with `ENOTTY` where standard input is no terminal.
    pub fn interact(&self) -> Result<Exit> {
        let (started, accel) = self.start(initrd::Mode::Terminal)?;
        session::interact(started, self, accel)
    }

    fn start(&self, mode: initrd::Mode) -> Result<(Started, Accel)> {
        // Counted instructions are TCG's.
        let accel = match (self.deterministic, self.accel) {
            (Some(_), _) => Accel::Tcg,
            (None, Some(accel)) => accel,
            (None, None) => kvm::fastest(&self.image)?,
        };
        self.check_memory()?;
        let scratch_dir = scratch_dir();
        let scratch = match self.scratch_bytes {
            0 => None,
            _ if self.deterministic.is_some() => None,
            bytes => Some(scratch_file(&scratch_dir, bytes)?),
        };
        let mark = mark(self.deterministic)?;
        let initrd = initrd::write(self, mode, scratch.is_some(), &mark)?;
        let console = Console::new()?;
        let output = file::in_memory("cowlab-guest-output")?;
        let ports = [ends()?, ends()?, ends()?, ends()?];
        let control = scratch.as_ref().map(|_| ends()).transpose()?;
        let terminal = (mode == initrd::Mode::Terminal).then(ends).transpose()?;
        let console_end = console.descriptor()?;
        let plan = Plan {
            accel,
            kernel: &self.image.kernel(),
            memory_mib: self.memory_mib,
            initrd: initrd.as_raw_fd(),
            console: console_end.as_raw_fd(),
            ports: ports.each_ref().map(|ends| ends.theirs.as_raw_fd()),
            control: control.as_ref().map(|ends| ends.theirs.as_raw_fd()),
            scratch: scratch.as_ref().map(AsRawFd::as_raw_fd),
            terminal: terminal.as_ref().map(|ends| ends.theirs.as_raw_fd()),
            counted: self.deterministic,
        };
        let mut command = Cmd::new("qemu-system-x86_64")
            .args(plan.arguments())
            .inherit(initrd)
            .inherit(console_end);
        if let Some(scratch) = scratch {
            command = command.inherit(scratch);
        }
        let mut keep = |ends: Ends| {
            command = command.clone().inherit(ends.theirs);
            ends.ours
        };
        let ports = ports.map(&mut keep);
        let control = control.map(&mut keep);
        let terminal = terminal.map(&mut keep);
        let started = Instant::now();
        // Our copies of QEMU's ends are closed with `command`, so that its end is the end of every stream.
        let qemu = command.attach(io("dup", "", output.try_clone())?)?;
        let started = Started {
            qemu,
            started,
            ports,
            control,
            terminal,
            console,
            output,
            mark,
            scratch_dir,
        };
        Ok((started, accel))
    }

    fn check_memory(&self) -> Result<()> {
        // The initrd is in memory as well until QEMU ends.
        let initrd = io("stat", self.image.initrd(), self.image.initrd().metadata())?.len();
        let needed = u64::from(self.memory_mib) * MIB + 2 * initrd;
        let available = process::available_memory()?;
        if needed > available {
            return Err(Error::Memory {
                needed_mib: needed.div_ceil(MIB),
                available_mib: available / MIB,
            });
        }
        Ok(())
    }
}

impl Started {
    /// Returns what QEMU has said, on one line.
    pub(crate) fn message(&mut self) -> Result<String> {
        let mut text = String::new();
        io("seek", "", self.output.rewind())?;
        let read = std::io::Read::read_to_string(&mut self.output, &mut text);
        io("read", "", read)?;
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        Ok(lines.join("; "))
    }
}

fn ends() -> Result<Ends> {
    let (ours, theirs) = io("socketpair", "", UnixStream::pair())?;
    Ok(Ends {
        ours,
        theirs: theirs.into(),
    })
}

fn scratch_dir() -> PathBuf {
    std::env::var_os("COWLAB_TEST_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| PathBuf::from(SCRATCH_DIR), PathBuf::from)
}

/// Makes a sparse file without a name.
fn scratch_file(dir: &Path, bytes: u64) -> Result<File> {
    let available = stat::statfs(dir)?.available_bytes();
    if available < LEAST_SPACE {
        return Err(Error::Scratch {
            dir: dir.to_path_buf(),
            available_mib: available / MIB,
            least_mib: LEAST_SPACE / MIB,
        });
    }
    let scratch = file::unnamed(dir)?;
    io("ftruncate", dir, scratch.set_len(bytes))?;
    Ok(scratch)
}

/// Returns what no command writes by chance; the same for the same seed.
fn mark(seed: Option<u64>) -> Result<String> {
    if let Some(seed) = seed {
        return Ok(format!("<cowlab-end-{seed:036x}>"));
    }
    let path = "/proc/sys/kernel/random/uuid";
    let uuid = io("read", path, std::fs::read_to_string(path))?;
    Ok(format!("<cowlab-end-{}>", uuid.trim()))
}

const _: () = assert!(PORTS.len() == 4);
