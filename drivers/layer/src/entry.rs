//! An entry of a layer: what its name says, and what it is.
//!
//! Names are taken apart, confined by their spelling, and told from whiteouts. A leading `/` and any `..` are refused rather
//! than cleaned: no tool that makes layers writes them, and each cleaning rule reads them differently. `./`, `//` and a
//! trailing `/` mean nothing.

use crate::error::{EntryName, LayerError, Result};
use crate::metadata::Metadata;

/// The most pieces of one sparse file: 3 MiB as a map in memory, 5 MiB as text.
pub(crate) const SPARSE_LIMIT: usize = 200_000;

/// An entry, its content still in the stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: EntryName,
    pub(crate) kind: EntryKind,
    pub(crate) metadata: Metadata,
    /// Extended attributes that the archive has and [`is_portable`](crate::is_portable) leaves out.
    pub(crate) foreign_xattrs: u64,
    /// Whether an overlay attribute marks the directory opaque.
    pub(crate) is_opaque: bool,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum EntryKind {
    /// A file: the pieces of data in it, in order, and its size.
    File {
        pieces: Vec<Piece>,
        size: u64,
    },
    Directory,
    Symlink(Vec<u8>),
    /// A further name of the file with this name.
    HardLink(Vec<u8>),
    CharDevice(u64),
    BlockDevice(u64),
    Fifo,
}

/// Data in a file; between pieces are holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The prefix of a whiteout's name (OCI image-spec, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The name of an opaque whiteout (layer.md, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The prefix of what aufs kept for itself, hard-link pools and the like; no part of a tree.
const AUFS: &[u8] = b".wh..wh.";

/// What an entry's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameKind<'a> {
    /// The entry itself, in the directory `parents`.
    Entry {
        /// The names of the directories above it.
        parents: Vec<&'a [u8]>,
        /// Its own name; `None` for the root.
        name: Option<&'a [u8]>,
    },
    /// The removal of `name` from the directory `parents`.
    Whiteout {
        /// The names of the directories above it.
        parents: Vec<&'a [u8]>,
        /// The name that goes.
        name: &'a [u8],
    },
    /// The removal of everything from the directory `parents`.
    Opaque {
        /// The directory's names, from the root.
        parents: Vec<&'a [u8]>,
    },
    /// What aufs kept for itself: `.wh..wh.plnk` and other names in `.wh..wh.`, and what is below.
    Aufs,
}

impl<'a> NameKind<'a> {
    /// Takes an entry's name apart.
    ///
    /// # Errors
    ///
    /// [`LayerError::Escape`] for an absolute name and for `..`; [`LayerError::Malformed`] for a
    /// NUL, for the whiteout of nothing, and for something below a whiteout.
    pub(crate) fn of(entry: &'a EntryName) -> Result<Self> {
        let mut parents = split(entry, entry.as_bytes())?;
        if parents
            .iter()
            .any(|part| part.starts_with(AUFS) && *part != OPAQUE)
        {
            return Ok(Self::Aufs);
        }
        let Some(last) = parents.pop() else {
            return Ok(Self::Entry {
                parents,
                name: None,
            });
        };
        if parents.iter().any(|part| part.starts_with(WHITEOUT)) {
            let reason = "it lies below a whiteout: names in `.wh.` are reserved";
            return Err(LayerError::malformed(entry, reason));
        }
        match last.strip_prefix(WHITEOUT) {
            None => Ok(Self::Entry {
                parents,
                name: Some(last),
            }),
            Some(_) if last == OPAQUE => Ok(Self::Opaque { parents }),
            Some(b"") => Err(LayerError::malformed(entry, "a whiteout without a name")),
            Some(b"." | b"..") => Err(LayerError::escape(entry, "a whiteout of `.` or `..`")),
            Some(name) => Ok(Self::Whiteout { parents, name }),
        }
    }
}

/// Splits the name of an entry or the target of a hard link, both relative to the layer's root.
///
/// # Errors
///
/// As [`NameKind::of`]; `entry` is the one to blame.
pub(crate) fn split<'a>(entry: &EntryName, name: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    let shown = || match name == entry.as_bytes() {
        true => "its name".to_owned(),
        false => format!("its target {}", EntryName::new(name)),
    };
    if name.contains(&0) {
        return Err(LayerError::malformed(
            entry,
            format!("{} holds a NUL byte", shown()),
        ));
    }
    if name.starts_with(b"/") {
        return Err(LayerError::escape(
            entry,
            format!("{} is absolute", shown()),
        ));
    }
    let parts = name
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<_> = parts.collect();
    if parts.contains(&&b".."[..]) {
        return Err(LayerError::escape(entry, format!("{} holds `..`", shown())));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &[u8]) -> EntryName {
        EntryName::new(text)
    }

    #[test]
    fn spellings_of_one_name_are_one_entry() {
        for text in ["a/b", "./a/b", "a//b/", "./a/./b/."] {
            let entry = name(text.as_bytes());
            let expected = NameKind::Entry {
                parents: vec![b"a"],
                name: Some(b"b"),
            };
            assert_eq!(NameKind::of(&entry).unwrap(), expected, "{text}");
        }
        for text in [".", "./", "./."] {
            let entry = name(text.as_bytes());
            let root = NameKind::Entry {
                parents: vec![],
                name: None,
            };
            assert_eq!(NameKind::of(&entry).unwrap(), root);
        }
    }

    #[test]
    fn whiteouts_are_told_from_entries() {
        let parents: Vec<&[u8]> = vec![b"a"];
        let meaning = |text: &str| format!("{:?}", NameKind::of(&name(text.as_bytes())).unwrap());
        let expected = NameKind::Whiteout {
            parents: parents.clone(),
            name: b"b",
        };
        assert_eq!(meaning("a/.wh.b"), format!("{expected:?}"));
        let expected = NameKind::Whiteout {
            parents: vec![],
            name: b".b",
        };
        assert_eq!(meaning("./.wh..b"), format!("{expected:?}"));
        let expected = NameKind::Opaque { parents };
        assert_eq!(meaning("a/.wh..wh..opq"), format!("{expected:?}"));
        for text in [
            ".wh..wh.plnk/1.2",
            ".wh..wh.aufs",
            "a/.wh..wh.orph/x",
            ".wh..wh.",
        ] {
            assert_eq!(meaning(text), "Aufs", "{text}");
        }
        assert!(meaning("a/b.wh.c").starts_with("Entry"));
        assert!(meaning("a/.wh").starts_with("Entry"));
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for text in [
            "/etc", "//", "../a", "a/../b", "a/..", "..", ".wh...", "a/.wh..", "/.wh.a",
        ] {
            let error = NameKind::of(&name(text.as_bytes())).unwrap_err();
            assert!(
                matches!(error, LayerError::Escape { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
        for text in ["a/.wh.", ".wh.a/b", "a\0b"] {
            let error = NameKind::of(&name(text.as_bytes())).unwrap_err();
            assert!(
                matches!(error, LayerError::Malformed { .. }),
                "{text}: {error}"
            );
        }
    }
}
