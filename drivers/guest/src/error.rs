//! The error of this crate.

use std::path::PathBuf;

use crate::Release;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a guest could not be built, found or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No release has this name.
    #[error("find the release `{name}`: known are {}", known())]
    UnknownRelease {
        /// The name.
        name: String,
    },
    /// There is neither `XDG_CACHE_HOME` nor `HOME`.
    #[error(
        "find the cache: neither `XDG_CACHE_HOME` nor `HOME` is set to an absolute path; set one"
    )]
    NoCacheDirectory,
    /// An image was written by another version of cowlab.
    #[error(
        "read the guest image `{}`: it has format {found} and this cowlab reads {}; build or export it anew with the \
         same cowlab", path.display(), crate::FORMAT
    )]
    Format {
        /// The image.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// An image lacks a file, or one is not what the manifest says.
    #[error("read the guest image `{}`: {reason}; remove it, then build or import it again", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The kernel or a program refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

fn known() -> String {
    Release::ALL.map(Release::name).join(", ")
}
