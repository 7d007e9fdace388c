//! What can go wrong with a build.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cowlab_dockerfile::{Instruction, Lines, Stage};

/// The instruction that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The Dockerfile, as it was named.
    pub file: Arc<str>,
    /// The lines of the instruction.
    pub lines: Lines,
    /// Its text.
    pub text: String,
}

impl From<&Instruction> for Place {
    fn from(instruction: &Instruction) -> Self {
        Self {
            file: instruction.file.clone(),
            lines: instruction.lines,
            text: instruction.text.clone(),
        }
    }
}

impl From<&Stage> for Place {
    fn from(stage: &Stage) -> Self {
        Self {
            file: stage.file.clone(),
            lines: stage.lines,
            text: stage.text.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}`", self.file, self.lines.first, self.text)
    }
}

/// An error of a build.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A Dockerfile or a `.dockerignore` that cannot be used.
    #[error(transparent)]
    Dockerfile(#[from] cowlab_dockerfile::Error),
    /// A context that is no directory.
    #[error("build context `{}` is not usable: {reason}", path.display())]
    Context {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An instruction that could not be executed.
    #[error("{place}: {reason}")]
    Instruction {
        /// Which.
        place: Place,
        /// Why.
        #[source]
        reason: Box<Error>,
    },
    /// What an instruction says cannot be done.
    #[error("{reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The program of a `RUN` ended with another status than 0.
    #[error("{place}: the program ended with exit status {status}")]
    Exit {
        /// The instruction.
        place: Place,
        /// The status.
        status: i32,
    },
    /// A file of the context changed between the look at it and the copy.
    #[error("`{}` of {tree} changed while it was copied: build again when nobody writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What it is of.
        tree: String,
    },
    /// Another stage failed first.
    #[error("the build was canceled: another stage failed")]
    GivenUp,
    /// The root refused.
    #[error(transparent)]
    Runtime(#[from] cowlab_runtime::Error),
    /// The containers refused.
    #[error(transparent)]
    Container(#[from] cowlab_runtime::container::Error),
    /// An archive that cannot be unpacked.
    #[error("archive `{name}`: {reason}")]
    Archive {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: Box<cowlab_layer::LayerError>,
    },
    /// The system refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

impl Error {
    /// What an instruction says cannot be done.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.into(),
        }
    }

    /// Says which instruction it is about, unless it says so already.
    pub(crate) fn at(self, place: impl Into<Place>) -> Self {
        match self {
            Self::Dockerfile(_)
            | Self::Instruction { .. }
            | Self::Exit { .. }
            | Self::GivenUp
            | Self::Runtime(cowlab_runtime::Error::Interrupted) => self,
            reason => Self::Instruction {
                place: place.into(),
                reason: Box::new(reason),
            },
        }
    }
}

/// The result of a build's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
