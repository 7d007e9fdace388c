//! The files of the checkout, without asking git: a clone on a bare machine may lack it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];
/// Longer files are data, not prose or code.
const MAXIMUM_BYTES: u64 = 1 << 20;

/// A file that is valid UTF-8.
#[derive(Debug)]
pub(super) struct TextFile {
    /// Relative to the root of the workspace.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl TextFile {
    /// Whether the file name ends in `.extension`.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        self.path
            .extension()
            .is_some_and(|found| found == extension)
    }

    /// Whether the path is below `folder`.
    pub(super) fn is_below(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

/// Every text file below `root`, sorted by path.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<TextFile>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("failed to list `{}`", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to list `{}`", folder.display()))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("failed to stat `{}`", entry.path().display()))?;
            let name = entry.file_name();
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.extend(read_text(root, &entry.path())?);
            }
        }
    }
    files.sort_by(|a: &TextFile, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_text(root: &Path, path: &Path) -> anyhow::Result<Option<TextFile>> {
    let failed = || format!("failed to read `{}`", path.display());
    if fs::metadata(path).with_context(failed)?.len() > MAXIMUM_BYTES {
        return Ok(None);
    }
    let bytes = fs::read(path).with_context(failed)?;
    let relative = path.strip_prefix(root).unwrap_or(path).to_path_buf();
    Ok(String::from_utf8(bytes).ok().map(|text| TextFile {
        path: relative,
        text,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_files_and_binaries_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("target/debug")).unwrap();
        fs::write(dir.path().join("target/debug/built.rs"), "").unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        fs::write(dir.path().join("src/lib.rs"), "//! A.").unwrap();
        fs::write(dir.path().join("image.bin"), [0xff, 0xfe]).unwrap();
        let files = read(dir.path()).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_path()).collect();
        assert_eq!(paths, [Path::new("src/lib.rs")]);
    }
}
