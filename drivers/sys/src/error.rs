//! The error of this crate: a failed system call, mount or program, with the object it was about.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the kernel or an external program refused.
///
/// The message holds the whole reason; [`std::error::Error::source`] is therefore empty, so that a
/// printed chain does not say it twice.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    Sys {
        /// The call's name, as in its manual page.
        call: &'static str,
        /// The object: a path, or a name below an open directory.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// A file system could not be mounted.
    Mount {
        /// The file system type.
        fstype: String,
        /// The mount point; empty for a detached mount.
        target: PathBuf,
        /// Why.
        source: Errno,
        /// What the kernel wrote to the log of the mount's context, one message a line.
        log: String,
    },
    /// An external program ended with a failure.
    Command {
        /// The command line.
        line: String,
        /// The exit status; `None` after a signal.
        status: Option<i32>,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// An external program is not installed.
    MissingProgram {
        /// The program's name.
        program: String,
        /// The Debian package that has it; empty where none is known.
        package: &'static str,
    },
    /// Text from the kernel or a program has an unexpected form.
    Parse {
        /// What was being read.
        what: &'static str,
        /// The offending text.
        text: String,
    },
}

impl Error {
    /// Returns the error number of a failed system call or mount.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Sys { source, .. } | Self::Mount { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// Builds a [`Error::Parse`].
    pub fn parse(what: &'static str, text: impl Into<Vec<u8>>) -> Self {
        let text = String::from_utf8_lossy(&text.into()).into_owned();
        Self::Parse { what, text }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sys { call, path, source } => {
                write!(f, "{call} `{}`: {}", path.display(), reason(*source))
            }
            Self::Mount {
                fstype,
                target,
                source,
                log,
            } => {
                write!(f, "mount {fstype}")?;
                if !target.as_os_str().is_empty() {
                    write!(f, " at `{}`", target.display())?;
                }
                write!(f, ": {}", reason(*source))?;
                if !log.is_empty() {
                    write!(f, " (kernel: {})", log.replace('\n', "; "))?;
                }
                Ok(())
            }
            Self::Command {
                line,
                status,
                stderr,
            } => {
                match status {
                    Some(code) => write!(f, "run `{line}`: exit status {code}")?,
                    None => write!(f, "run `{line}`: ended by a signal")?,
                }
                if !stderr.is_empty() {
                    write!(f, ": {stderr}")?;
                }
                Ok(())
            }
            Self::MissingProgram { program, package } => {
                write!(f, "find the program `{program}`: it is not installed")?;
                if !package.is_empty() {
                    write!(f, "; the Debian package `{package}` has it")?;
                }
                Ok(())
            }
            Self::Parse { what, text } => write!(f, "read {what}: unexpected `{text}`"),
        }
    }
}

impl std::error::Error for Error {}

/// Returns the text of an error number, without the number and in lower case.
fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

/// Names the call and the object of a failed system call.
///
/// # Errors
///
/// Returns [`Error::Sys`] where `result` is an error.
pub fn sys<T>(
    call: &'static str,
    path: impl AsRef<Path>,
    result: std::result::Result<T, Errno>,
) -> Result<T> {
    result.map_err(|source| Error::Sys {
        call,
        path: path.as_ref().to_path_buf(),
        source,
    })
}

/// Names the call and the object of a failed standard library call. An error that carries no
/// error number (a short read, say) becomes `EIO`.
///
/// # Errors
///
/// Returns [`Error::Sys`] where `result` is an error.
pub fn io<T>(call: &'static str, path: impl AsRef<Path>, result: std::io::Result<T>) -> Result<T> {
    sys(
        call,
        path,
        result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_object_and_reason() {
        let error = sys("open", "/a", Err::<(), _>(Errno::NOENT)).unwrap_err();
        assert_eq!(error.to_string(), "open `/a`: no such file or directory");
        assert_eq!(error.errno(), Some(Errno::NOENT));
        let error = Error::Mount {
            fstype: "overlay".into(),
            target: "/m".into(),
            source: Errno::INVAL,
            log: "e overlay: a\ne overlay: b".into(),
        };
        assert_eq!(
            error.to_string(),
            "mount overlay at `/m`: invalid argument (kernel: e overlay: a; e overlay: b)"
        );
        let error = Error::MissingProgram {
            program: "x".into(),
            package: "",
        };
        assert_eq!(
            error.to_string(),
            "find the program `x`: it is not installed"
        );
    }
}
