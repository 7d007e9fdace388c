//! All that can be seen of a directory tree, for comparing two of them.
//!
//! Left out are what no program may rely on (inode numbers themselves, change times, access times, block counts,
//! link counts of directories) and what the case looks at in its steps.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cowlab_sys::at::{self, OFlags};
use cowlab_sys::cursor::Cursor;
use cowlab_sys::dir::{self, DirEntry};
use cowlab_sys::stat::{self, FileKind, Stat, Time};
use cowlab_sys::{Result, fiemap, io, page_cache, xattr};
use sha2::{Digest, Sha256};

use crate::terms::Kind;
use crate::text;

/// The unit in which contents are digested, in bytes. Units of zeros are left out, so that a hole and written
/// zeros are the same content.
const UNIT: u64 = 4096;
/// Longest content that is kept as it is, in bytes.
const SHORT: u64 = 100;

/// A tree at a moment. Paths are absolute below the tree, `/` being its top.
#[derive(Debug, Default)]
pub struct Manifest {
    /// What is at each path.
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

/// What is at one path.
#[derive(Debug)]
pub struct Entry {
    /// Its type.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// The device that a device file stands for.
    pub device: u64,
    /// Bytes of a file.
    pub size: u64,
    /// A file's content or its digest, a symbolic link's target.
    pub content: String,
    /// Extended attributes, access control lists and capabilities among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Data ranges of a file.
    pub segments: Vec<(u64, u64)>,
    /// Names of a file, here and elsewhere.
    pub link_count: u64,
    /// Device and inode number: equal for two names of one file.
    pub identity: (u64, u64),
    /// Modification time.
    pub mtime: Time,
    /// Whether the directory lists the type that stat(2) shows (`d_type`).
    pub type_agrees: bool,
    /// Whether the directory lists the inode number that stat(2) shows (`d_ino`).
    pub inode_agrees: bool,
}

impl Manifest {
    /// Looks at a tree.
    ///
    /// # Errors
    ///
    /// What could not be read, named by its path.
    pub fn capture(root: &Path) -> Result<Self> {
        let mut cursor = Cursor::open(root)?.across_mounts(true);
        let mut manifest = Self::default();
        let entry = Entry::look(cursor.dir(), "".as_ref(), None)?;
        manifest.entries.insert(b"/".to_vec(), entry);
        let mut path = Vec::new();
        let mut levels = vec![dir::read_dir_fd(cursor.dir())?.into_iter()];
        while let Some(entries) = levels.last_mut() {
            let Some(listed) = entries.next() else {
                levels.pop();
                let left = cursor.leave()?;
                path.truncate(path.len().saturating_sub(left.len() + 1));
                continue;
            };
            let above = path.len();
            path.push(b'/');
            path.extend_from_slice(listed.name.as_bytes());
            let entry = Entry::look(cursor.dir(), &listed.name, Some(&listed))?;
            let kind = entry.kind;
            manifest.entries.insert(path.clone(), entry);
            if kind == Kind::Dir {
                cursor.enter(&listed.name)?;
                levels.push(dir::read_dir_fd(cursor.dir())?.into_iter());
            } else {
                path.truncate(above);
            }
        }
        Ok(manifest)
    }

    /// The paths of what is below a directory, relative to it, in byte order.
    pub fn below<'a>(&'a self, dir: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut prefix = dir.to_vec();
        if !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        let from = prefix.clone();
        let entries = self.entries.range(from..).map(|(path, _)| path.as_slice());
        entries
            .map_while(move |path| path.strip_prefix(prefix.as_slice()))
            .filter(|path| !path.is_empty())
    }

    /// The other names of each file that has several, by path.
    #[must_use]
    pub fn link_groups(&self) -> BTreeMap<&[u8], Vec<&[u8]>> {
        let mut names: BTreeMap<(u64, u64), Vec<&[u8]>> = BTreeMap::new();
        for (path, entry) in &self.entries {
            if entry.kind != Kind::Dir {
                names.entry(entry.identity).or_default().push(path);
            }
        }
        let groups = names.into_values().filter(|group| group.len() > 1);
        groups
            .flat_map(|group| {
                group
                    .clone()
                    .into_iter()
                    .map(move |path| (path, group.clone()))
            })
            .collect()
    }
}

