//! Loop devices: a file as a block device (loop(4)).
//!
//! Devices are bound by LOOP_CONFIGURE with automatic clearing off, so that a device lives until
//! its guard ends, and freed only while they still belong to the file they were bound to.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linux_raw_sys::loop_device::{LO_FLAGS_DIRECT_IO, LO_FLAGS_READ_ONLY, loop_config};
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::guard::{Guard, Leak, close_in_drop};
use crate::stat::FileKind;
use crate::{Result, at, holders, io, raw, stat, sys};

/// The major number of loop devices (Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: u32 = 7;
/// How often another process may snatch the free device before this one gives up.
const BIND_ATTEMPTS: u32 = 64;
/// How often, and how far apart, to look whether a freed device is free: three seconds in all. A
/// mount namespace that anything on the host makes for itself (a container engine, say) starts
/// with copies of all mounts and keeps the device for the moment until it drops them.
const FREE_CHECKS: u32 = 150;
const FREE_PAUSE: Duration = Duration::from_millis(20);

/// How to bind a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopOptions {
    /// The device refuses to be written.
    pub read_only: bool,
    /// Pass the page cache of the file by, where its file system can: else the device caches
    /// twice. [`LoopDevice::direct_io`] tells what came of it.
    pub direct_io: bool,
    /// The logical sector size in bytes, a power of two from 512 to 4096; `None` is 512.
    pub sector_size: Option<u32>,
}

/// A file bound to a loop device, freed with the guard.
#[derive(Debug)]
pub struct LoopDevice {
    number: u32,
    path: PathBuf,
    image: PathBuf,
    /// Device and inode of the file, by which the binding is known again.
    identity: (u64, u64),
    direct_io: bool,
    open: bool,
}

impl LoopDevice {
    /// Binds the file `image` to a free loop device. Where direct I/O is asked for and refused,
    /// the device is buffered.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`] naming `image`, `/dev/loop-control` or the device.
    pub fn attach(image: &Path, options: LoopOptions) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(!options.read_only)
            .open(image);
        let file = io("open", image, file)?;
        let found = stat::fstat(&file)?;
        let control_path = Path::new("/dev/loop-control");
        let control = OpenOptions::new().read(true).write(true).open(control_path);
        let control = io("open", control_path, control)?;
        for _ in 0..BIND_ATTEMPTS {
            let number = sys(
                "ioctl LOOP_CTL_GET_FREE",
                control_path,
                raw::loop_next_free(&control),
            )?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open_device(&path, number)?;
            match bind(&device, &file, image, options) {
                // Another process took it since LOOP_CTL_GET_FREE.
                Err(Errno::BUSY) => continue,
                result => sys("ioctl LOOP_CONFIGURE", image, result)?,
            }
            let status = raw::loop_status(&device);
            let flags = sys("ioctl LOOP_GET_STATUS64", &path, status)?.lo_flags;
            let direct_io = flags & direct_flag() != 0;
            tracing::debug!(device = %path.display(), image = %image.display(), direct_io, "bound");
            let image = io("getcwd", image, std::path::absolute(image))?;
            let identity = (found.dev, found.ino);
            return Ok(Self {
                number,
                path,
                image,
                identity,
                direct_io,
                open: true,
            });
        }
        sys("ioctl LOOP_CONFIGURE", image, Err(Errno::BUSY))
    }

    /// Returns the path of the device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of the device, which is its minor number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the file behind the device.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Tells whether the device passes the page cache of its file by.
    pub fn direct_io(&self) -> bool {
        self.direct_io
    }

    /// Tells whether something holds the device for itself: a mounted file system, in whatever
    /// mount namespace, or one that is still being shut down.
    pub fn is_in_use(&self) -> Result<bool> {
        // On a block device, O_EXCL without O_CREAT asks for it exclusively (open(2)).
        let exclusive = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL)
            .open(&self.path);
        match sys_errno(exclusive) {
            Ok(_) => Ok(false),
            Err(Errno::BUSY) => Ok(true),
            Err(errno) => sys("open", &self.path, Err(errno)),
        }
    }

    /// Has the device take its file's present size.
    pub fn resize(&self) -> Result<()> {
        let device = io("open", &self.path, File::open(&self.path))?;
        sys(
            "ioctl LOOP_SET_CAPACITY",
            &self.path,
            raw::loop_set_capacity(&device),
        )
    }

    /// Leaves the device bound and returns its path.
    pub fn keep(mut self) -> PathBuf {
        self.open = false;
        std::mem::take(&mut self.path)
    }
}

impl Guard for LoopDevice {
    fn describe(&self) -> String {
        format!(
            "the loop device `{}` of `{}`",
            self.path.display(),
            self.image.display()
        )
    }

    fn close(&mut self) -> Result<(), Leak> {
        if self.open {
            free(&self.path, Some(self.identity)).map_err(|source| Leak {
                what: format!("{}{}", self.describe(), users(&self.path)),
                source,
            })?;
            self.open = false;
        }
        Ok(())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        close_in_drop(self);
    }
}

