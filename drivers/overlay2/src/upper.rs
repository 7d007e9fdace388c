//! What an upper directory says about the difference from the parent.

use std::path::PathBuf;

use cowlab_driver::tree::{self, Visited};
use cowlab_driver::{Candidate, Candidates, Reach, Result};
use cowlab_sys::{FileKind, at, xattr};

/// Marks a directory that hides the parent's (value `y`), or that may hold whiteouts made of files
/// (value `x`).
const OPAQUE: &str = "trusted.overlay.opaque";
/// Marks a directory that shows the content of another one of the parent.
const REDIRECT: &str = "trusted.overlay.redirect";

/// Lists every entry of an upper directory: nothing else can differ from the parent.
///
/// A whiteout stands for a deletion at its own path. A directory that was renamed with
/// `redirect_dir` leaves a whiteout at the old path, and its new path counts with everything below.
pub(crate) fn candidates(diff: &std::path::Path) -> Result<Candidates> {
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
