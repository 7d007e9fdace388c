//! Archives for the kernel's initramfs: the `newc` form of cpio (Documentation/driver-api/early-userspace/
//! buffer-format.rst). Written only; everything belongs to root and is of 1970, so that the same files are the same
//! bytes.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive that is being written.
#[derive(Debug)]
pub(crate) struct Archive<W> {
    sink: W,
    inode: u32,
    /// Bytes written: names and contents start at multiples of four.
    offset: usize,
    directories: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub(crate) fn new(sink: W) -> Self {
        Self {
            sink,
            inode: 0,
            offset: 0,
            directories: BTreeSet::new(),
        }
    }

    /// Adds a directory and, where they are not in this archive yet, those above it.
    pub(crate) fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.parents(path)?;
        let name = path.strip_prefix("/").unwrap_or(path);
        if self.directories.insert(name.to_path_buf()) {
            self.header(path, DIRECTORY | mode & 0o7777, 0)?;
        }
        Ok(())
    }

    /// Adds a file of `size` bytes from `content`, and the directories above it.
    pub(crate) fn file(
        &mut self,
        path: &Path,
        mode: u32,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.parents(path)?;
        let size = u32::try_from(size).map_err(|_too_large| {
            io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 GiB")
        })?;
        self.header(path, FILE | mode & 0o7777, size)?;
        let copied = io::copy(&mut content.take(size.into()), &mut self.sink)?;
        if copied != u64::from(size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += usize::try_from(copied).unwrap_or(usize::MAX);
        self.pad()
    }

    /// Adds a symbolic link and the directories above it.
    pub(crate) fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        self.parents(path)?;
        let target = target.as_os_str().as_bytes();
        self.header(path, LINK | 0o777, u32::try_from(target.len()).unwrap_or(0))?;
        self.write(target)?;
        self.pad()
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.header(Path::new("TRAILER!!!"), 0, 0)?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn parents(&mut self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if parent.file_name().is_some() => self.directory(parent, 0o755),
            _ => Ok(()),
        }
    }

    fn header(&mut self, path: &Path, mode: u32, size: u32) -> io::Result<()> {
        let name = path
            .strip_prefix("/")
            .unwrap_or(path)
            .as_os_str()
            .as_bytes();
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.inode += u32::from(mode != 0);
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let mut header = b"070701".to_vec();
        // ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check.
        let fields = [
            self.inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0,
        ];
        for field in fields {
            header.extend(format!("{field:08X}").bytes());
        }
        header.extend(name);
        header.push(0);
        self.write(&header)?;
        self.pad()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offset += bytes.len();
        self.sink.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.offset.next_multiple_of(4) - self.offset;
        self.write(&[0; 3][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowlab_sys::Cmd;

    #[test]
    fn another_reader_gets_the_same_files_out() {
        let mut archive = Archive::new(Vec::new());
        archive
            .file(Path::new("/a/b/odd"), 0o755, 5, &mut &b"12345"[..])
            .unwrap();
        archive
            .link(Path::new("a/link"), Path::new("b/odd"))
            .unwrap();
        archive.directory(Path::new("/a/b"), 0o700).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let Ok(list) = Cmd::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .stdin(bytes)
            .read()
        else {
            // Without cpio on the machine only the writer ran.
            return;
        };
        let lines: Vec<_> = list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect();
        let seen: Vec<_> = lines
            .iter()
            .map(|words| (words[0], words[4], *words.last().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("drwxr-xr-x", "0", "a"),
                ("drwxr-xr-x", "0", "a/b"),
                ("-rwxr-xr-x", "5", "a/b/odd"),
                ("lrwxrwxrwx", "5", "b/odd"),
            ]
        );
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        let error = archive
            .file(Path::new("a"), 0o644, 6, &mut &b"12345"[..])
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
