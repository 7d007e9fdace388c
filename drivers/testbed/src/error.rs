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
    /// A program or a part of the kernel is missing on this host.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// Making it would leave too little space.
    #[error(
        "`{}` has {} MiB to spare and {} MiB are needed; free some or name another directory with \
         `COWLAB_TEST_DIR`", directory.display(), available >> 20, needed >> 20
    )]
    NoSpace {
        /// Where the space is needed; `memory` for memory.
        directory: PathBuf,
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
    /// A file system on loops cannot be mounted again; tmpfs would be empty.
    #[error("mount {name} again: a tmpfs loses its content")]
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
    /// Objects could not be taken back, or were left by whoever used the testbed.
    #[error("{}", leaks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Leaks {
        /// The objects.
        leaks: Vec<Leak>,
    },
    /// The kernel or a program refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

impl From<Leak> for Error {
    fn from(leak: Leak) -> Self {
        Self::Leaks { leaks: vec![leak] }
    }
}
