//! System calls on a name below an open directory: thin wrappers that never follow a symbolic
//! link in the last place and whose errors name the entry.
//!
//! A directory may be an `O_PATH` descriptor throughout. `name` is meant to be a single name;
//! [`crate::Root`] turns paths into directory and name without leaving the tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

pub use rustix::fs::{OFlags, RenameFlags};

use crate::stat::{self, FileKind, Stat, Time};
use crate::{Result, sys};

/// Opens the entry; `O_NOFOLLOW` and `O_CLOEXEC` are added.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ELOOP` for a symbolic link, unless `flags` has `O_PATH`.
pub fn open(dir: impl AsFd, name: impl AsRef<Path>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let name = name.as_ref();
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys(
        "openat",
        name,
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode)),
    )
}

/// Opens the entry as an `O_PATH` descriptor: of any type, without touching it.
pub fn open_path(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    open(dir, name, OFlags::PATH, 0)
}

/// Opens the directory entry for reading.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ENOTDIR` for anything but a directory.
pub fn open_dir(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    open(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, 0)
}

/// Opens the directory entry for reading, resolved by openat2(2): never through a symbolic link,
/// never onto another mount, never out of `dir`.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ENOTDIR` for anything but a directory, `ELOOP` for a symbolic
/// link, `EXDEV` for a mount point and for `..`.
pub fn enter(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    enter_with(dir, name.as_ref(), ResolveFlags::NO_XDEV)
}

/// Opens the directory entry as [`enter`] does, and goes onto another mount as well.
///
/// # Errors
///
/// As [`enter`], but for mount points.
pub fn enter_across(dir: impl AsFd, name: impl AsRef<Path>) -> Result<OwnedFd> {
    enter_with(dir, name.as_ref(), ResolveFlags::empty())
}

fn enter_with(dir: impl AsFd, name: &Path, resolve: ResolveFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve =
        resolve | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&dir, name, flags, Mode::empty(), resolve) {
            // A rename elsewhere raced with the resolution (openat2(2), EAGAIN).
            Err(Errno::AGAIN) => {}
            result => return sys("openat2", name, result),
        }
    }
}

/// Makes a regular file that did not exist and opens it for writing.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EEXIST` where the name is taken.
pub fn create(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> Result<File> {
    open(
        dir,
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        mode,
    )
    .map(File::from)
}

/// Makes a directory; the process's umask applies.
pub fn mkdir(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> Result<()> {
    let name = name.as_ref();
    sys(
        "mkdirat",
        name,
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode)),
    )
}

/// Makes a device file, a FIFO, a socket or an empty regular file; `device` counts for device
/// files alone, see [`stat::device`].
pub fn mknod(
    dir: impl AsFd,
    name: impl AsRef<Path>,
    kind: FileKind,
    mode: u32,
    device: u64,
) -> Result<()> {
    let name = name.as_ref();
    let mode = Mode::from_raw_mode(mode);
    sys(
        "mknodat",
        name,
        rustix::fs::mknodat(dir, name, kind.to_type(), mode, device),
    )
}

/// Makes a symbolic link with this content.
pub fn symlink(content: impl AsRef<OsStr>, dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    sys(
        "symlinkat",
        name,
        rustix::fs::symlinkat(content.as_ref(), dir, name),
    )
}

/// Returns the content of a symbolic link.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EINVAL` for anything else.
pub fn read_link(dir: impl AsFd, name: impl AsRef<Path>) -> Result<PathBuf> {
    let name = name.as_ref();
    let content = sys(
        "readlinkat",
        name,
        rustix::fs::readlinkat(dir, name, Vec::new()),
    )?;
    Ok(OsString::from_vec(content.into_bytes()).into())
}

/// Gives the file at `old_dir`/`old` a further name; a symbolic link itself, not its target.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`], naming the new name.
pub fn link(
    old_dir: impl AsFd,
    old: impl AsRef<Path>,
    dir: impl AsFd,
    name: impl AsRef<Path>,
) -> Result<()> {
    let (old, name) = (old.as_ref(), name.as_ref());
    sys(
        "linkat",
        name,
        rustix::fs::linkat(old_dir, old, dir, name, AtFlags::empty()),
    )
}

/// Removes an entry that is no directory.
pub fn unlink(dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    sys(
        "unlinkat",
        name,
        rustix::fs::unlinkat(dir, name, AtFlags::empty()),
    )
}

/// Removes an empty directory.
pub fn rmdir(dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    sys(
        "rmdir",
        name,
        rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
    )
}

/// Renames an entry; `RenameFlags` has `NOREPLACE`, `EXCHANGE` and `WHITEOUT`.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`], naming the old name.
pub fn rename(
    old_dir: impl AsFd,
    old: impl AsRef<Path>,
    dir: impl AsFd,
    name: impl AsRef<Path>,
    flags: RenameFlags,
) -> Result<()> {
    let (old, name) = (old.as_ref(), name.as_ref());
    sys(
        "renameat2",
        old,
        rustix::fs::renameat_with(old_dir, old, dir, name, flags),
    )
}

/// Returns the attributes of the entry; an empty name stands for `dir` itself.
pub fn stat(dir: impl AsFd, name: impl AsRef<Path>) -> Result<Stat> {
    let name = name.as_ref();
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    sys("fstatat", name, stat::query(dir, name, flags))
}

