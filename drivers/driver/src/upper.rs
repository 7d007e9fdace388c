//! What an upper directory says about the difference from the parent.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::tree::{self, Visited};
use crate::{Candidate, Candidates, Copied, Own, Reach, Result};
use cowlab_sys::{FileKind, Root, at, xattr};

/// The prefix of a file that stands for a deletion where devices cannot be made (OCI image specification, "Whiteouts").
const WHITEOUT_PREFIX: &str = ".wh.";
/// The file that marks the directory it is in as opaque.
const OPAQUE_FILE: &str = ".wh..wh..opq";

/// How a union records in an upper directory what is not plain content. A deletion is a character device 0:0 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayXattrs {
    /// The xattr of a directory that hides the parent's (value `y`), or that may hold whiteouts made of files (value `x`).
    pub opaque: &'static str,
    /// The xattr of what was copied up (overlayfs.rst, "Inode properties").
    pub origin: &'static str,
    /// The xattr of a directory that shows the content of another one of the parent.
    pub redirect: Option<&'static str>,
    /// The xattr of a file of which only attributes were copied up (overlayfs.rst, "Metadata only copy up").
    pub metacopy: Option<&'static str>,
    /// Whether files of the names `.wh.NAME` and `.wh..wh..opq` stand for deletions and opaque directories, too.
    pub whiteout_files: bool,
}

impl OverlayXattrs {
    fn is_opaque(&self, dir: &impl AsFd) -> Result<bool> {
        Ok(has(dir, Some(self.opaque))?
            || self.whiteout_files && at::stat_if_present(dir, OPAQUE_FILE)?.is_some())
    }

    /// The name that a file stands for the deletion of.
    fn deleted<'a>(&self, name: &'a OsStr) -> Option<&'a OsStr> {
        let deleted = name.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes())?;
        let is_name = !matches!(deleted, b"" | b"." | b"..");
        (self.whiteout_files && is_name).then(|| OsStr::from_bytes(deleted))
    }
}

fn has(entry: &impl AsFd, mark: Option<&'static str>) -> Result<bool> {
    Ok(match mark {
        Some(mark) => xattr::get_fd(entry, mark)?.is_some(),
        None => false,
    })
}

/// Gives the `diff` of a new snapshot the attributes of its parent's: the root of a union has those of its
/// topmost layer. What the union itself keeps there (origin, impure, uuid) stays behind.
pub fn inherit_root(parent_diff: &Path, snapshot: &Path) -> Result<()> {
    let (original, dir) = (Root::open(parent_diff)?, Root::open(snapshot)?);
    let stat = at::stat(&original, "")?;
    tree::copy_attributes(&original, &stat, &dir, Path::new("diff"), |key| {
        let notes: [&[u8]; 3] = [
            b"trusted.overlay.",
            b"user.overlay.",
            b"user.fuseoverlayfs.",
        ];
        !notes.iter().any(|space| key.as_bytes().starts_with(space))
    })
}

/// Lists every entry of an upper directory: nothing else can differ from the parent.
///
/// A whiteout stands for a deletion at its own path. A directory that was renamed with
/// `redirect_dir` leaves a whiteout at the old path, and its new path counts with everything below.
pub fn candidates(diff: &Path, xattrs: OverlayXattrs) -> Result<Candidates> {
    let mut candidates = vec![Candidate {
        path: PathBuf::new(),
        reach: Reach::Entry,
    }];
    tree::walk(diff, &mut |entry| {
        candidates.push(Candidate {
            path: entry.path.to_owned(),
            reach: reach(entry, xattrs)?,
        });
        if let Some(deleted) = xattrs.deleted(entry.name().as_os_str()) {
            candidates.push(Candidate {
                path: entry.path.with_file_name(deleted),
                reach: Reach::Entry,
            });
        }
        Ok(())
    })?;
    Ok(candidates)
}

fn reach(entry: &Visited<'_>, xattrs: OverlayXattrs) -> Result<Reach> {
    if entry.kind != FileKind::Directory {
        return Ok(Reach::Entry);
    }
    let dir = at::open_path(entry.dir, entry.name())?;
    Ok(
        match xattrs.is_opaque(&dir)? || has(&dir, xattrs.redirect)? {
            true => Reach::Subtree,
            false => Reach::Entry,
        },
    )
}

/// Says what an upper directory has at `path`; `None` below a directory that shows another one of the parent.
pub fn own(diff: &Path, path: &Path, xattrs: OverlayXattrs) -> Result<Option<Own>> {
    let mut place = diff.to_owned();
    let mut dir = at::open_path(Root::open(diff)?, ".")?;
    let (mut hides, mut merges) = (false, true);
    let mut steps = path.iter().peekable();
    while let Some(name) = steps.next() {
        let is_last = steps.peek().is_none();
        let found = at::stat_if_present(&dir, name)?;
        let Some(found) = found else {
            let mut file = OsString::from(WHITEOUT_PREFIX);
            file.push(name);
            hides |= xattrs.whiteout_files && at::stat_if_present(&dir, &file)?.is_some();
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
            if has(&dir, xattrs.redirect)? {
                return Ok(None);
            }
            hides |= hides_parent(&dir, xattrs)?;
        }
    }
    let copied = match has(&dir, Some(xattrs.origin))? {
        false => Copied::Nothing,
        true if has(&dir, xattrs.metacopy)? => Copied::Attributes,
        true => Copied::Whole,
    };
    Ok(Some(Own::Entry {
        place,
        merges: merges && !hides,
        copied,
    }))
}

fn hides_parent(dir: &impl AsFd, xattrs: OverlayXattrs) -> Result<bool> {
    let value = xattr::get_fd(dir, xattrs.opaque)?;
    Ok(value.is_some_and(|value| value == b"y")
        || xattrs.whiteout_files && at::stat_if_present(dir, OPAQUE_FILE)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XATTRS: OverlayXattrs = OverlayXattrs {
        opaque: "user.test.opaque",
        origin: "user.test.origin",
        redirect: None,
        metacopy: None,
        whiteout_files: true,
    };

    #[test]
    fn an_upper_has_what_is_in_it() {
        let diff = tempfile::tempdir().unwrap();
        std::fs::create_dir(diff.path().join("dir")).unwrap();
        std::fs::write(diff.path().join("dir/file"), "x").unwrap();
        let of = |path: &str| own(diff.path(), Path::new(path), XATTRS).unwrap().unwrap();
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

    #[test]
    fn whiteout_files_hide_what_they_name() {
        let diff = tempfile::tempdir().unwrap();
        let path = |name: &str| diff.path().join(name);
        std::fs::write(path(".wh.gone"), "").unwrap();
        std::fs::create_dir(path("opaque")).unwrap();
        std::fs::write(path("opaque/.wh..wh..opq"), "").unwrap();
        let hidden = |name: &str| {
            let own = own(diff.path(), Path::new(name), XATTRS).unwrap();
            matches!(own, Some(Own::Hidden { .. }))
        };
        assert!(hidden("gone") && hidden("opaque/below") && !hidden("other"));
        let found = candidates(diff.path(), XATTRS).unwrap();
        let reach = |name: &str| found.iter().find(|one| one.path == Path::new(name));
        assert_eq!(reach("gone").unwrap().reach, Reach::Entry);
        assert_eq!(reach("opaque").unwrap().reach, Reach::Subtree);
    }
}
