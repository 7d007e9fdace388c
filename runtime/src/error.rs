//! What can go wrong with an image.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// An error of the runtime library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory that is no OCI image layout, or holds one that breaks the specification.
    #[error("image layout `{}` is not usable: {reason}", path.display())]
    Layout {
        /// The layout's directory, or the file in it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob whose content does not have the digest that it is named by.
    #[error("blob `{expected}` of image layout `{}` has the digest `{found}`", path.display())]
    Digest {
        /// The layout's directory.
        path: PathBuf,
        /// The digest in the descriptor.
        expected: String,
        /// The digest of what is there.
        found: String,
    },
    /// No such image in the layout.
    #[error("image layout `{}` has no image `{name}`: it has {present}", path.display())]
    NoImage {
        /// The layout's directory.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What is there, for the reader.
        present: String,
    },
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

impl Error {
    pub(crate) fn layout(path: &Path, reason: impl Display) -> Self {
        Self::Layout {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The result of the runtime's functions.
pub type Result<T> = std::result::Result<T, Error>;
