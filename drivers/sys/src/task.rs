//! Processes that are not this one's children: known by number, start and boot, signaled without a race.
//!
//! A process number is given out again. A process is the same one when its number, its start and the boot are
//! the same, and a pid descriptor that was opened before the start was looked at stays with that process
//! (pidfd_open(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, set_child_subreaper,
    set_parent_process_death_signal, wait as wait_any, waitpid,
};

use crate::{Errno, Error, Result, channel, io, raw, signals, sys};

/// Which process it is, on this host, at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskId {
    /// The process number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot (proc_pid_stat(5), field 22).
    pub start: u64,
    /// The boot it runs in, see [`crate::process::boot_id`].
    pub boot: String,
}

impl TaskId {
    /// Describes a process that runs now.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `ESRCH` where there is none; [`Error::Parse`].
    pub fn of(pid: u32) -> Result<Self> {
        let (start, _) = stat(pid)?;
        let boot = crate::process::boot_id()?;
        Ok(Self { pid, start, boot })
    }

    /// Opens the process, or returns `None` where it has ended, if only as a zombie, or was of another boot.
    pub fn open(&self) -> Result<Option<Task>> {
        if crate::process::boot_id()? != self.boot {
            return Ok(None);
        }
        let Some(task) = Task::open(self.pid)? else {
            return Ok(None);
        };
        // Looked at with the descriptor in hand: from here on the number cannot mean another process unnoticed.
        match stat(self.pid) {
            Ok((start, state)) if start == self.start && state != 'Z' && state != 'X' => {
                Ok(Some(task))
            }
            Ok(_) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A process, held by a descriptor.
#[derive(Debug)]
pub struct Task {
    fd: OwnedFd,
    pid: u32,
}

impl Task {
    /// Opens a process by its number, or returns `None` where there is none.
    pub fn open(pid: u32) -> Result<Option<Self>> {
        let Some(number) = number(pid) else {
            return Ok(None);
        };
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self { fd, pid })),
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => sys("pidfd_open", pid.to_string(), Err(errno)),
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Opens this process.
    pub fn current() -> Result<Self> {
        let number = rustix::process::getpid();
        let fd = sys(
            "pidfd_open",
            "self",
            pidfd_open(number, PidfdFlags::empty()),
        )?;
        Ok(Self {
            fd,
            pid: number.as_raw_pid().unsigned_abs(),
        })
    }

    /// Waits so long for it to end, and returns whether it has.
    pub fn ends_within(&self, time: Duration) -> Result<bool> {
        let readable = channel::Ready {
            readable: true,
            writable: false,
        };
        let ready = channel::wait(&[(self.fd.as_fd(), readable)], Some(time))?;
        Ok(ready[0].readable)
    }

    /// Sends a signal; a process that has ended gets none.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `EINVAL` for a number that is no signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let known = raw::signal(signal).ok_or(Errno::INVAL);
        match known.and_then(|signal| pidfd_send_signal(&self.fd, signal)) {
            Err(Errno::SRCH) => Ok(()),
            sent => sys("pidfd_send_signal", self.pid.to_string(), sent),
        }
    }
}

/// Has this process be killed when the thread that forked it ends, or no more. It lasts over execve(2), and a change of the user
/// undoes it (PR_SET_PDEATHSIG(2const)).
pub fn end_with_parent(wanted: bool) -> Result<()> {
    let signal = wanted.then_some(Signal::KILL);
    let set = set_parent_process_death_signal(signal);
    sys("prctl", "PR_SET_PDEATHSIG", set)
}

impl AsFd for Task {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has orphans below this process become its children (PR_SET_CHILD_SUBREAPER(2const)).
pub fn become_subreaper() -> Result<()> {
    let this = Some(rustix::process::getpid());
    sys("prctl", "PR_SET_CHILD_SUBREAPER", set_child_subreaper(this))
}

/// Takes the status of one ended child, whichever it is: its number, and its status as shells have it, 128 and
/// the signal's number after a signal. `None` while no child has ended, or none is left.
pub fn reap() -> Result<Option<(u32, i32)>> {
    wait_for(None, WaitOptions::NOHANG)
}

/// Waits until a child has ended and returns its status as [`reap`] does.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `ECHILD` for what is no child.
pub fn wait(pid: u32) -> Result<i32> {
    match wait_for(number(pid), WaitOptions::empty())? {
        Some((_, status)) => Ok(status),
        None => sys("waitpid", pid.to_string(), Err(Errno::CHILD)),
    }
}

fn wait_for(pid: Option<Pid>, options: WaitOptions) -> Result<Option<(u32, i32)>> {
    loop {
        // Without a number waitpid(2) would leave out children that lead groups of their own.
        let ended = match pid {
            Some(_) => waitpid(pid, options),
            None => wait_any(options),
        };
        match ended {
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(None),
            Ok(None) => return Ok(None),
            Ok(Some((pid, status))) => {
                let signal = || 128 + status.terminating_signal().unwrap_or(0);
                let code = status.exit_status().unwrap_or_else(signal);
                let pid = pid.as_raw_nonzero().get().unsigned_abs();
                return Ok(Some((pid, code)));
            }
            Err(errno) => return sys("waitpid", "", Err(errno)),
        }
    }
}

fn number(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// The start and the state of a process.
fn stat(pid: u32) -> Result<(u64, char)> {
    let path = format!("/proc/{pid}/stat");
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return sys("read", &path, Err(Errno::SRCH));
        }
        read => io("read", &path, read)?,
    };
    // The second field, a name in parentheses, may hold anything, parentheses and blanks as well.
    let fields = text.rsplit_once(") ").map(|(_, rest)| rest.split(' '));
    let mut fields = fields.ok_or_else(|| Error::parse("/proc/PID/stat", text.clone()))?;
    let state = fields.next().and_then(|word| word.chars().next());
    let start = fields.nth(18).and_then(|word| word.parse().ok());
    match (start, state) {
        (Some(start), Some(state)) => Ok((start, state)),
        _ => Err(Error::parse("/proc/PID/stat", text)),
    }
}

fn is_gone(error: &Error) -> bool {
    error.errno() == Some(Errno::SRCH)
}

/// Signals by name, those that kill(1) lists and their further names (signal(7)), without `SIG`.
const SIGNALS: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// The first real-time signal that the C libraries leave to programs; the last is [`signals::HIGHEST`] (signal(7)).
const RTMIN: i32 = 34;

/// Returns the number of a signal named as `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-2`.
pub fn signal_number(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|one| one.0 == name);
    let number = match named {
        Some((_, number)) => *number,
        None => real_time(name).or_else(|| upper.parse().ok())?,
    };
    raw::signal(number).map(|_| number)
}

