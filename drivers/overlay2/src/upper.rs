//! What an upper directory says about the difference from the parent.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cowlab_driver::tree::{self, Visited};
use cowlab_driver::{Candidate, Candidates, Reach, Result};
use cowlab_sys::{FileKind, Root, at, xattr};

/// Marks a directory that hides the parent's (value `y`), or that may hold whiteouts made of files
/// (value `x`).
const OPAQUE: &str = "trusted.overlay.opaque";
/// Marks a directory that shows the content of another one of the parent.
const REDIRECT: &str = "trusted.overlay.redirect";

/// Gives the `diff` of a new snapshot the attributes of its parent's: the root of a union has those of its
/// topmost layer. What overlay itself keeps there (origin, impure, uuid) stays behind.
pub(crate) fn inherit_root(parent_diff: &Path, snapshot: &Path) -> Result<()> {
    let (original, dir) = (Root::open(parent_diff)?, Root::open(snapshot)?);
    let stat = at::stat(&original, "")?;
    tree::copy_attributes(&original, &stat, &dir, Path::new("diff"), |key| {
        !key.as_bytes().starts_with(b"trusted.overlay.")
    })
}

/// Lists every entry of an upper directory: nothing else can differ from the parent.
///
/// A whiteout stands for a deletion at its own path. A directory that was renamed with
/// `redirect_dir` leaves a whiteout at the old path, and its new path counts with everything below.
pub(crate) fn candidates(diff: &Path) -> Result<Candidates> {
    let mut candidates = vec![Candidate {
        path: PathBuf::new(),
        reach: Reach::Entry,
    }];
    tree::walk(diff, &mut |entry| {
        candidates.push(Candidate {
            path: entry.path.to_owned(),
            reach: reach(entry)?,
        });
        Ok(())
    })?;
    Ok(candidates)
}

fn reach(entry: &Visited<'_>) -> Result<Reach> {
    if entry.kind != FileKind::Directory {
        return Ok(Reach::Entry);
    }
    let dir = at::open_path(entry.dir, entry.name())?;
    for mark in [OPAQUE, REDIRECT] {
        if xattr::get_fd(&dir, mark)?.is_some() {
            return Ok(Reach::Subtree);
        }
    }
    Ok(Reach::Entry)
}
