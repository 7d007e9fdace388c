//! Whether there is room, asked before anything is written.

use std::path::Path;

use cowlab_sys::stat;

use crate::{Error, Result};

/// Refuses to fill the file system of `directory` with `needed` bytes that it does not have; `variable` of the environment
/// moves the directory.
pub(crate) fn check(directory: &Path, needed: u64, variable: &'static str) -> Result<()> {
    let found = stat::statfs(directory)?;
    let available = found.avail.saturating_mul(found.block_size);
    if available >= needed {
        return Ok(());
    }
    Err(Error::NoSpace {
        directory: directory.to_path_buf(),
        needed,
        available,
        variable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_refused_with_its_numbers() {
        let place = tempfile::tempdir().unwrap();
        check(place.path(), 0, "TMPDIR").unwrap();
        let error = check(place.path(), u64::MAX, "TMPDIR").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("TMPDIR") && text.contains("17592186044415 MiB are needed"),
            "{text}"
        );
    }
}
