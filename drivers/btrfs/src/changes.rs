//! What changed in a subvolume since it was made as a snapshot, from the items of its tree.

use std::os::fd::OwnedFd;

use cowlab_driver::{Candidate, Candidates, Reach, Result};
use cowlab_sys::Error;
use cowlab_sys::btrfs::{self, INODE_ITEM, ROOT_INODE, SearchKey};

use crate::names::Tree;
use crate::{items, subvolume};

/// A changed inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) inode: u64,
    pub(crate) is_directory: bool,
}

/// Lists the inodes that changed after transaction `since`, ascending.
///
/// The search picks leaves by transaction; unchanged neighbors in a leaf are left out by their own.
pub(crate) fn changed_inodes(subvolume: &OwnedFd, since: u64) -> Result<Vec<Changed>> {
    let key = SearchKey {
        transactions: (since.saturating_add(1), u64::MAX),
        types: (INODE_ITEM, INODE_ITEM),
        objects: (ROOT_INODE, u64::MAX),
        ..SearchKey::all(0)
    };
    let mut changed = Vec::new();
    btrfs::tree_search(subvolume, &key, |header, bytes| {
        // A range of types holds at its ends only: keys are compared as wholes.
        if header.item_type == INODE_ITEM {
            let item = items::inode(bytes)?;
            if item.transaction > since {
                changed.push(Changed {
                    inode: header.object,
                    is_directory: item.is_directory,
                });
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok(changed)
}

/// Lists the paths that may differ between a snapshot and its parent. Both are committed.
///
/// - A changed file counts under each of its names: a change of the link count alone is one.
/// - A changed directory counts with the names in it, for a deletion leaves no other trace.
/// - A directory that lay elsewhere in the parent counts with everything below: what is in it
///   did not change, and its paths did.
/// - A nested subvolume, of either, counts with everything below: its content is in another tree, and a
///   snapshot of its surroundings has an empty directory in its place.
pub(crate) fn candidates(snapshot: &OwnedFd, parent: &OwnedFd) -> Result<Candidates> {
    let since = btrfs::subvolume_info(snapshot)?.origin_generation;
    let (mut tree, before) = (Tree::new(snapshot), Tree::new(parent));
    let mut candidates = Vec::new();
    for changed in changed_inodes(snapshot, since)? {
        let reach = match changed.is_directory {
            true if is_elsewhere(&tree, &before, changed.inode)? => Reach::Subtree,
            true => Reach::Children,
            false => Reach::Entry,
        };
        let paths = tree.paths(changed.inode)?;
        candidates.extend(paths.into_iter().map(|path| Candidate { path, reach }));
    }
    for subvolume in [snapshot, parent] {
        let nested = subvolume::nested(subvolume)?;
        candidates.extend(nested.into_iter().map(|path| Candidate {
            path,
            reach: Reach::Subtree,
        }));
    }
    Ok(candidates)
}

/// Whether a directory is in the parent under another name. Inode numbers are not used twice in a
/// subvolume and its snapshots.
fn is_elsewhere(tree: &Tree<'_>, before: &Tree<'_>, inode: u64) -> Result<bool> {
    if inode == ROOT_INODE {
        return Ok(false);
    }
    let old = before.names(inode)?;
    Ok(!old.is_empty() && old != tree.names(inode)?)
}
