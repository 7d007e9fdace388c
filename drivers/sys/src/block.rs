//! Block devices.

use std::fs::OpenOptions;
use std::path::Path;

use crate::{Result, io, raw, sys};

/// Tells the device at `path` that nobody needs `length` bytes from `offset` on any more, both in whole sectors: what
/// lies below may use them for others. What is read there afterwards is undefined.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EOPNOTSUPP` where the device cannot.
pub fn discard(path: &Path, offset: u64, length: u64) -> Result<()> {
    let device = io("open", path, OpenOptions::new().write(true).open(path))?;
    sys("BLKDISCARD", path, raw::discard(&device, offset, length))
}
