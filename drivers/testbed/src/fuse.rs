//! As much of the FUSE protocol as file systems of the tests need (fuse(4), include/uapi/linux/fuse.h): requests and answers for any,
//! and a few files in one directory.
//!
//! A crate for all of it would bring a dozen others into every build, for an exchange of numbers in a fixed order.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use cowlab_sys::Errno;

/// The longest write that the kernel may send, in bytes: `max_pages` of 4 KiB.
const LONGEST: usize = 1 << 20;
const PAGES: u16 = 256;
/// The size of a `fuse_in_header`: opcode at 4, the request's number at 8, the file's at 16, user and group at 24 and 28.
pub const HEADER: usize = 40;
/// The size of a `fuse_write_in`, which the data of a write follows.
const WRITE_IN: usize = 40;
/// The version that is spoken; newer kernels speak it too.
const VERSION: (u32, u32) = (7, 31);
/// `FUSE_ASYNC_READ`, `FUSE_BIG_WRITES`, `FUSE_ASYNC_DIO` and `FUSE_MAX_PAGES`. Without `FUSE_WRITEBACK_CACHE`: a write arrives
/// when it is made. Without `FUSE_ASYNC_DIO`, one that is sent in two parts of which the second fails would be a short write, which a
/// loop device takes for a whole one (drivers/block/loop.c, `lo_complete_rq`).
const FLAGS: u32 = 1 | 1 << 5 | 1 << 15 | 1 << 22;
/// Every read and write of an open file comes here, past the page cache.
const FOPEN_DIRECT_IO: u32 = 1;
/// That a `fuse_setattr_in` has a size.
const FATTR_SIZE: u32 = 1 << 3;
/// How long the kernel may go by what it was told, in seconds: nobody else changes a file.
const LIFETIME: u64 = 3600;
/// The number of the directory.
const ROOT: u64 = 1;

/// How long a mount is waited for, and how often it is looked for.
const LONGEST_START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// Files without directories, by number.
pub(crate) trait Files {
    fn find(&self, name: &[u8]) -> Option<u64>;
    fn create(&self, name: &[u8]) -> u64;
    fn unlink(&self, name: &[u8]) -> Result<(), Errno>;
    fn size(&self, file: u64) -> Result<u64, Errno>;
    fn set_size(&self, file: u64, size: u64);
    fn read(&self, file: u64, offset: u64, length: usize) -> Result<Vec<u8>, Errno>;
    fn write(&self, file: u64, offset: u64, data: &[u8]) -> Result<(), Errno>;
    /// Has a range read as zeros.
    fn zero(&self, file: u64, offset: u64, length: u64);
    fn flush(&self, file: u64);
}

/// Answers requests about files.
pub(crate) fn serve_files(device: &File, files: &impl Files) -> io::Result<()> {
    serve(device, |request| request.answer(files))
}

/// What a request is answered with: the structure of its kind, or an error. None, where no answer is expected.
pub type Answer = Option<Result<Vec<u8>, Errno>>;

/// Answers the kernel's requests until the last mount is gone. The mount may be about to be made.
///
/// # Errors
///
/// When a request cannot be read or an answer is refused.
pub fn serve(mut device: &File, mut answer: impl FnMut(Request<'_>) -> Answer) -> io::Result<()> {
    let mut buffer = vec![0; HEADER + WRITE_IN + LONGEST + 4096];
    let begun = Instant::now();
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) => length,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NODEV) => return Ok(()),
                // The request was interrupted before it was read.
                Some(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
                // There is no mount yet (fs/fuse/dev.c, `fuse_get_dev`).
                Some(Errno::PERM) if begun.elapsed() < LONGEST_START => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                _ => return Err(error),
            },
        };
        let request = Request(&buffer[..length]);
        let Some(answer) = answer(request) else {
            continue;
        };
        let (error, body) = match &answer {
            Ok(body) => (0, body.as_slice()),
            Err(errno) => (-errno.raw_os_error(), &[][..]),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let mut reply = Vec::with_capacity(16 + body.len());
        reply.extend(length.to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(request.u64(8).to_ne_bytes());
        reply.extend(body);
        match device.write_all(&reply) {
            // Nobody waits for it any more.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {}
            written => written?,
        }
    }
}

/// A request as it was read, header included. Numbers that are not there are 0.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a>(pub &'a [u8]);

impl<'a> Request<'a> {
    /// The number of 32 bits at an offset.
    #[must_use]
    pub fn u32(self, at: usize) -> u32 {
        let bytes = self.0.get(at..at + 4);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }

    /// The number of 64 bits at an offset.
    #[must_use]
    pub fn u64(self, at: usize) -> u64 {
        let bytes = self.0.get(at..at + 8);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    }

