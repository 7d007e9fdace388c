//! Space set aside, so that a full file system can be emptied.
//!
//! A removal writes its intent before it frees anything, and a commit has a last row to write when its
//! data is frozen already. Where the database cannot grow for that, this file gives way to it. It is
//! filled again when there is room.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Enough for the pages of a few transactions on a file system that allocates generously.
const SIZE: usize = 512 << 10;
/// Room for the pages of one transaction and the index of the log.
const PROBE: usize = 128 << 10;

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
        // After a power cut it may be shorter: a file system writes the length when it has found room for the content.
        if self
            .path
            .metadata()
            .is_ok_and(|found| found.len() >= SIZE as u64)
        {
            return;
        }
        let filled = random(SIZE).and_then(|bytes| fs::write(&self.path, &bytes));
        if let Err(error) = filled {
            tracing::debug!(path = %self.path.display(), %error, "no room for a reserve");
            self.spend();
        }
    }

    /// Whether there is no room in the store's directory for what a transaction writes: tried by writing as much to a
    /// file without a name, for free space says nothing of quotas and of file systems that share their space.
    pub(crate) fn is_needed(&self) -> bool {
        let dir = self.path.parent().unwrap_or(&self.path);
        let tried = random(PROBE).and_then(|bytes| {
            let mut file = cowlab_sys::file::unnamed(dir).map_err(|error| as_io(&error))?;
            file.write_all(&bytes)?;
            file.sync_all()
        });
        tried.is_err_and(|error| {
            let is_full =
                [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&error.kind());
            tracing::debug!(dir = %dir.display(), %error, is_full, "tried to write");
            is_full
        })
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

/// Bytes that no file system compresses.
fn random(size: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn as_io(error: &cowlab_sys::Error) -> std::io::Error {
    match error.errno() {
        Some(errno) => errno.into(),
        None => std::io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_power_cut_left_of_the_reserve_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path());
        fs::write(dir.path().join("reserve"), "").unwrap();
        reserve.fill();
        assert_eq!(
            fs::metadata(dir.path().join("reserve")).unwrap().len(),
            SIZE as u64
        );
        assert!(reserve.spend() && !reserve.spend());
    }
}
