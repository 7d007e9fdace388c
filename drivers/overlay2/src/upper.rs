//! What an upper directory says about the difference from the parent.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cowlab_driver::tree::{self, Visited};
use cowlab_driver::{Candidate, Candidates, Copied, Own, Reach, Result};
use cowlab_sys::{FileKind, Root, at, xattr};

/// The xattrs in which overlayfs keeps its notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Marks a directory that hides the parent's (value `y`), or that may hold whiteouts made of files (value `x`).
    pub(crate) opaque: &'static str,
    /// Marks a directory that shows the content of another one of the parent.
    pub(crate) redirect: &'static str,
    /// Marks what was copied up (overlayfs.rst, "Inode properties").
    origin: &'static str,
    /// Marks a file of which only attributes were copied up (overlayfs.rst, "Metadata only copy up").
    metacopy: &'static str,
}

/// Those that only the host's root can write.
pub(crate) const TRUSTED: Marks = Marks {
    opaque: "trusted.overlay.opaque",
    redirect: "trusted.overlay.redirect",
    origin: "trusted.overlay.origin",
    metacopy: "trusted.overlay.metacopy",
};

/// Those that the owner of a file can write: `userxattr` (overlayfs.rst, "User xattr").
pub(crate) const USER: Marks = Marks {
    opaque: "user.overlay.opaque",
    redirect: "user.overlay.redirect",
    origin: "user.overlay.origin",
    metacopy: "user.overlay.metacopy",
};

/// Gives the `diff` of a new snapshot the attributes of its parent's: the root of a union has those of its
/// topmost layer. What overlay itself keeps there (origin, impure, uuid) stays behind.
pub(crate) fn inherit_root(parent_diff: &Path, snapshot: &Path) -> Result<()> {
    let (original, dir) = (Root::open(parent_diff)?, Root::open(snapshot)?);
    let stat = at::stat(&original, "")?;
    tree::copy_attributes(&original, &stat, &dir, Path::new("diff"), |key| {
        let notes: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
        !notes.iter().any(|space| key.as_bytes().starts_with(space))
    })
}

/// Lists every entry of an upper directory: nothing else can differ from the parent.
///
/// A whiteout stands for a deletion at its own path. A directory that was renamed with
/// `redirect_dir` leaves a whiteout at the old path, and its new path counts with everything below.
pub(crate) fn candidates(diff: &Path, marks: Marks) -> Result<Candidates> {
    let mut candidates = vec![Candidate {
        path: PathBuf::new(),
        reach: Reach::Entry,
    }];
    tree::walk(diff, &mut |entry| {
        candidates.push(Candidate {
            path: entry.path.to_owned(),
            reach: reach(entry, marks)?,
        });
        Ok(())
    })?;
    Ok(candidates)
}

fn reach(entry: &Visited<'_>, marks: Marks) -> Result<Reach> {
    if entry.kind != FileKind::Directory {
        return Ok(Reach::Entry);
    }
    let dir = at::open_path(entry.dir, entry.name())?;
    for mark in [marks.opaque, marks.redirect] {
        if xattr::get_fd(&dir, mark)?.is_some() {
            return Ok(Reach::Subtree);
        }
    }
    Ok(Reach::Entry)
}

/// Says what an upper directory has at `path`; `None` below a directory that shows another one of the parent.
pub(crate) fn own(diff: &Path, path: &Path, marks: Marks) -> Result<Option<Own>> {
    let mut place = diff.to_owned();
    let mut dir = at::open_path(Root::open(diff)?, ".")?;
    let (mut hides, mut merges) = (false, true);
    let mut steps = path.iter().peekable();
    while let Some(name) = steps.next() {
        let is_last = steps.peek().is_none();
        let found = at::stat_if_present(&dir, name)?;
        let Some(found) = found else {
            return Ok(Some(match hides {
                true => Own::Hidden { place },
                false => Own::Nothing,
            }));
        };
        place.push(name);
        let is_directory = found.kind() == FileKind::Directory;
        if found.is_whiteout() || !(is_directory || is_last) {
            return Ok(Some(Own::Hidden { place }));
        }
        merges = is_directory;
        dir = at::open_path(&dir, name)?;
        if is_directory {
            if xattr::get_fd(&dir, marks.redirect)?.is_some() {
                return Ok(None);
            }
            hides |= xattr::get_fd(&dir, marks.opaque)?.is_some_and(|value| value == b"y");
        }
    }
    let copied = match xattr::get_fd(&dir, marks.origin)? {
        None => Copied::Nothing,
        Some(_) if xattr::get_fd(&dir, marks.metacopy)?.is_some() => Copied::Attributes,
        Some(_) => Copied::Whole,
    };
    Ok(Some(Own::Entry {
        place,
        merges: merges && !hides,
        copied,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_has_what_is_in_it() {
        let diff = tempfile::tempdir().unwrap();
        std::fs::create_dir(diff.path().join("dir")).unwrap();
        std::fs::write(diff.path().join("dir/file"), "x").unwrap();
        let of = |path: &str| own(diff.path(), Path::new(path), TRUSTED).unwrap().unwrap();
        let entry = |path: &str, merges| Own::Entry {
            place: diff.path().join(path),
            merges,
            copied: Copied::Nothing,
        };
        assert_eq!(of("dir"), entry("dir", true));
        assert_eq!(of("dir/file"), entry("dir/file", false));
        assert_eq!(of("dir/none"), Own::Nothing);
        let place = diff.path().join("dir/file");
        assert_eq!(of("dir/file/below"), Own::Hidden { place });
    }
}
