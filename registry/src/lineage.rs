//! What a split did to a partition of the log: which ids it keeps, and whose ids it took over. Pure.
//!
//! ```text
//! parent p   ── registered ──▶ Epoch(8) at offset o ── keeps the ids that hash to p among 8 ──▶
//!                                  ╲ knows what p knew below o
//! child p+4                         unborn ── Born(p, o) ── registered ──▶
//! ```
//!
//! The first epoch that fits counts, a `Born` that names another parent or offset is ignored, and whatever lies in a child before its `Born` is
//! rejected: the log alone decides, in every replica alike (docs/adr/0008).

use crate::age::BucketId;
use bytes::{Buf, BufMut};
use rtf_proto::control::{put_counts, take_counts};
use rtf_proto::{Offset, PartitionId};

/// What a child's `Born` must say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Birth {
    /// Partition it took over ids from.
    pub parent: PartitionId,
    /// Where the parent's epoch stands.
    pub offset: Offset,
}

/// A partition's place among the others. Equal in every replica that applied as much of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Lineage {
    /// Partition counts that held here, oldest first; the last one holds. Empty: nothing is known.
    counts: Vec<u32>,
    /// It is not born yet, and waits for this.
    unborn: Option<Birth>,
    /// Whose ids the older buckets hold: those before `.0` are of partition `.1`, unless of one before it. Oldest first.
    ancestors: Vec<(BucketId, PartitionId)>,
    /// The count an operator wants; stands in partition 0 only.
    wanted: Option<u32>,
}

impl Lineage {
    /// A partition the log began with, when it had so many.
    pub fn root(partitions: u32) -> Self {
        Self::learned(vec![partitions])
    }

    /// A partition of which no more is known than the counts that held.
    pub fn learned(counts: Vec<u32>) -> Self {
        Self {
            counts,
            ..Self::default()
        }
    }

    /// It keeps the ids that hash to it among so many; 0 when that is not known.
    pub fn count(&self) -> u32 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// All counts that held, oldest first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// What an operator wants, unless it is there.
    pub fn wanted(&self) -> Option<u32> {
        self.wanted.filter(|wanted| *wanted > self.count())
    }

    /// What it waits for before it decides anything.
    pub fn unborn(&self) -> Option<Birth> {
        self.unborn
    }

    /// Whether it took over ids from another partition.
    pub fn has_ancestors(&self) -> bool {
        !self.ancestors.is_empty()
    }

    /// The partition whose ids a bucket holds.
    pub fn home(&self, bucket: BucketId, own: PartitionId) -> PartitionId {
        let home = self.ancestors.iter().find(|(until, _)| bucket < *until);
        home.map_or(own, |(_, home)| *home)
    }

    /// Whether an epoch, or a wish for one, fits to what holds.
    pub fn accepts(&self, partitions: u32) -> bool {
        is_multiple(partitions, self.count()) && self.unborn.is_none()
    }

    /// An epoch that is [accepted](Self::accepts).
    pub fn split(&mut self, partitions: u32) {
        self.counts.push(partitions);
    }

    /// A child of this partition, `own`, which was just split; its buckets before `until` hold what this one registered.
    pub fn child(&self, own: PartitionId, birth: Birth, until: BucketId) -> Self {
        let mut ancestors = self.ancestors.clone();
        ancestors.push((until, own));
        Self {
            counts: self.counts.clone(),
            unborn: Some(birth),
            ancestors,
            wanted: None,
        }
    }

    /// A `Born`. False when it is not the one that is waited for.
    pub fn born(&mut self, birth: Birth) -> bool {
        self.unborn.take_if(|unborn| *unborn == birth).is_some()
    }

    /// An operator's wish. The first one stands until it is fulfilled; only a multiple of it may take its place, so that all epochs of a log
    /// are multiples of each other, whoever appends them.
    pub fn want(&mut self, partitions: u32) {
        if self.accepts(partitions) && is_multiple(partitions, self.wanted().unwrap_or(1)) {
            self.wanted = Some(partitions);
        }
    }

