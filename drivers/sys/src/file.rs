//! Calls on open files beyond reading and writing: preallocation, attributes, locks, shared
//! mappings, files without a name.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::ProtFlags;

pub use rustix::fs::{FallocateFlags, IFlags};

use crate::raw::{self, LockKind};
use crate::{Result, at, io, sys};

/// Reads from a descriptor once, without a buffer of its own; 0 at the end. A signal does not end it.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EAGAIN` where it would block.
pub fn read_once(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match rustix::io::read(&fd, &mut *buffer) {
            Err(Errno::INTR) => {}
            read => return sys("read", "", read),
        }
    }
}

/// Writes to a descriptor once and returns how much it took; `None` where it would block. A signal does not end it.
pub fn write_once(fd: impl AsFd, bytes: &[u8]) -> Result<Option<usize>> {
    loop {
        match rustix::io::write(&fd, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            written => return sys("write", "", written).map(Some),
        }
    }
}

/// Allocates, frees or zeroes a range of a file, as fallocate(2) has it.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EOPNOTSUPP` where the file system has not this mode.
pub fn fallocate(file: &File, flags: FallocateFlags, offset: u64, length: u64) -> Result<()> {
    sys(
        "fallocate",
        "",
        rustix::fs::fallocate(file, flags, offset, length),
    )
}

/// Copies up to `length` bytes inside the kernel, from and to the current positions, and returns
/// how many.
pub fn copy_range(source: &File, target: &File, length: usize) -> Result<usize> {
    sys(
        "copy_file_range",
        "",
        rustix::fs::copy_file_range(source, None, target, None, length),
    )
}

/// Returns the attributes of an open file (ioctl_iflags(2)).
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ENOTTY` or `EOPNOTSUPP` where the file system has none.
pub fn inode_flags(file: impl AsFd) -> Result<IFlags> {
    sys("FS_IOC_GETFLAGS", "", rustix::fs::ioctl_getflags(file))
}

/// Sets the attributes of an open file (ioctl_iflags(2)).
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: as [`inode_flags`].
pub fn set_inode_flags(file: impl AsFd, flags: IFlags) -> Result<()> {
    sys(
        "FS_IOC_SETFLAGS",
        "",
        rustix::fs::ioctl_setflags(file, flags),
    )
}

/// Has fs-verity protect a file, opened for reading, that nobody has open for writing: its content never changes again.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ENOTTY` or `EOPNOTSUPP` where the file system or the kernel cannot.
pub fn enable_verity(file: impl AsFd) -> Result<()> {
    sys("FS_IOC_ENABLE_VERITY", "", raw::verity::enable(file))
}

/// Takes an open-file-description lock on the whole file for this owner alone, without waiting.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EAGAIN` where another has a lock.
pub fn try_lock(file: impl AsFd) -> Result<()> {
    sys(
        "F_OFD_SETLK",
        "",
        raw::ofd_lock(file, LockKind::Exclusive, false),
    )
}

/// Gives a file opened with `O_TMPFILE` a name.
pub fn link_unnamed(file: impl AsFd, dir: impl AsFd, name: impl AsRef<Path>) -> Result<()> {
    let name = name.as_ref();
    let path = at::descriptor_path(&file);
    sys(
        "linkat",
        name,
        rustix::fs::linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW),
    )
}

/// Makes a file without a name in `dir`, for reading and writing: it goes with its last descriptor, whatever ends the
/// process.
pub fn unnamed(dir: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    sys(
        "open",
        dir,
        rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR),
    )
    .map(File::from)
}

/// Makes a file in memory; `name` is for `/proc` alone (memfd_create(2)).
pub fn in_memory(name: &str) -> Result<File> {
    let made = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC);
    sys("memfd_create", name, made).map(File::from)
}

/// Tells whether the file system gives the file a handle (name_to_handle_at(2)).
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EOPNOTSUPP` where it gives none.
pub fn has_handle(file: impl AsFd) -> Result<()> {
    sys("name_to_handle_at", "", raw::name_to_handle(file))
}

/// A shared mapping of the start of a file.
#[derive(Debug)]
pub struct Mapping {
    pages: raw::Pages,
}

impl Mapping {
    /// Maps the first `length` bytes of a file.
    pub fn shared(file: &File, length: usize) -> Result<Self> {
        Self::new(file, length, ProtFlags::READ)
    }

    /// Maps the first `length` bytes of a file for [`write`](Self::write) as well.
    pub fn writable(file: &File, length: usize) -> Result<Self> {
        Self::new(file, length, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn new(file: &File, length: usize, access: ProtFlags) -> Result<Self> {
        let pages = sys("mmap", "", raw::Pages::map(file, length, access))?;
        Ok(Self { pages })
    }

    /// Stores `bytes` at the start of the mapping, through `/proc/self/mem`, whose page faults are those of a store.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`]: `EIO` where the file was cut or the mapping is not writable.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let path = "/proc/self/mem";
        let fits = bytes.len() <= self.pages.length();
        let address = u64::try_from(self.pages.address()).ok().filter(|_| fits);
        let address = sys("write", path, address.ok_or(Errno::OVERFLOW))?;
        let memory = io("open", path, OpenOptions::new().write(true).open(path))?;
        io("write", path, memory.write_all_at(bytes, address))
    }

    /// Copies what the mapping shows. It is read through `/proc/self/mem`, where a page that the
    /// file no longer has is an error and no signal.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`]: `EIO` where the file was cut.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = "/proc/self/mem";
        let memory = io("open", path, File::open(path))?;
        let mut bytes = vec![0; self.pages.length()];
        let address = u64::try_from(self.pages.address()).ok();
        let address = sys("read", path, address.ok_or(Errno::OVERFLOW))?;
        io("read", path, memory.read_exact_at(&mut bytes, address))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_shows_later_writes() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"old", 0).unwrap();
        let mapping = Mapping::shared(&file, 3).unwrap();
        assert_eq!(mapping.read().unwrap(), b"old");
        file.write_all_at(b"new", 0).unwrap();
        assert_eq!(mapping.read().unwrap(), b"new");
        file.set_len(0).unwrap();
        assert!(mapping.read().is_err());
    }

    #[test]
    fn a_store_in_a_mapping_is_a_change_of_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"old", 0).unwrap();
        assert!(Mapping::shared(&file, 3).unwrap().write(b"new").is_err());
        let mapping = Mapping::writable(&file, 3).unwrap();
        assert!(mapping.write(b"longer").is_err());
        mapping.write(b"new").unwrap();
        let mut found = [0; 3];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"new");
    }
}
