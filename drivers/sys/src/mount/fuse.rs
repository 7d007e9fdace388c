//! File systems that a program serves: FUSE, fuse(4).
//!
//! The mount is made here and the program gets the open `/dev/fuse` of it, as `/dev/fd/N` in place of a mount point
//! (libfuse 3.3, lib/mount.c, `fuse_session_mount`). So the mount has a source of the caller's choice in mount tables,
//! it can be a detached one, and no process is left behind: the program ends once the last mount is gone, if only because
//! SIGKILL ended the process that held a detached one. The program runs in a mount namespace of its own, in which its mount
//! never is: so it ends with a mount namespace that nobody is in any more, such as a container's.

use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::{MountSpec, attach, context_log, unmount_unused};
use crate::{Cmd, Error, Result, io, process, sys, task};

/// What the kernel is asked about.
const DEVICE: &str = "/dev/fuse";

/// Where a program has its directory mounted, in its own mount namespace: a directory that every host has and no program of
/// a file system needs.
const DIRECTORY: &str = "/sys";

/// The longest that a program is waited for after an unmount. It exits at once, unless another mount namespace has a copy of
/// the mount.
const LONGEST_END: Duration = Duration::from_secs(1);

/// The program that serves a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name; the type in mount tables is `fuse.` and this.
    pub program: String,
    /// Its options, as one argument of `-o`.
    pub options: OsString,
    /// The directory in which relative paths of the options begin. The program sees it under another path, one without
    /// characters that separate or escape options: some programs make a path absolute before they take it apart.
    pub directory: PathBuf,
    /// A file that the program holds locked, shared, for as long as it runs (flock(2)). It is made where missing.
    pub lease: PathBuf,
}

impl Server {
    /// Tells whether a program runs that serves this, for a mount in whatever namespace or in none. Waits a moment for one that is
    /// about to end.
    pub fn is_running(lease: &Path) -> Result<bool> {
        const PAUSE: Duration = Duration::from_millis(5);
        const ATTEMPTS: u32 = 200;
        let file = match File::open(lease) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            opened => io("open", lease, opened)?,
        };
        for _ in 0..ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(false),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(std::fs::TryLockError::Error(error)) => io("flock", lease, Err(error))?,
            }
        }
        Ok(true)
    }
}

/// A running program: the other end of a pipe that it inherited.
#[derive(Debug)]
pub(crate) struct Running(PipeReader);

impl Running {
    /// Waits for the program's end, which follows that of its last mount.
    pub(crate) fn wait(self) {
        let timeout = Timespec::try_from(LONGEST_END).unwrap_or_default();
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(1..) => {}
            result => tracing::debug!(?result, "the program of a FUSE mount has not ended"),
        }
    }
}

/// Makes a detached mount and starts its program, which is ready when this returns.
pub(crate) fn create(spec: &MountSpec, server: &Server) -> Result<(OwnedFd, Running)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = sys(
        "open",
        DEVICE,
        rustix::fs::openat(CWD, DEVICE, flags, Mode::empty()),
    )?;
    let refused = |source, log| spec.refused(Path::new(""), source, log);
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|source| refused(source, String::new()))?;
    let made = configure(&context, spec, server, &device).and_then(|()| {
        let attributes = spec.attributes.flags();
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    });
    let tree = made.map_err(|source| refused(source, context_log(&context)))?;
    let (alive, held) = io("pipe", DEVICE, pipe())?;
    // A program keeps its namespace alive with all mounts in it. The mount that is about to be attached must not be one.
    process::with_private_mounts(|| {
        // Between fork(2) and execve(2) a child has copies of all descriptors, which make other mounts busy.
        process::unshare_descriptors(&[device.as_fd(), held.as_fd()])?;
        show_directory(&server.directory)?;
        start(server, device.as_fd(), held.as_fd())?;
        sys("chdir", "/", rustix::process::chdir("/"))?;
        // With a copy of a mount left here, who unmounts the original finds its device still in use, or its snapshot still
        // mounted. Programs find their open files by `/proc/self/fd`.
        unmount_unused(|mount| mount.fstype != "proc")
    })??;
    Ok((tree, Running(alive)))
}

/// Binds the directory where the program finds it.
fn show_directory(directory: &Path) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = sys("open_tree", directory, open_tree(CWD, directory, flags))?;
    sys("move_mount", DIRECTORY, attach(&tree, Path::new(DIRECTORY)))
}

fn configure(
    context: &OwnedFd,
    spec: &MountSpec,
    server: &Server,
    device: &OwnedFd,
) -> rustix::io::Result<()> {
    if let Some(source) = &spec.source {
        fsconfig_set_string(context, "source", source)?;
    }
    fsconfig_set_string(context, "subtype", server.program.as_str())?;
    fsconfig_set_string(context, "fd", device.as_raw_fd().to_string().as_str())?;
    // The root is a directory; its other attributes are asked for (fs/fuse/inode.c, `fuse_get_root_inode`).
    fsconfig_set_string(context, "rootmode", "40000")?;
    fsconfig_set_string(context, "user_id", "0")?;
    fsconfig_set_string(context, "group_id", "0")?;
    fsconfig_set_flag(context, "default_permissions")?;
    fsconfig_set_flag(context, "allow_other")?;
    fsconfig_create(context)
}

/// Starts the program and waits until it has gone to the background. It keeps nothing but the device, the lease and the pipe.
fn start(server: &Server, device: BorrowedFd<'_>, held: BorrowedFd<'_>) -> Result<()> {
    let device = io("dup", DEVICE, device.try_clone_to_owned())?;
    let held = io("dup", DEVICE, held.try_clone_to_owned())?;
    let lease = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&server.lease);
    let lease = io("open", &server.lease, lease)?;
    io("flock", &server.lease, lease.lock_shared())?;
    let (mut said, output) = io("pipe", &server.lease, pipe())?;
    let number = device.as_raw_fd();
    let command = Cmd::new(&server.program)
        .arg("-o")
        .arg(&server.options)
        .arg(format!("/dev/fd/{number}"))
        .current_dir(DIRECTORY)
        .inherit(device)
        .inherit(lease)
        .inherit(held);
    let nothing = io("open", "/dev/null", File::open("/dev/null"))?;
    let pid = command.detach(nothing, output)?;
    let line = command.to_string();
    drop(command);
    let mut text = String::new();
    io("read", &server.lease, said.read_to_string(&mut text))?;
    match task::wait(pid)? {
        0 => Ok(()),
        status => Err(Error::Command {
            line,
            status: Some(status),
            stderr: text.trim().to_owned(),
        }),
    }
}
