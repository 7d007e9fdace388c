//! Copies of file content: by shared extents where the file system can, else byte for byte with
//! the holes kept.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::{Result, fiemap, io, sys};

/// How a copy was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// Source and copy share their extents until one is written.
    Cloned,
    /// The bytes were copied.
    Copied,
}

/// Has `target` share all extents of `source` and take its size.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EOPNOTSUPP` or `ENOTTY` where the file system cannot, `EXDEV`
/// between file systems, `EINVAL` for anything but regular files (ioctl_ficlone(2)).
pub fn clone_file(source: &File, target: &File) -> Result<()> {
    sys("ficlone", "", rustix::fs::ioctl_ficlone(target, source))
}

/// Copies the content and size of `source` into the empty file `target`: shared where possible,
/// else the data between the holes. The offset of `source` moves.
pub fn copy_file(source: &File, target: &File) -> Result<CopyKind> {
    match rustix::fs::ioctl_ficlone(target, source) {
        Ok(()) => Ok(CopyKind::Cloned),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {
            copy_data(source, target)?;
            Ok(CopyKind::Copied)
        }
        Err(errno) => sys("ficlone", "", Err(errno)),
    }
}

/// Copies the content and size of `source` into the empty file `target` byte for byte, with the
/// holes kept and no extent shared on purpose. The offset of `source` moves.
pub fn copy_data(source: &File, target: &File) -> Result<()> {
    let size = io("fstat", "", source.metadata())?.len();
    for (start, length) in fiemap::data_segments(source)? {
        copy_segment(source, target, start, length)?;
    }
    io("ftruncate", "", target.set_len(size))
}

fn copy_segment(source: &File, target: &File, start: u64, length: u64) -> Result<()> {
    let (mut from, mut to) = (start, start);
    let end = start + length;
    while from < end {
        let wanted = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        let (source_at, target_at) = (Some(&mut from), Some(&mut to));
        match rustix::fs::copy_file_range(source, source_at, target, target_at, wanted) {
            // The file was cut meanwhile.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Not between these two file systems (copy_file_range(2)).
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_bytes(source, target, from, end);
            }
            Err(errno) => return sys("copy_file_range", "", Err(errno)),
        }
    }
    Ok(())
}

fn copy_bytes(source: &File, target: &File, mut offset: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0; 1 << 17];
    while offset < end {
        let wanted = usize::try_from(end - offset)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = match source.read_at(&mut buffer[..wanted], offset) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => io("read", "", result)?,
        };
        io("write", "", target.write_all_at(&buffer[..count], offset))?;
        offset += u64::try_from(count).unwrap_or(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_content_size_and_holes() {
        let (source, target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.write_all_at(b"head", 0).unwrap();
        source.write_all_at(&[7; 5000], 4 << 20).unwrap();
        source.set_len(8 << 20).unwrap();
        copy_file(&source, &target).unwrap();
        let read = |file: &File| {
            let mut bytes = vec![0; 8 << 20];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert_eq!(target.metadata().unwrap().len(), 8 << 20);
        assert!(read(&source) == read(&target));
        assert_eq!(
            fiemap::data_segments(&source).unwrap(),
            fiemap::data_segments(&target).unwrap()
        );
        let plain = tempfile::tempfile().unwrap();
        copy_bytes(&source, &plain, 0, 8 << 20).unwrap();
        assert!(read(&source) == read(&plain));
    }
}
