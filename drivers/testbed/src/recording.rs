//! What was written to disks and flushed, in order, and the states that a power cut leaves of it.
//!
//! A disk may keep a write in its cache until a flush that begins after the write has ended: what a power cut leaves is all
//! that was flushed, and any part of what was not. Parts are blocks of 4 KiB, which a disk writes whole. Nothing here needs a
//! kernel; `recorded` serves it as files.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cowlab_random::Random;

/// The bytes that a disk writes whole.
pub(crate) const BLOCK: u64 = 4096;
const BLOCK_BYTES: usize = 4096;

/// A recording that a disk and its readers share.
pub(crate) type Shared = Arc<Mutex<Recording>>;

pub(crate) fn lock(recording: &Shared) -> MutexGuard<'_, Recording> {
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that happened to a disk.
#[derive(Debug)]
enum Event {
    Write {
        disk: usize,
        first: u64,
        data: Arc<[u8]>,
    },
    /// Blocks that read as zeros from now on: a discard, or zeros written.
    Zero {
        disk: usize,
        blocks: Vec<u64>,
    },
    Flush {
        disk: usize,
    },
}

impl Event {
    fn disk(&self) -> usize {
        match self {
            Self::Write { disk, .. } | Self::Zero { disk, .. } | Self::Flush { disk } => *disk,
        }
    }

    fn blocks(&self) -> Vec<u64> {
        match self {
            Self::Write { first, data, .. } => {
                (*first..*first + data.len() as u64 / BLOCK).collect()
            }
            Self::Zero { blocks, .. } => blocks.clone(),
            Self::Flush { .. } => Vec::new(),
        }
    }

    fn is_write(&self) -> bool {
        !matches!(self, Self::Flush { .. })
    }

    /// Copies what a block has after it.
    fn copy(&self, block: u64, into: &mut [u8]) {
        match self {
            Self::Write { first, data, .. } => {
                let start = usize::try_from(block - first).unwrap_or(usize::MAX) * BLOCK_BYTES;
                into.copy_from_slice(&data[start..start + BLOCK_BYTES]);
            }
            Self::Zero { .. } | Self::Flush { .. } => into.fill(0),
        }
    }
}

/// Everything that happened to a few disks, which all lose their power at once.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// What the disks had at the beginning; nothing without.
    below: Option<Arc<Cut>>,
    events: Vec<Event>,
    /// The events that wrote a block, in order.
    versions: HashMap<(usize, u64), Vec<usize>>,
}

impl Recording {
    /// Begins with what a power cut left.
    pub(crate) fn after(cut: Option<Arc<Cut>>) -> Self {
        Self {
            below: cut,
            ..Self::default()
        }
    }

    /// The number of events so far: a position between two of them.
    pub(crate) fn position(&self) -> usize {
        self.events.len()
    }

    /// The number of writes so far.
    pub(crate) fn writes(&self, range: Range<usize>) -> usize {
        self.events[range]
            .iter()
            .filter(|event| event.is_write())
            .count()
    }

    /// Writes whole blocks.
    pub(crate) fn write(&mut self, disk: usize, offset: u64, data: &[u8]) {
        let event = Event::Write {
            disk,
            first: offset / BLOCK,
            data: data.into(),
        };
        self.push(event);
    }

    /// Has the blocks within a range of bytes read as zeros.
    pub(crate) fn zero(&mut self, disk: usize, range: Range<u64>) {
        let blocks = range.start.div_ceil(BLOCK)..range.end / BLOCK;
        // mkfs discards the whole disk: what was never written is zero already.
        let blocks = blocks
            .filter(|block| self.below.is_some() || self.versions.contains_key(&(disk, *block)));
        let blocks: Vec<_> = blocks.collect();
        if !blocks.is_empty() {
            self.push(Event::Zero { disk, blocks });
        }
    }

    /// Notes that a flush ended.
    pub(crate) fn flush(&mut self, disk: usize) {
        self.events.push(Event::Flush { disk });
    }

    fn push(&mut self, event: Event) {
        let number = self.events.len();
        for block in event.blocks() {
            self.versions
                .entry((event.disk(), block))
                .or_default()
                .push(number);
        }
        self.events.push(event);
    }

    /// Reads whole blocks as they are now.
    pub(crate) fn read(&self, disk: usize, offset: u64, into: &mut [u8]) {
        for (block, piece) in (offset / BLOCK..).zip(into.chunks_mut(BLOCK_BYTES)) {
            self.read_block(disk, block, self.events.len(), piece);
        }
    }

