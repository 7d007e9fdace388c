//! What a snapshot allocates.

use std::os::fd::OwnedFd;
use std::path::Path;

use cowlab_driver::tree::{self, Tally};
use cowlab_driver::{Allocation, Bytes, Result, Usage};
use cowlab_sys::{Errno, Root, at, btrfs};

use crate::changes::{Tree, changed_inodes};

/// Measures the snapshot whose subvolume is `subvolume`, at `path`.
///
/// Only what changed since the snapshot was made can be its own. A base snapshot has no parent, so all of it
/// is looked at, and what its children share is known.
pub(crate) fn measure(subvolume: &OwnedFd, path: &Path) -> Result<Usage> {
    btrfs::sync(subvolume)?;
    let info = btrfs::subvolume_info(subvolume)?;
    let is_base = info.parent_uuid == [0; 16];
    // A base has inodes of the transaction that made it.
    let since = if is_base { 0 } else { info.origin_generation };
    let root = Root::open(path)?;
    let mut names = Tree::new(subvolume);
    let mut tally = Tally::default();
    for changed in changed_inodes(subvolume, since)? {
        let Some(path) = names.paths(changed.inode)?.into_iter().next() else {
            continue;
        };
        let counted = count(&mut tally, &root, &path);
        match counted {
            // Gone since the search.
            Err(cowlab_driver::Error::Sys(error)) if error.errno() == Some(Errno::NOENT) => {}
            counted => counted?,
        }
    }
    Ok(Usage {
        exclusive: tally.exclusive(),
        shared: is_base.then(|| Allocation {
            bytes: tally.shared(),
            inodes: 0,
        }),
    })
}

fn count(tally: &mut Tally, root: &Root, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        tally.add(&at::stat(root, "")?, || Ok(Bytes(0)))?;
        return Ok(());
    }
    let (dir, name) = tree::open_parent(root, path)?;
    let stat = at::stat(&dir, name)?;
    tally.add(&stat, || tree::shared_bytes(&dir, name, stat.kind()))?;
    Ok(())
}
