//! Subvolumes: libbtrfsutil makes, snapshots and deletes them, the kernel's own calls do the rest.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use btrfsutil::BtrfsUtilError;
use btrfsutil::subvolume::Subvolume;
use cowlab_driver::Result;
use cowlab_sys::btrfs::{self, SearchKey};
use cowlab_sys::{Errno, Error, at, dir};

use crate::items::{self, Name};
use crate::names::Tree;

/// Makes an empty subvolume.
pub(crate) fn create(path: &Path) -> Result<()> {
    let made = Subvolume::create(path, None);
    named("create subvolume", path, made)?;
    Ok(())
}

/// Makes a writable snapshot of the subvolume at `parent`.
pub(crate) fn snapshot(parent: &Path, path: &Path) -> Result<()> {
    let source = named("open subvolume", parent, Subvolume::get(parent))?;
    named("snapshot", path, source.snapshot(path, None, None))?;
    Ok(())
}

/// Opens the root of a subvolume.
pub(crate) fn open(path: &Path) -> Result<OwnedFd> {
    Ok(at::open_dir(open_parent(path)?, name_of(path))?)
}

fn open_parent(path: &Path) -> Result<cowlab_sys::Root> {
    Ok(cowlab_sys::Root::open(path.parent().unwrap_or(path))?)
}

fn name_of(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

/// Deletes the directory of a snapshot: the subvolume in it, with those nested in that one, and what
/// else is there. Idempotent.
pub(crate) fn delete(snapshot: &Path) -> Result<()> {
    let path = snapshot.join("fs");
    match btrfs::is_subvolume(&path) {
        Ok(true) => delete_nested_first(&path)?,
        Ok(false) => {}
        Err(error) if error.errno() == Some(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(dir::remove_tree(snapshot)?)
}

fn delete_nested_first(path: &Path) -> Result<()> {
    let fd = open(path)?;
    let nested = nested(&fd)?;
    if !nested.is_empty() && btrfs::is_read_only(&fd)? {
        // Nothing can be taken out of a read-only subvolume, a subvolume neither.
        btrfs::set_read_only(&fd, false)?;
    }
    for inner in nested {
        delete_nested_first(&path.join(inner))?;
    }
    drop(fd);
    let subvolume = named("open subvolume", path, Subvolume::get(path))?;
    named("delete subvolume", path, subvolume.delete(None))
}

/// The subvolumes directly within a subvolume, by their paths in it.
pub(crate) fn nested(subvolume: &OwnedFd) -> Result<Vec<PathBuf>> {
    let id = btrfs::subvolume_id(subvolume)?;
    let mut places: Vec<Name> = Vec::new();
    let key = SearchKey::items(btrfs::ROOT_TREE, id, btrfs::ROOT_REF);
    btrfs::tree_search(subvolume, &key, |_, item| {
        places.push(items::root_reference(item)?);
        Ok::<(), Error>(())
    })?;
    let mut tree = Tree::new(subvolume);
    let mut paths = Vec::new();
    for place in places {
        paths.extend(tree.path_of(&place)?);
    }
    Ok(paths)
}

/// Names what libbtrfsutil failed at. It leaves the reason in `errno` (btrfsutil.h, "Error handling").
fn named<T>(
    call: &'static str,
    path: &Path,
    result: std::result::Result<T, BtrfsUtilError>,
) -> Result<T> {
    let reason = io::Error::last_os_error();
    Ok(result.map_err(|error| {
        tracing::debug!(call, path = %path.display(), %error, "libbtrfsutil failed");
        Error::Sys {
            call,
            path: path.to_owned(),
            source: Errno::from_io_error(&reason).unwrap_or(Errno::IO),
        }
    })?)
}
