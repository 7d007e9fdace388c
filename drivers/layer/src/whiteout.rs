//! Whiteouts: what a layer removes from its parent, and never from itself, in whatever order the
//! archive has them.
//!
//! In a union a whiteout is a deletion. Over a parent it is the kernel's own form (overlayfs.rst,
//! "whiteouts and opaque directories"): a character device 0:0, or a directory marked opaque. An
//! entry that this layer made stays in both. A directory that it only implies, on the way to one of
//! its entries, loses the parent's content and with it the parent's attributes.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::Hasher;

use cowlab_sys::{Errno, FileKind, Stat, at, dir, stat, sys, xattr};

use crate::error::Result;
use crate::metadata::{Existing, Metadata};
use crate::view::{Found, View, add_name};

/// Removes the parent's entry `name` from the current directory of `view`.
pub(crate) fn hide(view: &mut View, name: &OsStr) -> Result<()> {
    let here = match &view.dirs().upper {
        Some(upper) => at::stat_if_present(upper, name)?,
        None => None,
    };
    if here.is_some_and(|stat| !view.is_union() && stat.is_whiteout()) {
        return Ok(());
    }
    let stays = match here {
        None => false,
        Some(stat) if stat.kind() == FileKind::Directory => {
            view.top_mut().is_touched = true;
            let keep = Keep::Made(view);
            prune(view.upper(), name, view.path(name), &keep)? == Pruned::Stays
        }
        Some(_) if view.made.contains(&view.key(name)) => return Ok(()),
        Some(_) => {
            view.top_mut().is_touched = true;
            at::unlink(view.upper(), name)?;
            false
        }
    };
    let Found::Below(below) = view.below(name)? else {
        return Ok(());
    };
    view.materialize()?;
    view.top_mut().is_touched = true;
    if !stays {
        at::mknod(view.upper(), name, FileKind::CharDevice, 0, 0)?;
    } else if below.kind() == FileKind::Directory {
        let dir = at::enter(view.upper(), name)?;
        xattr::set_fd(&dir, view.dirs().opaque, b"y")?;
    }
    Ok(())
}

/// Removes all of the parent's entries from the current directory of `view`.
pub(crate) fn clear(view: &mut View) -> Result<()> {
    if let Some(upper) = &view.dirs().upper {
        for entry in dir::read_dir_fd(upper)? {
            let name = entry.name;
            if entry.kind == FileKind::Directory {
                prune(view.upper(), &name, view.path(&name), &Keep::Made(view))?;
            } else if !view.made.contains(&view.key(&name)) {
                at::unlink(view.upper(), &name)?;
            }
        }
        view.top_mut().is_touched = true;
    }
    let Some(lower) = &view.dirs().lower else {
        return Ok(());
    };
    if view.is_at_root() {
        // The kernel merges the root of an upper with its lowers whatever its xattr says.
        for entry in dir::read_dir_fd(lower)? {
            hide(view, &entry.name)?;
        }
        return Ok(());
    }
    view.materialize()?;
    view.top_mut().is_touched = true;
    xattr::set_fd(view.upper(), view.dirs().opaque, b"y")?;
    view.dirs_mut().lower = None;
    Ok(())
}

/// Removes `name` from `dir` with all that is below it.
pub(crate) fn remove(dir: &File, name: &OsStr) -> Result<()> {
    if at::stat(dir, name)?.kind() == FileKind::Directory {
        prune(dir, name, DefaultHasher::new(), &Keep::Nothing)?;
    } else {
        at::unlink(dir, name)?;
    }
    Ok(())
}

/// What a removal leaves standing.
enum Keep<'v> {
    Nothing,
    /// What the layer made, and the directories on the way to it.
    Made(&'v View),
}

impl Keep<'_> {
    fn has(&self, path: &DefaultHasher) -> bool {
        match self {
            Self::Nothing => false,
            Self::Made(view) => view.made.contains(&path.finish()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Pruned {
    Gone,
    Stays,
}

/// A directory that is being pruned.
struct Frame {
    name: OsString,
    path: DefaultHasher,
    stat: Stat,
    /// Directories in it that are still to be seen to.
    directories: Vec<OsString>,
    is_empty: bool,
}

/// Removes from the directory `name` in `dir`, and at all depths below, what is not kept, and the
/// directory too if nothing stays. One directory is open at a time; the way up is `..`, and checked.
fn prune(dir: &File, name: &OsStr, path: DefaultHasher, keep: &Keep<'_>) -> Result<Pruned> {
    let mut here = File::from(at::enter(dir, name)?);
    let mut frames = vec![sift(&here, name.to_owned(), path, keep)?];
    loop {
        let frame = frames
            .last_mut()
            .expect("the loop ends with the first frame");
        if let Some(name) = frame.directories.pop() {
            let mut path = frame.path.clone();
            add_name(&mut path, &name);
            here = at::enter(&here, &name)?.into();
            frames.push(sift(&here, name, path, keep)?);
            continue;
        }
        let is_first = frames.len() == 1;
        let Some(frame) = frames.pop() else {
            unreachable!("it was there")
        };
        let pruned = finish(&here, &frame, keep)?;
        let above = match frames.last_mut() {
            Some(above) => {
                here = at::open_dir(&here, "..")?.into();
                let stat = stat::fstat(&here)?;
                if (stat.dev, stat.ino) != (above.stat.dev, above.stat.ino) {
                    // Somebody moves directories about.
                    return Ok(sys("openat", &frame.name, Err(Errno::STALE))?);
                }
                above.is_empty &= pruned == Pruned::Gone;
                &here
            }
            None => dir,
        };
        if pruned == Pruned::Gone {
            at::rmdir(above, &frame.name)?;
        }
        if is_first {
            return Ok(pruned);
        }
    }
}

/// Removes what is no directory and not kept.
fn sift(here: &File, name: OsString, path: DefaultHasher, keep: &Keep<'_>) -> Result<Frame> {
    let stat = stat::fstat(here)?;
    let mut frame = Frame {
        name,
        path,
        stat,
        directories: Vec::new(),
        is_empty: true,
    };
    for entry in dir::read_dir_fd(here)? {
        let mut path = frame.path.clone();
        add_name(&mut path, &entry.name);
        if entry.kind == FileKind::Directory {
            frame.directories.push(entry.name);
        } else if keep.has(&path) {
            frame.is_empty = false;
        } else {
            at::unlink(here, &entry.name)?;
        }
    }
    Ok(frame)
}

/// Decides on a directory whose content was seen to, and gives one that stays its attributes.
fn finish(here: &File, frame: &Frame, keep: &Keep<'_>) -> Result<Pruned> {
    let Keep::Made(view) = keep else {
        return Ok(Pruned::Gone);
    };
    if keep.has(&frame.path) {
        at::set_times(here, "", frame.stat.atime, frame.stat.mtime)?;
        return Ok(Pruned::Stays);
    }
    if frame.is_empty {
        return Ok(Pruned::Gone);
    }
    let implied: Metadata = view.implied();
    implied.put(here, Existing::Replaced)?;
    at::set_times(here, "", implied.mtime, implied.mtime)?;
    Ok(Pruned::Stays)
}
