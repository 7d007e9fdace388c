//! What the tests of layers have in common: layers applied to a plain directory, as any user.

use std::path::Path;

use cowlab_tarball::{Entry, archive};
use tempfile::TempDir;

use crate::apply::{ApplyOptions, Duplicates, Target, apply_to};
use crate::error::{LayerError, Result};

/// The archive of entries that the user of this process owns, who may own no others.
pub(crate) fn archive_of(entries: &[Entry]) -> Vec<u8> {
    let stat = cowlab_sys::stat::lstat(tempfile::tempdir().unwrap().path()).unwrap();
    let owned = |entry: &Entry| entry.clone().owner(stat.uid, stat.gid);
    archive(&entries.iter().map(owned).collect::<Vec<_>>())
}

/// Applies layers one over the other.
pub(crate) fn applied(layers: &[&[Entry]]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (index, layer) in layers.iter().enumerate() {
        apply(
            dir.path(),
            index == 0,
            &archive_of(layer),
            Duplicates::LastWins,
        )
        .unwrap();
    }
    dir
}

/// Applies one layer to a directory.
pub(crate) fn apply(
    dir: &Path,
    is_base: bool,
    mut archive: &[u8],
    duplicates: Duplicates,
) -> Result<()> {
    let target = if is_base {
        Target::base(dir)?
    } else {
        Target::union(dir)?
    };
    let options = ApplyOptions {
        duplicates,
        ..ApplyOptions::default()
    };
    apply_to(target, &mut archive, &options).map(|_| ())
}

/// The error of a layer that cannot be applied over `base`.
pub(crate) fn refused(base: &[Entry], layer: &[Entry]) -> LayerError {
    apply(
        applied(&[base]).path(),
        false,
        &archive_of(layer),
        Duplicates::LastWins,
    )
    .unwrap_err()
}

/// What is in a directory: paths with types, link targets and content.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, prefix: &str, lines: &mut Vec<String>) {
        let mut entries: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let name = format!("{prefix}{}", name.to_string_lossy());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                lines.push(format!("{name}/"));
                walk(&path, &format!("{name}/"), lines);
            } else if kind.is_symlink() {
                lines.push(format!(
                    "{name} -> {}",
                    std::fs::read_link(&path).unwrap().display()
                ));
            } else {
                lines.push(format!(
                    "{name}={}",
                    std::fs::read(&path).unwrap().escape_ascii()
                ));
            }
        }
    }
    type Result<T> = std::io::Result<T>;
    let mut lines = Vec::new();
    walk(dir, "", &mut lines);
    lines
}
