//! Copying what an instruction selects into a mounted snapshot: directories first, then files in parallel, each straight from
//! its source (shared extents where the file system has them), then what times and modes directories have.
//!
//! The rules are BuildKit's (solver/llbsolver/file/backend.go, and `copy.go` of tonistiigi/fsutil): what is there is replaced
//! unless it is a directory, the links in the destination's own path lead on inside the snapshot, and those below it are
//! followed nowhere.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cowlab_dockerfile::Mode;
use cowlab_sys::{Errno, FileKind, Root, at, reflink, stat, xattr};

use crate::tree::{Node, Selected, Tree, in_parallel};
use crate::{Error, Result};

/// How files are copied.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Who owns them, and directories that are made on the way; without, whoever owns them in their tree.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: Option<Mode>,
}

/// A mounted snapshot that is copied into.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) root: &'a Root,
    pub(crate) options: &'a Options,
}

/// Something to be made.
#[derive(Debug, Clone)]
struct Entry<'n> {
    path: PathBuf,
    node: &'n Node,
}

/// Where files of one copy have to be, by their device and number in the source.
type Links = HashMap<(u64, u64), PathBuf>;

impl Target<'_> {
    /// Copies to `destination`, an absolute path; it is a directory if it ends with `/`.
    pub(crate) fn copy(&self, tree: &Tree, selected: &[Selected], destination: &str) -> Result<()> {
        let mut dirs = Vec::new();
        let mut files: BTreeMap<PathBuf, Vec<Entry<'_>>> = BTreeMap::new();
        let mut links = Vec::new();
        let mut first = Links::new();
        for one in selected {
            let (base, is_there) = self.destination(one, destination)?;
            for (path, node) in one.entries() {
                let is_top = path.as_os_str().is_empty();
                let path = match is_top {
                    true => base.clone(),
                    false => base.join(path),
                };
                let entry = Entry { path, node };
                match node.stat.kind() {
                    FileKind::Directory => {
                        let is_new = self.make_dir(&entry.path)?;
                        // A directory that a source names and that was there keeps what it has.
                        if is_new || !(is_top && is_there) {
                            dirs.push(entry);
                        }
                    }
                    FileKind::Regular if node.stat.nlink > 1 => {
                        let inode = (node.stat.dev, node.stat.ino);
                        match first.get(&inode) {
                            Some(name) => links.push((name.clone(), entry.path)),
                            None => {
                                first.insert(inode, entry.path.clone());
                                add(&mut files, entry);
                            }
                        }
                    }
                    _ => add(&mut files, entry),
                }
            }
        }
        self.make_files(tree, &files)?;
        for (name, path) in links {
            self.link(&name, &path)?;
        }
        // The deepest first: what is made in a directory changes its time.
        for entry in dirs.iter().rev() {
            self.describe_dir(tree, entry)?;
        }
        Ok(())
    }

    /// Where a source goes, as a path without links from the root, and whether a directory is there.
    fn destination(&self, one: &Selected, destination: &str) -> Result<(PathBuf, bool)> {
        let mut place = PathBuf::from(destination);
        let is_dir = one.node.stat.kind() == FileKind::Directory;
        // What a directory has is copied, not the directory: where that goes is made as any missing directory.
        let mut names_dir = destination.ends_with('/') || is_dir;
        if let Some(parents) = &one.parents {
            place.push(parents);
            names_dir = true;
        }
        let above = match names_dir {
            true => place.as_path(),
            false => place.parent().unwrap_or(Path::new("/")),
        };
        make_dirs(self.root, above, self.options.owner.unwrap_or((0, 0)))?;
        if one.parents.is_some() && is_dir {
            place.push(&one.name);
        }
        let there = self.root.lead_inside(&place)?;
        let has_dir = match self.root.find_inside(&there)? {
            Some(found) => stat::fstat(&found)?.kind() == FileKind::Directory,
            None => false,
        };
        let path = match !is_dir && has_dir {
            true => there.join(&one.name),
            false => there,
        };
        let relative = path.strip_prefix("/").unwrap_or(&path).to_owned();
        Ok((relative, has_dir))
    }

    /// Makes a directory where there is none; tells whether it did.
    fn make_dir(&self, path: &Path) -> Result<bool> {
        if path.as_os_str().is_empty() {
            return Ok(false);
        }
        let (dir, name) = self.parent(path)?;
        match at::mkdir(&dir, &name, 0o700) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::EXIST) => {
                match at::stat(&dir, &name)?.kind() {
                    FileKind::Directory => Ok(false),
                    _ => Err(no_directory(path)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn parent(&self, path: &Path) -> Result<(OwnedFd, std::ffi::OsString)> {
        self.root
            .open_parent(path)
            .map_err(|error| match error.errno() {
                Some(Errno::LOOP | Errno::NOTDIR) => no_directory(path.parent().unwrap_or(path)),
                _ => error.into(),
            })
    }

    fn make_files(&self, tree: &Tree, files: &BTreeMap<PathBuf, Vec<Entry<'_>>>) -> Result<()> {
        // Large directories are several pieces of work.
        let mut pieces = Vec::new();
        for (dir, entries) in files {
            pieces.extend(entries.chunks(64).map(|entries| (dir, entries)));
        }
        in_parallel(&pieces, |(dir, entries)| {
            let opened = self.root.dir(dir).map_err(|error| match error.errno() {
                Some(Errno::LOOP | Errno::NOTDIR) => no_directory(dir),
                _ => error.into(),
            })?;
            for entry in *entries {
                let name = entry.path.file_name().unwrap_or_default();
                self.make_file(tree, entry, &opened, name)?;
            }
            Ok(())
        })
    }

    fn make_file(&self, tree: &Tree, entry: &Entry<'_>, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        let found = &entry.node.stat;
        let kind = found.kind();
        match kind {
            FileKind::Regular => {
                let source = tree.open_file(entry.node)?;
                let made = replacing(dir, name, &entry.path, || at::create(dir, name, 0o600))?;
                reflink::copy_file(&source, &made)?;
                tree.refuse_changed(entry.node, &source)?;
                return self.describe(tree, entry, (dir, name), Some(&made));
            }
            FileKind::Symlink => {
                let content = tree.link(entry.node)?;
                replacing(dir, name, &entry.path, || at::symlink(&content, dir, name))?;
            }
            _ => {
                let device = found.rdev;
                replacing(dir, name, &entry.path, || {
                    at::mknod(dir, name, kind, 0o600, device)
                })?;
            }
        }
        self.describe(tree, entry, (dir, name), None)
    }

    fn link(&self, name: &Path, path: &Path) -> Result<()> {
        let (from, old) = self.parent(name)?;
        let (dir, new) = self.parent(path)?;
        replacing(&dir, &new, path, || at::link(&from, &old, &dir, &new))
    }

    fn describe_dir(&self, tree: &Tree, entry: &Entry<'_>) -> Result<()> {
        match entry.path.as_os_str().is_empty() {
            true => {
                let dir = self.root.dir(Path::new(""))?;
                self.describe(tree, entry, (&dir, OsStr::new(".")), None)
            }
            false => {
                let (dir, name) = self.parent(&entry.path)?;
                self.describe(tree, entry, (&dir, &name), None)
            }
        }
    }

    /// Gives something that was made its owner, attributes, mode and time. In this order: a change of owner takes set-user-id
    /// bits and capabilities away (chown(2)).
    fn describe(
        &self,
        tree: &Tree,
        entry: &Entry<'_>,
        (dir, name): (&OwnedFd, &OsStr),
        made: Option<&File>,
    ) -> Result<()> {
        let found = &entry.node.stat;
        let kind = found.kind();
        let owner = match self.options.owner {
            Some(owner) => owner,
            None if tree.keeps_owners => (found.uid, found.gid),
            None => (0, 0),
        };
        if owner != (0, 0) || made.is_none() {
            at::chown(dir, name, owner.0, owner.1)?;
        }
        if tree.keeps_owners {
            let xattrs = tree.xattrs(entry.node)?;
            if !xattrs.is_empty() {
                let node = at::open_path(dir, name)?;
                for (name, value) in &xattrs {
                    xattr::set_fd(&node, name, value)?;
                }
            }
        }
        if kind != FileKind::Symlink {
            let mode = match &self.options.mode {
                Some(mode) => mode.apply(found.permissions(), kind == FileKind::Directory),
                None => found.permissions(),
            };
            match made {
                Some(made) => at::chmod_descriptor(made, mode)?,
                None => at::chmod(dir, name, mode)?,
            }
        }
        Ok(at::set_times(dir, name, found.mtime, found.mtime)?)
    }
}

/// Makes something, in place of what has its name and is no directory.
fn replacing<T>(
    dir: &OwnedFd,
    name: &OsStr,
    path: &Path,
    make: impl Fn() -> cowlab_sys::Result<T>,
) -> Result<T> {
    match make() {
        Err(error) if error.errno() == Some(Errno::EXIST) => {}
        made => return Ok(made?),
    }
    if at::stat(dir, name)?.kind() == FileKind::Directory {
        return Err(Error::refused(format!(
            "`/{}` is a directory, and a file cannot take its place: copy to another name, or remove it in a `RUN` before",
            path.display()
        )));
    }
    at::unlink(dir, name)?;
    Ok(make()?)
}

fn add<'n>(files: &mut BTreeMap<PathBuf, Vec<Entry<'n>>>, entry: Entry<'n>) {
    let dir = entry.path.parent().unwrap_or(Path::new("")).to_owned();
    files.entry(dir).or_default().push(entry);
}

fn no_directory(path: &Path) -> Error {
    Error::refused(format!(
        "`/{}` is no directory in the image, and one cannot take its place: copy to where it leads, or remove it in a `RUN` before",
        path.display()
    ))
}

/// Makes the directories of a path that are not there, links followed, also those that lead to nothing; tells which it made.
pub(crate) fn make_dirs(root: &Root, path: &Path, owner: (u32, u32)) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let mut here = PathBuf::from("/");
    let whole = root.lead_inside(path)?;
    for part in whole.components().skip(1) {
        here.push(part);
        if let Some(found) = root.find_inside(&here)? {
            match stat::fstat(&found)?.kind() {
                FileKind::Directory => continue,
                _ => return Err(no_directory(here.strip_prefix("/").unwrap_or(&here))),
            }
        }
        let (dir, name) = root.parent_inside(&here)?;
        at::mkdir(&dir, &name, 0o755)?;
        at::chown(&dir, &name, owner.0, owner.1)?;
        made.push(here.clone());
    }
    Ok(made)
}
