//! The names and paths of inodes, from the items of a subvolume's tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use cowlab_driver::Result;
use cowlab_sys::Error;
use cowlab_sys::btrfs::{self, INODE_EXTREF, INODE_REF, ROOT_INODE, SearchKey};

use crate::items::{self, Name};

/// Names and paths of the inodes of one subvolume.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    subvolume: &'a OwnedFd,
    /// Paths of directories; `None` for one that is deleted and still open.
    directories: HashMap<u64, Option<PathBuf>>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(subvolume: &'a OwnedFd) -> Self {
        Self {
            subvolume,
            directories: HashMap::from([(ROOT_INODE, Some(PathBuf::new()))]),
        }
    }

    /// All names of an inode; none for one that is deleted, or was never here.
    pub(crate) fn names(&self, inode: u64) -> Result<Vec<Name>> {
        let key = SearchKey {
            types: (INODE_REF, INODE_EXTREF),
            ..SearchKey::items(0, inode, INODE_REF)
        };
        let mut names = Vec::new();
        btrfs::tree_search(self.subvolume.as_fd(), &key, |header, bytes| {
            match header.item_type {
                INODE_REF => names.extend(items::references(bytes, header.offset)?),
                INODE_EXTREF => names.extend(items::extended_references(bytes)?),
                _ => {}
            }
            Ok::<(), Error>(())
        })?;
        Ok(names)
    }

    /// All paths of an inode.
    pub(crate) fn paths(&mut self, inode: u64) -> Result<Vec<PathBuf>> {
        if inode == ROOT_INODE {
            return Ok(vec![PathBuf::new()]);
        }
        let mut paths = Vec::new();
        for name in self.names(inode)? {
            paths.extend(self.path_of(&name)?);
        }
        Ok(paths)
    }

    /// The path of a name, or `None` in a deleted directory.
    pub(crate) fn path_of(&mut self, name: &Name) -> Result<Option<PathBuf>> {
        let directory = self.directory(name.directory)?;
        Ok(directory.map(|path| path.join(&name.name)))
    }

    /// The path of a directory, which has one name. Climbs until a known one is met.
    fn directory(&mut self, inode: u64) -> Result<Option<PathBuf>> {
        let mut climbed = Vec::new();
        let mut here = inode;
        let mut path = loop {
            if let Some(known) = self.directories.get(&here) {
                break known.clone();
            }
            let Some(name) = self.names(here)?.pop() else {
                climbed.push((here, OsStr::new("").to_owned()));
                break None;
            };
            climbed.push((here, name.name));
            here = name.directory;
        };
        for (inode, name) in climbed.into_iter().rev() {
            path = path.map(|path| path.join(&name));
            self.directories.insert(inode, path.clone());
        }
        Ok(path)
    }
}
