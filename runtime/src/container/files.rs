//! Small files of a container: JSON documents that are whole or as before, and names that one alone can have.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cowlab_sys::{Errno, durability, io};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Result};

/// What the name of a file has in it that is going to replace another.
pub(super) const PARTIAL: &str = ".partial-";

/// The largest document that is read.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// Reads a document; `None` where there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let size = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => io("stat", path, found)?.len(),
    };
    let damaged = |reason: String| Error::Damaged {
        path: path.to_owned(),
        reason,
    };
    if size > DOCUMENT_LIMIT {
        return Err(damaged(format!("it has {size} bytes")));
    }
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => io("read", path, read)?,
    };
    let document = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(document))
}

/// What a power cut may take. Whoever reads, before and after a crash of processes, always sees a whole file, old or new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileDurability {
    /// Nothing: it is there when the call returns.
    PowerCut,
    /// The change: the one before may be there again, whole.
    Either,
    /// All of it: it is made anew before it is read again.
    Boot,
}

/// Writes a document in place of the one before.
pub(super) fn write<T: Serialize>(
    path: &Path,
    document: &T,
    durability: FileDurability,
) -> Result<()> {
    let text = serde_json::to_vec(document).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    replace(path, &text, durability)
}

/// Writes a file in place of the one before, as [`write`] does.
pub(super) fn replace(path: &Path, content: &[u8], durability: FileDurability) -> Result<()> {
    let partial = path.with_extension(format!("{}{}", &PARTIAL[1..], std::process::id()));
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = io("open", &partial, options.open(&partial))?;
        io("write", &partial, file.write_all(content))?;
        if durability != FileDurability::Boot {
            durability::fsync_file(&file, &partial)?;
        }
        io("rename", path, fs::rename(&partial, path))?;
        match durability {
            FileDurability::PowerCut => durability::fsync_dir(path.parent().unwrap_or(path)),
            FileDurability::Either | FileDurability::Boot => Ok(()),
        }
    })();
    if written.is_err() {
        remove_quietly(&partial);
    }
    Ok(written?)
}

/// Makes a file that was not there, whole from its first moment; `false` where the name is taken.
pub(super) fn claim(path: &Path, content: &[u8], durability: FileDurability) -> Result<bool> {
    let dir = path.parent().unwrap_or(path);
    // A unique name beside it: linked into place, the claim never stands half-written.
    let unique = cowlab_sys::IdSource::Kernel.uuid("claim")?;
    let partial = dir.join(format!(".{unique}"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let linked = (|| {
        let mut file = io("open", &partial, options.open(&partial))?;
        io("write", &partial, file.write_all(content))?;
        if durability != FileDurability::Boot {
            durability::fsync_file(&file, &partial)?;
        }
        match io("link", path, fs::hard_link(&partial, path)) {
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(false),
            linked => linked.map(|()| true),
        }
    })();
    remove_quietly(&partial);
    let linked = linked?;
    if durability == FileDurability::PowerCut {
        durability::fsync_dir(dir)?;
    }
    Ok(linked)
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => Ok(io("unlink", path, removed)?),
    }
}

fn remove_quietly(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(%error, "left behind");
    }
}

/// Makes a directory with its parents, writable by root alone.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o711);
    Ok(io("mkdir", path, builder.create(path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_claimed_once() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("name");
        assert!(claim(&path, b"one", FileDurability::PowerCut).unwrap());
        assert!(!claim(&path, b"two", FileDurability::Boot).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn documents_read_back_and_damage_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d.json");
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None);
        write(&path, &vec![1, 2], FileDurability::PowerCut).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Some(vec![1, 2]));
        fs::write(&path, "[1,").unwrap();
        let error = read::<Vec<u32>>(&path).unwrap_err().to_string();
        assert!(error.contains("d.json` is damaged"), "{error}");
    }
}
