//! What faults do to the tree of a snapshot that is being committed: of a driver that stacks layers the directory of the newest
//! one, of others the whole tree.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cowlab_driver::{Result, tree};
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::cursor::Cursor;
use cowlab_sys::stat::{self, FileKind, Stat, Time};
use cowlab_sys::{dir, io, reflink, xattr};

/// What is done to an entry.
pub(crate) type EntryFault = fn(&Spot<'_>) -> Result<()>;
/// What is done to a tree, beside that of its parent.
pub(crate) type TreeFault = fn(&Trees<'_>) -> Result<()>;

/// What a file is called while it is replaced.
const NEW: &str = ".planted";
/// The mark of a directory that hides what lower layers have in it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// An entry of a tree.
#[derive(Debug)]
pub(crate) struct Spot<'a> {
    dir: &'a File,
    /// How many directories it lies below the root of the tree.
    pub(super) depth: usize,
    /// Its name.
    pub(super) name: &'a OsStr,
    /// Its attributes.
    pub(super) stat: Stat,
}

impl Spot<'_> {
    /// Whether it is of this type.
    pub(super) fn is(&self, kind: FileKind) -> bool {
        self.stat.kind() == kind && !self.stat.is_whiteout()
    }

    /// Whether it is a file that other names have as well.
    pub(super) fn is_linked(&self) -> bool {
        self.is(FileKind::Regular) && self.stat.nlink > 1
    }

    /// Its name as bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// Does something only under a condition.
    pub(super) fn when(&self, holds: bool, then: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if holds { then(self) } else { Ok(()) }
    }

    fn path(&self) -> PathBuf {
        at::descriptor_path(self.dir).join(self.name)
    }

    /// Removes it, with everything below.
    pub(super) fn remove(&self) -> Result<()> {
        match self.stat.kind() {
            FileKind::Directory => Ok(dir::remove_tree(self.path())?),
            _ => Ok(at::unlink(self.dir, self.name)?),
        }
    }

    /// Sets the mode of anything but a symbolic link.
    pub(super) fn chmod(&self, mode: u32) -> Result<()> {
        let holds = !self.is(FileKind::Symlink) && !self.stat.is_whiteout();
        self.when(holds && mode != self.stat.permissions(), |spot| {
            Ok(at::chmod(spot.dir, spot.name, mode)?)
        })
    }

    /// Sets the owner and gives back what chown(2) cleared.
    pub(super) fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        self.when(!self.stat.is_whiteout(), |spot| {
            at::chown(spot.dir, spot.name, uid, gid)?;
            match spot.stat.kind() {
                FileKind::Symlink => Ok(()),
                _ => Ok(at::chmod(spot.dir, spot.name, spot.stat.permissions())?),
            }
        })
    }

    /// Sets the modification time.
    pub(super) fn set_mtime(&self, mtime: Time) -> Result<()> {
        Ok(at::set_times(self.dir, self.name, self.stat.atime, mtime)?)
    }

    /// Sets the access time.
    pub(super) fn set_atime(&self, atime: Time) -> Result<()> {
        Ok(at::set_times(self.dir, self.name, atime, self.stat.mtime)?)
    }

    /// Removes attributes; one of overlayfs's own stays.
    pub(super) fn lose_xattrs(&self, lost: impl Fn(&[u8], &[u8]) -> bool) -> Result<()> {
        let entry = at::open_path(self.dir, self.name)?;
        for (name, value) in xattr::read_all_fd(&entry)? {
            if lost(name.as_bytes(), &value) {
                xattr::remove_fd(&entry, name)?;
            }
        }
        Ok(())
    }

    /// Sets an attribute of anything that takes one.
    pub(super) fn set_xattr(&self, name: &str, value: &[u8]) -> Result<()> {
        let entry = at::open_path(self.dir, self.name)?;
        Ok(xattr::set_fd(entry, name, value)?)
    }

    fn change(&self, work: impl FnOnce(&File) -> std::io::Result<()>) -> Result<()> {
        let file = File::from(at::open(self.dir, self.name, OFlags::RDWR, 0)?);
        io("write", self.name, work(&file))?;
        let (mode, atime, mtime) = (self.stat.permissions(), self.stat.atime, self.stat.mtime);
        at::chmod(self.dir, self.name, mode)?;
        Ok(at::set_times(self.dir, self.name, atime, mtime)?)
    }

    /// Gives a file another size where it is larger.
    pub(super) fn cut(&self, size: u64) -> Result<()> {
        let holds = self.is(FileKind::Regular) && self.stat.size > size;
        self.when(holds, |spot| spot.change(|file| file.set_len(size)))
    }

    /// Changes the last byte of a file.
    pub(super) fn spoil_content(&self) -> Result<()> {
        self.when(self.stat.size > 0, |spot| {
            spot.change(|file| file.write_all_at(b"\x7f", spot.stat.size - 1))
        })
    }

    /// Writes the holes of a file of up to 128 MiB.
    pub(super) fn fill_holes(&self) -> Result<()> {
        self.when(self.stat.size < 128 << 20, |spot| {
            spot.change(|file| {
                let mut block = vec![0; 1 << 16];
                let mut at = 0;
                while at < spot.stat.size {
                    let count = file.read_at(&mut block, at)?;
                    file.write_all_at(&block[..count], at)?;
                    at += u64::try_from(count).unwrap_or(u64::MAX).max(1);
                }
                Ok(())
            })
        })
    }

    /// Puts a copy of a file in the place of one of its names.
    pub(super) fn split(&self) -> Result<()> {
        let source = File::from(at::open(self.dir, self.name, OFlags::RDONLY, 0)?);
        let copy = at::create(self.dir, NEW, 0o600)?;
        reflink::copy_file(&source, &copy)?;
        self.take_the_place()
    }

    /// Gives what was made under another name all attributes and the name.
    fn take_the_place(&self) -> Result<()> {
        let original = at::open_path(self.dir, self.name)?;
        tree::copy_attributes(original, &self.stat, self.dir, Path::new(NEW), |_| true)?;
        let flags = at::RenameFlags::empty();
        Ok(at::rename(self.dir, NEW, self.dir, self.name, flags)?)
    }

    /// Gives a symbolic link another target.
    pub(super) fn retarget(&self, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<()> {
        self.when(self.is(FileKind::Symlink), |spot| {
            let target = at::read_link(spot.dir, spot.name)?;
            let target = change(target.as_os_str().as_bytes());
            at::symlink(OsStr::from_bytes(&target), spot.dir, NEW)?;
            spot.take_the_place()
        })
    }

    /// Gives a device other numbers.
    pub(super) fn renumber(&self, device: u64) -> Result<()> {
        let kind = self.stat.kind();
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        self.when(is_device && !self.stat.is_whiteout(), |spot| {
            at::mknod(spot.dir, NEW, kind, 0o600, device)?;
            spot.take_the_place()
        })
    }

    /// Gives it another name.
    pub(super) fn rename(&self, name: &[u8]) -> Result<()> {
        let flags = at::RenameFlags::NOREPLACE;
        Ok(at::rename(
            self.dir,
            self.name,
            self.dir,
            OsStr::from_bytes(name),
            flags,
        )?)
    }
}

