//! A Debian root file system, for what only a real one has: thousands of files, links and owners that nobody made up.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use cowlab_runtime::sample::debian_root;

use crate::context::Result;
use crate::difference::Difference;

/// The file of one that was made before.
static TAKEN: OnceLock<PathBuf> = OnceLock::new();

/// Has [`tar`] read a file: the process that runs a suite makes one for those of its columns.
pub(crate) fn take(file: &Path) {
    TAKEN.get_or_init(|| file.to_owned());
}

/// The tar of one: what was taken along to here, else made by mmdebstrap once a process, from the mirror that this host's apt
/// uses.
///
/// # Errors
///
/// What is missing for it, a network for example.
pub fn tar() -> Result<Vec<u8>> {
    static TAR: OnceLock<Result<Mutex<File>>> = OnceLock::new();
    let file = TAR.get_or_init(make).as_ref().map_err(Clone::clone)?;
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file has no name by the time that it is used: nothing is left of it, however the process ends.
fn make() -> Result<Mutex<File>> {
    if let Some(file) = TAKEN.get() {
        return Ok(Mutex::new(File::open(file)?));
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("root.tar");
    debian_root(&path)
        .map_err(|reason| Difference::new("mmdebstrap", "a Debian root", "ok", reason))?;
    Ok(Mutex::new(File::open(&path)?))
}
