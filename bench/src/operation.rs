//! The first change of a file of the image: what the copy-up workloads time.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A change of one file. Each is what a program does, and nothing more is inside the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `open(O_WRONLY)`, nothing written: the kernel copies the file up all the same (overlayfs.rst, "Non-directories").
    OpenWrite,
    /// `open(O_WRONLY)`, `pwrite` of one byte in the middle, `close`.
    WriteByte,
    /// `chmod`: data is copied too, unless `metacopy` puts it off.
    Chmod,
    /// `open(O_WRONLY | O_TRUNC)`: the old data need not be copied.
    Truncate,
    /// `rename` within the directory.
    Rename,
    /// `link` to a second name in the directory.
    Link,
}

/// What the operations work on: the file, and how often it was changed before.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    size: u64,
    turn: u32,
}

impl Target {
    /// A file of a size, not changed so far.
    #[must_use]
    pub const fn new(path: PathBuf, size: u64) -> Self {
        Self {
            path,
            size,
            turn: 0,
        }
    }

    /// Where the file is now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size that the file has as long as nothing truncates it.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::OpenWrite,
        Self::WriteByte,
        Self::Chmod,
        Self::Truncate,
        Self::Rename,
        Self::Link,
    ];

    /// The name in results and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenWrite => "open-write",
            Self::WriteByte => "write-1",
            Self::Chmod => "chmod",
            Self::Truncate => "truncate-0",
            Self::Rename => "rename",
            Self::Link => "link",
        }
    }

    /// The operation of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }

    /// The size of the file afterwards.
    #[must_use]
    pub fn size_after(self, before: u64) -> u64 {
        match self {
            Self::Truncate => 0,
            Self::WriteByte => before.max(1),
            _ => before,
        }
    }

    /// Whether the file's data is as it was, so that it is enough to copy the attributes.
    #[must_use]
    pub const fn leaves_data(self) -> bool {
        matches!(self, Self::Chmod | Self::Rename | Self::Link)
    }

    /// Does it, and says how long the system calls took.
    ///
    /// # Errors
    ///
    /// What the kernel said: then nothing was measured.
    pub fn time(self, target: &mut Target) -> io::Result<Duration> {
        target.turn += 1;
        let path = target.path.clone();
        let turn = target.turn;
        let next = sibling(&path, self.name(), turn);
        let mode = Permissions::from_mode(if turn % 2 == 1 { 0o640 } else { 0o600 });
        let mut write = OpenOptions::new();
        write.write(true).truncate(self == Self::Truncate);
        let byte = [u8::try_from(turn % 251).unwrap_or_default()];
        let middle = target.size / 2;

        let before = Instant::now();
        let elapsed = match self {
            Self::OpenWrite | Self::Truncate => {
                let file = write.open(&path)?;
                let elapsed = before.elapsed();
                drop(file);
                return Ok(elapsed);
            }
            Self::WriteByte => {
                let file = write.open(&path)?;
                file.write_all_at(&byte, middle)?;
                drop(file);
                before.elapsed()
            }
            Self::Chmod => {
                fs::set_permissions(&path, mode)?;
                before.elapsed()
            }
            Self::Rename => {
                fs::rename(&path, &next)?;
                before.elapsed()
            }
            Self::Link => {
                fs::hard_link(&path, &next)?;
                before.elapsed()
            }
        };
        if self == Self::Rename {
            target.path = next;
        }
        Ok(elapsed)
    }

    /// Makes sure that the change can be seen in the file: what did not happen was not timed.
    ///
    /// # Errors
    ///
    /// What cannot be read, or [`io::ErrorKind::InvalidData`] naming what is not as it should be.
    pub fn check(self, target: &Target) -> io::Result<()> {
        let found = fs::symlink_metadata(&target.path)?;
        let expected = self.size_after(target.size);
        let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if found.len() != expected {
            return wrong(format!(
                "the file has {} bytes instead of {expected}",
                found.len()
            ));
        }
        if self == Self::Link {
            let second = sibling(&target.path, self.name(), target.turn);
            fs::symlink_metadata(&second)?;
        }
        if self == Self::Chmod {
            let expected = if target.turn % 2 == 1 { 0o640 } else { 0o600 };
            if found.permissions().mode() & 0o7777 != expected {
                return wrong("the mode did not change".to_owned());
            }
        }
        Ok(())
    }
}

/// The name beside the file that a rename or link of that turn makes.
fn sibling(path: &Path, operation: &str, turn: u32) -> PathBuf {
    path.with_extension(format!("{operation}-{turn}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(dir: &Path, size: usize) -> Target {
        let path = dir.join("file");
        fs::write(&path, vec![7; size]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Target::new(path, u64::try_from(size).unwrap())
    }

    #[test]
    fn names_read_back() {
        for operation in Operation::ALL {
            assert_eq!(Operation::find(operation.name()), Some(operation));
        }
        assert_eq!(Operation::find("open"), None);
    }

    #[test]
    fn every_operation_works_twice_and_is_seen() {
        for operation in Operation::ALL {
            for size in [0, 8192] {
                let dir = tempfile::tempdir().unwrap();
                let mut target = target(dir.path(), size);
                for _ in 0..2 {
                    operation.time(&mut target).unwrap();
                    operation.check(&target).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_did_not_happen_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut target = target(dir.path(), 10);
        assert!(Operation::Truncate.check(&target).is_err());
        Operation::Chmod.time(&mut target).unwrap();
        fs::set_permissions(target.path(), Permissions::from_mode(0o600)).unwrap();
        assert!(Operation::Chmod.check(&target).is_err());
        fs::remove_file(target.path()).unwrap();
        assert!(Operation::Rename.time(&mut target).is_err());
    }
}
