//! Facts about this process and the kernel, and private mount namespaces.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{FileType, Mode};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::{Errno, Error, Result, io, mountinfo, raw, sys};

/// Tells whether this process has root's user id in effect.
pub fn is_root() -> bool {
    effective_uid() == 0
}

/// Returns the user id in effect.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns the kernel's random name for this boot.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(io("read", path, std::fs::read_to_string(path))?
        .trim()
        .to_owned())
}

/// Returns the kernel's taint bits (Documentation/admin-guide/tainted-kernels.rst); 0 is clean. A
/// warning or an oops sets bits that stay until the next boot.
pub fn kernel_taint() -> Result<u64> {
    let path = "/proc/sys/kernel/tainted";
    let text = io("read", path, std::fs::read_to_string(path))?;
    text.trim()
        .parse()
        .ok()
        .ok_or_else(|| Error::parse("the kernel's taint bits", text))
}

/// Returns the kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Returns the machine's architecture, as `uname -m` prints it.
pub fn machine() -> String {
    rustix::system::uname()
        .machine()
        .to_string_lossy()
        .into_owned()
}

/// Returns the version of the C library that this process runs with, as `2.36`.
pub fn libc_version() -> String {
    raw::libc_version().to_string_lossy().into_owned()
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidentSet {
    /// In memory now (`VmRSS`).
    pub current: u64,
    /// The most since the start, or since [`ResidentSet::reset_peak`] (`VmHWM`).
    pub peak: u64,
}

impl ResidentSet {
    /// Reads the memory of this process.
    pub fn read() -> Result<Self> {
        let path = "/proc/self/status";
        Self::parse(&io("read", path, std::fs::read_to_string(path))?)
    }

    /// Has [`ResidentSet::peak`] count from now on (proc_pid_clear_refs(5)).
    pub fn reset_peak() -> Result<()> {
        let path = "/proc/self/clear_refs";
        io("write", path, std::fs::write(path, "5"))
    }

    fn parse(status: &str) -> Result<Self> {
        let bytes =
            |key| kib_field(status, key).ok_or_else(|| Error::parse("/proc/self/status", status));
        Ok(Self {
            current: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}

/// Returns the memory of the host that can be taken without swapping, in bytes (`MemAvailable` in
/// proc_meminfo(5)).
pub fn available_memory() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = io("read", path, std::fs::read_to_string(path))?;
    kib_field(&text, "MemAvailable:").ok_or_else(|| Error::parse(path, text))
}

/// Returns a field in KiB of a file in `/proc`, in bytes.
fn kib_field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// A resource limit of this process; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: Option<u64>,
    /// What the soft limit may be raised to.
    pub hard: Option<u64>,
}

/// Returns the limit of open descriptors.
pub fn open_files_limit() -> Limit {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    Limit {
        soft: limit.current,
        hard: limit.maximum,
    }
}

/// The soft limit of open descriptors that the process was started with, once it was raised.
static STARTED_WITH: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open descriptors to the hard one. The programs that [`crate::Cmd`] starts get the limit that this
/// process was started with: select(2) of programs that expect 1,024 cannot take higher numbers.
pub fn raise_open_files_limit() -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    sys(
        "setrlimit",
        "RLIMIT_NOFILE",
        rustix::process::setrlimit(Resource::Nofile, raised),
    )?;
    // The first call of a process is the one that counts.
    let _first = STARTED_WITH.get_or_init(|| limit);
    Ok(())
}

/// Returns the limit of open descriptors that the process was started with, if it was raised since.
pub fn original_open_files_limit() -> Option<Limit> {
    STARTED_WITH.get().map(|limit| Limit {
        soft: limit.current,
        hard: limit.maximum,
    })
}

/// The part of [`raise_open_files_limit`] that a child takes back between fork(2) and execve(2).
pub(crate) fn restore_open_files_limit() -> std::io::Result<()> {
    match STARTED_WITH.get() {
        Some(limit) => Ok(rustix::process::setrlimit(Resource::Nofile, *limit)?),
        None => Ok(()),
    }
}

/// Gives the calling thread a mount namespace of its own, from which nothing propagates. Other
/// threads stay where they are, so a program calls it before it starts any.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EPERM` without root.
pub fn unshare_mounts() -> Result<()> {
    sys("unshare", "/", raw::unshare(UnshareFlags::NEWNS))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    match mount_change("/", private) {
        // The root of a chroot need not be a mount point: then what is mounted below it is made private.
        Err(Errno::INVAL) => mountinfo::read_self()?.iter().try_for_each(|mount| {
            let point = &mount.mount_point;
            sys("mount --make-rprivate", point, mount_change(point, private))
        }),
        changed => sys("mount --make-rprivate", "/", changed),
    }
}

/// Gives the calling thread a table of descriptors of its own, in which there are the standard streams and `kept` alone. It
/// comes first in a thread that was handed no other descriptor; threads that it starts have its table.
pub fn unshare_descriptors(kept: &[BorrowedFd<'_>]) -> Result<()> {
    sys("unshare", "descriptors", raw::unshare_descriptors(kept))
}

/// Runs `body` in a thread with a mount namespace of its own, which ends with it, and the mounts
/// made there as well.
///
/// # Panics
///
/// Panics where `body` does.
pub fn with_private_mounts<T: Send>(body: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| unshare_mounts().map(|()| body()));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A mount namespace, kept to come back to.
#[derive(Debug)]
pub struct MountNamespace(std::fs::File);

impl MountNamespace {
    /// Holds the one that the calling thread is in.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/mnt"))
    }

    /// Holds the one that a file stands for, such as `/proc/PID/ns/mnt`.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self(io("open", path, std::fs::File::open(path))?))
    }

    /// Moves the calling thread into it (setns(2)); its working directory and its root become the namespace's.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `EPERM` without root, `EINVAL` in a process with more threads.
    pub fn enter(&self) -> Result<()> {
        let kind = Some(rustix::thread::LinkNameSpaceType::Mount);
        let moved = rustix::thread::move_into_link_name_space(self.0.as_fd(), kind);
        sys("setns", "mnt", moved)
    }
}

