//! Who keeps a tree or a file system in use: mounts of it in any mount namespace, and processes
//! that can write to it, or stand in it.
//!
//! Everything comes from `/proc` and is a snapshot: a process may appear a moment later. A
//! detached mount (`umount -l`) shows by the descriptors open on it alone.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::stat::{self, FileKind, Stat};
use crate::task::Task;
use crate::{Errno, Result, dir, io, mountinfo, processes, sys};

/// How a process keeps something in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HolderKind {
    /// It lives in a mount namespace where the thing is mounted.
    Mount,
    /// It has a file open for writing.
    OpenForWriting,
    /// It has a file mapped shared and writable.
    MappedForWriting,
    /// It has a file or directory open, otherwise.
    Open,
    /// Its working directory is there.
    WorkingDirectory,
    /// Its root directory is there.
    RootDirectory,
    /// The program it runs is there.
    Executable,
    /// It holds a lock on the file.
    Locked,
}

impl fmt::Display for HolderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mount => "has it mounted at",
            Self::OpenForWriting => "has open for writing",
            Self::MappedForWriting => "has mapped for writing",
            Self::Open => "has open",
            Self::WorkingDirectory => "works in",
            Self::RootDirectory => "has for its root",
            Self::Executable => "runs",
            Self::Locked => "holds a lock on",
        })
    }
}

/// A process that keeps something in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its short name; empty where it has ended since.
    pub command: String,
    /// How.
    pub what: HolderKind,
    /// The file, directory or mount point, as that process sees it.
    pub path: PathBuf,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            command,
            what,
            path,
        } = self;
        write!(f, "process {pid} ({command}) {what} `{}`", path.display())
    }
}

/// Waits until a mount comes or goes where one of the holders sees it, one of them ends, or the time is over. What happened
/// before the call is not seen.
pub fn wait_for_change(holders: &[Holder], time: Duration) -> Result<()> {
    let pids: BTreeSet<u32> = holders.iter().map(|holder| holder.pid).collect();
    let others = pids
        .iter()
        .copied()
        .filter(|pid| *pid != std::process::id());
    let ends: Vec<_> = others
        .filter_map(|pid| Task::open(pid).ok().flatten())
        .collect();
    // A table that can be polled is one that is held open (proc_pid_mounts(5)).
    let tables = pids.iter().map(|pid| format!("/proc/{pid}/mountinfo"));
    let tables = tables.chain(["/proc/thread-self/mountinfo".to_owned()]);
    let tables: Vec<_> = tables.filter_map(|path| File::open(path).ok()).collect();
    let table = |file| PollFd::new(file, PollFlags::PRI);
    let mut all: Vec<_> = tables.iter().map(table).collect();
    all.extend(ends.iter().map(|end| PollFd::new(end, PollFlags::IN)));
    let time = Timespec::try_from(time).ok();
    match rustix::event::poll(&mut all, time.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => sys("poll", "/proc", Err(error)),
    }
}

/// Returns the mounts, in every mount namespace, that `wanted` picks. Each namespace is told by
/// one of its processes: this one for its own namespace, else the first that is no kernel thread.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] or [`crate::Error::Parse`] where `/proc` cannot be read.
pub fn mounts_where(wanted: impl Fn(&mountinfo::MountEntry) -> bool) -> Result<Vec<Holder>> {
    let mut holders = Vec::new();
    for namespace in mountinfo::every_namespace()? {
        let Some(pid) = spokesman(&namespace.pids) else {
            continue;
        };
        for mount in namespace.mounts.iter().filter(|mount| wanted(mount)) {
            holders.push(holder(pid, HolderKind::Mount, mount.mount_point.clone()));
        }
    }
    Ok(holders)
}

fn spokesman(pids: &[u32]) -> Option<u32> {
    let own = std::process::id();
    if pids.contains(&own) {
        return Some(own);
    }
    // A kernel thread runs no program file.
    let runs = |pid: &&u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    pids.iter().find(runs).or_else(|| pids.first()).copied()
}

