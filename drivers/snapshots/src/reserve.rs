//! Space set aside, so that a full file system can be emptied.
//!
//! A removal writes its intent before it frees anything, and a commit has a last row to write when its
//! data is frozen already. Where the database cannot grow for that, this file gives way to it. It is
//! filled again when there is room.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Enough for the pages of a few transactions on a file system that allocates generously.
const SIZE: usize = 512 << 10;

/// The file `reserve` of a store.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            path: root.join("reserve"),
        }
    }

    /// Sets the space aside if it is not. Without room for it nothing is lost but the reserve.
    pub(crate) fn fill(&self) {
        if self.path.exists() {
            return;
        }
        // Random, so that no file system compresses it.
        let mut bytes = vec![0; SIZE];
        let filled = getrandom::fill(&mut bytes)
            .map_err(|error| std::io::Error::other(error.to_string()))
            .and_then(|()| fs::write(&self.path, &bytes));
        if let Err(error) = filled {
            tracing::debug!(path = %self.path.display(), %error, "no room for a reserve");
            self.spend();
        }
    }

    /// Gives the space back and says whether there was any.
    pub(crate) fn spend(&self) -> bool {
        match fs::remove_file(&self.path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the reserve stays");
                false
            }
        }
    }
}