    /// What a replica that lacks the beginning of the log could not know.
    pub fn learn(&mut self, counts: &[u32], wanted: Option<u32>) {
        if counts.last().is_some_and(|count| *count >= self.count()) {
            self.counts = counts.into();
        }
        self.unborn = None;
        if let Some(wanted) = wanted {
            self.want(wanted);
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_counts(out, &self.counts);
        out.put_u8(self.unborn.is_some().into());
        if let Some(birth) = self.unborn {
            out.put_u32_le(birth.parent);
            out.put_u64_le(birth.offset);
        }
        out.put_u32_le(u32::try_from(self.ancestors.len()).expect("splits are few"));
        for (until, partition) in &self.ancestors {
            out.put_i64_le(*until);
            out.put_u32_le(*partition);
        }
        out.put_u32_le(self.wanted.unwrap_or(0));
    }

    /// Takes what [`encode`](Self::encode) wrote from the front of `bytes`.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let counts = take_counts(bytes)?;
        let unborn = match bytes.try_get_u8().ok()? {
            0 => None,
            _ => Some(Birth {
                parent: bytes.try_get_u32_le().ok()?,
                offset: bytes.try_get_u64_le().ok()?,
            }),
        };
        let ancestors = bytes.try_get_u32_le().ok()?;
        let ancestors = (0..ancestors)
            .map(|_| Some((bytes.try_get_i64_le().ok()?, bytes.try_get_u32_le().ok()?)))
            .collect::<Option<_>>()?;
        Some(Self {
            counts,
            unborn,
            ancestors,
            wanted: Some(bytes.try_get_u32_le().ok()?).filter(|wanted| *wanted > 0),
        })
    }
}

/// Whether it is larger, and a multiple.
fn is_multiple(partitions: u32, of: u32) -> bool {
    of > 0 && partitions > of && partitions.is_multiple_of(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIRTH: Birth = Birth {
        parent: 1,
        offset: 70,
    };

    #[test]
    fn only_a_multiple_splits() {
        let root = Lineage::root(4);
        for (partitions, fits) in [(4, false), (2, false), (6, false), (8, true), (12, true)] {
            assert_eq!(root.accepts(partitions), fits, "{partitions}");
        }
        assert!(!Lineage::default().accepts(8), "nothing is known of it");
    }

    #[test]
    fn a_child_waits_for_its_own_birth_and_knows_whose_ids_are_where() {
        let mut parent = Lineage::root(4);
        parent.split(8);
        let mut child = parent.child(1, BIRTH, 500);
        assert!(!child.accepts(16), "it is not born");
        for other in [
            Birth { parent: 2, ..BIRTH },
            Birth {
                offset: 71,
                ..BIRTH
            },
        ] {
            assert!(!child.born(other) && child.unborn().is_some());
        }
        assert!(child.born(BIRTH) && !child.born(BIRTH));
        assert_eq!(
            (child.home(499, 5), child.home(500, 5), child.count()),
            (1, 5, 8)
        );
        child.split(16);
        let grandchild = child.child(5, BIRTH, 900);
        let homes = [499, 500, 900].map(|bucket| grandchild.home(bucket, 13));
        assert_eq!(homes, [1, 5, 13]);
        let mut bytes = Vec::new();
        grandchild.encode(&mut bytes);
        assert_eq!(
            Lineage::take(&mut bytes.as_slice()).as_ref(),
            Some(&grandchild)
        );
        for cut in 0..bytes.len() {
            assert_eq!(Lineage::take(&mut &bytes[..cut]), None);
        }
    }

    #[test]
    fn the_first_wish_stands_and_only_a_multiple_takes_its_place() {
        let mut lineage = Lineage::root(4);
        let mut want = |partitions| {
            lineage.want(partitions);
            lineage.wanted()
        };
        assert_eq!(want(6), None);
        assert_eq!(want(8), Some(8));
        assert_eq!(want(12), Some(8), "two operators who disagree");
        assert_eq!(want(16), Some(16));
        lineage.split(16);
        assert_eq!(lineage.wanted(), None, "fulfilled");
        lineage.want(48);
        assert_eq!(lineage.wanted(), Some(48));
    }

    #[test]
    fn who_lacks_the_beginning_learns_the_count() {
        let mut late = Lineage::root(4);
        late.learn(&[2, 4, 8], Some(16));
        assert_eq!(
            (late.counts(), late.wanted()),
            ([2, 4, 8].as_slice(), Some(16))
        );
        late.learn(&[2, 4], None);
        assert_eq!(late.count(), 8, "an older one says nothing new");
    }
}