/// Returns which of these processes can write to a file in one of the trees by a descriptor or a
/// mapping, by whatever path they opened it. Other file systems and subvolumes below the top of a tree
/// do not count; nor do files opened through an overlay mount with its upper layer here, which
/// belong to the overlay's device (see [`writers_on`]).
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] where a process that lives or a tree cannot be read.
pub fn writers_below(trees: &[PathBuf], pids: &BTreeSet<u32>) -> Result<Vec<Holder>> {
    let mut tops = Vec::new();
    for tree in trees {
        tops.push(stat::stat(tree)?);
    }
    let devices: Vec<_> = tops.iter().map(|top| top.dev).collect();
    let mut holders = Vec::new();
    // Inodes of the trees, read when the first file of one's device is found open.
    let mut inodes = vec![None; trees.len()];
    for pid in pids {
        for (kind, path, found) in uses(*pid, Scope::Writing, &devices)? {
            for (number, top) in tops.iter().enumerate() {
                if top.dev != found.dev {
                    continue;
                }
                if inodes[number].is_none() {
                    inodes[number] = Some(inodes_below(&trees[number], top)?);
                }
                if inodes[number]
                    .as_ref()
                    .is_some_and(|inodes| inodes.contains(&found.ino))
                {
                    holders.push(holder(*pid, kind, path.clone()));
                }
            }
        }
    }
    Ok(holders)
}

/// Returns which of these processes can write to a file on one of these devices (see [`Stat::dev`]) by
/// a descriptor or a mapping.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] where a process that lives cannot be read.
pub fn writers_on(devices: &[u64], pids: &BTreeSet<u32>) -> Result<Vec<Holder>> {
    on_devices(devices, Scope::Writing, pids)
}

/// Returns the processes that use a file or directory on one of these devices in any way: what
/// keeps a file system from being unmounted.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] where `/proc`, or a process that lives, cannot be read.
pub fn users_of(devices: &[u64]) -> Result<Vec<Holder>> {
    on_devices(
        devices,
        Scope::Any,
        &processes::all()?.into_iter().collect(),
    )
}

/// Returns the processes that hold a lock on the file at `path`. A process whose descriptors this one may not see is left out.
///
/// The kernel's list of locks names no process for an open-file-description lock; a descriptor's `fdinfo` tells of the locks
/// that its description holds (proc_pid_fdinfo(5), since Linux 4.1).
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] where `/proc` or the file cannot be read.
pub fn lock_holders(path: &Path) -> Result<Vec<Holder>> {
    let wanted = stat::stat(path)?;
    let mut holders = Vec::new();
    for pid in processes::all()? {
        let fds = PathBuf::from(format!("/proc/{pid}/fd"));
        let holds = processes::numbers(&fds)
            .unwrap_or_default()
            .iter()
            .any(|fd| {
                let there = stat::stat(fds.join(fd.to_string()));
                let info = format!("/proc/{pid}/fdinfo/{fd}");
                there.is_ok_and(|there| (there.dev, there.ino) == (wanted.dev, wanted.ino))
                    && std::fs::read_to_string(info)
                        .is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:")))
            });
        if holds {
            holders.push(holder(pid, HolderKind::Locked, path.to_owned()));
        }
    }
    Ok(holders)
}

/// Which uses count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Writing,
    Any,
}

fn on_devices(devices: &[u64], scope: Scope, pids: &BTreeSet<u32>) -> Result<Vec<Holder>> {
    let mut holders = Vec::new();
    for pid in pids {
        for (kind, path, _) in uses(*pid, scope, devices)? {
            holders.push(holder(*pid, kind, path));
        }
    }
    Ok(holders)
}

fn holder(pid: u32, what: HolderKind, path: PathBuf) -> Holder {
    Holder {
        pid,
        command: processes::command_name(pid).unwrap_or_default(),
        what,
        path,
    }
}

/// Returns what a process has in use on these devices: nothing where it has ended, or has more rights than this one and
/// does not let it look.
fn uses(pid: u32, scope: Scope, devices: &[u64]) -> Result<Vec<(HolderKind, PathBuf, Stat)>> {
    match try_uses(pid, scope, devices) {
        Err(error) if processes::has_ended(&error) => Ok(Vec::new()),
        Err(error) if processes::is_forbidden(&error) => {
            tracing::debug!(pid, %error, "open files are not known");
            Ok(Vec::new())
        }
        uses => uses,
    }
}