impl Entry {
    fn look(dir: impl AsFd, name: &OsStr, listed: Option<&DirEntry>) -> Result<Self> {
        let handle = if name.is_empty() {
            at::open_path(&dir, ".")?
        } else {
            at::open_path(&dir, name)?
        };
        let stat = stat::fstat(&handle)?;
        let (content, segments) = content(&dir, name, &stat)?;
        Ok(Self {
            kind: Kind::of(stat.kind()),
            mode: stat.permissions(),
            owner: (stat.uid, stat.gid),
            device: stat.rdev,
            size: if stat.kind() == FileKind::Regular {
                stat.size
            } else {
                0
            },
            content,
            xattrs: xattr::read_all_fd(&handle)?
                .into_iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value))
                .collect(),
            segments,
            link_count: stat.nlink,
            identity: (stat.dev, stat.ino),
            mtime: stat.mtime,
            type_agrees: listed.is_none_or(|listed| listed.kind == stat.kind()),
            inode_agrees: listed.is_none_or(|listed| listed.inode == stat.ino),
        })
    }
}

type Content = (String, Vec<(u64, u64)>);

fn content(dir: impl AsFd, name: &OsStr, stat: &Stat) -> Result<Content> {
    match stat.kind() {
        FileKind::Symlink => {
            let target = at::read_link(dir, name)?;
            Ok((text::show(target.as_os_str().as_bytes()), Vec::new()))
        }
        FileKind::Regular => {
            // Looking must not change access times, which cases look at.
            let file = at::open(dir, name, OFlags::RDONLY | OFlags::NOATIME, 0)?;
            let file = File::from(file);
            // What was read of a preallocated range counts as data on xfs and ext4 while it is in the cache.
            let evict = || match stat.size > UNIT {
                true => page_cache::evict(&file),
                false => Ok(()),
            };
            evict()?;
            let segments = fiemap::data_segments(&file)?;
            let content = io(
                "read",
                Path::new(name),
                file_content(&file, stat.size, &segments),
            )?;
            evict()?;
            Ok((content, segments))
        }
        _ => Ok((String::new(), Vec::new())),
    }
}

fn file_content(file: &File, size: u64, segments: &[(u64, u64)]) -> std::io::Result<String> {
    if size <= SHORT {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        return Ok(text::show(&bytes));
    }
    let mut hasher = Sha256::new();
    let mut unit = Vec::new();
    let mut next = 0;
    for (start, length) in segments {
        let mut offset = (start / UNIT * UNIT).max(next);
        while offset < start + length {
            unit.resize(usize::try_from(UNIT.min(size - offset)).unwrap_or(0), 0);
            file.read_exact_at(&mut unit, offset)?;
            if unit.iter().any(|byte| *byte != 0) {
                hasher.update(offset.to_le_bytes());
                hasher.update(&unit);
            }
            offset += UNIT;
        }
        next = offset;
    }
    Ok(text::finish(hasher))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_and_written_zeros_are_the_same_content() {
        let place = tempfile::tempdir().unwrap();
        let mut zeros = vec![0; 20_000];
        zeros[9_000] = 1;
        std::fs::write(place.path().join("full"), &zeros).unwrap();
        let sparse = File::create(place.path().join("sparse")).unwrap();
        sparse.set_len(20_000).unwrap();
        sparse.write_all_at(&[1], 9_000).unwrap();
        let manifest = Manifest::capture(place.path()).unwrap();
        let content = |path: &[u8]| manifest.entries[path].content.clone();
        assert_eq!(content(b"/full"), content(b"/sparse"));
    }

    #[test]
    fn names_of_one_file_are_a_group() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), "x").unwrap();
        std::fs::write(place.path().join("c"), "x").unwrap();
        std::fs::hard_link(place.path().join("a"), place.path().join("b")).unwrap();
        let manifest = Manifest::capture(place.path()).unwrap();
        let groups = manifest.link_groups();
        let below: Vec<_> = manifest.below(b"/").collect();
        assert_eq!(below, [&b"a"[..], b"b", b"c"]);
        assert_eq!(groups[&b"/a"[..]], [&b"/a"[..], b"/b"]);
        assert!(!groups.contains_key(&b"/c"[..]));
    }
}