/// The permissions that whoever started this process wants taken away from what it makes, once [`set_umask`] was called.
static CALLERS_MASK: OnceLock<Mode> = OnceLock::new();

/// Has what this process makes be made with the usual mask, 0022, whatever its caller has: images and containers are no business
/// of the caller's. What is made for the caller itself asks [`callers_mode`].
pub fn set_umask() {
    let before = rustix::process::umask(Mode::from_raw_mode(0o022));
    // The first call of a process is the one that counts.
    let _first = CALLERS_MASK.get_or_init(|| before);
}

/// The mode of a new file that is the caller's own.
pub fn callers_mode(mode: u32) -> u32 {
    mode & !CALLERS_MASK.get().map_or(0, Mode::bits)
}

/// Gives the pipes and terminals among this process's standard streams to a user: who did not make them cannot open them again by
/// `/dev/stdout` (proc_pid_fd(5)), where the logs of many programs lead. A stream that cannot be given away stays as it is.
pub fn give_streams_to(uid: u32) {
    let streams = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    for stream in streams {
        let is_pipe = rustix::fs::fstat(stream)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if is_pipe || rustix::termios::isatty(stream) {
            let given = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None);
            tracing::debug!(?given, "standard stream");
        }
    }
}

/// Replaces this process by a program, as execve(2) does and no shell: what has no format that the kernel knows fails. A name
/// without a slash is looked for in `PATH`, as execvp(3) does. Returns only where it failed, with the reason.
pub fn become_program(arguments: &[String], environment: &[String]) -> Errno {
    let texts = |all: &[String]| -> Option<Vec<CString>> {
        all.iter()
            .map(|one| CString::new(one.as_str()).ok())
            .collect()
    };
    let (Some(argv), Some(envp)) = (texts(arguments), texts(environment)) else {
        return Errno::INVAL;
    };
    let Some(program) = arguments.first() else {
        return Errno::INVAL;
    };
    let path = environment.iter().find_map(|one| one.strip_prefix("PATH="));
    let dirs = match program.contains('/') {
        true => vec![""],
        false => path.unwrap_or_default().split(':').collect(),
    };
    let mut failed = Errno::NOENT;
    for dir in dirs {
        let candidate = match dir {
            "" => program.clone(),
            dir => format!("{dir}/{program}"),
        };
        let Ok(candidate) = CString::new(candidate) else {
            return Errno::INVAL;
        };
        match raw::execve(&candidate, &argv, &envp) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => failed = Errno::ACCESS,
            other => return other,
        }
    }
    failed
}

/// Takes the calling thread, and what it starts, out of all groups but its own.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EPERM` without root.
pub fn leave_groups() -> Result<()> {
    sys("setgroups", "", set_thread_groups(&[]))
}

/// Runs `body` in a thread that is an ordinary user: this user and group id, no other groups and,
/// the ids being other than 0, no capabilities.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EPERM` without root.
///
/// # Panics
///
/// Panics where `body` does.
pub fn as_user<T: Send>(id: u32, body: impl FnOnce() -> T + Send) -> Result<T> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    // The bare system calls change the calling thread alone (nptl(7)); the thread ends with `body`.
    let become_user = || {
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| sys("setresuid", "", become_user()).map(|()| body()));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_facts() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(kernel_release().contains('.'));
        assert!(ResidentSet::read().unwrap().peak > 0);
        assert!(open_files_limit().soft.is_none_or(|limit| limit > 0));
    }

    #[test]
    fn reads_memory_in_bytes() {
        let set = ResidentSet::parse("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n").unwrap();
        assert_eq!(
            set,
            ResidentSet {
                current: 1024,
                peak: 2 << 20
            }
        );
        assert!(ResidentSet::parse("VmRSS: x kB").is_err());
    }
}
