//! Extended attributes, of a path without following a symbolic link, and of a descriptor.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::{Result, at, sys};

/// Room that most values and lists fit into, in bytes; longer ones are read a second time.
const USUAL: usize = 256;
/// The longest value and the longest list of names (xattr(7)), in bytes.
const LONGEST: usize = 65_536;

/// Returns the names of the attributes of the file at `path`, sorted. Names in `trusted` are
/// listed for root alone; a file system without attributes has none.
pub fn list(path: impl AsRef<Path>) -> Result<Vec<OsString>> {
    let path = path.as_ref();
    names("llistxattr", path, |buffer| {
        rustix::fs::llistxattr(path, buffer)
    })
}

/// Returns the value of an attribute of the file at `path`, or `None` where it has no such.
pub fn get(path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>> {
    let (path, name) = (path.as_ref(), name.as_ref());
    value("lgetxattr", path, |buffer| {
        rustix::fs::lgetxattr(path, name, buffer)
    })
}

/// Returns all attributes of the file at `path` with their values, sorted by name.
pub fn read_all(path: impl AsRef<Path>) -> Result<Vec<(OsString, Vec<u8>)>> {
    let path = path.as_ref();
    pair(list(path)?, |name| get(path, name))
}

/// Sets an attribute of the file at `path`.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ENOSPC` or `E2BIG` where the value is too long for the file
/// system, `EPERM` for `user` attributes of anything but files and directories.
pub fn set(path: impl AsRef<Path>, name: impl AsRef<OsStr>, value: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let result = rustix::fs::lsetxattr(path, name.as_ref(), value, XattrFlags::empty());
    sys("lsetxattr", path, result)
}

/// Removes an attribute of the file at `path`; one that is not there is no error.
pub fn remove(path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<()> {
    let path = path.as_ref();
    absent_is_fine(
        "lremovexattr",
        path,
        rustix::fs::lremovexattr(path, name.as_ref()),
    )
}

/// Returns all attributes of an open file, of an `O_PATH` descriptor as well, sorted by name.
pub fn read_all_fd(fd: impl AsFd) -> Result<Vec<(OsString, Vec<u8>)>> {
    // flistxattr(2) refuses O_PATH; the path below /proc leads to the very file.
    let path = &at::descriptor_path(&fd);
    let list = names("listxattr", path, |buffer| {
        rustix::fs::listxattr(path, buffer)
    })?;
    pair(list, |name| get_fd(&fd, name))
}

/// Returns the value of an attribute of an open file, or `None` where it has no such.
pub fn get_fd(fd: impl AsFd, name: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>> {
    let (path, name) = (&at::descriptor_path(&fd), name.as_ref());
    value("getxattr", path, |buffer| {
        rustix::fs::getxattr(path, name, buffer)
    })
}

/// Sets an attribute of an open file, of an `O_PATH` descriptor as well.
pub fn set_fd(fd: impl AsFd, name: impl AsRef<OsStr>, value: &[u8]) -> Result<()> {
    // Borrowed: a descriptor that was given away would be closed before the call.
    let path = at::descriptor_path(&fd);
    let result = rustix::fs::setxattr(&path, name.as_ref(), value, XattrFlags::empty());
    sys("setxattr", name.as_ref(), result)
}

/// Removes an attribute of an open file, of an `O_PATH` descriptor as well; one that is not there
/// is no error.
pub fn remove_fd(fd: impl AsFd, name: impl AsRef<OsStr>) -> Result<()> {
    // Borrowed: a descriptor that was given away would be closed before the call.
    let path = at::descriptor_path(&fd);
    absent_is_fine(
        "removexattr",
        &path,
        rustix::fs::removexattr(&path, name.as_ref()),
    )
}

fn absent_is_fine(call: &'static str, path: &Path, result: rustix::io::Result<()>) -> Result<()> {
    match result {
        Err(Errno::NODATA) => Ok(()),
        result => sys(call, path, result),
    }
}

fn pair(
    names: Vec<OsString>,
    get: impl Fn(&OsStr) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<(OsString, Vec<u8>)>> {
    // A name that was removed between the two calls is left out.
    let pairs = names
        .into_iter()
        .map(|name| Ok(get(&name)?.map(|value| (name, value))));
    pairs.filter_map(Result::transpose).collect()
}

fn names(
    call: &'static str,
    path: &Path,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> Result<Vec<OsString>> {
    let bytes = match fill(read) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        result => sys(call, path, result)?,
    };
    let parts = bytes
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut names: Vec<_> = parts
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn value(
    call: &'static str,
    path: &Path,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> Result<Option<Vec<u8>>> {
    match fill(read) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        result => sys(call, path, result).map(Some),
    }
}

/// Reads into a small buffer, and into one of the largest size where that is too short.
fn fill(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; USUAL];
    let length = match read(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(LONGEST, 0);
            read(&mut buffer)?
        }
        result => result?,
    };
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_long_and_short_values() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        std::fs::write(&path, "").unwrap();
        assert_eq!(get(&path, "user.none").unwrap(), None);
        if set(&path, "user.b", &[7; 1000]).is_err() {
            return; // The directory for temporary files has no user attributes.
        }
        set(&path, "user.a", b"").unwrap();
        let all = [
            ("user.a".into(), Vec::new()),
            ("user.b".into(), vec![7; 1000]),
        ];
        assert_eq!(read_all(&path).unwrap(), all);
        let fd = at::open_path(rustix::fs::CWD, &path).unwrap();
        assert_eq!(read_all_fd(&fd).unwrap(), all);
        remove_fd(&fd, "user.b").unwrap();
        remove(&path, "user.b").unwrap();
        assert_eq!(list(&path).unwrap(), ["user.a"]);
    }
}
