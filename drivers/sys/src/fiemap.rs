//! Where the data of a file is: its extents on the device, and its holes.
//!
//! Extents come from FS_IOC_FIEMAP (Documentation/filesystems/fiemap.rst), which tmpfs and
//! overlayfs do not have; holes come from lseek(2) with `SEEK_DATA` and `SEEK_HOLE`.

use std::fs::File;

use linux_raw_sys::ioctl::{
    FIEMAP_EXTENT_DATA_INLINE, FIEMAP_EXTENT_DELALLOC, FIEMAP_EXTENT_ENCODED, FIEMAP_EXTENT_LAST,
    FIEMAP_EXTENT_SHARED, FIEMAP_EXTENT_UNKNOWN, FIEMAP_EXTENT_UNWRITTEN, FIEMAP_FLAG_SYNC,
};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::{Result, io, raw, sys};

/// One run of a file's data on the device. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it is in the file.
    pub logical: u64,
    /// Where it is on the device; without meaning where [`Extent::is_unknown`],
    /// [`Extent::is_delalloc`] or [`Extent::is_inline`].
    pub physical: u64,
    /// How long it is in the file.
    pub length: u64,
    /// The flags of linux/fiemap.h.
    pub flags: u32,
}

impl Extent {
    /// Tells whether another file or snapshot has the same data.
    pub fn is_shared(&self) -> bool {
        self.flags & FIEMAP_EXTENT_SHARED != 0
    }

    /// Tells whether the place on the device is not known.
    pub fn is_unknown(&self) -> bool {
        self.flags & FIEMAP_EXTENT_UNKNOWN != 0
    }

    /// Tells whether the data has no place on the device yet.
    pub fn is_delalloc(&self) -> bool {
        self.flags & FIEMAP_EXTENT_DELALLOC != 0
    }

    /// Tells whether the data is kept within the metadata.
    pub fn is_inline(&self) -> bool {
        self.flags & FIEMAP_EXTENT_DATA_INLINE != 0
    }

    /// Tells whether the data is compressed or encrypted, so that its length on the device is
    /// another.
    pub fn is_encoded(&self) -> bool {
        self.flags & FIEMAP_EXTENT_ENCODED != 0
    }

    /// Tells whether the extent is allocated and reads as zeros.
    pub fn is_unwritten(&self) -> bool {
        self.flags & FIEMAP_EXTENT_UNWRITTEN != 0
    }
}

/// Returns the extents of `file` in order. With `sync`, data that is not yet on the device is
/// written first, so that it has a place.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EOPNOTSUPP` or `ENOTTY` where the file system has no FIEMAP.
pub fn extents(file: &File, sync: bool) -> Result<Vec<Extent>> {
    let mut found = Vec::new();
    let mut request = Box::new(raw::zeroed::<raw::Fiemap>());
    loop {
        request.length = u64::MAX - request.start;
        request.flags = if sync { FIEMAP_FLAG_SYNC } else { 0 };
        sys("fiemap", "", raw::fiemap(file, &mut request))?;
        let count = usize::try_from(request.mapped_extents).unwrap_or(usize::MAX);
        let batch = &request.extents[..count.min(raw::FIEMAP_EXTENTS)];
        found.extend(batch.iter().map(|extent| Extent {
            logical: extent.logical,
            physical: extent.physical,
            length: extent.length,
            flags: extent.flags,
        }));
        match batch.last() {
            Some(last) if last.flags & FIEMAP_EXTENT_LAST == 0 && last.length > 0 => {
                request.start = last.logical + last.length;
            }
            _ => return Ok(found),
        }
    }
}

/// Returns the parts of `file` that are no holes, as offset and length in bytes. What is allocated
/// and never written may count as a hole. The file offset moves.
pub fn data_segments(file: &File) -> Result<Vec<(u64, u64)>> {
    let size = io("fstat", "", file.metadata())?.len();
    let mut segments = Vec::new();
    let mut offset = 0;
    while offset < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            // Nothing but a hole from here on.
            Err(Errno::NXIO) => break,
            result => sys("lseek", "", result)?,
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            // The file was cut meanwhile.
            Err(Errno::NXIO) => break,
            result => sys("lseek", "", result)?,
        };
        segments.push((start, end - start));
        offset = end;
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn finds_data_between_holes() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(data_segments(&file).unwrap(), []);
        file.set_len(3 << 20).unwrap();
        file.write_all_at(&[1; 1 << 16], 1 << 20).unwrap();
        // A file system without holes reports one segment.
        let segments = data_segments(&file).unwrap();
        let covers = |(start, length): &(u64, u64)| {
            *start <= 1 << 20 && start + length >= (1 << 20) + (1 << 16)
        };
        assert!(segments.iter().any(covers), "{segments:?}");
    }
}
