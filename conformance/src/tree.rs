//! A case's directory, on a driver's mount or on the plain side.
//!
//! Everything is done relative to an open directory and nothing outside it: a symbolic link is followed as for
//! a process that has the directory as its root. Paths are written as in [`crate::operation`].

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cowlab_sys::at::{self, OFlags, RenameFlags};
use cowlab_sys::cursor::Cursor;
use cowlab_sys::stat::{self, FileKind, Stat, Time};
use cowlab_sys::{Root, dir, xattr};

use crate::errno::{Code, ENODATA};
use crate::text;

/// The result of a call on a tree.
pub type Result<T> = std::result::Result<T, Code>;

/// A case's directory.
#[derive(Debug)]
pub struct Tree {
    root: Root,
}

impl Tree {
    /// Opens a directory.
    pub fn open(directory: &Path) -> cowlab_sys::Result<Self> {
        Root::open(directory).map(|root| Self { root })
    }

    /// The path that the directory was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Opens a file as open(2) does, following symbolic links unless the flags say otherwise.
    pub fn open_file(&self, path: &str, flags: OFlags, mode: u32) -> Result<File> {
        let descriptor = self.root.open_inside(&below(path), flags, mode)?;
        Ok(File::from(descriptor))
    }

    /// Opens a file of any type without touching it and without following the last name.
    pub fn entry(&self, path: &str) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        Ok(self.root.open_inside(&below(path), flags, 0)?)
    }

    /// Opens the directory that a name is in, and returns it with the name.
    pub fn parent(&self, path: &str) -> Result<(OwnedFd, OsString)> {
        let (parent, name) = split(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.root.open_inside(&parent, flags, 0)?, name))
    }

    /// Makes a directory with exactly this mode.
    pub fn make_dir(&self, path: &str, mode: u32) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        at::mkdir(dir, name, 0o700)?;
        self.chmod(path, mode)
    }

    /// Writes a file with these bytes in place of what it held.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        Ok(self.open_file(path, flags, 0o644)?.write_all(bytes)?)
    }

    /// Reads a whole file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(path, OFlags::RDONLY, 0)?
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Lists the names in a directory, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let entries = dir::read_dir_fd(self.open_file(path, flags, 0)?)?;
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the attributes of a file, not following.
    pub fn stat(&self, path: &str) -> Result<Stat> {
        Ok(stat::fstat(self.entry(path)?)?)
    }

    /// Sets the mode, not following.
    pub fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        // A symbolic link inside the tree could lead elsewhere, so the descriptor is resolved first.
        let descriptor = self.entry(path)?;
        Ok(at::chmod_descriptor(&descriptor, mode)?)
    }

    /// Sets the owner, not following.
    pub fn chown(&self, path: &str, uid: u32, gid: u32) -> Result<()> {
        Ok(at::chown(self.entry(path)?, "", uid, gid)?)
    }

    /// Sets access and modification time, not following.
    pub fn set_times(&self, path: &str, time: Time) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(at::set_times(dir, name, time, time)?)
    }

    /// Makes `path` another name of `target`.
    pub fn link(&self, target: &str, path: &str) -> Result<()> {
        let (old_dir, old) = self.parent(target)?;
        let (dir, name) = self.parent(path)?;
        Ok(at::link(old_dir, old, dir, name)?)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &str, path: &str) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        let target = OsString::from_vec(text::unescape(target));
        Ok(at::symlink(target, dir, name)?)
    }

    /// Makes a special file with exactly this mode.
    pub fn make_node(&self, path: &str, kind: FileKind, mode: u32, device: u64) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        at::mknod(dir, name, kind, 0o600, device)?;
        self.chmod(path, mode)
    }

    /// Renames.
    pub fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        let (old_dir, old) = self.parent(from)?;
        let (dir, name) = self.parent(to)?;
        Ok(at::rename(old_dir, old, dir, name, flags)?)
    }

    /// Removes a name that is no directory.
    pub fn unlink(&self, path: &str) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(at::unlink(dir, name)?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &str) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(at::rmdir(dir, name)?)
    }

    /// Removes a file, or a directory with everything below it.
    ///
    /// # Errors
    ///
    /// The first thing that the kernel refused.
    pub fn remove_tree(&self, path: &str) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        remove_below(dir, &name)
    }

    /// Returns the target of a symbolic link.
    pub fn read_link(&self, path: &str) -> Result<PathBuf> {
        let (dir, name) = self.parent(path)?;
        Ok(at::read_link(dir, name)?)
    }

    /// Returns the value of an extended attribute.
    ///
    /// # Errors
    ///
    /// ENODATA where there is none of that name, and what else the kernel refused.
    pub fn xattr(&self, path: &str, name: &str) -> Result<Vec<u8>> {
        let name = OsString::from_vec(text::unescape(name));
        xattr::get_fd(self.entry(path)?, name)?.ok_or(ENODATA)
    }

    /// Returns the names of the extended attributes, sorted.
    pub fn xattr_names(&self, path: &str) -> Result<Vec<OsString>> {
        let all = xattr::read_all_fd(self.entry(path)?)?;
        Ok(all.into_iter().map(|(name, _)| name).collect())
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        let name = OsString::from_vec(text::unescape(name));
        Ok(xattr::set_fd(self.entry(path)?, name, value)?)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    ///
    /// ENODATA where there is none of that name, and what else the kernel refused.
    pub fn remove_xattr(&self, path: &str, name: &str) -> Result<()> {
        self.xattr(path, name)?;
        let name = OsString::from_vec(text::unescape(name));
        Ok(xattr::remove_fd(self.entry(path)?, name)?)
    }
}

