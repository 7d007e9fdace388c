//! The error of this crate.

use std::path::PathBuf;

use cowlab_sys::Leak;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a testbed could not be made, used or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Mounts and loop devices need root.
    #[error("{action}: it needs root; run it as root or with `sudo`")]
    NotRoot {
        /// What was to be done, as a verb.
        action: &'static str,
    },
    /// The directory that runs are to be made in cannot hold any.
    #[error(
        "throw-away file systems cannot be made in `{}`: {reason}; make the directory, or name \
         another with `--dir` or in `COWLAB_TEST_DIR`", directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program or a part of the kernel is missing on this host.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// Making it would leave too little space on the disk.
    #[error(
        "`{}` has {} MiB to spare and {} MiB are needed; free some, or name another directory \
         with `--dir` or in `COWLAB_TEST_DIR`", directory.display(), available >> 20, needed >> 20
    )]
    NoSpace {
        /// Where the space is needed.
        directory: PathBuf,
        /// Bytes needed, with what must remain.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// Making it would leave too little memory.
    #[error(
        "the host has {} MiB of memory to spare and {} MiB are needed; free some, or use disk",
        available >> 20, needed >> 20
    )]
    NoMemory {
        /// Bytes needed, with what must remain.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The file system cannot be made this small.
    #[error("{backing} needs at least {} MiB and {} were given", least >> 20, bytes >> 20)]
    TooSmall {
        /// The backing.
        backing: &'static str,
        /// The size given, in bytes.
        bytes: u64,
        /// The least size, in bytes.
        least: u64,
    },
    /// A tmpfs cannot be mounted again: it would be empty.
    #[error("mount `{name}` again: a tmpfs loses its content")]
    Volatile {
        /// The name of the backing file system.
        name: String,
    },
    /// After an unmount something of the file system is still in memory.
    #[error("cool `{name}` down: {reason}")]
    NotCold {
        /// The name of the backing file system.
        name: String,
        /// What is still there.
        reason: String,
    },
    /// The journal of a run cannot be read.
    #[error("read the journal `{}`: {reason}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Objects could not be taken back, or their user did not take them back.
    #[error("{}", list(abandoned, leaks))]
    Leaks {
        /// Objects that were still there when the run ended, in words. The run took them down,
        /// except those that are in `leaks` as well.
        abandoned: Vec<String>,
        /// Objects that are still there.
        leaks: Vec<Leak>,
    },
    /// The kernel or a program refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

impl From<Leak> for Error {
    fn from(leak: Leak) -> Self {
        vec![leak].into()
    }
}

impl From<Vec<Leak>> for Error {
    fn from(leaks: Vec<Leak>) -> Self {
        Self::Leaks {
            abandoned: Vec::new(),
            leaks,
        }
    }
}

fn list(abandoned: &[String], leaks: &[Leak]) -> String {
    let abandoned = abandoned
        .iter()
        .map(|object| format!("{object} was left open"));
    let all: Vec<_> = abandoned
        .chain(leaks.iter().map(ToString::to_string))
        .collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_object_reason_and_remedy() {
        let error = Error::NoSpace {
            directory: "/d".into(),
            needed: 3 << 20,
            available: 1 << 20,
        };
        assert_eq!(
            error.to_string(),
            "`/d` has 1 MiB to spare and 3 MiB are needed; free some, or name another directory \
             with `--dir` or in `COWLAB_TEST_DIR`"
        );
        let error = Error::Directory {
            directory: "/d".into(),
            reason: "it is no directory".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "throw-away file systems cannot be made in `/d`: it is no directory; make the \
             directory, or name another with `--dir` or in `COWLAB_TEST_DIR`"
        );
        let source = cowlab_sys::Error::parse("a number", "x");
        let leaks = vec![Leak {
            what: "the mount at `/m`".into(),
            source,
        }];
        let error = Error::Leaks {
            abandoned: vec!["the mount at `/m`".into()],
            leaks,
        };
        assert_eq!(
            error.to_string(),
            "the mount at `/m` was left open; the mount at `/m` is left behind: read a number: \
             unexpected `x`"
        );
    }
}
