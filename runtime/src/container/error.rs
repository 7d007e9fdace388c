//! What can go wrong with a container or a volume.

use std::path::PathBuf;

/// An error of containers and volumes. A message names the object, the reason and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such object.
    #[error("there is no {what} `{name}`: `{list}` lists what there is")]
    NotFound {
        /// `container` or `volume`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The command that lists them.
        list: &'static str,
    },
    /// The start of an id that more than one container has.
    #[error(
        "`{name}` is the start of {count} container ids: write more of it, such as `{example}`"
    )]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// How many match.
        count: usize,
        /// More of one of them.
        example: String,
    },
    /// The name is taken.
    #[error("the {what} name `{name}` is taken by {owner}: choose another, or remove that one")]
    NameTaken {
        /// `container` or `volume`.
        what: &'static str,
        /// The name.
        name: String,
        /// Who has it.
        owner: String,
    },
    /// Something on the command line that cannot be.
    #[error("{what} `{}` cannot be: {reason}", value.escape_debug())]
    Invalid {
        /// What it is.
        what: &'static str,
        /// The offending text.
        value: String,
        /// Which rule it breaks, and what to write.
        reason: String,
    },
    /// The container is in a state in which the operation makes no sense.
    #[error("container `{name}` is {state}: {needed}")]
    WrongState {
        /// Its name.
        name: String,
        /// What it is.
        state: String,
        /// What it should be, or what to do.
        needed: String,
    },
    /// Another verb is at work on the container.
    #[error("container `{name}` is locked by another command: wait for it to end")]
    Locked {
        /// Its name.
        name: String,
    },
    /// The container's process could not be started.
    #[error("start container `{name}`: {reason}")]
    Start {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
        /// The exit status that shells and docker have for it: 127 where the program is not there, 126 where it cannot
        /// be executed, else 125.
        status: i32,
    },
    /// The volume is used by containers.
    #[error("volume `{name}` is in use by {users}: remove them first")]
    VolumeInUse {
        /// The volume's name.
        name: String,
        /// The containers.
        users: String,
    },
    /// Others keep volumes from being removed.
    #[error(
        "volumes cannot be removed while containers are being created: {}: try again afterwards",
        holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    VolumesInUse {
        /// Who holds the lock; empty where nobody may be seen.
        holders: Vec<cowlab_sys::holders::Holder>,
    },
    /// A record that cannot be read.
    #[error("`{}` is damaged: {reason}; of a container, `cowlab rm -f` removes it with what it belongs to", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The root refused: its graph, an image.
    #[error(transparent)]
    Root(Box<crate::Error>),
    /// The snapshot store refused.
    #[error(transparent)]
    Store(#[from] cowlab_snapshots::Error),
    /// A mount that could not be closed.
    #[error(transparent)]
    Leak(#[from] cowlab_sys::Leak),
    /// The system refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

/// The result of what concerns containers and volumes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn invalid(what: &'static str, value: &str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            what,
            value: value.to_owned(),
            reason: reason.into(),
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self::Root(Box::new(error))
    }
}