/// Does something to everything below a directory, what is in a directory before the directory. Its time is put back: a changed
/// one would give away faults of any kind.
pub(super) fn spoil_entries(top: &Path, fault: EntryFault) -> Result<()> {
    let mut cursor = Cursor::open(top)?.across_mounts(true);
    let mut levels = vec![Level::of(&cursor)?];
    while let Some(level) = levels.last_mut() {
        if let Some(entry) = level.entries.next() {
            if entry.kind == FileKind::Directory {
                cursor.enter(&entry.name)?;
                levels.push(Level::of(&cursor)?);
            } else {
                spoil(&cursor, &entry.name, fault)?;
            }
            continue;
        }
        level.put_time_back(&cursor)?;
        levels.pop();
        if !levels.is_empty() {
            let name = cursor.leave()?;
            spoil(&cursor, &name, fault)?;
        }
    }
    Ok(())
}

fn spoil(cursor: &Cursor, name: &OsStr, fault: EntryFault) -> Result<()> {
    fault(&Spot {
        dir: cursor.dir(),
        depth: cursor.depth(),
        name,
        stat: at::stat(cursor.dir(), name)?,
    })
}

/// A directory that is being walked.
struct Level {
    stat: Stat,
    entries: std::vec::IntoIter<dir::DirEntry>,
}

