//! What happens to a step's snapshot before it becomes a layer: mount points that were made for mounts go, and times that the
//! clock gave become the one that was asked for.

use std::path::{Path, PathBuf};

use cowlab_layer::ChangeKind;
use cowlab_sys::stat::{self, FileKind, Time};
use cowlab_sys::{Errno, Root as Tree, at};

use super::Build;
use crate::{Error, Result};

/// How a layer is made of a step's snapshot.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    /// Mount points that were made for mounts, outermost first: those with nothing in them are no change of the step's.
    pub scaffold: Vec<PathBuf>,
    /// `SOURCE_DATE_EPOCH`: what the step changed is not younger.
    pub epoch: Option<i64>,
}

impl Build<'_> {
    /// Removes the scaffold and sets times, in the snapshot itself: layer and blob have to be equal.
    pub(super) fn finish(&self, key: &str, options: &StepOptions) -> Result<()> {
        if !options.scaffold.is_empty() {
            self.with_mounted(key, |place| {
                let tree = Tree::open(place)?;
                for path in options.scaffold.iter().rev() {
                    remove_empty(&tree, path)?;
                }
                Ok::<_, Error>(())
            })?;
        }
        let Some(epoch) = options.epoch else {
            return Ok(());
        };
        let epoch = Time {
            sec: epoch,
            nsec: 0,
        };
        let changes = self.root().store().changes(key)?;
        self.with_mounted(key, |place| {
            let tree = Tree::open(place)?;
            for change in &changes {
                if change.kind != ChangeKind::Deleted {
                    make_older(&tree, &change.path, epoch)?;
                }
            }
            Ok(())
        })
    }
}

/// Removes an empty directory or file, and keeps the times of the directory that it was in.
fn remove_empty(tree: &Tree, path: &Path) -> Result<()> {
    let Ok((dir, name)) = tree.open_parent(path.strip_prefix("/").unwrap_or(path)) else {
        // The step put something else in its way.
        return Ok(());
    };
    let Some(found) = at::stat_if_present(&dir, &name)? else {
        return Ok(());
    };
    let before = stat::fstat(&dir)?;
    let removed = match found.kind() {
        FileKind::Directory => at::rmdir(&dir, &name),
        FileKind::Regular if found.size == 0 => at::unlink(&dir, &name),
        _ => return Ok(()),
    };
    match removed {
        Err(error) if error.errno() == Some(Errno::NOTEMPTY) => Ok(()),
        removed => {
            removed?;
            Ok(at::set_times(&dir, ".", before.atime, before.mtime)?)
        }
    }
}

/// Gives a file that is younger than `epoch` that time.
fn make_older(tree: &Tree, path: &Path, epoch: Time) -> Result<()> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let (dir, name) = match relative.as_os_str().is_empty() {
        true => (tree.dir(relative)?, ".".into()),
        false => tree.open_parent(relative)?,
    };
    let found = at::stat(&dir, &name)?;
    if found.mtime > epoch {
        at::set_times(&dir, &name, epoch, epoch)?;
    }
    Ok(())
}