fn try_uses(pid: u32, scope: Scope, devices: &[u64]) -> Result<Vec<(HolderKind, PathBuf, Stat)>> {
    let mut uses = Vec::new();
    // A kernel thread has nothing open. Half of all processes are such.
    if !processes::runs_a_program(pid) {
        return Ok(uses);
    }
    let base = PathBuf::from(format!("/proc/{pid}"));
    let mut add = |kind: HolderKind, link: PathBuf| {
        // The link leads to the very file, in whatever namespace it was opened.
        let Ok(found) = stat::stat(&link) else {
            return;
        };
        let counts = scope == Scope::Any || found.kind() == FileKind::Regular;
        if counts
            && devices.contains(&found.dev)
            && let Ok(path) = std::fs::read_link(&link)
        {
            uses.push((kind, path, found));
        }
    };
    for descriptor in processes::numbers(&base.join("fd"))? {
        let link = base.join(format!("fd/{descriptor}"));
        match can_write(&link) {
            Some(true) => add(HolderKind::OpenForWriting, link),
            Some(false) if scope == Scope::Any => add(HolderKind::Open, link),
            _ => {}
        }
    }
    for range in shared_writable_ranges(&base)? {
        add(
            HolderKind::MappedForWriting,
            base.join("map_files").join(range),
        );
    }
    if scope == Scope::Any {
        add(HolderKind::WorkingDirectory, base.join("cwd"));
        add(HolderKind::RootDirectory, base.join("root"));
        add(HolderKind::Executable, base.join("exe"));
    }
    Ok(uses)
}

/// Returns whether a descriptor, by its link in `/proc`, can be written to. The link's own mode tells, of which nobody has
/// to open anything (`tid_fd_update_inode` in fs/proc/fd.c); one of `O_PATH` has neither bit. `None` where it was closed.
fn can_write(link: &Path) -> Option<bool> {
    const OWNER_WRITES: u32 = 0o200;
    let found = stat::lstat(link).ok()?;
    Some(found.mode & OWNER_WRITES != 0)
}

/// Returns the address ranges of a process that are mapped shared and writable, as the names in
/// `map_files` have them.
fn shared_writable_ranges(base: &Path) -> Result<Vec<String>> {
    let path = base.join("maps");
    let maps = io("read", &path, std::fs::read(&path))?;
    Ok(parse_maps(&String::from_utf8_lossy(&maps)))
}

fn parse_maps(maps: &str) -> Vec<String> {
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions) = (fields.next()?, fields.next()?);
        let (_offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = permissions.contains('w') && permissions.ends_with('s') && inode != "0";
        // map_files has the addresses without leading zeros.
        let trim = |address: &str| address.trim_start_matches('0').to_owned();
        let (start, end) = range.split_once('-')?;
        wanted.then(|| format!("{}-{}", trim(start), trim(end)))
    };
    maps.lines().filter_map(range).collect()
}

/// Returns the inodes of the regular files in a tree, on the tree's own device.
fn inodes_below(directory: &Path, top: &Stat) -> Result<BTreeSet<u64>> {
    let mut inodes = BTreeSet::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let entries = match dir::read_dir(&directory) {
            // Removed meanwhile.
            Err(error) if error.errno() == Some(crate::Errno::NOENT) => continue,
            result => result?,
        };
        for entry in entries {
            let path = directory.join(&entry.name);
            match entry.kind {
                FileKind::Directory
                    if stat::lstat(&path).is_ok_and(|found| found.dev == top.dev) =>
                {
                    waiting.push(path);
                }
                FileKind::Regular => {
                    inodes.insert(entry.inode);
                }
                _ => {}
            }
        }
    }
    Ok(inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_maps() {
        let maps = "00400000-0040b000 rw-s 00000000 08:01 12 /a b\n\
            7f00-7f10 rw-p 00000000 08:01 12 /a\n7f10-7f20 r--s 0 08:01 12 /a\n\
            7f20-7f30 rw-s 00000000 00:01 0 \n";
        assert_eq!(parse_maps(maps), ["400000-40b000"]);
    }

    #[test]
    fn finds_the_own_writer() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("in")).unwrap();
        let path = place.path().join("in/file");
        let file = std::fs::File::create(&path).unwrap();
        let own = std::process::id();
        let inside = [place.path().join("in")];
        let pids = BTreeSet::from([own]);
        let writers = writers_below(&inside, &pids).unwrap();
        let found = writers.iter().find(|holder| holder.pid == own).unwrap();
        assert_eq!(
            (found.what, &found.path),
            (HolderKind::OpenForWriting, &path)
        );
        drop(file);
        let reader = std::fs::File::open(&path).unwrap();
        let writers = writers_below(&inside, &pids).unwrap();
        assert!(writers.iter().all(|holder| holder.pid != own));
        drop(reader);
    }
}