impl Level {
    fn of(cursor: &Cursor) -> Result<Self> {
        Ok(Self {
            stat: stat::fstat(cursor.dir())?,
            entries: dir::read_dir_fd(cursor.dir())?.into_iter(),
        })
    }

    fn put_time_back(&self, cursor: &Cursor) -> Result<()> {
        Ok(at::set_times(
            cursor.dir(),
            "",
            self.stat.atime,
            self.stat.mtime,
        )?)
    }
}

/// A tree that is being committed, and its parent's.
#[derive(Debug)]
pub(crate) struct Trees<'a> {
    /// The tree, or of a driver that stacks layers the newest layer alone.
    pub(super) top: &'a Path,
    /// The parent's whole tree.
    pub(super) parent: &'a Path,
    /// Whether `top` is a layer.
    pub(super) is_layer: bool,
}

impl Trees<'_> {
    /// What the parent has below its root.
    pub(super) fn old(&self) -> Result<Vec<PathBuf>> {
        paths(self.parent)
    }

    /// What the tree has below its root; of a layer, what the layer has and no whiteouts.
    pub(super) fn own(&self) -> Result<Vec<PathBuf>> {
        let mut paths = paths(self.top)?;
        paths.retain(|path| self.now(path).is_some());
        Ok(paths)
    }

    /// What the parent has there.
    pub(super) fn before(&self, path: &Path) -> Option<Stat> {
        stat::lstat(self.parent.join(path)).ok()
    }

    /// What the tree itself has there; of a layer only what it has of its own.
    pub(super) fn now(&self, path: &Path) -> Option<Stat> {
        let stat = stat::lstat(self.top.join(path)).ok()?;
        let hides = self.is_layer && stat.is_whiteout();
        (!hides).then_some(stat)
    }

    /// Whether the parent has something there, and the tree has not.
    pub(super) fn is_removed(&self, path: &Path) -> bool {
        if self.before(path).is_none() || self.now(path).is_some() {
            return false;
        }
        if !self.is_layer {
            return true;
        }
        path.ancestors().any(|above| {
            let own = self.top.join(above);
            let Ok(stat) = stat::lstat(&own) else {
                return false;
            };
            let is_dir = stat.kind() == FileKind::Directory;
            !is_dir || xattr::get(&own, OPAQUE).is_ok_and(|mark| mark == Some(b"y".to_vec()))
        })
    }

    /// What the parent has and the tree has not.
    pub(super) fn removed(&self) -> Result<Vec<PathBuf>> {
        let mut old = self.old()?;
        old.retain(|path| self.is_removed(path));
        Ok(old)
    }

    /// What the tree has and the parent has not.
    pub(super) fn added(&self) -> Result<Vec<PathBuf>> {
        let mut new = self.own()?;
        new.retain(|path| self.before(path).is_none());
        Ok(new)
    }

    /// What is of these types in the parent and in the tree, and was changed.
    pub(super) fn changed(&self, before: FileKind, now: FileKind) -> Result<Vec<PathBuf>> {
        let mut new = self.own()?;
        new.retain(|path| {
            let is = |stat: Option<Stat>, kind| stat.is_some_and(|stat| stat.kind() == kind);
            is(self.before(path), before) && is(self.now(path), now)
        });
        Ok(new)
    }

    /// Removes what is there from the tree, without a whiteout.
    pub(super) fn lose(&self, path: &Path) -> Result<()> {
        self.keeping_time(path, |path| match stat::lstat(path) {
            Ok(_) => Ok(dir::remove_tree(path)?),
            Err(_) => Ok(()),
        })
    }

    /// Removes what is there such that it is removed from a union as well.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.lose(path)?;
        if !self.is_layer {
            return Ok(());
        }
        self.have_dir_of(path)?;
        self.keeping_time(path, |path| {
            Ok(at::mknod(cwd()?, path, FileKind::CharDevice, 0o600, 0)?)
        })
    }

    /// Has the layer have the directories on the way to a path as the parent has them.
    fn have_dir_of(&self, path: &Path) -> Result<()> {
        let mut dirs: Vec<_> = path.ancestors().skip(1).collect();
        dirs.reverse();
        for dir in dirs {
            if let Some(stat) = self.before(dir).filter(|_| self.now(dir).is_none()) {
                let source = self.parent.join(dir);
                self.keeping_time(dir, |target| copy(&source, &stat, target))?;
            }
        }
        Ok(())
    }

    /// Has what the parent has there, with everything below where it is a directory.
    pub(super) fn put_back(&self, path: &Path) -> Result<()> {
        let Some(stat) = self.before(path) else {
            return Ok(());
        };
        self.lose(path)?;
        let source = self.parent.join(path);
        self.keeping_time(path, |target| copy(&source, &stat, target))?;
        if stat.kind() == FileKind::Directory {
            for name in names(&source)? {
                self.put_back(&path.join(name))?;
            }
        }
        Ok(())
    }

    /// Makes an empty directory.
    pub(super) fn make_dir(&self, path: &Path) -> Result<()> {
        self.lose(path)?;
        self.keeping_time(path, |path| Ok(at::mkdir(cwd()?, path, 0o755)?))
    }

    /// Gives what is there another owner.
    pub(super) fn chown(&self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        Ok(at::chown(cwd()?, self.top.join(path), uid, gid)?)
    }

    /// Sets the modification time of what is there.
    pub(super) fn set_mtime(&self, path: &Path, mtime: Time) -> Result<()> {
        Ok(at::set_times(cwd()?, self.top.join(path), mtime, mtime)?)
    }

    /// Gives a file another size and the time that it has.
    pub(super) fn set_size(&self, path: &Path, size: u64) -> Result<()> {
        let path = self.top.join(path);
        let stat = stat::lstat(&path)?;
        let file = File::from(at::open(cwd()?, &path, OFlags::WRONLY, 0)?);
        io("ftruncate", &path, file.set_len(size))?;
        Ok(at::set_times(cwd()?, &path, stat.atime, stat.mtime)?)
    }

    /// Gives a file the size that it has in the parent, if its own and that one are so.
    pub(super) fn set_size_of_parent(
        &self,
        path: &Path,
        if_so: impl FnOnce(u64, u64) -> bool,
    ) -> Result<()> {
        match (self.now(path), self.before(path)) {
            (Some(now), Some(before)) if if_so(now.size, before.size) => {
                self.set_size(path, before.size)
            }
            _ => Ok(()),
        }
    }

    /// Does something to a path of the tree whose directory is there, and gives that its time back.
    pub(super) fn keeping_time(
        &self,
        path: &Path,
        work: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let path = self.top.join(path);
        let dir = path.parent().unwrap_or(self.top);
        let Ok(stat) = stat::lstat(dir) else {
            return Ok(());
        };
        if stat.kind() != FileKind::Directory {
            return Ok(());
        }
        work(&path)?;
        Ok(at::set_times(cwd()?, dir, stat.atime, stat.mtime)?)
    }
}

fn cwd() -> Result<std::os::fd::OwnedFd> {
    Ok(dir::open("/")?)
}

fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = dir::read_dir(dir)?.into_iter();
    Ok(entries.map(|entry| entry.name).collect())
}

/// Every path below a directory, relative to it. What lies deeper than a path can name is left out.
fn paths(top: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    tree::walk(top, &mut |visited| {
        if visited.path.as_os_str().len() < 3000 {
            paths.push(visited.path.to_owned());
        }
        Ok(())
    })?;
    Ok(paths)
}

/// Copies an entry, a directory without what is in it.
fn copy(source: &Path, stat: &Stat, target: &Path) -> Result<()> {
    let root = cwd()?;
    match stat.kind() {
        FileKind::Directory => at::mkdir(&root, target, 0o700)?,
        FileKind::Symlink => at::symlink(at::read_link(&root, source)?, &root, target)?,
        FileKind::Regular => {
            let from = io("open", source, File::open(source))?;
            reflink::copy_file(&from, &at::create(&root, target, 0o600)?)?;
        }
        kind => at::mknod(&root, target, kind, 0o600, stat.rdev)?,
    }
    let original = at::open_path(&root, source)?;
    tree::copy_attributes(original, stat, &root, target, |_| true)
}
