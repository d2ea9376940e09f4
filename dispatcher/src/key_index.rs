//! Which parked events wait for a key: six bytes each, so that millions of them can be woken by their key. Pure.
//!
//! Events are parked and come back in the order of their offsets. So they stand in blocks of 65,536 offsets, and a block that has come back is dropped whole. Within a
//! block they are sorted by half a hash of their key; a look-up is a binary search in each block. Two keys with one hash cost a needless look,
//! nothing else. What the index does not know comes back when it is due.

use rtf_proto::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Offsets of a block.
const SPAN: Offset = 1 << 16;
/// Entries that a block keeps unsorted, until they are merged into the others.
const FRESH: usize = 1 << 10;

/// Half the hash of a key, and where in its block an event waits for it.
type Entry = (u32, u16);

/// Events of neighbouring offsets.
#[derive(Default)]
struct Block {
    /// Sorted, with their offsets beside them.
    hashes: Vec<u32>,
    offsets: Vec<u16>,
    fresh: Vec<Entry>,
}

impl Block {
    fn len(&self) -> usize {
        self.hashes.len() + self.fresh.len()
    }

    fn contains(&self, entry: Entry) -> bool {
        self.offsets[self.range(entry.0)].contains(&entry.1) || self.fresh.contains(&entry)
    }

    fn insert(&mut self, entry: Entry) {
        self.fresh.push(entry);
        if self.fresh.len() == FRESH {
            self.merge();
        }
    }

    /// Where in its partition events wait for a key of this hash; they are not known any more.
    fn take(&mut self, hash: u32) -> Vec<u16> {
        let range = self.range(hash);
        self.hashes.drain(range.clone());
        let sorted = self.offsets.drain(range);
        let fresh = self.fresh.extract_if(.., |entry| entry.0 == hash);
        sorted.chain(fresh.map(|entry| entry.1)).collect()
    }

    fn range(&self, hash: u32) -> std::ops::Range<usize> {
        let first = self.hashes.partition_point(|known| *known < hash);
        let same = self.hashes[first..].iter().take_while(|h| **h == hash);
        first..first + same.count()
    }

    /// Sorts the fresh ones in, in place: a block that grows by new vectors each time leaves holes of all sizes behind.
    fn merge(&mut self) {
        self.fresh.sort_unstable();
        let mut known = self.hashes.len();
        let mut at = known + self.fresh.len();
        self.hashes.resize(at, 0);
        self.offsets.resize(at, 0);
        // From the end, so that nothing is written over that is still to be moved.
        while let Some(&(hash, offset)) = self.fresh.last() {
            at -= 1;
            if known > 0 && self.hashes[known - 1] > hash {
                known -= 1;
                self.hashes[at] = self.hashes[known];
                self.offsets[at] = self.offsets[known];
            } else {
                self.hashes[at] = hash;
                self.offsets[at] = offset;
                self.fresh.pop();
            }
        }
    }

    /// Hardly anything is put in from now on.
    fn close(&mut self) {
        self.merge();
        self.hashes.shrink_to_fit();
        self.offsets.shrink_to_fit();
        self.fresh = Vec::new();
    }
}

/// What is parked in one partition.
#[derive(Default)]
struct Parked {
    /// The first offset that has not come back.
    back: Offset,
    /// One past the last offset that was put in.
    end: Offset,
    /// By their number: an offset divided by [`SPAN`].
    blocks: BTreeMap<u64, Block>,
}

impl Parked {
    /// Whether it was not known.
    fn insert(&mut self, offset: Offset, hash: u32) -> bool {
        let (number, entry) = (offset / SPAN, (hash, (offset % SPAN) as u16));
        if offset < self.end {
            // Found nobody, and waits on; unless it is known all the same.
            let block = self.blocks.entry(number).or_default();
            let is_new = !block.contains(entry);
            if is_new {
                block.insert(entry);
            }
            return is_new;
        }
        self.end = offset + 1;
        if !self.blocks.contains_key(&number)
            && let Some(mut full) = self.blocks.last_entry()
        {
            full.get_mut().close();
        }
        self.blocks.entry(number).or_default().insert(entry);
        true
    }

    /// Drops what has wholly come back, and says how much it was.
    fn came_back(&mut self, next: Offset) -> usize {
        self.back = next.max(self.back);
        let left = self.blocks.split_off(&(self.back / SPAN));
        let dropped = std::mem::replace(&mut self.blocks, left);
        dropped.values().map(Block::len).sum()
    }
}

/// The index of one tier.
#[derive(Default)]
pub(crate) struct KeyIndex {
    hasher: RandomState,
    partitions: BTreeMap<PartitionId, Parked>,
    len: usize,
}

impl KeyIndex {
    /// Of no partition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Events, among them some that have come back.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A partition is ours; what stands below `from` has come back.
    pub fn open(&mut self, partition: PartitionId, from: Offset) {
        self.close(partition);
        let parked = Parked {
            back: from,
            ..Parked::default()
        };
        self.partitions.insert(partition, parked);
    }

    /// A partition is not ours any more.
    pub fn close(&mut self, partition: PartitionId) {
        if let Some(parked) = self.partitions.remove(&partition) {
            self.len -= parked.blocks.values().map(Block::len).sum::<usize>();
        }
    }