/// Returns all bound loop devices, each with the path of its file as the kernel has it: with
/// ` (deleted)` at the end where the file was removed.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] where `/sys/block` cannot be read.
pub fn list() -> Result<Vec<(PathBuf, PathBuf)>> {
    let directory = Path::new("/sys/block");
    let entries = io("readdir", directory, std::fs::read_dir(directory))?;
    let mut devices = Vec::new();
    for entry in entries.filter_map(std::result::Result::ok) {
        let name = entry.file_name();
        if !name.as_bytes().starts_with(b"loop") {
            continue;
        }
        // A free device has no such file.
        let Ok(mut image) = std::fs::read(entry.path().join("loop/backing_file")) else {
            continue;
        };
        if image.last() == Some(&b'\n') {
            image.pop();
        }
        let image = Path::new(std::ffi::OsStr::from_bytes(&image)).to_path_buf();
        devices.push((Path::new("/dev").join(name), image));
    }
    devices.sort_unstable();
    Ok(devices)
}

/// Frees the loop device at `path`. A free device is no error.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EBUSY` while it is in use; the kernel then frees it with its last
/// user.
pub fn detach(path: &Path) -> Result<()> {
    free(path, None)
}

/// Frees the loop device at `path` if it is bound to the file `image`, which must exist: a number
/// read a moment ago may serve another file by now.
pub fn detach_image(path: &Path, image: &Path) -> Result<()> {
    let found = stat::stat(image)?;
    free(path, Some((found.dev, found.ino)))
}

/// Names who keeps a device in use, in parentheses: the processes that have it mounted, as far as
/// the mount tables show.
pub fn users(path: &Path) -> String {
    let mounts = holders::mounts_where(|mount| Path::new(&mount.source) == path);
    let mounts = mounts.unwrap_or_default();
    if mounts.is_empty() {
        return " (nothing in the mount tables; a detached mount or the mount namespace of a chroot \
                may have it)"
            .to_owned();
    }
    let mounts: Vec<_> = mounts.iter().map(ToString::to_string).collect();
    format!(" ({})", mounts.join(", "))
}

/// Frees a device, unless it is bound to another file than `identity`.
fn free(path: &Path, mut identity: Option<(u64, u64)>) -> Result<()> {
    for _ in 0..FREE_CHECKS {
        let device = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => io("open", path, result)?,
        };
        let bound = match raw::loop_status(&device) {
            Err(Errno::NXIO) => return Ok(()),
            result => sys("ioctl LOOP_GET_STATUS64", path, result)?,
        };
        let bound = (bound.lo_device, bound.lo_inode);
        if *identity.get_or_insert(bound) != bound {
            // It was freed by someone else, and the number serves another file now.
            return Ok(());
        }
        match raw::loop_clear(&device) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return sys("ioctl LOOP_CLR_FD", path, Err(errno)),
        }
        // LOOP_CLR_FD answers 0 for a device in use as well and leaves the rest to the last
        // close (loop_clr_fd in drivers/block/loop.c): close, and look again.
        drop(device);
        if !is_bound(path) {
            tracing::debug!(device = %path.display(), "freed");
            return Ok(());
        }
        std::thread::sleep(FREE_PAUSE);
    }
    sys("ioctl LOOP_CLR_FD", path, Err(Errno::BUSY))
}

fn sys_errno<T>(result: std::io::Result<T>) -> rustix::io::Result<T> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Tells whether a device has a file, without opening the device.
fn is_bound(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    Path::new("/sys/block")
        .join(name)
        .join("loop/backing_file")
        .exists()
}

/// Opens the device of this number, and makes its node where there is no devtmpfs to make it.
fn open_device(path: &Path, number: u32) -> Result<File> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let device = stat::device(LOOP_MAJOR, number);
            match at::mknod(CWD, path, FileKind::BlockDevice, 0o660, device) {
                Err(error) if error.errno() != Some(Errno::EXIST) => Err(error),
                _ => io("open", path, open()),
            }
        }
        result => io("open", path, result),
    }
}

/// Binds `file` to `device`, without direct I/O where that is refused.
fn bind(device: &File, file: &File, image: &Path, options: LoopOptions) -> rustix::io::Result<()> {
    let mut config = raw::zeroed::<loop_config>();
    config.fd = u32::try_from(file.as_raw_fd()).ok().ok_or(Errno::BADF)?;
    config.block_size = options.sector_size.unwrap_or(0);
    // The name is for people only, and cut: the kernel goes by the descriptor.
    let name = image.as_os_str().as_bytes();
    let room = config.info.lo_file_name.len() - 1;
    for (slot, byte) in config.info.lo_file_name[..room].iter_mut().zip(name) {
        *slot = *byte;
    }
    if options.read_only {
        config.info.lo_flags |= LO_FLAGS_READ_ONLY as u32;
    }
    let buffered = config.info.lo_flags;
    if options.direct_io {
        config.info.lo_flags |= LO_FLAGS_DIRECT_IO as u32;
    }
    match raw::loop_configure(device, &mut config) {
        Err(Errno::INVAL) if options.direct_io => {
            config.info.lo_flags = buffered;
            raw::loop_configure(device, &mut config)
        }
        result => result,
    }
}

fn direct_flag() -> u32 {
    LO_FLAGS_DIRECT_IO as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_without_root() {
        for (device, image) in list().unwrap() {
            assert!(device.starts_with("/dev") && image.is_absolute());
        }
    }
}