    /// Reads a block as it was before the event number `end`.
    fn read_block(&self, disk: usize, block: u64, end: usize, into: &mut [u8]) {
        let versions = self
            .versions
            .get(&(disk, block))
            .map_or(&[][..], Vec::as_slice);
        let before = versions.partition_point(|version| *version < end);
        match (before.checked_sub(1), &self.below) {
            (Some(last), _) => self.events[versions[last]].copy(block, into),
            (None, Some(below)) => below.read_block(disk, block, into),
            (None, None) => into.fill(0),
        }
    }

    /// The flushes in a range that had something to flush: each ends an interval in which a power cut can lose something.
    fn intervals(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut intervals = Vec::new();
        let mut start = range.start;
        for at in range.clone() {
            if !self.events[at].is_write() {
                intervals.push(start..at);
                start = at + 1;
            }
        }
        intervals.push(start..range.end);
        intervals.retain(|interval| self.writes(interval.clone()) > 0);
        intervals
    }

    /// Picks `count` power cuts within a range of positions: at every flush with all, nothing and a random part of what was
    /// not flushed, then between. The same seed picks the same.
    pub(crate) fn pick(&self, range: Range<usize>, count: usize, seed: u64) -> Vec<Moment> {
        let intervals = self.intervals(range);
        if intervals.is_empty() {
            return Vec::new();
        }
        let mut random = Random::new(seed);
        let mut at_flushes = Vec::new();
        for interval in &intervals {
            let position = interval.end;
            let part = Unflushed::Part(random.number());
            for unflushed in [Unflushed::All, Unflushed::Nothing, part] {
                at_flushes.push(Moment {
                    position,
                    unflushed,
                });
            }
        }
        random.shuffle(&mut at_flushes);
        let mut picked: Vec<_> = at_flushes.into_iter().take(count).collect();
        while picked.len() < count {
            let interval = &intervals[random.below(intervals.len())];
            let position = interval.start + 1 + random.below(interval.len());
            let unflushed = match random.below(4) {
                0 => Unflushed::All,
                _ => Unflushed::Part(random.number()),
            };
            picked.push(Moment {
                position,
                unflushed,
            });
        }
        picked.sort_by_key(|moment| moment.position);
        picked
    }
}

/// When the power goes, and what becomes of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Before which event.
    pub position: usize,
    /// What is left of what was not flushed.
    pub unflushed: Unflushed,
}

/// What a power cut leaves of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unflushed {
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// Blocks that follow from this number.
    Part(u64),
}

/// What disks have after a power cut.
#[derive(Debug)]
pub(crate) struct Cut {
    recording: Shared,
    /// Up to which event everything is there, by disk.
    flushed: HashMap<usize, usize>,
    position: usize,
    unflushed: Unflushed,
    /// The events whose content a block has beyond that.
    kept: HashMap<(usize, u64), usize>,
}

impl Cut {
    /// Cuts the power at a moment of a recording, which may go on.
    pub(crate) fn new(recording: &Shared, moment: Moment) -> Self {
        let Moment {
            position,
            unflushed,
        } = moment;
        let mut cut = Self {
            recording: Arc::clone(recording),
            flushed: HashMap::new(),
            position,
            unflushed,
            kept: HashMap::new(),
        };
        let recording = lock(recording);
        let before = &recording.events[..position];
        for (number, event) in before.iter().enumerate() {
            if let Event::Flush { disk } = event {
                cut.flushed.insert(*disk, number + 1);
            }
        }
        if let Unflushed::Part(seed) = unflushed {
            let mut random = Random::new(seed);
            for (number, event) in before.iter().enumerate() {
                let disk = event.disk();
                if number < cut.flushed(disk) {
                    continue;
                }
                let blocks = event.blocks().into_iter();
                let kept = blocks.filter(|_| random.below(2) == 0);
                cut.kept.extend(kept.map(|block| ((disk, block), number)));
            }
        }
        drop(recording);
        cut
    }

    fn flushed(&self, disk: usize) -> usize {
        self.flushed.get(&disk).copied().unwrap_or(0)
    }

