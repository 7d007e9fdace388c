//! What a snapshot allocates.

use std::os::fd::OwnedFd;
use std::path::Path;

use cowlab_driver::tree::{self, Tally};
use cowlab_driver::{Result, Usage};
use cowlab_sys::cursor::Cursor;
use cowlab_sys::{Errno, at, btrfs};

use crate::changes::changed_inodes;
use crate::names::Tree;

/// Measures the snapshot whose subvolume is `subvolume`, at `path`.
///
/// Only what changed since the snapshot was made can be its own. A base snapshot has no parent, so all of it
/// is looked at, and what its children share is known.
pub(crate) fn measure(subvolume: &OwnedFd, path: &Path) -> Result<Usage> {
    btrfs::sync(subvolume)?;
    let info = btrfs::subvolume_info(subvolume)?;
    if info.parent_uuid == [0; 16] {
        return tree::usage_by_extents(path);
    }
    let mut cursor = Cursor::open(path)?;
    let mut names = Tree::new(subvolume);
    let mut tally = Tally::default();
    for changed in changed_inodes(subvolume, info.origin_generation)? {
        let Some(path) = names.paths(changed.inode)?.into_iter().next() else {
            continue;
        };
        let counted = count(&mut tally, &mut cursor, &path);
        match counted {
            // Gone since the search.
            Err(cowlab_driver::Error::Sys(error)) if error.errno() == Some(Errno::NOENT) => {}
            counted => counted?,
        }
    }
    Ok(Usage {
        exclusive: tally.exclusive(),
        shared: None,
    })
}

fn count(tally: &mut Tally, cursor: &mut Cursor, path: &Path) -> Result<()> {
    let name = Path::new(cursor.go_to_parent(path)?);
    let stat = at::stat(cursor.dir(), name)?;
    tally.add(&stat, || {
        tree::shared_bytes(cursor.dir(), name, stat.kind())
    })?;
    Ok(())
}
