//! Files that a command is told to write: whole, or as before.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Has a file written beside its place and renames it, so that no half of it has its name. What is there and is no regular
/// file, a pipe for example, is written as it is.
///
/// # Errors
///
/// What `write` returns, and what the system refuses.
pub(crate) fn to_file<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let failed = || format!("failed to write `{}`", path.display());
    let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file());
    let fresh = match is_special {
        true => path.to_owned(),
        false => {
            let mut fresh = path.as_os_str().to_owned();
            fresh.push(".incoming");
            PathBuf::from(fresh)
        }
    };
    let written = (|| {
        let mut options = File::options();
        options.write(true).create(true).truncate(!is_special);
        options.mode(cowlab_sys::process::callers_mode(0o666));
        let mut out = BufWriter::with_capacity(1 << 20, options.open(&fresh).with_context(failed)?);
        let done = write(&mut out)?;
        let file = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .with_context(failed)?;
        if !is_special {
            file.sync_all().with_context(failed)?;
            fs::rename(&fresh, path).with_context(failed)?;
        }
        Ok(done)
    })();
    if written.is_err() && !is_special {
        // Why it failed is what counts; what cannot be removed was not written by this.
        drop(fs::remove_file(&fresh));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "before").unwrap();
        let failed: anyhow::Result<()> = to_file(&path, |out| {
            out.write_all(b"half")?;
            anyhow::bail!("no more")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"before");
        to_file(&path, |out| Ok(out.write_all(b"after")?)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
