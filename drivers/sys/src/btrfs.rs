//! btrfs beyond what libbtrfsutil offers: search in its trees, transactions, space by kind and the
//! read-only flag.
//!
//! Making, snapshotting and deleting subvolumes is libbtrfsutil's part and not here. Items found
//! in a tree are handed over as bytes: integers in them are little-endian.

use std::os::fd::AsFd;
use std::path::Path;

use linux_raw_sys::btrfs::{btrfs_ioctl_ino_lookup_args, btrfs_ioctl_search_key};

use crate::{Error, Result, raw, stat, sys};

/// `BTRFS_SUPER_MAGIC` (linux/magic.h).
pub const MAGIC: u64 = 0x9123_683e;
/// The inode number of every subvolume's root directory (`BTRFS_FIRST_FREE_OBJECTID`).
pub const ROOT_INODE: u64 = 256;
/// The tree that lists the subvolumes (`BTRFS_ROOT_TREE_OBJECTID`).
pub const ROOT_TREE: u64 = 1;
/// `BTRFS_INODE_ITEM_KEY`: the attributes of an inode.
pub const INODE_ITEM: u32 = 1;
/// `BTRFS_INODE_REF_KEY`: names of an inode; the offset is the directory.
pub const INODE_REF: u32 = 12;
/// `BTRFS_INODE_EXTREF_KEY`: further names of an inode.
pub const INODE_EXTREF: u32 = 13;
/// The object of the orphan items of a tree (`BTRFS_ORPHAN_OBJECTID`, -5).
const ORPHAN_OBJECT: u64 = u64::MAX - 4;
/// What is deleted and not yet cleaned away; its number is the offset.
const ORPHAN_ITEM: u32 = 48;
/// `BTRFS_ROOT_REF_KEY`: a subvolume's children, in [`ROOT_TREE`].
pub const ROOT_REF: u32 = 156;

/// `BTRFS_SUBVOL_RDONLY`.
const READ_ONLY: u64 = 1 << 1;
/// The length of a `struct btrfs_ioctl_search_header`, in bytes.
const HEADER: usize = 32;

/// Tells whether `path` is on btrfs.
pub fn is_btrfs(path: impl AsRef<Path>) -> Result<bool> {
    Ok(stat::statfs(path)?.fstype_magic == MAGIC)
}

/// Tells whether `path` is the root of a subvolume.
pub fn is_subvolume(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    let found = stat::lstat(path)?;
    let root = found.kind() == stat::FileKind::Directory && found.ino == ROOT_INODE;
    Ok(root && is_btrfs(path)?)
}

/// What to look for: items of one tree, from one key to another, and from one transaction to
/// another.
///
/// The kernel compares keys as wholes (object, then type, then offset), so a range of types holds
/// for the first and the last object only: a visitor checks each item that it must be sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchKey {
    /// The tree: a subvolume's id, [`ROOT_TREE`], or 0 for the subvolume of the descriptor.
    pub tree: u64,
    /// The first and the last object, an inode number in a subvolume's tree.
    pub objects: (u64, u64),
    /// The first and the last type.
    pub types: (u32, u32),
    /// The first and the last offset.
    pub offsets: (u64, u64),
    /// The first and the last transaction of the *leaf* an item is in: items that did not change
    /// come along when a neighbor did.
    pub transactions: (u64, u64),
}

impl SearchKey {
    /// Looks for everything in `tree`.
    pub fn all(tree: u64) -> Self {
        Self {
            tree,
            objects: (0, u64::MAX),
            types: (0, u32::MAX),
            offsets: (0, u64::MAX),
            transactions: (0, u64::MAX),
        }
    }

    /// Looks for items of one type of one object.
    pub fn items(tree: u64, object: u64, item_type: u32) -> Self {
        let types = (item_type, item_type);
        Self {
            objects: (object, object),
            types,
            ..Self::all(tree)
        }
    }

    fn encode(&self) -> btrfs_ioctl_search_key {
        btrfs_ioctl_search_key {
            tree_id: self.tree,
            min_objectid: self.objects.0,
            max_objectid: self.objects.1,
            min_offset: self.offsets.0,
            max_offset: self.offsets.1,
            min_transid: self.transactions.0,
            max_transid: self.transactions.1,
            min_type: self.types.0,
            max_type: self.types.1,
            nr_items: u32::MAX,
            unused: 0,
            unused1: 0,
            unused2: 0,
            unused3: 0,
            unused4: 0,
        }
    }

