//! Where the data of a sparse file is, told the same way whatever file system keeps it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use cowlab_sys::{Result, fiemap, io};

use super::archive::Piece;

/// The unit of holes: the smallest of the file systems in use. Others report larger pieces for the
/// same file; the zeros in those are told apart here.
const UNIT: usize = 4096;

/// Lists the pieces of data of a file that has holes; `None` for a file without.
pub(super) fn pieces(file: &File, size: u64) -> Result<Option<Vec<Piece>>> {
    let segments = fiemap::data_segments(file)?;
    let data: u64 = segments.iter().map(|(_, length)| *length).sum();
    if data >= size {
        return Ok(None);
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut buffer = vec![0; 64 * UNIT];
    for (start, length) in segments {
        let mut offset = start;
        let end = start + length;
        while offset < end {
            // Blocks are cut at multiples of the unit, wherever a segment begins.
            let unit = u64::try_from(UNIT).unwrap_or(4096);
            let room = u64::try_from(buffer.len()).unwrap_or(unit) - offset % unit;
            let wanted = usize::try_from(room.min(end - offset)).unwrap_or(UNIT);
            io(
                "pread",
                "",
                file.read_exact_at(&mut buffer[..wanted], offset),
            )?;
            let mut at = 0;
            while at < wanted {
                let position = offset + u64::try_from(at).unwrap_or(0);
                let left = UNIT - usize::try_from(position % unit).unwrap_or(0);
                let block = &buffer[at..wanted.min(at + left)];
                if block.iter().any(|byte| *byte != 0) {
                    extend(
                        &mut pieces,
                        position,
                        u64::try_from(block.len()).unwrap_or(0),
                    );
                }
                at += block.len();
            }
            offset += u64::try_from(wanted).unwrap_or(end - offset);
        }
    }
    // GNU tar gives a file that ends in a hole its size only by an empty piece at the end.
    if pieces
        .last()
        .is_none_or(|last| last.offset + last.length < size)
    {
        pieces.push(Piece {
            offset: size,
            length: 0,
        });
    }
    Ok(Some(pieces))
}

fn extend(pieces: &mut Vec<Piece>, offset: u64, length: u64) {
    match pieces.last_mut() {
        Some(last) if last.offset + last.length == offset => last.length += length,
        _ => pieces.push(Piece { offset, length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_beside_holes_are_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[0; 300_000], 1 << 20).unwrap();
        file.write_all_at(b"x", (1 << 20) + 5000).unwrap();
        file.write_all_at(b"end", (10 << 20) - 3).unwrap();
        let expected = [
            Piece {
                offset: (1 << 20) + 4096,
                length: 4096,
            },
            Piece {
                offset: (10 << 20) - 4096,
                length: 4096,
            },
        ];
        // A file system without holes reports none.
        if let Some(pieces) = pieces(&file, 10 << 20).unwrap() {
            assert_eq!(pieces, expected);
        }
        file.set_len(20 << 20).unwrap();
        if let Some(pieces) = pieces(&file, 20 << 20).unwrap() {
            let end = Piece {
                offset: 20 << 20,
                length: 0,
            };
            assert_eq!(pieces, [&expected[..], &[end]].concat());
        }
        assert_eq!(
            super::pieces(&tempfile::tempfile().unwrap(), 0).unwrap(),
            None
        );
    }
}