    /// An event waits there for this key.
    pub fn insert(&mut self, partition: PartitionId, offset: Offset, key: &[u8]) {
        let hash = self.hash(key);
        if let Some(parked) = self.partitions.get_mut(&partition)
            && offset >= parked.back
            && parked.insert(offset, hash)
        {
            self.len += 1;
        }
    }

    /// Everything below `next` has come back.
    pub fn came_back(&mut self, partition: PartitionId, next: Offset) {
        if let Some(parked) = self.partitions.get_mut(&partition) {
            self.len -= parked.came_back(next);
        }
    }

    /// Where events wait for this key, of each partition the one parked first in front, at the most so many. They are not known any more.
    pub fn take(&mut self, key: &[u8], max: usize) -> Vec<(PartitionId, Offset)> {
        let hash = self.hash(key);
        let mut taken = Vec::new();
        for (partition, parked) in &mut self.partitions {
            for (number, block) in &mut parked.blocks {
                let offsets = block.take(hash);
                self.len -= offsets.len();
                let offsets = offsets.into_iter();
                let offsets = offsets.map(|offset| number * SPAN + Offset::from(offset));
                let live = offsets.filter(|offset| *offset >= parked.back);
                taken.extend(live.map(|offset| (*partition, offset)));
            }
        }
        taken.sort_unstable();
        taken.truncate(max);
        taken
    }

    fn hash(&self, key: &[u8]) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Park(PartitionId, u8),
        /// Offsets without a record.
        Skip(PartitionId, u64),
        Back(PartitionId, u64),
        Take(u8, usize),
        /// Takes, and puts back again.
        InVain(u8),
        Close(PartitionId),
        Merge,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            10 => (0u32..3, 0u8..6).prop_map(|(p, k)| Op::Park(p, k)),
            1 => (0u32..3, 1u64..SPAN * 2).prop_map(|(p, n)| Op::Skip(p, n)),
            3 => (0u32..3, 0u64..8).prop_map(|(p, n)| Op::Back(p, n)),
            2 => (0u8..6, 1usize..9).prop_map(|(k, n)| Op::Take(k, n)),
            2 => (0u8..6).prop_map(Op::InVain),
            1 => (0u32..3).prop_map(Op::Close),
            1 => Just(Op::Merge),
        ]
    }

    proptest! {
        #[test]
        fn finds_what_a_list_would(ops in prop::collection::vec(op(), 0..300)) {
            let mut index = KeyIndex::new();
            let mut model: Vec<(PartitionId, Offset, u8)> = Vec::new();
            let (mut ends, mut back) = ([0u64; 3], [0u64; 3]);
            (0..3).for_each(|p| index.open(p, 0));
            let waiting = |model: &[(PartitionId, Offset, u8)], back: [u64; 3], k: u8| {
                let waits = |(p, o, key): &&(PartitionId, Offset, u8)| *key == k && *o >= back[*p as usize];
                let mut waiting: Vec<_> = model.iter().filter(waits).map(|(p, o, _)| (*p, *o)).collect();
                waiting.sort_unstable();
                waiting
            };
            for op in ops {
                match op {
                    Op::Park(p, k) => {
                        let offset = ends[p as usize];
                        ends[p as usize] += 1;
                        index.insert(p, offset, &[k]);
                        model.push((p, offset, k));
                    }
                    Op::Skip(p, n) => ends[p as usize] += n,
                    Op::Back(p, n) => {
                        // It may run ahead of what was read into the index.
                        back[p as usize] += n;
                        index.came_back(p, back[p as usize]);
                    }
                    Op::Take(k, max) => {
                        let mut expected = waiting(&model, back, k);
                        expected.truncate(max);
                        prop_assert_eq!(index.take(&[k], max), expected);
                        model.retain(|(_, _, key)| *key != k);
                    }
                    Op::InVain(k) => {
                        let expected = waiting(&model, back, k);
                        prop_assert_eq!(&index.take(&[k], usize::MAX), &expected);
                        for (p, offset) in expected.iter().chain(&expected) {
                            index.insert(*p, *offset, &[k]);
                        }
                    }
                    Op::Close(p) => {
                        index.close(p);
                        model.retain(|(partition, ..)| *partition != p);
                        index.open(p, back[p as usize]);
                    }
                    Op::Merge => {
                        let parked = index.partitions.values_mut();
                        parked.flat_map(|p| p.blocks.values_mut()).for_each(Block::merge);
                    }
                }
            }
            for k in 0..6 {
                prop_assert_eq!(index.take(&[k], usize::MAX), waiting(&model, back, k));
            }
            prop_assert_eq!(index.len(), 0, "every key was asked for");
        }
    }

    #[test]
    fn what_has_come_back_is_dropped_block_by_block() {
        let mut index = KeyIndex::new();
        index.open(0, 0);
        for offset in 0..300_000 {
            index.insert(0, offset, b"k");
            index.came_back(0, offset.saturating_sub(20_000));
        }
        assert!(index.len() < 20_001 + SPAN as usize, "{}", index.len());
        assert_eq!(index.take(b"k", usize::MAX).len(), 20_001);
    }
}
