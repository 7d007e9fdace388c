//! Reads a pool's metadata device: which thin devices there are, and which of their blocks are theirs alone.
//!
//! The format is that of the kernel's `drivers/md/dm-thin-metadata.c` and `drivers/md/persistent-data/`, version 2:
//! blocks of 4096 bytes, little-endian, B-trees that are never overwritten before the next commit. So what the
//! superblock leads to is whole as long as the superblock stays the same; a read that sees another one afterwards is
//! made again. Nothing is ever written, so a pool of somebody else can be looked at as well: thin_dump(8) would need
//! `reserve_metadata_snap`, which writes.

use std::collections::BTreeMap;

use cowlab_sys::{Error, Result};

/// The size of a block, in bytes.
pub(crate) const BLOCK: usize = 4096;
/// `THIN_SUPERBLOCK_MAGIC`.
const MAGIC: u64 = 27_022_010;
/// `THIN_VERSION`; 1 has the same trees.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// `INTERNAL_NODE` and `LEAF_NODE`.
const INTERNAL: u32 = 1;
const LEAF: u32 = 2;
/// The header of a node, in bytes.
const HEADER: usize = 32;
/// The header of a bitmap, in bytes (`struct disk_bitmap_header`).
const BITMAP_HEADER: usize = 16;
/// `struct disk_device_details` and `struct disk_index_entry`, in bytes.
const DETAILS: usize = 24;
const INDEX_ENTRY: usize = 16;
/// Blocks that one bitmap counts, two bits each.
const PER_BITMAP: u64 = ((BLOCK - BITMAP_HEADER) * 4) as u64;
/// The most levels that a tree of 64-bit keys can have: a deeper one is damaged.
const DEEPEST: u32 = 16;
/// How often a tree is read again because the pool committed meanwhile.
const ATTEMPTS: u32 = 50;

/// Reads one block by its number.
pub(crate) trait Blocks {
    /// # Errors
    ///
    /// What read(2) refused.
    fn block(&self, number: u64) -> Result<Vec<u8>>;
}

/// What the superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) transaction: u64,
    /// `bitmap_root` of the counts of data blocks: a tree.
    data_counts: u64,
    /// `bitmap_root` of the counts of metadata blocks: a block.
    metadata_counts: u64,
    mappings: u64,
    details: u64,
    time: u32,
}

/// What a thin device has mapped, in blocks of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Blocks that no other device has.
    pub(crate) exclusive: u64,
    /// Blocks that others have as well.
    pub(crate) shared: u64,
}

/// Reads the superblock; `None` where there is none.
pub(crate) fn superblock(blocks: &dyn Blocks) -> Result<Option<Superblock>> {
    let block = blocks.block(0)?;
    if number(&block, 32) != MAGIC {
        return Ok(None);
    }
    let version = word(&block, 40);
    if !VERSIONS.contains(&version) {
        return Err(damaged(format!("format version {version}")));
    }
    Ok(Some(Superblock {
        time: word(&block, 44),
        transaction: number(&block, 48),
        // struct disk_sm_root: nr_blocks, nr_allocated, bitmap_root, ref_count_root.
        data_counts: number(&block, 64 + 16),
        metadata_counts: number(&block, 192 + 16),
        mappings: number(&block, 320),
        details: number(&block, 328),
    }))
}

/// Lists the thin devices of the pool, ascending.
pub(crate) fn devices(blocks: &dyn Blocks) -> Result<Vec<u64>> {
    settled(blocks, |superblock| {
        let mut ids = Vec::new();
        let size = DETAILS;
        Tree { blocks, size }.walk(superblock.details, &mut |key, _| {
            ids.push(key);
            Ok(())
        })?;
        Ok(ids)
    })
}

/// Counts what a thin device has mapped; `None` where there is no such device. Costs O(blocks mapped since its last
/// snapshot), for what it shares is not looked at.
pub(crate) fn mapped(blocks: &dyn Blocks, device: u64) -> Result<Option<Mapped>> {
    settled(blocks, |superblock| {
        let find = |root, size| {
            let mut found = None;
            Tree { blocks, size }.walk(root, &mut |key, value| {
                if key == device {
                    found = Some(number(value, 0));
                }
                Ok(())
            })?;
            Ok(found)
        };
        // struct disk_device_details begins with mapped_blocks.
        let (Some(all), Some(root)) = (
            find(superblock.details, DETAILS)?,
            find(superblock.mappings, 8)?,
        ) else {
            return Ok(None);
        };
        // A snapshot takes the root of its origin's tree over; a node becomes its own when it changes. Only then are
        // the counts of what hangs on it raised (dm-btree, "shadowing").
        let mut nodes = Counts::new(blocks, metadata_index(blocks, superblock)?);
        let mut data = Counts::new(blocks, data_index(blocks, superblock)?);
        let (mut exclusive, size) = (0, 8);
        let mut own = |node| Ok(nodes.of(node)? == 1);
        Tree { blocks, size }.descend(root, 0, &mut own, &mut |_, value| {
            // 40 bits of block, 24 bits of time (pack_block_time).
            exclusive += u64::from(data.of(number(value, 0) >> 24)? == 1);
            Ok(())
        })?;
        Ok(Some(Mapped {
            exclusive,
            shared: all.saturating_sub(exclusive),
        }))
    })
}

