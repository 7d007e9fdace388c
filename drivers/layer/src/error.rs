//! What can be wrong with a layer, or go wrong with one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// The result of everything that reads, applies, compares or writes a layer.
pub type Result<T, E = LayerError> = std::result::Result<T, E>;

/// A layer that cannot be applied or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The stream ends before the archive does.
    #[error("the layer is truncated: {what}")]
    Truncated {
        /// Where it ends.
        what: String,
    },
    /// The content is not what was asked for.
    #[error("{what} mismatch: expected `{expected}`, found `{found}`")]
    DigestMismatch {
        /// Which of the two: `digest` (of the stream as it came) or `diff_id` (of the archive).
        what: &'static str,
        /// The digest that the caller gave.
        expected: Digest,
        /// The digest of what was read.
        found: Digest,
    },
    /// The stream is no archive, or the archive breaks the rules of its format.
    #[error("the layer is malformed: {reason}")]
    Junk {
        /// Which rule.
        reason: String,
    },
    /// An entry breaks the rules of the layer format.
    #[error("layer entry {entry} is malformed: {reason}")]
    Malformed {
        /// The entry.
        entry: EntryName,
        /// Which rule.
        reason: String,
    },
    /// An entry would land, or refers to something, outside the layer.
    #[error("layer entry {entry} leads out of the layer: {reason}")]
    Escape {
        /// The entry.
        entry: EntryName,
        /// By what.
        reason: String,
    },
    /// An entry or a compression that is legal elsewhere and not supported here.
    #[error("{what} is not supported: {remedy}")]
    Unsupported {
        /// What was found.
        what: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The archive is larger than the caller allows.
    #[error("the layer is larger than {limit} bytes uncompressed, the limit that was set")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// What makes the layer's archive again cannot be used.
    #[error("the layer's recipe is broken: {reason}")]
    Recipe {
        /// What is wrong with it.
        reason: String,
    },
    /// The stream that the layer comes from failed.
    #[error("failed to read the layer's stream: {0}")]
    Source(#[source] io::Error),
    /// The stream that the layer is written to failed.
    #[error("failed to write the layer's stream: {0}")]
    Sink(#[source] io::Error),
    /// The system refused something for an entry; [`cowlab_sys::Error::errno`] tells a full file
    /// system from the rest.
    #[error("layer entry {entry}: {source}")]
    Entry {
        /// The entry.
        entry: EntryName,
        /// What the system refused.
        source: cowlab_sys::Error,
    },
    /// The system refused something that belongs to no single entry.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

impl LayerError {
    /// Returns the error number of a system call that failed, if one did.
    #[must_use]
    pub fn errno(&self) -> Option<cowlab_sys::Errno> {
        match self {
            Self::Entry { source, .. } | Self::Sys(source) => source.errno(),
            Self::Source(error) | Self::Sink(error) => cowlab_sys::Errno::from_io_error(error),
            _ => None,
        }
    }

    /// Builds [`Malformed`](Self::Malformed).
    pub(crate) fn malformed(entry: &EntryName, reason: impl Into<String>) -> Self {
        Self::Malformed {
            entry: entry.clone(),
            reason: reason.into(),
        }
    }

    /// Builds [`Escape`](Self::Escape).
    pub(crate) fn escape(entry: &EntryName, reason: impl Into<String>) -> Self {
        Self::Escape {
            entry: entry.clone(),
            reason: reason.into(),
        }
    }
}

/// The name of an entry as the archive has it: any bytes.
///
/// Displayed in backticks with control characters escaped, because a hostile name must not write
/// to the terminal of whoever reads the error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryName(Vec<u8>);

impl EntryName {
    /// Wraps the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as a path.
    #[must_use]
    pub fn to_path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        Path::new(std::ffi::OsStr::from_bytes(&self.0)).to_path_buf()
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", String::from_utf8_lossy(&self.0).escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_write_to_the_terminal() {
        let name = EntryName::new(*b"a\x1b[2J\n\xff");
        let text = LayerError::escape(&name, "it holds `..`").to_string();
        assert!(!text.contains('\x1b') && !text.contains('\n'), "{text}");
        assert!(text.contains("`a\\u{1b}[2J\\n"), "{text}");
    }
}
