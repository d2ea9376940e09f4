//! One partition of a join log that may be split while it is written: which of its records count, and what it remembers. Pure; it must not
//! know who won.

use super::{IdHash, share};
use rtf_proto::control::Control;
use rtf_proto::partitioner::{children, partition_of};
use rtf_proto::{Offset, PartitionId, SourceId};
use rtf_registry::{Age, BucketId};
use std::collections::{BTreeMap, HashMap};

/// Which records of a partition count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// None before its birth, which the epoch of its parent announced if it was met.
    Unborn(Option<Birth>),
    /// Those of ids that hash to it among so many.
    Alive(u32),
    /// The log no longer has what told the count: what is in place by its own count, until a checkpoint tells.
    Uncertain,
}

/// What a partition is born by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Birth {
    /// Whose ids it takes over.
    pub parent: PartitionId,
    /// Where the parent's epoch stands.
    pub offset: Offset,
    /// It keeps the ids that hash to it among so many.
    pub count: u32,
}

/// A partition, as far as it was read.
#[derive(Debug)]
pub struct Partition {
    id: PartitionId,
    life: Life,
    age: Age,
    /// What was registered in each bucket.
    buckets: HashMap<BucketId, Vec<IdHash>>,
}

impl Partition {
    /// One of which nothing was read.
    pub fn new(id: PartitionId, life: Life) -> Self {
        Self {
            id,
            life,
            age: Age::default(),
            buckets: HashMap::new(),
        }
    }

    /// What it remembers, but for the ids.
    pub fn into_age(self) -> Age {
        self.age
    }

    /// Another life than was thought.
    pub fn live(&mut self, life: Life) {
        self.life = life;
    }

    /// A record with this append time is next. Time passes before its birth too.
    pub fn reach(&mut self, append_ms: i64) {
        self.age.advance(append_ms);
    }

    /// Whether an event counts, whose writer knew so many partitions.
    pub fn keeps(&self, stamped: u32, id: &[u8]) -> bool {
        let count = match self.life {
            Life::Unborn(_) => return false,
            Life::Alive(count) => count,
            Life::Uncertain => stamped,
        };
        count > 0 && stamped == count && partition_of(id, count) == self.id
    }

    /// Whether what stands there was resolved once, and may be forgotten.
    pub fn is_below_floor(&self, source: SourceId, offset: Offset) -> bool {
        self.age.is_below_floor(source, offset)
    }

    /// An event was accepted.
    pub fn registered(&mut self, id: IdHash, source: SourceId, offset: Offset) {
        self.age.registered(source, offset);
        let current = self.buckets.entry(self.age.current()).or_default();
        current.push(id);
    }

    /// Takes in what the log says about itself.
    pub fn control(&mut self, control: &Control) {
        self.age.control(control);
        let Control::Checkpoint(checkpoint) = control else {
            return;
        };
        if let (Life::Uncertain, Some(count)) = (self.life, checkpoint.counts.last()) {
            self.life = Life::Alive(*count);
        }
    }

    /// A birth is announced; it lives from here on if that is its own. `is_lost`: the log no longer has the epoch of that parent.
    pub fn born(&mut self, parent: PartitionId, offset: Offset, is_lost: bool) {
        let Life::Unborn(birth) = self.life else {
            return;
        };
        let own = birth.filter(|own| (own.parent, own.offset) == (parent, offset));
        match own {
            Some(birth) => self.life = Life::Alive(birth.count),
            None if is_lost => self.life = Life::Uncertain,
            None => {}
        }
    }

    /// An epoch stands at this offset: from there on it keeps what hashes to it among `count`. Gives its children, unborn, each with the ids that are
    /// its own now; only those below `end`, one past the topic's last partition. None if the epoch changes nothing.
    pub fn split(
        &mut self,
        offset: Offset,
        stamped: u32,
        count: u32,
        end: PartitionId,
    ) -> BTreeMap<PartitionId, Self> {
        let before = match self.life {
            Life::Unborn(_) => 0,
            Life::Alive(before) => before,
            Life::Uncertain => stamped,
        };
        if before == 0 || count <= before || !count.is_multiple_of(before) {
            return BTreeMap::new();
        }
        self.life = Life::Alive(count);
        self.age.cut();
        let birth = Birth {
            parent: self.id,
            offset,
            count,
        };
        let child = |id| Self {
            age: self.age.clone(),
            ..Self::new(id, Life::Unborn(Some(birth)))
        };
        let children = children(self.id, before, count).take_while(|child| *child < end);
        let mut children = children.map(|id| (id, child(id))).collect();
        self.hand_over(count, &mut children);
        children
    }