/// Reads what `read` wants until no commit came in between.
fn settled<T>(blocks: &dyn Blocks, mut read: impl FnMut(&Superblock) -> Result<T>) -> Result<T> {
    for attempt in 1.. {
        let before = superblock(blocks)?.ok_or_else(|| damaged("no superblock".to_owned()))?;
        let found = read(&before);
        if superblock(blocks)? == Some(before) || attempt == ATTEMPTS {
            return found;
        }
    }
    Err(damaged("a superblock that never rests".to_owned()))
}

/// A tree with values of `size` bytes.
#[derive(Clone, Copy)]
struct Tree<'a> {
    blocks: &'a dyn Blocks,
    size: usize,
}

/// What is done with a key and its value.
type Visit<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<()>;

impl Tree<'_> {
    /// Visits all entries in the order of their keys.
    fn walk(self, root: u64, visit: Visit<'_>) -> Result<()> {
        self.descend(root, 0, &mut |_| Ok(true), visit)
    }

    /// Visits the entries below the nodes that `enter` picks by their block.
    fn descend(
        self,
        at: u64,
        depth: u32,
        enter: &mut dyn FnMut(u64) -> Result<bool>,
        visit: Visit<'_>,
    ) -> Result<()> {
        if !enter(at)? {
            return Ok(());
        }
        let node = self.blocks.block(at)?;
        // struct node_header: csum, flags, blocknr, nr_entries, max_entries, value_size.
        let (flags, own) = (word(&node, 4), number(&node, 8));
        let (entries, most) = (word(&node, 16) as usize, word(&node, 20) as usize);
        let leaf = flags & LEAF != 0;
        let width = if leaf { self.size } else { 8 };
        let fits = entries <= most && HEADER + most.saturating_mul(8 + width) <= BLOCK;
        if own != at || depth > DEEPEST || !fits || !(leaf || flags & INTERNAL != 0) {
            return Err(damaged(format!("block {at} is no node of a tree")));
        }
        for entry in 0..entries {
            let value = HEADER + most * 8 + entry * width;
            if leaf {
                let key = number(&node, HEADER + entry * 8);
                visit(key, &node[value..value + width])?;
            } else {
                self.descend(number(&node, value), depth + 1, enter, visit)?;
            }
        }
        Ok(())
    }
}

/// Where the bitmaps of data blocks lie, by their number: a tree of `struct disk_index_entry`.
fn data_index(blocks: &dyn Blocks, superblock: &Superblock) -> Result<BTreeMap<u64, u64>> {
    let mut index = BTreeMap::new();
    let size = INDEX_ENTRY;
    Tree { blocks, size }.walk(superblock.data_counts, &mut |key, value| {
        index.insert(key, number(value, 0));
        Ok(())
    })?;
    Ok(index)
}

/// The same for metadata blocks: an array (`struct disk_metadata_index`).
fn metadata_index(blocks: &dyn Blocks, superblock: &Superblock) -> Result<BTreeMap<u64, u64>> {
    let block = blocks.block(superblock.metadata_counts)?;
    let entries = block[BITMAP_HEADER..].chunks_exact(INDEX_ENTRY);
    Ok((0..).zip(entries.map(|entry| number(entry, 0))).collect())
}

/// How often blocks are in use.
struct Counts<'a> {
    blocks: &'a dyn Blocks,
    /// The block of each bitmap, by its number.
    index: BTreeMap<u64, u64>,
    /// Bitmaps that were read.
    bitmaps: BTreeMap<u64, Vec<u8>>,
}

impl<'a> Counts<'a> {
    fn new(blocks: &'a dyn Blocks, index: BTreeMap<u64, u64>) -> Self {
        Self {
            blocks,
            index,
            bitmaps: BTreeMap::new(),
        }
    }

