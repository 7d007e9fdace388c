//! Archives built header by header for tests, so that what the writer never makes is there too.

use std::path::Path;

use tempfile::TempDir;

use crate::apply::{ApplyOptions, Duplicates, Target, apply_to};
use crate::error::{LayerError, Result};

/// An archive under construction.
#[derive(Clone, Default)]
pub(crate) struct Tar(Vec<Vec<u8>>);

/// A ustar header owned by the user of this process, with the time 1.
pub(crate) fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> [u8; 512] {
    let mut bytes = [0; 512];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, name);
    set(100, if kind == b'5' { b"0000755" } else { b"0000644" });
    let (uid, gid) = owner();
    set(108, format!("{uid:07o}").as_bytes());
    set(116, format!("{gid:07o}").as_bytes());
    set(124, format!("{size:011o}").as_bytes());
    set(136, b"00000000001");
    set(156, &[kind]);
    set(157, link);
    set(257, b"ustar\x0000");
    checksum(&mut bytes);
    bytes
}

pub(crate) fn checksum(bytes: &mut [u8; 512]) {
    bytes[148..156].copy_from_slice(b"        ");
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn owner() -> (u32, u32) {
    let stat = cowlab_sys::stat::lstat(tempfile::tempdir().unwrap().path()).unwrap();
    (stat.uid, stat.gid)
}

pub(crate) fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let length = (1..)
        .find(|n| n.to_string().len() + body.len() == *n)
        .unwrap();
    [length.to_string().as_bytes(), &body].concat()
}

impl Tar {
    /// Adds bytes as they are; they count as one entry.
    pub(crate) fn raw(mut self, parts: &[&[u8]]) -> Self {
        self.0.push(parts.concat());
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        let size = u64::try_from(content.len()).unwrap();
        self.raw(&[&header(name.as_bytes(), b'0', size, b""), &padded(content)])
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.raw(&[&header(name.as_bytes(), b'5', 0, b"")])
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(&[&header(name.as_bytes(), b'2', 0, target.as_bytes())])
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.raw(&[&header(name.as_bytes(), b'1', 0, target.as_bytes())])
    }

    /// Adds a file whose header is preceded by PAX records.
    pub(crate) fn pax(self, name: &str, records: &[(&str, &[u8])], content: &[u8]) -> Self {
        let data: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        let size = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap();
        self.raw(&[
            &header(b"pax", b'x', size(&data), b""),
            &padded(&data),
            &header(name.as_bytes(), b'0', size(content), b""),
            &padded(content),
        ])
    }

    /// The entries, to be put into another order.
    pub(crate) fn entries(&self) -> &[Vec<u8>] {
        &self.0
    }

    pub(crate) fn of(entries: Vec<Vec<u8>>) -> Self {
        Self(entries)
    }

    /// The whole archive.
    pub(crate) fn end(&self) -> Vec<u8> {
        [self.0.concat(), vec![0; 1024]].concat()
    }
}

/// Applies layers one over the other.
pub(crate) fn applied(layers: &[&Tar]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (index, layer) in layers.iter().enumerate() {
        apply(dir.path(), index == 0, &layer.end(), Duplicates::LastWins).unwrap();
    }
    dir
}

/// Applies one layer to a directory.
pub(crate) fn apply(
    dir: &Path,
    is_base: bool,
    mut archive: &[u8],
    duplicates: Duplicates,
) -> Result<()> {
    let target = if is_base {
        Target::base(dir)?
    } else {
        Target::union(dir)?
    };
    let options = ApplyOptions {
        duplicates,
        ..ApplyOptions::default()
    };
    apply_to(target, &mut archive, &options).map(|_| ())
}

/// The error of a layer that cannot be applied over `base`.
pub(crate) fn refused(base: &Tar, layer: &Tar) -> LayerError {
    apply(
        applied(&[base]).path(),
        false,
        &layer.end(),
        Duplicates::LastWins,
    )
    .unwrap_err()
}

/// What is in a directory: paths with types, link targets and content.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, prefix: &str, lines: &mut Vec<String>) {
        let mut entries: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let name = format!("{prefix}{}", name.to_string_lossy());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                lines.push(format!("{name}/"));
                walk(&path, &format!("{name}/"), lines);
            } else if kind.is_symlink() {
                lines.push(format!(
                    "{name} -> {}",
                    std::fs::read_link(&path).unwrap().display()
                ));
            } else {
                lines.push(format!(
                    "{name}={}",
                    std::fs::read(&path).unwrap().escape_ascii()
                ));
            }
        }
    }
    type Result<T> = std::io::Result<T>;
    let mut lines = Vec::new();
    walk(dir, "", &mut lines);
    lines
}