    fn hand_over(&mut self, count: u32, children: &mut BTreeMap<PartitionId, Self>) {
        for (bucket, ids) in &mut self.buckets {
            ids.retain(|id| match children.get_mut(&share(*id, count)) {
                Some(child) => {
                    child.buckets.entry(*bucket).or_default().push(*id);
                    false
                }
                None => true,
            });
        }
    }

    /// Forgets as the registry does; gives the ids.
    pub fn bury(&mut self) -> Vec<IdHash> {
        let dead = self.age.bury().into_iter();
        dead.flat_map(|bucket| self.buckets.remove(&bucket).unwrap_or_default())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::hash;
    use rtf_proto::TopicId;
    use rtf_proto::control::Checkpoint;

    const SOURCE: SourceId = (TopicId([7; 16]), 0);

    fn id_of(partition: PartitionId, count: u32) -> Vec<u8> {
        let mut ids = (0..).map(|n: u32| format!("id-{n}").into_bytes());
        ids.find(|id| partition_of(id, count) == partition)
            .expect("there is always one")
    }

    #[test]
    fn a_split_hands_over_what_belongs_to_the_children() {
        let mut parent = Partition::new(1, Life::Alive(2));
        for partition in [1, 3, 5] {
            parent.registered(hash(&id_of(partition, 6)), SOURCE, partition.into());
        }
        let children = parent.split(10, 2, 6, 8);
        assert_eq!(children.keys().copied().collect::<Vec<_>>(), [3, 5]);
        assert_eq!(parent.buckets[&0], [hash(&id_of(1, 6))]);
        for (id, child) in &children {
            let birth = Birth {
                parent: 1,
                offset: 10,
                count: 6,
            };
            assert_eq!(child.life, Life::Unborn(Some(birth)));
            assert_eq!(child.age, parent.age);
            assert_eq!(child.buckets[&0], [hash(&id_of(*id, 6))]);
        }
        assert!(parent.keeps(6, &id_of(1, 6)));
        assert!(!parent.keeps(2, &id_of(1, 6)), "its writer knew too little");
        assert!(!parent.keeps(6, &id_of(3, 6)));
    }

    #[test]
    fn an_epoch_that_is_no_multiple_changes_nothing() {
        let mut parent = Partition::new(1, Life::Alive(4));
        for count in [0, 1, 2, 4, 6] {
            assert!(parent.split(10, 4, count, 100).is_empty());
        }
        assert_eq!((parent.life, parent.age), (Life::Alive(4), Age::default()));
        assert!(
            Partition::new(5, Life::Unborn(None))
                .split(0, 8, 16, 16)
                .is_empty()
        );
    }

    #[test]
    fn only_the_right_birth_makes_alive() {
        let birth = Birth {
            parent: 1,
            offset: 10,
            count: 8,
        };
        let mut child = Partition::new(5, Life::Unborn(Some(birth)));
        let id = id_of(5, 8);
        for (parent, offset) in [(1, 11), (0, 10)] {
            child.born(parent, offset, false);
            assert!(!child.keeps(8, &id));
        }
        child.born(1, 10, false);
        assert!(child.keeps(8, &id));
        let mut stranger = Partition::new(5, Life::Unborn(None));
        stranger.born(1, 10, false);
        assert!(!stranger.keeps(8, &id));
        stranger.born(1, 10, true);
        assert!(stranger.keeps(8, &id), "its epoch is gone");
    }

    #[test]
    fn a_checkpoint_tells_the_count_that_was_lost() {
        let told = |counts: &[u32]| {
            Control::Checkpoint(Checkpoint {
                counts: counts.to_vec(),
                ..Checkpoint::default()
            })
        };
        let mut partition = Partition::new(1, Life::Uncertain);
        let (old, new) = (id_of(1, 4), id_of(1, 8));
        assert!(partition.keeps(4, &old) && partition.keeps(8, &new) && !partition.keeps(0, &new));
        partition.control(&told(&[]));
        assert!(partition.keeps(4, &old));
        partition.control(&told(&[4, 8]));
        assert!(!partition.keeps(4, &old) && partition.keeps(8, &new));
        partition.control(&told(&[4]));
        assert!(partition.keeps(8, &new), "what is certain stays");
    }
}