fn remove_below(dir: OwnedFd, name: &OsStr) -> Result<()> {
    if at::stat(&dir, name)?.kind() != FileKind::Directory {
        return Ok(at::unlink(dir, name)?);
    }
    let mut cursor = Cursor::from_dir(at::open_dir(&dir, ".")?.into()).across_mounts(true);
    cursor.enter(name)?;
    let mut levels = vec![dir::read_dir_fd(cursor.dir())?.into_iter()];
    while let Some(entries) = levels.last_mut() {
        match entries.next() {
            Some(entry) if entry.kind == FileKind::Directory => {
                cursor.enter(&entry.name)?;
                levels.push(dir::read_dir_fd(cursor.dir())?.into_iter());
            }
            Some(entry) => at::unlink(cursor.dir(), &entry.name)?,
            None => {
                levels.pop();
                let name = cursor.leave()?;
                at::rmdir(cursor.dir(), &name)?;
            }
        }
    }
    Ok(())
}

/// The path relative to the case's directory: no leading slash, a trailing one kept.
fn below(path: &str) -> PathBuf {
    let bytes = text::unescape(path.trim_start_matches('/'));
    OsString::from_vec(bytes).into()
}

/// Splits a path into directory and last name, which keeps its trailing slashes: they mean something.
fn split(path: &str) -> (PathBuf, OsString) {
    let bytes = text::unescape(path.trim_start_matches('/'));
    let end = bytes.iter().rposition(|byte| *byte != b'/').unwrap_or(0);
    let start = bytes[..end]
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let name = if bytes.is_empty() {
        b"."
    } else {
        &bytes[start..]
    };
    (
        OsStr::from_bytes(&bytes[..start]).into(),
        OsStr::from_bytes(name).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_splits_into_directory_and_name() {
        for (path, parent, name) in [
            ("/f", "", "f"),
            ("/d/f", "d/", "f"),
            ("/d/f/", "d/", "f/"),
            ("/d//f//", "d//", "f//"),
            ("/", "", "."),
        ] {
            let (dir, last) = split(path);
            assert_eq!(
                (dir.as_os_str(), last.as_os_str()),
                (OsStr::new(parent), OsStr::new(name))
            );
        }
    }

    #[test]
    fn an_absolute_link_leads_back_into_the_tree() {
        let place = tempfile::tempdir().unwrap();
        let tree = Tree::open(place.path()).unwrap();
        tree.make_dir("/etc", 0o755).unwrap();
        tree.symlink("/etc", "/link").unwrap();
        tree.write("/link/cowlab-conformance", b"inside").unwrap();
        assert_eq!(tree.read("/etc/cowlab-conformance"), Ok(b"inside".to_vec()));
        assert!(!Path::new("/etc/cowlab-conformance").exists());
        tree.remove_tree("/etc").unwrap();
        assert_eq!(tree.list("/").unwrap(), ["link"]);
    }
}