    /// 0, 1, 2, or 3 for more.
    fn of(&mut self, block: u64) -> Result<u8> {
        let (bitmap, entry) = (block / PER_BITMAP, block % PER_BITMAP);
        if !self.bitmaps.contains_key(&bitmap) {
            let at = self.index.get(&bitmap).copied();
            let at = at.ok_or_else(|| damaged(format!("no count of block {block}")))?;
            self.bitmaps.insert(bitmap, self.blocks.block(at)?);
        }
        let bytes = &self.bitmaps[&bitmap];
        // Words of 64 bits, little-endian, the high bit of a pair first (sm_lookup_bitmap).
        let at = usize::try_from(entry / 32).unwrap_or(0);
        let pair = number(bytes, BITMAP_HEADER + at * 8) >> (entry % 32 * 2);
        Ok(match (pair & 1, pair >> 1 & 1) {
            (0, low) => u8::from(low == 1),
            (_, low) => 2 + u8::from(low == 1),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn damaged(found: String) -> Error {
    Error::parse("the metadata of a thin pool", found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool's metadata in memory: block by number.
    struct Fake(BTreeMap<u64, Vec<u8>>);

    impl Blocks for Fake {
        fn block(&self, number: u64) -> Result<Vec<u8>> {
            Ok(self.0.get(&number).cloned().unwrap_or(vec![0; BLOCK]))
        }
    }

    fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn node(own: u64, flags: u32, entries: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let count = u32::try_from(entries.len()).unwrap();
        put(&mut block, 4, &flags.to_le_bytes());
        put(&mut block, 8, &own.to_le_bytes());
        put(&mut block, 16, &count.to_le_bytes());
        put(&mut block, 20, &count.to_le_bytes());
        for (index, (key, value)) in entries.iter().enumerate() {
            put(&mut block, HEADER + index * 8, &key.to_le_bytes());
            let at = HEADER + entries.len() * 8 + index * value.len();
            put(&mut block, at, value);
        }
        block
    }

    fn le(number: u64) -> Vec<u8> {
        number.to_le_bytes().to_vec()
    }

    fn padded(number: u64, size: usize) -> Vec<u8> {
        let mut value = le(number);
        value.resize(size, 0);
        value
    }

    fn bitmap(counts: &[(u64, u64)]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        for (entry, count) in counts {
            let at = BITMAP_HEADER + usize::try_from(entry / 32).unwrap() * 8;
            let (high, low) = (count >> 1 & 1, count & 1);
            let word = number(&block, at) | (high | low << 1) << (entry % 32 * 2);
            put(&mut block, at, &word.to_le_bytes());
        }
        block
    }

    /// Device 0 with blocks 40 and 41, and device 5, which shares the node of block 41, whose count is one therefore,
    /// and has block 42 of its own and 43 with a third.
    fn pool() -> Fake {
        let mut first = vec![0; BLOCK];
        put(&mut first, 32, &MAGIC.to_le_bytes());
        put(&mut first, 40, &2_u32.to_le_bytes());
        put(&mut first, 48, &77_u64.to_le_bytes());
        for (at, block) in [(80, 10), (208, 12), (320, 14), (328, 13)] {
            put(&mut first, at, &le(block));
        }
        let mapping = |block: u64| le(block << 24 | 3);
        let mut metadata_index = vec![0; BLOCK];
        put(&mut metadata_index, BITMAP_HEADER, &le(16));
        let all = |from: u64, to: u64| (from..to).map(|block| (block, 1)).collect::<Vec<_>>();
        Fake(BTreeMap::from([
            (0, first),
            (10, node(10, LEAF, &[(0, padded(11, INDEX_ENTRY))])),
            (11, bitmap(&[(40, 1), (41, 1), (42, 1), (43, 2)])),
            (12, metadata_index),
            (
                13,
                node(
                    13,
                    LEAF,
                    &[(0, padded(2, DETAILS)), (5, padded(3, DETAILS))],
                ),
            ),
            (14, node(14, LEAF, &[(0, le(20)), (5, le(21))])),
            (16, bitmap(&[all(0, 22), vec![(22, 2), (23, 1)]].concat())),
            (20, node(20, INTERNAL, &[(0, le(24)), (9, le(22))])),
            (21, node(21, INTERNAL, &[(0, le(23)), (9, le(22))])),
            (22, node(22, LEAF, &[(9, mapping(41))])),
            (23, node(23, LEAF, &[(0, mapping(42)), (1, mapping(43))])),
            (24, node(24, LEAF, &[(0, mapping(40))])),
        ]))
    }

    #[test]
    fn devices_and_their_own_blocks_are_found() {
        let pool = pool();
        assert_eq!(superblock(&pool).unwrap().unwrap().transaction, 77);
        assert_eq!(devices(&pool).unwrap(), [0, 5]);
        let own = mapped(&pool, 5).unwrap().unwrap();
        assert_eq!((own.exclusive, own.shared), (1, 2));
        assert_eq!(mapped(&pool, 6).unwrap(), None);
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        let empty = Fake(BTreeMap::new());
        assert_eq!(superblock(&empty).unwrap(), None);
        assert!(devices(&empty).is_err());
        let mut pool = pool();
        put(pool.0.get_mut(&0).unwrap(), 40, &9_u32.to_le_bytes());
        assert!(superblock(&pool).is_err());
        let mut pool = self::pool();
        pool.0.insert(13, node(99, LEAF, &[]));
        assert!(devices(&pool).is_err());
    }
}
