//! The processes of this host, as `/proc` shows them.

use std::path::{Path, PathBuf};

use crate::{Errno, Error, Result, io};

/// Returns the ids of all processes.
///
/// # Errors
///
/// Returns [`Error::Sys`] where `/proc` cannot be read.
pub fn all() -> Result<Vec<u32>> {
    let mut pids = numbers(Path::new("/proc"))?;
    pids.sort_unstable();
    Ok(pids)
}

/// Returns whether a process runs a program: a kernel thread does not, nor one that has ended and waits for its parent.
pub(crate) fn runs_a_program(pid: u32) -> bool {
    // Whatever else goes wrong shows when the process is looked at.
    !matches!(
        rustix::fs::readlink(format!("/proc/{pid}/exe"), Vec::new()),
        Err(Errno::NOENT)
    )
}

/// Returns whether looking at a process failed because it has ended. The table of one that waits for its parent is
/// refused with `EINVAL` (fs/proc_namespace.c, `mounts_open_common`).
pub(crate) fn has_ended(error: &Error) -> bool {
    matches!(
        error.errno(),
        Some(Errno::NOENT | Errno::SRCH | Errno::INVAL)
    )
}

/// Returns whether looking at a process failed for want of rights (ptrace(2), "Ptrace access mode checking").
pub(crate) fn is_forbidden(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM))
}

/// Returns the `/proc` directories of the threads of a process; none where it has ended.
pub(crate) fn tasks(pid: u32) -> Vec<PathBuf> {
    let directory = PathBuf::from(format!("/proc/{pid}/task"));
    // The kernel counts each thread as a link (fs/proc/base.c, `proc_task_getattr`), and most processes have one.
    let links = rustix::fs::stat(&directory).map(|found| found.st_nlink);
    if links == Ok(3) {
        return vec![PathBuf::from(format!("/proc/{pid}"))];
    }
    let threads = numbers(&directory).unwrap_or_default();
    threads
        .iter()
        .map(|thread| directory.join(thread.to_string()))
        .collect()
}

/// Returns the entries of a directory whose names are numbers.
pub(crate) fn numbers(directory: &Path) -> Result<Vec<u32>> {
    let entries = io("readdir", directory, std::fs::read_dir(directory))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// Returns the short name of a process (`/proc/PID/comm`); `None` where it has ended.
pub fn command_name(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_listed_with_its_name() {
        assert!(all().unwrap().contains(&std::process::id()));
        assert!(command_name(std::process::id()).is_some());
    }
}