fn real_time(name: &str) -> Option<i32> {
    let from = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN + from(rest, '+')?,
        (_, Some(rest)) => signals::HIGHEST - from(rest, '-')?,
        _ => return None,
    };
    (RTMIN..=signals::HIGHEST)
        .contains(&number)
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cmd;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let mut running = Cmd::new("sleep").arg("60").spawn().unwrap();
        let id = TaskId::of(running.pid()).unwrap();
        let task = id.open().unwrap().unwrap();
        let other_start = TaskId {
            start: id.start + 1,
            ..id.clone()
        };
        assert!(other_start.open().unwrap().is_none());
        let boot = "00000000-0000-0000-0000-000000000000".to_owned();
        let other_boot = TaskId { boot, ..id.clone() };
        assert!(other_boot.open().unwrap().is_none());
        task.signal(15).unwrap();
        assert_eq!(running.wait().unwrap(), 128 + 15);
        assert!(id.open().unwrap().is_none());
        task.signal(15).unwrap();
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(signal_number(text), Some(15), "{text}");
        }
        for (text, number) in [
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("RTMIN", 34),
            ("37", 37),
            ("SIGCLD", 17),
        ] {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in [
            "", "0", "32", "65", "SIG", "NOPE", "-9", "RTMIN+31", "RTMIN-1", "SIG15",
        ] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
