//! Which parked events wait for a key: 16 bytes each and some 15 for each key, so that millions of them can be woken by their key. Pure.
//!
//! A key's events are a chain through an array that only grows, from the one parked last to the one parked first. An event that came back leaves its link behind
//! until half of the links are such; then the array is made anew. Keys are known by half a hash: two keys with one hash cost a needless
//! look, nothing else. What the index does not know comes back when it is due.

use hashbrown::{DefaultHashBuilder, HashTable};
use rtf_proto::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// Links in one piece of the array: growing neither copies nor pauses.
const PIECE: usize = 1 << 16;
/// Fewer dead links than this are never worth clearing away.
const DEAD_MIN: usize = 1 << 14;
const NONE: u32 = u32::MAX;

/// The last link of a hash's chain. With the hash in it the table grows without a look at the links.
#[derive(Clone, Copy)]
struct Head {
    hash: u32,
    last: u32,
}

/// Where an event is parked, in 8 bytes: 16 bits of partition, 48 of offset.
#[derive(Clone, Copy)]
struct Place(u32, u32);

impl Place {
    /// `None`: so high a number does not fit, and what it names comes back when it is due.
    fn new(partition: PartitionId, offset: Offset) -> Option<Self> {
        let partition = u16::try_from(partition).ok()?;
        let high = u16::try_from(offset >> 32).ok()?;
        let low = u32::try_from(offset & u64::from(u32::MAX)).ok()?;
        Some(Self(low, u32::from(high) << 16 | u32::from(partition)))
    }

    fn partition(self) -> PartitionId {
        self.1 & u32::from(u16::MAX)
    }

    fn offset(self) -> Offset {
        u64::from(self.1 >> 16) << 32 | u64::from(self.0)
    }
}

#[derive(Clone, Copy)]
struct Link {
    place: Place,
    hash: u32,
    before: u32,
}

/// The index of one tier.
pub(crate) struct KeyIndex {
    hasher: DefaultHashBuilder,
    heads: HashTable<Head>,
    pieces: Vec<Vec<Link>>,
    dead: usize,
    /// Of each partition, the first offset that has not come back.
    back: BTreeMap<PartitionId, Offset>,
}

impl KeyIndex {
    /// Of no partition.
    pub fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            heads: HashTable::new(),
            pieces: Vec::new(),
            dead: 0,
            back: BTreeMap::new(),
        }
    }

    /// Links, dead ones among them.
    pub fn len(&self) -> usize {
        match self.pieces.split_last() {
            None => 0,
            Some((last, full)) => full.len() * PIECE + last.len(),
        }
    }

    /// A partition is ours; what stands below `from` has come back.
    pub fn open(&mut self, partition: PartitionId, from: Offset) {
        self.back.insert(partition, from);
    }

    /// A partition is not ours any more.
    pub fn close(&mut self, partition: PartitionId) {
        self.back.remove(&partition);
        self.rebuild();
    }

    /// An event waits there for this key.
    pub fn insert(&mut self, partition: PartitionId, offset: Offset, key: &[u8]) {
        let hash = self.hash(key);
        let Some(place) = Place::new(partition, offset) else {
            return;
        };
        let link = Link {
            place,
            hash,
            before: NONE,
        };
        if self.is_live(place) {
            self.link(link);
        }
    }

    /// Everything below `next` has come back.
    pub fn came_back(&mut self, partition: PartitionId, next: Offset) {
        let Some(back) = self.back.get_mut(&partition) else {
            return;
        };
        self.dead += usize::try_from(next.saturating_sub(*back)).unwrap_or(usize::MAX);
        *back = next.max(*back);
        if self.dead > DEAD_MIN && self.dead > self.len() / 2 {
            self.rebuild();
        }
    }

    /// Where events wait for this key, the one parked first in front, at the most so many. They are not known any more.
    pub fn take(&mut self, key: &[u8], max: usize) -> Vec<(PartitionId, Offset)> {
        let hash = self.hash(key);
        let Ok(entry) = self.heads.find_entry(wide(hash), |head| head.hash == hash) else {
            return Vec::new();
        };
        let mut at = entry.remove().0.last;
        let mut taken = Vec::new();
        while at != NONE {
            let link = self.pieces[at as usize / PIECE][at as usize % PIECE];
            if self.is_live(link.place) {
                taken.push((link.place.partition(), link.place.offset()));
            }
            self.dead += 1;
            at = link.before;
        }
        taken.reverse();
        taken.truncate(max);
        taken
    }

    fn hash(&self, key: &[u8]) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    fn is_live(&self, place: Place) -> bool {
        let back = self.back.get(&place.partition());
        back.is_some_and(|back| place.offset() >= *back)
    }

    fn link(&mut self, mut link: Link) {
        let Ok(number) = u32::try_from(self.len()) else {
            return;
        };
        if number == NONE {
            return;
        }
        let hash = link.hash;
        let same = |head: &Head| head.hash == hash;
        match self.heads.find_mut(wide(hash), same) {
            Some(head) => link.before = std::mem::replace(&mut head.last, number),
            None => {
                let head = Head { hash, last: number };
                self.heads
                    .insert_unique(wide(hash), head, |head| wide(head.hash));
            }
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let piece = self.pieces.last_mut().expect("there is one now");
        piece.push(link);
    }

    /// Keeps what can be reached and has not come back.
    fn rebuild(&mut self) {
        let mut reachable = vec![false; self.len()];
        for head in &self.heads {
            let mut at = head.last;
            while at != NONE {
                reachable[at as usize] = true;
                at = self.pieces[at as usize / PIECE][at as usize % PIECE].before;
            }
        }
        self.heads = HashTable::new();
        self.dead = 0;
        let pieces = std::mem::take(&mut self.pieces);
        for (link, is_reachable) in pieces.into_iter().flatten().zip(reachable) {
            if is_reachable && self.is_live(link.place) {
                let before = NONE;
                self.link(Link { before, ..link });
            }
        }
    }
}

