//! Which processes belong together: each holds one byte of a file, and the kernel tells who.
//!
//! The locks are of the process (F_SETLK), unlike those of [`crate::lock`]: the kernel names the process that has one, and
//! they end with it, so that nothing is ever stale. They also end when the process closes *any* descriptor of the file,
//! which nothing but this module opens.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::raw::record_lock;
use crate::{Result, io, sys};

/// The byte that whoever joins holds meanwhile. No process has the number 0.
const GATE: u32 = 0;

/// The members of a group, told by a file.
#[derive(Debug)]
pub struct Members {
    file: File,
    path: PathBuf,
}

impl Members {
    /// Opens the file, making it with mode 0600 where it is missing. A process does this once for a file.
    pub fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
        Ok(Self {
            file: io("open", path, options.open(path))?,
            path: path.to_owned(),
        })
    }

    /// Keeps others from joining while `body` finds out whom to join, waiting for those who do.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`], and what `body` does.
    pub fn one_at_a_time<T, E: From<crate::Error>>(
        &self,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        sys("fcntl", &self.path, record_lock::take(&self.file, GATE))?;
        let done = body();
        sys("fcntl", &self.path, record_lock::release(&self.file, GATE))?;
        done
    }

    /// Makes this process a member until it ends.
    pub fn join(&self) -> Result<()> {
        let own = std::process::id();
        sys("fcntl", &self.path, record_lock::take(&self.file, own))
    }

    /// The other members. Those of another pid namespace, which have no number here, are left out.
    pub fn others(&self) -> Result<Vec<u32>> {
        let mut others = Vec::new();
        let mut from = GATE + 1;
        while let Some((byte, pid)) =
            sys("fcntl", &self.path, record_lock::holder(&self.file, from))?
        {
            if pid != 0 {
                others.push(pid);
            }
            // A lock that began earlier is told with its own beginning.
            from = byte.max(from) + 1;
        }
        Ok(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_the_other_of_itself() {
        let place = tempfile::tempdir().unwrap();
        let members = Members::open(&place.path().join("members")).unwrap();
        members.join().unwrap();
        let others = members.one_at_a_time(|| members.others()).unwrap();
        assert_eq!(others, []);
    }
}
