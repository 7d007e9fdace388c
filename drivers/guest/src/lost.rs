//! A guest that ended without its command's exit status, and why.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::console;

/// Why there is no exit status, and the end of the guest's console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Why.
    pub cause: Cause,
    /// The last lines of the console.
    pub console: String,
}

/// Why a guest ended without its command's exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The time limit passed.
    TimeLimit(Duration),
    /// The kernel panicked for this reason.
    Panic(String),
    /// The machine had no memory left; it had this many MiB.
    OutOfMemory(u32),
    /// The host's file system of the scratch disk is full.
    NoSpace(PathBuf),
    /// The guest could not be made ready.
    NotReady(String),
    /// The machine ended.
    Ended {
        /// QEMU's exit status, 128 and the signal's number after a signal.
        status: i32,
        /// What QEMU said.
        message: String,
    },
    /// Ctrl-C.
    Interrupted,
}

impl Lost {
    /// Builds the report from the whole of what is left of the console.
    pub(crate) fn new(cause: Cause, console: &str) -> Self {
        Self {
            cause,
            console: console::tail(console),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run the guest: {}", self.cause)?;
        match (&self.cause, self.console.as_str()) {
            (Cause::Interrupted, _) => Ok(()),
            (_, "") => write!(f, "; its console is empty"),
            (_, console) => write!(f, "; its console ended with:\n{console}"),
        }
    }
}

impl std::error::Error for Lost {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeLimit(limit) => write!(
                f,
                "its command had not ended after {} s; allow more with --time-limit",
                limit.as_secs_f64()
            ),
            Self::Panic(reason) => write!(f, "its kernel panicked: {reason}"),
            Self::OutOfMemory(size) => write!(
                f,
                "it ran out of its {size} MiB of memory; give it more with --memory"
            ),
            Self::NoSpace(dir) => write!(
                f,
                "no space is left in `{}` for its scratch disk; free some, or name another directory in COWLAB_TEST_DIR",
                dir.display()
            ),
            Self::NotReady(reason) => write!(f, "it could not be made ready: {reason}"),
            Self::Ended { status, message } => {
                write!(
                    f,
                    "it ended before its command did (QEMU: exit status {status}"
                )?;
                if !message.is_empty() {
                    write!(f, ", {message}")?;
                }
                f.write_str(")")
            }
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_reason_the_remedy_and_the_console() {
        let lost = Lost::new(Cause::OutOfMemory(512), "[1] a\r\n[2] b\r\n");
        assert_eq!(
            lost.to_string(),
            "run the guest: it ran out of its 512 MiB of memory; give it more with --memory; its console ended \
             with:\n[1] a\n[2] b"
        );
        let ended = Cause::Ended {
            status: 137,
            message: String::new(),
        };
        assert_eq!(
            Lost::new(ended, "").to_string(),
            "run the guest: it ended before its command did (QEMU: exit status 137); its console is empty"
        );
    }
}