/// Returns the attributes of the entry, or `None` where there is none of this name.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] for any failure but `ENOENT`.
pub fn stat_if_present(dir: impl AsFd, name: impl AsRef<Path>) -> Result<Option<Stat>> {
    match stat(dir, name) {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
        result => result.map(Some),
    }
}

/// Gives the entry an owner and a group; an empty name stands for `dir` itself. This clears
/// set-user-id and set-group-id bits and file capabilities, so it comes before the mode.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EINVAL` for the id 4,294,967,295, which chown(2) takes for
/// "leave alone".
pub fn chown(dir: impl AsFd, name: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
    let name = name.as_ref();
    if uid == u32::MAX || gid == u32::MAX {
        return sys("fchownat", name, Err(Errno::INVAL));
    }
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    sys(
        "fchownat",
        name,
        rustix::fs::chownat(dir, name, uid, gid, flags),
    )
}

/// Sets the permission bits of the entry, with set-user-id, set-group-id and sticky bit.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EOPNOTSUPP` for a symbolic link, which has none.
pub fn chmod(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> Result<()> {
    let name = name.as_ref();
    // fchmodat(2) follows links, and fchmodat2(2) is younger than Linux 6.6.
    let fd = open_path(dir, name)?;
    let mode = Mode::from_raw_mode(mode);
    sys("chmod", name, rustix::fs::chmod(descriptor_path(&fd), mode))
}

/// Sets the permission bits of an open file, of an `O_PATH` descriptor as well.
pub fn chmod_descriptor(fd: impl AsFd, mode: u32) -> Result<()> {
    let path = descriptor_path(&fd);
    let mode = Mode::from_raw_mode(mode);
    sys("chmod", &path, rustix::fs::chmod(&path, mode))
}

/// Sets the access and modification times of the entry; an empty name stands for `dir` itself.
pub fn set_times(dir: impl AsFd, name: impl AsRef<Path>, atime: Time, mtime: Time) -> Result<()> {
    let name = name.as_ref();
    let spec = |time: Time| Timespec {
        tv_sec: time.sec,
        tv_nsec: time.nsec.into(),
    };
    let times = Timestamps {
        last_access: spec(atime),
        last_modification: spec(mtime),
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    sys(
        "utimensat",
        name,
        rustix::fs::utimensat(dir, name, &times, flags),
    )
}

/// Returns a path that leads to the file of a descriptor: the way to call what takes no `O_PATH`
/// descriptor and no name in a directory. It leads to a symbolic link itself (proc_pid_fd(5)).
pub fn descriptor_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_below_a_path_descriptor() {
        let place = tempfile::tempdir().unwrap();
        let dir = open_path(rustix::fs::CWD, place.path()).unwrap();
        create(&dir, "a", 0o644).unwrap();
        assert_eq!(
            create(&dir, "a", 0o644).unwrap_err().errno(),
            Some(Errno::EXIST)
        );
        symlink("a", &dir, "l").unwrap();
        assert_eq!(read_link(&dir, "l").unwrap(), Path::new("a"));
        assert!(chmod(&dir, "l", 0o600).is_err());
        chmod(&dir, "a", 0o4711).unwrap();
        assert_eq!(stat(&dir, "a").unwrap().permissions(), 0o4711);
        let times = [
            Time { sec: -1, nsec: 5 },
            Time {
                sec: -62_135_596,
                nsec: 999_999_999,
            },
        ];
        set_times(&dir, "l", times[0], times[1]).unwrap();
        assert_eq!(stat(&dir, "l").unwrap().mtime, times[1]);
        link(&dir, "a", &dir, "b").unwrap();
        assert_eq!(stat(&dir, "b").unwrap().nlink, 2);
        rename(&dir, "b", &dir, "c", RenameFlags::NOREPLACE).unwrap();
        assert!(rename(&dir, "c", &dir, "a", RenameFlags::NOREPLACE).is_err());
        mknod(&dir, "p", FileKind::Fifo, 0o600, 0).unwrap();
        assert_eq!(stat(&dir, "p").unwrap().kind(), FileKind::Fifo);
        mkdir(&dir, "d", 0o700).unwrap();
        symlink("d", &dir, "to-d").unwrap();
        let entered = enter(&dir, "d").unwrap();
        assert_eq!(
            enter(&entered, "..").unwrap_err().errno(),
            Some(Errno::XDEV)
        );
        assert_eq!(enter(&dir, "to-d").unwrap_err().errno(), Some(Errno::LOOP));
        assert_eq!(enter(&dir, "a").unwrap_err().errno(), Some(Errno::NOTDIR));
        assert!(unlink(&dir, "d").is_err());
        rmdir(&dir, "d").unwrap();
        assert!(stat_if_present(&dir, "d").unwrap().is_none());
        assert_eq!(stat(&dir, "").unwrap().kind(), FileKind::Directory);
        assert_eq!(
            chown(&dir, "a", u32::MAX, 0).unwrap_err().errno(),
            Some(Errno::INVAL)
        );
        let error = unlink(&dir, "x").unwrap_err().to_string();
        assert_eq!(error, "unlinkat `x`: no such file or directory");
    }
}
