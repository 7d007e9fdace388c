//! User namespaces: what an ordinary user is root of (user_namespaces(7), subuid(5)).

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::getgid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::cmd::{Cmd, Running};
use crate::{MountAttributes, MountSpec, Result, io, mount, process, raw, stat, sys};

/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2: u64 = 0x6367_7270;

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Ids that a user may give to what it owns besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first.
    pub start: u32,
    /// How many there are.
    pub count: u32,
}

/// Returns the ranges that a table (`/etc/subuid` or `/etc/subgid`) gives a user, who is named or numbered in it.
pub fn ranges_of(table: &str, user: &str, id: u32) -> Vec<IdRange> {
    let id = id.to_string();
    ranges(table)
        .filter(|(owner, _)| *owner == user || *owner == id)
        .map(|(_, range)| range)
        .collect()
}

/// Returns where a new range can start in a table: behind all that are taken.
pub fn first_free(table: &str) -> u32 {
    /// Where shadow's tools start (login.defs(5), `SUB_UID_MIN`).
    const FIRST: u32 = 100_000;
    let end = |range: IdRange| range.start.saturating_add(range.count);
    ranges(table)
        .map(|(_, range)| end(range))
        .fold(FIRST, u32::max)
}

fn ranges(table: &str) -> impl Iterator<Item = (&str, IdRange)> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(':').map(str::trim);
        let owner = fields.next()?;
        let start = fields.next()?.parse().ok()?;
        let count = fields.next()?.parse().ok()?;
        Some((owner, IdRange { start, count }))
    })
}

/// Tells whether this process is in a user namespace other than the first: root of one is an ordinary user to the
/// host.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] where `/proc` cannot be read.
pub fn is_inside() -> Result<bool> {
    let path = "/proc/self/uid_map";
    let map = io("read", path, std::fs::read_to_string(path))?;
    Ok(map.split_whitespace().ne(["0", "0", "4294967295"]))
}

/// Tells whether this process has root's user id in effect, and in no user namespace but the first: root of another one
/// is an ordinary user to the host.
pub fn is_host_root() -> bool {
    // Where `/proc` tells nothing, what root may do shows when it is done.
    process::is_root() && !is_inside().unwrap_or(false)
}

/// Makes a user namespace in which this user and its group are 0 and these ranges come behind, and enters it with
/// namespaces of mounts and cgroups that are its own. What the calling process mounts from then on, nobody else sees.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`], `EINVAL` in a process with more threads; [`crate::Error::MissingProgram`] without
/// newuidmap(1); [`crate::Error::Command`] where the kernel or newuidmap refuses.
pub fn make_and_enter(uids: &[IdRange], gids: &[IdRange]) -> Result<()> {
    let mut holder = hold()?;
    let maps = [
        ("newuidmap", process::effective_uid(), uids),
        ("newgidmap", getgid().as_raw(), gids),
    ];
    for (program, own, ranges) in maps {
        let mut command = Cmd::new(program).arg(holder.pid().to_string());
        let mut inside = 1;
        command = command.args(["0", &own.to_string(), "1"]);
        for IdRange { start, count } in ranges {
            command = command.args([inside, *start, *count].map(|id| id.to_string()));
            inside = inside.saturating_add(*count);
        }
        command.run()?;
    }
    enter(holder.pid())?;
    holder.kill()
}

/// Starts a process that waits in a user namespace of its own.
pub(crate) fn hold() -> Result<Running> {
    let (mut reader, writer) = io("pipe", "", std::io::pipe())?;
    // It speaks once it is in the namespace.
    let command = Cmd::new("unshare").args(["--user", "sh", "-c", "echo; exec sleep 60"]);
    let mut holder = command.attach(writer)?;
    let mut said = [0];
    io("read", "unshare", reader.read_exact(&mut said))?;
    if said == *b"\n" {
        return Ok(holder);
    }
    // What it says instead is why it is not.
    let mut rest = String::new();
    io("read", "unshare", reader.read_to_string(&mut rest))?;
    Err(crate::Error::Command {
        line: command.to_string(),
        status: Some(holder.wait()?),
        stderr: format!("{}{}", char::from(said[0]), rest.trim_end()),
    })
}

/// Enters the user namespace of a process, one that this user made, with namespaces of mounts and cgroups as
/// [`make_and_enter`] gives.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EINVAL` in a process with more threads, `EPERM` for another user's.
pub fn enter(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/user");
    let namespace = io("open", &path, File::open(&path))?;
    let moved = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User));
    sys("setns", &path, moved)?;
    // What is mounted outside goes on to appear inside, and nothing the other way (mount_namespaces(7): mounts of a more
    // privileged namespace are slaves in a less privileged one).
    let own = UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP;
    sys("unshare", &path, raw::unshare(own))?;
    show_own_cgroups()
}

/// Shows the cgroups of version 2 where those of version 1 are: nobody but the host's root can use the latter.
fn show_own_cgroups() -> Result<()> {
    let place = Path::new(CGROUPS);
    if stat::statfs(place).is_ok_and(|found| found.fstype_magic == CGROUP2) {
        return Ok(());
    }
    let spec = MountSpec {
        fstype: "cgroup2".to_owned(),
        source: Some("cgroup2".into()),
        attributes: MountAttributes {
            read_only: true,
            ..MountAttributes::default()
        },
        ..MountSpec::default()
    };
    match mount::mount(&spec, place) {
        // It ends with the namespace.
        Ok(guard) => drop(guard.keep()),
        Err(error) => tracing::debug!(%error, "no cgroups are shown"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_counts_by_name_and_by_number() {
        let table = "a:100000:65536\n1001:165536:65536\nb:300000:1000\nb:1:x\n\n";
        let range = |start, count| IdRange { start, count };
        assert_eq!(ranges_of(table, "a", 1), [range(100_000, 65_536)]);
        assert_eq!(ranges_of(table, "x", 1001), [range(165_536, 65_536)]);
        assert_eq!(ranges_of(table, "b", 2), [range(300_000, 1000)]);
        assert_eq!(ranges_of("", "a", 1), []);
    }

    #[test]
    fn a_new_range_is_behind_the_others() {
        assert_eq!(first_free(""), 100_000);
        assert_eq!(first_free("a:100000:65536\nb:7:1\n"), 165_536);
    }
}
