//! What the items of a subvolume's tree say, read from their bytes.
//!
//! The layouts are those of linux/btrfs_tree.h: packed, little-endian.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use cowlab_sys::{Error, Result};

/// `S_IFMT` and `S_IFDIR` (inode(7)).
const TYPE_MASK: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

/// The part of a `btrfs_inode_item` that tells what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InodeItem {
    /// The transaction of the last change.
    pub(crate) transaction: u64,
    /// Whether it is a directory.
    pub(crate) is_directory: bool,
}

/// One name of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// The directory's inode.
    pub(crate) directory: u64,
    /// The name in it.
    pub(crate) name: OsString,
}

/// Reads a `btrfs_inode_item`.
pub(crate) fn inode(item: &[u8]) -> Result<InodeItem> {
    let read = || {
        Some(InodeItem {
            transaction: long(item, 8)?,
            is_directory: word(item, 52)? & TYPE_MASK == DIRECTORY,
        })
    };
    read().ok_or_else(|| Error::parse("a btrfs inode item", ""))
}

/// Reads the names in a `btrfs_inode_ref` item, which are all in the directory of the key's offset.
pub(crate) fn references(item: &[u8], directory: u64) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    let mut rest = item;
    while !rest.is_empty() {
        // index, length, name
        let (name, tail) = text(rest, 8, "a btrfs inode reference")?;
        names.push(Name { directory, name });
        rest = tail;
    }
    Ok(names)
}

/// Reads the names in a `btrfs_inode_extref` item.
pub(crate) fn extended_references(item: &[u8]) -> Result<Vec<Name>> {
    const WHAT: &str = "a btrfs extended inode reference";
    let mut names = Vec::new();
    let mut rest = item;
    while !rest.is_empty() {
        // directory, index, length, name
        let directory = long(rest, 0).ok_or_else(|| Error::parse(WHAT, ""))?;
        let (name, tail) = text(rest, 16, WHAT)?;
        names.push(Name { directory, name });
        rest = tail;
    }
    Ok(names)
}

/// Reads a `btrfs_root_ref` item: where a subvolume lies in the one around it.
pub(crate) fn root_reference(item: &[u8]) -> Result<Name> {
    const WHAT: &str = "a btrfs root reference";
    // directory, sequence, length, name
    let directory = long(item, 0).ok_or_else(|| Error::parse(WHAT, ""))?;
    let (name, _) = text(item, 16, WHAT)?;
    Ok(Name { directory, name })
}

/// Reads a 16-bit length at `at` and the name behind it.
fn text<'a>(bytes: &'a [u8], at: usize, what: &'static str) -> Result<(OsString, &'a [u8])> {
    let read = || {
        let length = u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
        let (name, rest) = bytes.get(at + 2..)?.split_at_checked(usize::from(length))?;
        Some((OsString::from_vec(name.to_vec()), rest))
    };
    read().ok_or_else(|| Error::parse(what, ""))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(directory: u64, name: &str) -> Name {
        let name = name.into();
        Name { directory, name }
    }

    #[test]
    fn an_inode_has_its_transaction_and_type() {
        let mut item = [0; 160];
        item[8..16].copy_from_slice(&77_u64.to_le_bytes());
        item[52..56].copy_from_slice(&0o040_755_u32.to_le_bytes());
        let found = inode(&item).unwrap();
        assert_eq!((found.transaction, found.is_directory), (77, true));
        assert!(inode(&item[..50]).is_err());
    }

    #[test]
    fn one_item_holds_several_names() {
        let mut item = Vec::new();
        for text in ["a", "long name"] {
            item.extend(9_u64.to_le_bytes());
            item.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
            item.extend(text.as_bytes());
        }
        let found = references(&item, 256).unwrap();
        assert_eq!(found, [name(256, "a"), name(256, "long name")]);
        item.pop();
        assert!(references(&item, 256).is_err());
    }

    #[test]
    fn other_references_carry_their_directory() {
        let mut item = Vec::new();
        item.extend(300_u64.to_le_bytes());
        item.extend(2_u64.to_le_bytes());
        item.extend(1_u16.to_le_bytes());
        item.push(b'x');
        assert_eq!(extended_references(&item).unwrap(), [name(300, "x")]);
        assert_eq!(root_reference(&item).unwrap(), name(300, "x"));
    }
}
