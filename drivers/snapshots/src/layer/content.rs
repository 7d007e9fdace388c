//! Whether two files have the same bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use cowlab_sys::fiemap::{self, Extent};
use cowlab_sys::{Result, io};

/// Bytes read from each file at a time.
const BLOCK: usize = 128 * 1024;

/// Tells whether two files of the same size have the same content.
///
/// Where both lie on one file system, the same extents are the same content and nothing is read.
/// Holes on both sides are not read either.
pub(super) fn is_same(a: &File, b: &File, are_on_one_file_system: bool) -> Result<bool> {
    if are_on_one_file_system && have_same_extents(a, b) {
        return Ok(true);
    }
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    for (start, length) in union(&fiemap::data_segments(a)?, &fiemap::data_segments(b)?) {
        let mut offset = start;
        while offset < start + length {
            let wanted = usize::try_from(start + length - offset)
                .unwrap_or(BLOCK)
                .min(BLOCK);
            let count = read_at(a, &mut left[..wanted], offset)?;
            if count != read_at(b, &mut right[..wanted], offset)? || left[..count] != right[..count]
            {
                return Ok(false);
            }
            if count == 0 {
                break;
            }
            offset += u64::try_from(count).unwrap_or(0);
        }
    }
    Ok(true)
}

/// The same pieces of one device at the same places of both files are the same bytes, if the kernel
/// says where they are: not yet placed, kept within metadata, or encoded (several files may use
/// different parts of one compressed piece) prove nothing (kernel, filesystems/fiemap.rst).
fn have_same_extents(a: &File, b: &File) -> bool {
    let is_placed = |extent: &Extent| {
        !(extent.is_unknown() || extent.is_delalloc() || extent.is_inline() || extent.is_encoded())
    };
    let place = |extent: &Extent| {
        (
            extent.logical,
            extent.physical,
            extent.length,
            extent.is_unwritten(),
        )
    };
    let are_same = |sync| match (fiemap::extents(a, sync), fiemap::extents(b, sync)) {
        (Ok(a), Ok(b)) => {
            a.iter().chain(&b).all(is_placed) && a.iter().map(place).eq(b.iter().map(place))
        }
        // No FIEMAP here: the bytes decide.
        _ => false,
    };
    // Data that waits to be written to a place of its own still shows the shared one, so it is
    // written first; but only for files that seem to share, because it is slow.
    are_same(false) && are_same(true)
}

/// Merges two ordered lists of offsets and lengths.
fn union(a: &[(u64, u64)], b: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut all: Vec<_> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(all.len());
    for (start, length) in all {
        match merged.last_mut() {
            Some(last) if start <= last.0 + last.1 => {
                last.1 = last.1.max(start + length - last.0);
            }
            _ => merged.push((start, length)),
        }
    }
    merged
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        let at = offset + u64::try_from(count).unwrap_or(0);
        match file.read_at(&mut buffer[count..], at) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return io("pread", "", Err(error)),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, pieces: &[(&[u8], u64)]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (bytes, offset) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    #[test]
    fn compares_bytes_and_not_holes() {
        let size = 5 << 20;
        let plain = file(size, &[(&[1; 300_000], 1 << 20), (b"end", size - 3)]);
        let padded = file(
            size,
            &[
                (&[0; 70_000], 0),
                (&[1; 300_000], 1 << 20),
                (b"end", size - 3),
            ],
        );
        let other = file(size, &[(&[1; 300_000], 1 << 20), (b"enD", size - 3)]);
        for shared in [true, false] {
            assert!(is_same(&plain, &padded, shared).unwrap());
            assert!(!is_same(&plain, &other, shared).unwrap());
            assert!(is_same(&file(0, &[]), &file(0, &[]), shared).unwrap());
            assert!(is_same(&file(9, &[]), &file(9, &[(&[0; 9], 0)]), shared).unwrap());
        }
    }

    #[test]
    fn segments_merge() {
        assert_eq!(
            union(&[(0, 2), (8, 2)], &[(1, 3), (4, 1), (9, 9)]),
            [(0, 5), (8, 10)]
        );
        assert_eq!(union(&[], &[]), []);
    }
}
