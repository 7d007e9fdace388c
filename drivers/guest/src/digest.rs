//! Checksums of an image's parts, which tell whether it arrived whole.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cowlab_sys::{FileKind, dir, io};
use sha2::{Digest, Sha256};

use crate::Result;

/// What is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The checksum of a part and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: String,
    /// The content of all its files, in bytes.
    pub(crate) bytes: u64,
}

/// Sums up a file, or the tree of a directory: names, contents and targets of links, in the order of their names.
pub(crate) fn of(path: &Path) -> Result<Sum> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    if path.is_dir() {
        add_tree(&mut hash, &mut bytes, path, path)?;
    } else {
        add_file(&mut hash, &mut bytes, path)?;
    }
    Ok(Sum {
        sha256: hex(&hash.finalize()),
        bytes,
    })
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn add_tree(hash: &mut Sha256, bytes: &mut u64, root: &Path, directory: &Path) -> Result<()> {
    let mut entries = dir::read_dir(directory)?;
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    for entry in entries {
        let path = directory.join(&entry.name);
        let name = path.strip_prefix(root).unwrap_or(&path);
        // Each name ends with a byte that no name has, and each content follows its length.
        hash.update(name.as_os_str().as_bytes());
        match entry.kind {
            FileKind::Directory => {
                hash.update(b"\0d");
                add_tree(hash, bytes, root, &path)?;
            }
            FileKind::Symlink => {
                hash.update(b"\0l");
                let target = io("readlink", &path, path.read_link())?;
                hash.update(target.as_os_str().as_bytes());
                hash.update(b"\0");
            }
            _ => {
                hash.update(b"\0f");
                let found = io("lstat", &path, path.symlink_metadata())?;
                hash.update(found.len().to_le_bytes());
                add_file(hash, bytes, &path)?;
            }
        }
    }
    Ok(())
}

fn add_file(hash: &mut Sha256, bytes: &mut u64, path: &Path) -> Result<()> {
    let mut file = io("open", path, File::open(path))?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = io("read", path, file.read(&mut chunk))?;
        if read == 0 {
            return Ok(());
        }
        hash.update(&chunk[..read]);
        *bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_known_by_names_contents_and_links() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(tree.join("a/f"), "one").unwrap();
        std::os::unix::fs::symlink("f", tree.join("a/l")).unwrap();
        let first = of(&tree).unwrap();
        assert_eq!(first.bytes, 3);
        assert_eq!(of(&tree).unwrap(), first);
        std::fs::write(tree.join("a/f"), "two").unwrap();
        let second = of(&tree).unwrap();
        assert_ne!(second.sha256, first.sha256);
        std::fs::remove_file(tree.join("a/l")).unwrap();
        std::os::unix::fs::symlink("g", tree.join("a/l")).unwrap();
        assert_ne!(of(&tree).unwrap().sha256, second.sha256);
    }

    #[test]
    fn a_file_has_the_sum_that_sha256sum_prints() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("f");
        std::fs::write(&file, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(&file).unwrap().sha256, expected);
    }
}