    /// The bytes from an offset on.
    #[must_use]
    pub fn bytes(self, at: usize) -> &'a [u8] {
        self.0.get(at..).unwrap_or_default()
    }

    /// The name at an offset, without the NUL at its end.
    #[must_use]
    pub fn name(self, at: usize) -> &'a [u8] {
        let mut parts = self.bytes(at).split(|byte| *byte == 0);
        parts.next().unwrap_or_default()
    }

    /// Does what is asked; `None` where no answer is expected.
    fn answer(self, files: &impl Files) -> Answer {
        let (file, body) = (self.u64(16), HEADER);
        Some(match self.u32(4) {
            // FORGET, INTERRUPT, BATCH_FORGET
            2 | 36 | 42 => return None,
            // LOOKUP
            1 => match files.find(self.name(body)) {
                Some(found) => entry(files, found),
                None => Err(Errno::NOENT),
            },
            // GETATTR
            3 => attributes(files, file),
            // SETATTR
            4 => {
                if self.u32(body) & FATTR_SIZE != 0 {
                    files.set_size(file, self.u64(body + 16));
                }
                attributes(files, file)
            }
            // UNLINK
            10 => files.unlink(self.name(body)).map(|()| Vec::new()),
            // OPEN
            14 => Ok(opened()),
            // READ
            15 => {
                let length = usize::try_from(self.u32(body + 16)).unwrap_or(0);
                files.read(file, self.u64(body + 8), length)
            }
            // WRITE
            16 => {
                let data = self.bytes(body + WRITE_IN);
                let length = u64::from(self.u32(body + 16));
                let written = files.write(file, self.u64(body + 8), data);
                written.map(|()| length.to_ne_bytes().to_vec())
            }
            // RELEASE, FLUSH, DESTROY
            18 | 25 | 38 => Ok(Vec::new()),
            // FSYNC
            20 => {
                files.flush(file);
                Ok(Vec::new())
            }
            // INIT
            26 => Ok(init(FLAGS)),
            // CREATE
            35 => {
                let made = files.create(self.name(body + 16));
                entry(files, made).map(|entry| [entry, opened()].concat())
            }
            // FALLOCATE: the loop device punches holes and zeroes ranges (drivers/block/loop.c)
            43 => {
                files.zero(file, self.u64(body + 8), self.u64(body + 16));
                Ok(Vec::new())
            }
            _ => Err(Errno::NOSYS),
        })
    }
}

/// Writes numbers of 32 bits one after the other.
#[must_use]
pub fn numbers<const N: usize>(all: [u32; N]) -> Vec<u8> {
    all.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Writes numbers of 64 bits one after the other.
#[must_use]
pub fn wide<const N: usize>(all: [u64; N]) -> Vec<u8> {
    all.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// `fuse_init_out`, with these flags (`FUSE_ASYNC_READ` and others).
#[must_use]
pub fn init(flags: u32) -> Vec<u8> {
    let longest = u32::try_from(LONGEST).unwrap_or(u32::MAX);
    let mut out = numbers([VERSION.0, VERSION.1, longest, flags]);
    // max_background, congestion_threshold
    out.extend([0; 4]);
    out.extend(numbers([longest, 1]));
    out.extend(PAGES.to_ne_bytes());
    out.resize(64, 0);
    out
}

/// `fuse_attr`
fn attr(files: &impl Files, file: u64) -> Result<Vec<u8>, Errno> {
    const DIRECTORY: u32 = 0o040_700;
    const FILE: u32 = 0o100_600;
    let (mode, size) = match file {
        ROOT => (DIRECTORY, 0),
        file => (FILE, files.size(file)?),
    };
    let mut out = wide([file, size, size / 512, 0, 0, 0]);
    // Nanoseconds, mode, links, user, group, device, block size, flags.
    out.extend(numbers([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0]));
    Ok(out)
}

/// `fuse_attr_out`
fn attributes(files: &impl Files, file: u64) -> Result<Vec<u8>, Errno> {
    let mut out = wide([LIFETIME, 0]);
    out.extend(attr(files, file)?);
    Ok(out)
}

/// `fuse_entry_out`
fn entry(files: &impl Files, file: u64) -> Result<Vec<u8>, Errno> {
    let mut out = wide([file, 0, LIFETIME, LIFETIME, 0]);
    out.extend(attr(files, file)?);
    Ok(out)
}

/// `fuse_open_out`
fn opened() -> Vec<u8> {
    numbers([0, 0, FOPEN_DIRECT_IO, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Files for One {
        fn find(&self, name: &[u8]) -> Option<u64> {
            (name == b"one").then_some(2)
        }
        fn create(&self, _: &[u8]) -> u64 {
            2
        }
        fn unlink(&self, _: &[u8]) -> Result<(), Errno> {
            Ok(())
        }
        fn size(&self, _: u64) -> Result<u64, Errno> {
            Ok(8192)
        }
        fn set_size(&self, _: u64, _: u64) {}
        fn read(&self, _: u64, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
            Ok(vec![u8::try_from(offset).unwrap(); length])
        }
        fn write(&self, _: u64, _: u64, data: &[u8]) -> Result<(), Errno> {
            if data == b"data" {
                Ok(())
            } else {
                Err(Errno::IO)
            }
        }
        fn zero(&self, _: u64, _: u64, _: u64) {}
        fn flush(&self, _: u64) {}
    }

    fn ask(opcode: u32, body: &[u8]) -> Option<Result<Vec<u8>, Errno>> {
        let mut request = numbers([0, opcode]);
        request.extend(wide([7, 2, 0, 0]));
        request.extend(body);
        Request(&request).answer(&One)
    }

    /// The sizes of the structures in include/uapi/linux/fuse.h.
    #[test]
    fn answers_are_as_long_as_the_kernel_has_them() {
        let length = |opcode, body: &[u8]| ask(opcode, body).unwrap().unwrap().len();
        assert_eq!(length(26, &[]), 64);
        assert_eq!(length(1, b"one\0"), 128);
        assert_eq!(length(3, &[]), 104);
        assert_eq!(length(14, &[]), 16);
        assert_eq!(length(35, &[]), 144);
        assert!(ask(2, &[]).is_none());
    }

    #[test]
    fn requests_are_understood() {
        assert_eq!(ask(1, b"two\0"), Some(Err(Errno::NOENT)));
        let mut read = wide([0, 9]);
        read.extend(numbers([3, 0]));
        assert_eq!(ask(15, &read), Some(Ok(vec![9; 3])));
        let mut write = wide([0, 0]);
        write.extend(numbers([4, 0]));
        write.extend(wide([0, 0]));
        write.extend(b"data");
        assert_eq!(ask(16, &write), Some(Ok(wide([4]))));
        assert_eq!(ask(99, &[]), Some(Err(Errno::NOSYS)));
    }
}
