//! What cases about the store have in common: layers applied, refusals, files and trees.

use std::fmt::Debug;

use cowlab_layer::LayerError;
use cowlab_snapshots::{ApplyOptions, Error as StoreError};

use crate::context::{Context, Result, expect};
use crate::difference::Difference;
use crate::tree::Tree;
use cowlab_tarball::{Entry, archive};

/// The kind of an error, as cases name it.
fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Exists { .. } => "exists",
        StoreError::NotFound { .. } => "not found",
        StoreError::WrongKind { .. } => "wrong kind",
        StoreError::HasChildren { .. } => "has children",
        StoreError::Busy { .. } => "busy",
        StoreError::InvalidKey { .. } => "invalid key",
        StoreError::Newer { .. } => "newer",
        StoreError::ForeignRoot { .. } => "foreign root",
        StoreError::Recorded { .. } => "recorded otherwise",
        StoreError::Layer { reason, .. } => layer_kind(reason),
        StoreError::Driver { .. } | StoreError::Unusable(_) => "driver",
        _ => "another error",
    }
}

/// The kind of an error of a layer, as cases name it.
fn layer_kind(error: &LayerError) -> &'static str {
    match error {
        LayerError::Truncated { .. } => "truncated",
        LayerError::DigestMismatch { .. } => "digest mismatch",
        LayerError::Junk { .. } => "junk",
        LayerError::Malformed { .. } => "malformed",
        LayerError::Escape { .. } => "escape",
        _ if error.errno() == Some(cowlab_sys::Errno::NOSPC) => "no space",
        _ => "another error of the layer",
    }
}

/// Expects the store to refuse, with an error of this kind.
pub(crate) fn refused<T: Debug>(
    what: &str,
    expected: &str,
    given: std::result::Result<T, StoreError>,
) -> Result<()> {
    match given {
        Err(error) if kind(&error) == expected => Ok(()),
        Err(error) => Err(Difference::new(
            what,
            "error",
            expected,
            format!("{} ({error})", kind(&error)),
        )),
        Ok(_) => Err(Difference::new(what, "error", expected, "success")),
    }
}

/// Applies an archive.
pub(crate) fn apply(
    context: &Context,
    name: &str,
    parent: Option<&str>,
    bytes: &[u8],
) -> std::result::Result<(), StoreError> {
    let mut stream = bytes;
    context
        .store()
        .apply(name, parent, &mut stream, &ApplyOptions::default())
        .map(drop)
}

/// Applies entries that must apply.
pub(crate) fn apply_entries(
    context: &Context,
    name: &str,
    parent: Option<&str>,
    entries: &[Entry],
) -> Result<()> {
    Ok(apply(context, name, parent, &archive(entries))?)
}

/// The names and short contents below a directory, as one line.
pub(crate) fn summary(tree: &Tree, path: &str) -> Result<String> {
    let mut parts = Vec::new();
    for name in names(tree, path)? {
        let below = format!("{path}{name}");
        let stat = tree
            .stat(&below)
            .map_err(|code| Difference::new(&below, "stat", "ok", code))?;
        parts.push(match stat.kind() {
            cowlab_sys::stat::FileKind::Directory => {
                format!("{name}/({})", summary(tree, &format!("{below}/"))?)
            }
            cowlab_sys::stat::FileKind::Regular => format!("{name}={}", read_text(tree, &below)?),
            _ => name,
        });
    }
    Ok(parts.join(" "))
}

/// Expects a committed snapshot to have these names and short contents.
pub(crate) fn shows(context: &Context, name: &str, expected: &str) -> Result<()> {
    let got = context.with_view(name, |dir| summary(&Tree::open(dir)?, "/"))?;
    expect("/", "tree", expected.to_owned(), got)
}

/// The names in a directory, sorted.
pub(crate) fn names(tree: &Tree, path: &str) -> Result<Vec<String>> {
    let list = tree
        .list(path)
        .map_err(|code| Difference::new(path, "list", "ok", code))?;
    let mut names: Vec<_> = list
        .into_iter()
        .map(|name| name.display().to_string())
        .collect();
    names.sort();
    Ok(names)
}

/// A file's content as text.
pub(crate) fn read_text(tree: &Tree, path: &str) -> Result<String> {
    let bytes = tree
        .read(path)
        .map_err(|code| Difference::new(path, "read", "ok", code))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file.
pub(crate) fn write_text(tree: &Tree, path: &str, text: &str) -> Result<()> {
    tree.write(path, text.as_bytes())
        .map_err(|code| Difference::new(path, "write", "ok", code))
}

/// The changes of a snapshot, one a line: `Modified /f`.
pub(crate) fn changes_of(context: &Context, name: &str) -> Result<String> {
    let changes = context.store().changes(name)?;
    let lines: Vec<_> = changes
        .iter()
        .map(|change| format!("{:?} {}", change.kind, change.path.display()))
        .collect();
    Ok(lines.join("\n"))
}
