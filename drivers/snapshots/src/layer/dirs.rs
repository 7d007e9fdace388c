//! The directory that is written and the parent's, seen as the one that overlayfs would show.

use std::ffi::OsStr;
use std::fs::File;

use cowlab_sys::{Errno, Stat, at, stat, xattr};

use super::error::Result;

/// The two directories behind one directory of the view.
#[derive(Debug, Default)]
pub(super) struct Dirs {
    /// `None` while only the parent has it.
    pub(super) upper: Option<File>,
    /// `None` where the parent has none or it is hidden.
    pub(super) lower: Option<File>,
    /// The xattr by which overlayfs knows an opaque directory (overlayfs.rst, "whiteouts and opaque
    /// directories"); of no account without `lower`.
    pub(super) opaque: &'static str,
    /// Whether it goes onto what is mounted in them.
    pub(super) across_mounts: bool,
}

impl Dirs {
    /// Opens the directories behind `name` in these, unless the view shows something else there.
    pub(super) fn find(&self, name: &OsStr) -> Result<Option<(Self, Stat)>> {
        let enter = |dir: &File| match self.across_mounts {
            true => at::enter_across(dir, name),
            false => at::enter(dir, name),
        };
        let open = |dir: &Option<File>| match dir.as_ref().map(enter) {
            None => Ok((None, false)),
            Some(Ok(fd)) => Ok((Some(File::from(fd)), true)),
            Some(Err(error)) => match error.errno() {
                Some(Errno::NOENT) => Ok((None, false)),
                Some(Errno::NOTDIR | Errno::LOOP) => Ok((None, true)),
                _ => Err(error),
            },
        };
        let (upper, is_here) = open(&self.upper)?;
        let is_hidden = is_here && upper.as_ref().is_none_or(|dir| self.has_opaque(dir));
        let lower = if is_hidden {
            None
        } else {
            open(&self.lower)?.0
        };
        let Some(shown) = upper.as_ref().or(lower.as_ref()) else {
            return Ok(None);
        };
        let stat = stat::fstat(shown)?;
        let opaque = self.opaque;
        let found = Self {
            upper,
            lower,
            opaque,
            across_mounts: self.across_mounts,
        };
        Ok(Some((found, stat)))
    }

    /// Whether a directory in these hides what the parent has in it.
    fn has_opaque(&self, dir: &File) -> bool {
        self.lower.is_some()
            && xattr::get_fd(dir, self.opaque).is_ok_and(|value| value.as_deref() == Some(b"y"))
    }
}