    fn read_block(&self, disk: usize, block: u64, into: &mut [u8]) {
        let recording = lock(&self.recording);
        if let Some(event) = self.kept.get(&(disk, block)) {
            return recording.events[*event].copy(block, into);
        }
        let end = match self.unflushed {
            Unflushed::All => self.position,
            Unflushed::Nothing | Unflushed::Part(_) => self.flushed(disk),
        };
        recording.read_block(disk, block, end, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> Vec<u8> {
        vec![byte; BLOCK_BYTES]
    }

    fn first_bytes(cut: &Cut, disk: usize, blocks: u64) -> Vec<u8> {
        let mut piece = block(0);
        let mut read = |number| {
            cut.read_block(disk, number, &mut piece);
            piece[0]
        };
        (0..blocks).map(&mut read).collect()
    }

    fn cut(recording: &Shared, position: usize, unflushed: Unflushed) -> Cut {
        Cut::new(
            recording,
            Moment {
                position,
                unflushed,
            },
        )
    }

    /// Blocks 0 and 1 flushed with 1; then block 0 with 2, block 2 with 3, block 1 zeroed.
    fn small() -> Shared {
        let mut recording = Recording::default();
        recording.write(0, 0, &[block(1), block(1)].concat());
        recording.flush(0);
        recording.write(0, 0, &block(2));
        recording.write(0, 2 * BLOCK, &block(3));
        recording.zero(0, BLOCK..2 * BLOCK);
        Arc::new(Mutex::new(recording))
    }

    #[test]
    fn a_disk_reads_what_was_written_last() {
        let recording = small();
        let mut bytes = [block(9), block(9), block(9), block(9)].concat();
        lock(&recording).read(0, 0, &mut bytes);
        let firsts: Vec<_> = bytes.chunks(BLOCK_BYTES).map(|piece| piece[0]).collect();
        assert_eq!(firsts, [2, 0, 3, 0]);
    }

    #[test]
    fn a_cut_keeps_what_was_flushed_and_all_or_nothing_of_the_rest() {
        let recording = small();
        assert_eq!(
            first_bytes(&cut(&recording, 5, Unflushed::All), 0, 3),
            [2, 0, 3]
        );
        assert_eq!(
            first_bytes(&cut(&recording, 5, Unflushed::Nothing), 0, 3),
            [1, 1, 0]
        );
        assert_eq!(
            first_bytes(&cut(&recording, 3, Unflushed::All), 0, 3),
            [2, 1, 0]
        );
        // Before the end of the flush, nothing is safe.
        assert_eq!(
            first_bytes(&cut(&recording, 1, Unflushed::Nothing), 0, 3),
            [0, 0, 0]
        );
    }

    #[test]
    fn a_part_is_any_mix_of_old_and_new_blocks_and_follows_from_its_seed() {
        let recording = small();
        let part = |seed| first_bytes(&cut(&recording, 5, Unflushed::Part(seed)), 0, 3);
        let mut seen: Vec<_> = (0..200).map(part).collect();
        assert_eq!(part(7), seen[7]);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8, "{seen:?}");
        assert!(
            seen.iter()
                .all(|one| [1, 2].contains(&one[0]) && one[1] < 2 && [0, 3].contains(&one[2]))
        );
    }

    #[test]
    fn a_part_cuts_one_write_in_pieces() {
        let mut recording = Recording::default();
        recording.write(0, 0, &[block(1), block(1)].concat());
        let recording = Arc::new(Mutex::new(recording));
        let parts =
            (0..64).map(|seed| first_bytes(&cut(&recording, 1, Unflushed::Part(seed)), 0, 2));
        assert!(parts.into_iter().any(|part| part == [0, 1]));
    }

    #[test]
    fn a_flush_is_of_one_disk() {
        let mut recording = Recording::default();
        recording.write(0, 0, &block(1));
        recording.write(1, 0, &block(2));
        recording.flush(1);
        let recording = Arc::new(Mutex::new(recording));
        let cut = cut(&recording, 3, Unflushed::Nothing);
        assert_eq!(
            (first_bytes(&cut, 0, 1), first_bytes(&cut, 1, 1)),
            (vec![0], vec![2])
        );
    }

    #[test]
    fn the_power_may_go_again_on_what_it_left() {
        let first = cut(&small(), 5, Unflushed::Nothing);
        let mut again = Recording::after(Some(Arc::new(first)));
        again.write(0, 0, &block(4));
        again.zero(0, BLOCK..2 * BLOCK);
        let again = Arc::new(Mutex::new(again));
        assert_eq!(
            first_bytes(&cut(&again, 2, Unflushed::Nothing), 0, 3),
            [1, 1, 0]
        );
        assert_eq!(
            first_bytes(&cut(&again, 1, Unflushed::All), 0, 3),
            [4, 1, 0]
        );
        assert_eq!(
            first_bytes(&cut(&again, 2, Unflushed::All), 0, 3),
            [4, 0, 0]
        );
    }

    #[test]
    fn cuts_are_at_every_flush_and_then_between() {
        let recording = small();
        lock(&recording).flush(0);
        let pick = |count, seed| lock(&recording).pick(0..6, count, seed);
        let at_flushes = pick(6, 1);
        for position in [1, 5] {
            let here = at_flushes
                .iter()
                .filter(|moment| moment.position == position);
            assert_eq!(here.count(), 3, "{at_flushes:?}");
        }
        assert_eq!(pick(40, 3), pick(40, 3));
        assert_ne!(pick(40, 3), pick(40, 4));
        assert!(pick(40, 3).iter().any(|moment| moment.position == 3));
        assert!(lock(&recording).pick(1..2, 5, 1).is_empty());
    }
}
