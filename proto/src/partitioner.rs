//! Which partition of the join log an id belongs to: Kafka's Java default partitioner, so that other tools agree.

use crate::PartitionId;
use std::collections::BTreeSet;

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// MurmurHash2, 32 bit, as in Kafka's `org.apache.kafka.common.utils.Utils.murmur2`.
pub fn murmur2(data: &[u8]) -> u32 {
    // Kafka's length is a signed int; a record is far below 2 GiB, so the wrap never shows.
    let mut h = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of `key` among `partitions`: `toPositive(murmur2(key)) % partitions`.
pub fn partition_of(key: &[u8], partitions: u32) -> PartitionId {
    assert!(partitions > 0, "a topic has at least one partition");
    positive(key) % partitions
}

fn positive(key: &[u8]) -> u32 {
    murmur2(key) & 0x7fff_ffff
}

/// The partitions a split of `parent` makes: where ids that hashed to it among `before` hash to among `after`, a multiple.
pub fn children(parent: PartitionId, before: u32, after: u32) -> impl Iterator<Item = PartitionId> {
    (parent..after).step_by(before.max(1) as usize).skip(1)
}

/// Which partition of the join log an id belongs to, before, while and after it is split.
///
/// Each partition has a count of its own: it keeps the ids that hash to it among so many. While a split goes on the counts differ; one partition at a time
/// claims an id, as a child claims what its parent gives up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    roots: u32,
    /// By partition; 0 where nothing is known of one.
    counts: Vec<u32>,
    /// The counts there are.
    distinct: BTreeSet<u32>,
}

impl Layout {
    /// A log that began with so many partitions, or of which nothing older is known.
    pub fn new(roots: u32) -> Self {
        Self {
            roots,
            counts: vec![roots; roots as usize],
            distinct: BTreeSet::from([roots]),
        }
    }

    /// Partitions the log began with.
    pub fn roots(&self) -> u32 {
        self.roots
    }

    /// Partitions there are, or will be as far as is known.
    pub fn partitions(&self) -> u32 {
        self.distinct.last().copied().unwrap_or(0)
    }

    /// This partition keeps what hashes to it among so many.
    pub fn set(&mut self, partition: PartitionId, count: u32) {
        let at = partition as usize;
        self.counts.resize(self.counts.len().max(at + 1), 0);
        self.counts[at] = count;
        self.distinct = self.counts.iter().copied().filter(|n| *n > 0).collect();
    }

    /// The count that holds in a partition, if it is known.
    pub fn count(&self, partition: PartitionId) -> Option<u32> {
        let count = self.counts.get(partition as usize).copied();
        count.filter(|count| *count > 0)
    }

    /// The partition an id belongs to.
    pub fn partition_of(&self, id: &[u8]) -> PartitionId {
        let hash = positive(id);
        let claims = |count: &u32| {
            let partition = hash % count;
            (self.count(partition) == Some(*count)).then_some(partition)
        };
        // Where part of the layout is unknown nobody may claim it.
        let claimed = self.distinct.iter().rev().find_map(claims);
        claimed.unwrap_or_else(|| hash % self.roots.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However far a split has got: an id stays where it was, or belongs to a child of where it was.
        #[test]
        fn a_split_moves_ids_to_children_only(id: Vec<u8>, split in prop::collection::vec(any::<bool>(), 4), again in 0u32..9) {
            let mut layout = Layout::new(4);
            let before = layout.partition_of(&id);
            prop_assert_eq!(before, partition_of(&id, 4));
            for (partition, _) in (0..).zip(&split).filter(|(_, split)| **split) {
                layout.set(partition, 8);
                children(partition, 4, 8).for_each(|child| layout.set(child, 8));
            }
            let after = layout.partition_of(&id);
            let wanted = if split[before as usize] { partition_of(&id, 8) } else { before };
            prop_assert_eq!(after, wanted);
            prop_assert!(after == before || children(before, 4, 8).any(|child| child == after));
            // All of them; then once more, from the end: the last parents first.
            (0..8).for_each(|p| layout.set(p, 8));
            for partition in (again..8).rev() {
                children(partition, 8, 24).for_each(|child| layout.set(child, 24));
                layout.set(partition, 24);
            }
            let before = partition_of(&id, 8);
            let wanted = if before >= again { partition_of(&id, 24) } else { before };
            prop_assert_eq!(layout.partition_of(&id), wanted);
            prop_assert_eq!(layout.partitions(), if again < 8 { 24 } else { 8 });
        }
    }

    #[test]
    fn children_are_what_the_hash_moves_to() {
        assert_eq!(children(1, 4, 16).collect::<Vec<_>>(), [5, 9, 13]);
        assert_eq!(children(3, 4, 4).count(), 0);
    }

    /// Values of Kafka's own UtilsTest.testMurmur2.
    #[test]
    fn agrees_with_kafka() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(
                murmur2(key) as i32,
                hash,
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }
}