    /// Returns the key that goes on behind an item, or `None` behind the last possible one.
    fn after(mut self, item: &ItemHeader) -> Option<Self> {
        let (object, item_type, offset) = match (item.offset, item.item_type) {
            (u64::MAX, u32::MAX) => (item.object.checked_add(1)?, 0, 0),
            (u64::MAX, item_type) => (item.object, item_type + 1, 0),
            (offset, item_type) => (item.object, item_type, offset + 1),
        };
        self.objects.0 = object;
        self.types.0 = item_type;
        self.offsets.0 = offset;
        Some(self)
    }
}

/// The key and the transaction of a found item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemHeader {
    /// The transaction that wrote the leaf the item is in.
    pub transaction: u64,
    /// The object.
    pub object: u64,
    /// The offset: what it means depends on the type.
    pub offset: u64,
    /// The type.
    pub item_type: u32,
}

/// Visits the items that `key` asks for, in key order, through any descriptor on the file system.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EPERM` without root, `ENOENT` where there is no such tree; or
/// the visitor's error, which ends the search.
pub fn tree_search<E: From<Error>>(
    fd: impl AsFd,
    key: &SearchKey,
    mut visit: impl FnMut(ItemHeader, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut search = Box::new(raw::zeroed::<raw::TreeSearch>());
    let mut next = Some(*key);
    while let Some(key) = next {
        search.key = key.encode();
        sys(
            "ioctl BTRFS_IOC_TREE_SEARCH_V2",
            "",
            raw::btrfs_tree_search(&fd, &mut search),
        )?;
        let mut rest = search.bytes();
        let mut last = None;
        for _ in 0..search.key.nr_items {
            let (header, item, tail) =
                split_item(rest).ok_or_else(|| Error::parse("a btrfs search result", ""))?;
            visit(header, item)?;
            last = Some(header);
            rest = tail;
        }
        next = last.and_then(|last| key.after(&last));
    }
    Ok(())
}

/// Splits off the first item of a search result: its header, its bytes and the rest.
fn split_item(bytes: &[u8]) -> Option<(ItemHeader, &[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    // The header's own numbers are in the machine's order, unlike those within items.
    let long = |at: usize| Some(u64::from_ne_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let short = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let (item, rest) = rest.split_at_checked(usize::try_from(short(28)?).ok()?)?;
    let header = ItemHeader {
        transaction: long(0)?,
        object: long(8)?,
        offset: long(16)?,
        item_type: short(24)?,
    };
    Some((header, item, rest))
}

/// Tells whether deleted subvolumes still hold their space: the kernel's cleaner takes it back after the
/// transaction that deleted them, and has an orphan item for each until then.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EPERM` without root.
pub fn has_deletions_pending(fd: impl AsFd) -> Result<bool> {
    let mut pending = false;
    let key = SearchKey::items(ROOT_TREE, ORPHAN_OBJECT, ORPHAN_ITEM);
    tree_search(fd, &key, |item, _| {
        pending |= item.object == ORPHAN_OBJECT && item.item_type == ORPHAN_ITEM;
        Ok::<(), Error>(())
    })?;
    Ok(pending)
}

/// Returns the id of the subvolume that `fd` is in.
pub fn subvolume_id(fd: impl AsFd) -> Result<u64> {
    // Looking up a root directory in "tree 0" answers with the tree of the descriptor, and
    // needs no privilege (ioctl.c, btrfs_search_path_in_tree).
    let mut request = raw::zeroed::<btrfs_ioctl_ino_lookup_args>();
    request.objectid = ROOT_INODE;
    sys(
        "ioctl BTRFS_IOC_INO_LOOKUP",
        "",
        raw::btrfs_ino_lookup(fd, &mut request),
    )?;
    Ok(request.treeid)
}

/// What the kernel knows of a subvolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubvolumeInfo {
    /// Its id.
    pub id: u64,
    /// The id of the subvolume that it lies in; 0 for the top level and for a deleted one.
    pub parent: u64,
    /// The transaction of its last change.
    pub generation: u64,
    /// The transaction that made it.
    pub origin_generation: u64,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// The UUID of what it is a snapshot of; zeros where it is none.
    pub parent_uuid: [u8; 16],
}

/// Describes the subvolume that `fd` is in; needs no privilege.
pub fn subvolume_info(fd: impl AsFd) -> Result<SubvolumeInfo> {
    let found = sys(
        "ioctl BTRFS_IOC_GET_SUBVOL_INFO",
        "",
        raw::btrfs_subvolume_info(fd),
    )?;
    Ok(SubvolumeInfo {
        id: found.treeid,
        parent: found.parent_id,
        generation: found.generation,
        origin_generation: found.otransid,
        // The info has the on-disk flags, where read-only is bit 0 (BTRFS_ROOT_SUBVOL_RDONLY).
        read_only: found.flags & 1 != 0,
        uuid: found.uuid,
        parent_uuid: found.parent_uuid,
    })
}

/// Tells whether the subvolume whose root is `fd` is read-only.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EINVAL` where `fd` is no subvolume's root.
pub fn is_read_only(fd: impl AsFd) -> Result<bool> {
    let flags = sys("ioctl BTRFS_IOC_SUBVOL_GETFLAGS", "", raw::btrfs_flags(fd))?;
    Ok(flags & READ_ONLY != 0)
}

/// Makes the subvolume whose root is `fd` read-only or writable. Descriptors that are open for
/// writing keep writing.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EINVAL` where `fd` is no subvolume's root.
pub fn set_read_only(fd: impl AsFd, read_only: bool) -> Result<()> {
    let flags = sys("ioctl BTRFS_IOC_SUBVOL_GETFLAGS", "", raw::btrfs_flags(&fd))?;
    let flags = if read_only {
        flags | READ_ONLY
    } else {
        flags & !READ_ONLY
    };
    sys(
        "ioctl BTRFS_IOC_SUBVOL_SETFLAGS",
        "",
        raw::btrfs_set_flags(&fd, flags),
    )
}

/// Commits the running transaction and waits for it, and wakes the cleaner, which frees what deleted
/// subvolumes held.
pub fn sync(fd: impl AsFd) -> Result<()> {
    sys("ioctl BTRFS_IOC_SYNC", "", raw::btrfs_sync(fd))
}

/// Starts a commit and returns its transaction, for [`wait_sync`].
pub fn start_sync(fd: impl AsFd) -> Result<u64> {
    sys("ioctl BTRFS_IOC_START_SYNC", "", raw::btrfs_start_sync(fd))
}

/// Waits until a transaction is on disk.
pub fn wait_sync(fd: impl AsFd, transaction: u64) -> Result<()> {
    sys(
        "ioctl BTRFS_IOC_WAIT_SYNC",
        "",
        raw::btrfs_wait_sync(fd, transaction),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_behind_an_item() {
        let header = |object, item_type, offset| ItemHeader {
            transaction: 9,
            object,
            offset,
            item_type,
        };
        let after = |header| {
            let key = SearchKey::all(5).after(&header)?;
            Some((key.objects.0, key.types.0, key.offsets.0))
        };
        assert_eq!(after(header(256, 1, 0)), Some((256, 1, 1)));
        assert_eq!(after(header(256, 1, u64::MAX)), Some((256, 2, 0)));
        assert_eq!(after(header(256, u32::MAX, u64::MAX)), Some((257, 0, 0)));
        assert_eq!(after(header(u64::MAX, u32::MAX, u64::MAX)), None);
    }

    #[test]
    fn encodes_ranges() {
        let key = SearchKey {
            transactions: (7, u64::MAX),
            ..SearchKey::items(5, 257, 12)
        };
        let raw = key.encode();
        assert_eq!(
            (raw.tree_id, raw.min_objectid, raw.max_objectid),
            (5, 257, 257)
        );
        assert_eq!((raw.min_type, raw.max_type, raw.min_transid), (12, 12, 7));
        assert_eq!((raw.min_offset, raw.max_offset), (0, u64::MAX));
    }

    #[test]
    fn splits_items() {
        let mut bytes = Vec::new();
        for number in [3_u64, 257, 42] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(108_u32.to_ne_bytes());
        bytes.extend(2_u32.to_ne_bytes());
        bytes.extend(b"abrest");
        let (header, item, rest) = split_item(&bytes).unwrap();
        assert_eq!(
            (header.transaction, header.object, header.offset),
            (3, 257, 42)
        );
        assert_eq!(
            (header.item_type, item, rest),
            (108, &b"ab"[..], &b"rest"[..])
        );
        assert!(split_item(&bytes[..33]).is_none());
        assert!(split_item(b"").is_none());
    }
}