/// Spreads half a hash, since the table looks at both ends of a whole one.
fn wide(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Park(PartitionId, u8),
        Back(PartitionId, u64),
        Take(u8, usize),
        Close(PartitionId),
        Rebuild,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            10 => (0u32..3, 0u8..6).prop_map(|(p, k)| Op::Park(p, k)),
            3 => (0u32..3, 0u64..8).prop_map(|(p, n)| Op::Back(p, n)),
            2 => (0u8..6, 1usize..9).prop_map(|(k, n)| Op::Take(k, n)),
            1 => (0u32..3).prop_map(Op::Close),
            1 => Just(Op::Rebuild),
        ]
    }

    proptest! {
        #[test]
        fn finds_what_a_list_would(ops in prop::collection::vec(op(), 0..300)) {
            let mut index = KeyIndex::new();
            let mut model: Vec<(PartitionId, Offset, u8)> = Vec::new();
            let (mut ends, mut back) = ([0u64; 3], [0u64; 3]);
            (0..3).for_each(|p| index.open(p, 0));
            for op in ops {
                match op {
                    Op::Park(p, k) => {
                        let offset = ends[p as usize];
                        ends[p as usize] += 1;
                        index.insert(p, offset, &[k]);
                        if offset >= back[p as usize] {
                            model.push((p, offset, k));
                        }
                    }
                    Op::Back(p, n) => {
                        // It may run ahead of what was read into the index.
                        back[p as usize] += n;
                        index.came_back(p, back[p as usize]);
                    }
                    Op::Take(k, max) => {
                        let mut expected: Vec<_> = model.iter().filter(|(p, o, key)| *key == k && *o >= back[*p as usize]).map(|(p, o, _)| (*p, *o)).collect();
                        expected.truncate(max);
                        prop_assert_eq!(index.take(&[k], max), expected);
                        model.retain(|(_, _, key)| *key != k);
                    }
                    Op::Close(p) => {
                        index.close(p);
                        model.retain(|(partition, ..)| *partition != p);
                        index.open(p, back[p as usize]);
                    }
                    Op::Rebuild => index.rebuild(),
                }
            }
            let live = model.iter().filter(|(p, o, _)| *o >= back[*p as usize]).count();
            index.rebuild();
            prop_assert_eq!(index.len(), live);
        }
    }

    #[test]
    fn places_come_back() {
        for (partition, offset) in [(0, 0), (65_535, (1 << 48) - 1), (7, 1 << 32)] {
            let place = Place::new(partition, offset).unwrap();
            assert_eq!((place.partition(), place.offset()), (partition, offset));
        }
        assert!(Place::new(0, 1 << 48).is_none() && Place::new(1 << 16, 0).is_none());
    }

    #[test]
    fn one_key_for_all_is_no_trouble_and_the_dead_are_cleared_away() {
        let mut index = KeyIndex::new();
        index.open(0, 0);
        for offset in 0..300_000 {
            index.insert(0, offset, b"k");
            index.came_back(0, offset.saturating_sub(20_000));
        }
        assert!(index.len() < 80_000, "{}", index.len());
        assert_eq!(index.take(b"k", usize::MAX).len(), 20_001);
    }
}
