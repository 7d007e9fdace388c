//! A place in a tree that is only read, moved one name at a time and never through a symbolic link.
//!
//! Any depth, with a bounded number of descriptors: directories far above are closed and entered
//! again from the root on the way back.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;

use cowlab_sys::{Result, at, dir, io};

/// Directories kept open, besides the root.
const OPEN: usize = 100;

/// A directory of a tree.
#[derive(Debug)]
pub(super) struct Cursor {
    root: File,
    levels: Vec<(OsString, Option<File>)>,
    /// Whether it goes onto what is mounted in the tree.
    across: bool,
}

impl Cursor {
    /// Starts at the root of a tree.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let root = dir::open(root)?.into();
        Ok(Self {
            root,
            levels: Vec::new(),
            across: false,
        })
    }

    /// Has it go onto what is mounted in the tree.
    pub(super) fn across(mut self, across: bool) -> Self {
        self.across = across;
        self
    }

    fn open_below(&self, dir: &File, name: &OsStr) -> Result<File> {
        let opened = match self.across {
            true => at::enter_across(dir, name),
            false => at::enter(dir, name),
        };
        opened.map(Into::into)
    }

    /// The current directory.
    pub(super) fn dir(&self) -> &File {
        match self.levels.last() {
            Some((_, file)) => file.as_ref().expect("the current directory is kept open"),
            None => &self.root,
        }
    }

    /// A descriptor of the root of its own.
    pub(super) fn duplicate_root(&self) -> Result<File> {
        io("dup", "", self.root.try_clone())
    }

    /// Goes into a directory of the current one.
    pub(super) fn enter(&mut self, name: &OsStr) -> Result<()> {
        let file = self.open_below(self.dir(), name)?;
        self.levels.push((name.to_owned(), Some(file)));
        if let Some(far) = self.levels.len().checked_sub(OPEN + 1) {
            self.levels[far].1 = None;
        }
        Ok(())
    }

    /// Goes up by one.
    pub(super) fn leave(&mut self) -> Result<()> {
        self.levels.pop();
        if let Some((_, None)) = self.levels.last() {
            let mut here = None;
            for (name, _) in &self.levels {
                here = Some(self.open_below(here.as_ref().unwrap_or(&self.root), name)?);
            }
            if let Some((_, file)) = self.levels.last_mut() {
                *file = here;
            }
        }
        Ok(())
    }
}
