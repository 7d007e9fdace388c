//! Error numbers as cases write them: with the names of errno(3), in expectations and in differences.

use std::fmt;

/// The error number of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(i32);

impl Code {
    /// Wraps a raw error number.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// The raw error number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The name in errno(3), if this module knows it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(code, _)| *code == self)
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.pad(name),
            None => write!(formatter, "error {}", self.0),
        }
    }
}

impl From<cowlab_sys::Error> for Code {
    /// What is no refused system call counts as EIO.
    fn from(error: cowlab_sys::Error) -> Self {
        error
            .errno()
            .map_or(EIO, |errno| Self(errno.raw_os_error()))
    }
}

impl From<rustix::io::Errno> for Code {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<std::io::Error> for Code {
    fn from(error: std::io::Error) -> Self {
        error.raw_os_error().map_or(EIO, Self)
    }
}

/// Declares the constants and the table of their names (asm-generic/errno.h: x86-64, arm64, RISC-V).
macro_rules! codes {
    ($($name:ident = $number:literal: $meaning:literal,)*) => {
        $(#[doc = $meaning] pub const $name: Code = Code($number);)*
        const NAMES: &[(Code, &str)] = &[$(($name, stringify!($name)),)*];
    };
}

codes! {
    EPERM = 1: "Operation not permitted.",
    ENOENT = 2: "No such file or directory.",
    EIO = 5: "Input/output error.",
    ENXIO = 6: "No such device or address.",
    E2BIG = 7: "Argument list too long.",
    EBADF = 9: "Bad file descriptor.",
    EAGAIN = 11: "Resource temporarily unavailable.",
    ENOMEM = 12: "Cannot allocate memory.",
    EACCES = 13: "Permission denied.",
    EBUSY = 16: "Device or resource busy.",
    EEXIST = 17: "File exists.",
    EXDEV = 18: "Invalid cross-device link.",
    ENODEV = 19: "No such device.",
    ENOTDIR = 20: "Not a directory.",
    EISDIR = 21: "Is a directory.",
    EINVAL = 22: "Invalid argument.",
    ENOTTY = 25: "Inappropriate request for the file.",
    ETXTBSY = 26: "Text file busy.",
    EFBIG = 27: "File too large.",
    ENOSPC = 28: "No space left on device.",
    EROFS = 30: "Read-only file system.",
    EMLINK = 31: "Too many links.",
    ERANGE = 34: "Result too large.",
    ENAMETOOLONG = 36: "File name too long.",
    ENOSYS = 38: "Function not implemented.",
    ENOTEMPTY = 39: "Directory not empty.",
    ELOOP = 40: "Too many levels of symbolic links.",
    ENODATA = 61: "No such attribute.",
    EOVERFLOW = 75: "Value too large for the type.",
    EOPNOTSUPP = 95: "Operation not supported.",
    ECONNABORTED = 103: "Software caused connection abort.",
    ENOTCONN = 107: "Not connected: a FUSE program has ended.",
    ESTALE = 116: "Stale file handle.",
    EDQUOT = 122: "Quota exceeded.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_in_errno() {
        assert_eq!(EXDEV.to_string(), "EXDEV");
        assert_eq!(Code::from_raw(9999).to_string(), "error 9999");
    }
}
