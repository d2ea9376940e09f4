//! Parked events that were read and are not due yet: a tier's partition is read only as far as its first of them. Pure.
//!
//! All events of a tier stay about equally long, so what was parked first is due first, and one of each partition is all that has to be held.

use rtf_proto::PartitionId;
use std::collections::{BTreeMap, VecDeque};

/// What is held back, by partition, in the order in which it was read.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    held: BTreeMap<PartitionId, VecDeque<(i64, T)>>,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
        }
    }
}

impl<T> Gate<T> {
    /// Holds something that is due then, ms since 1970, behind what is held of its partition already.
    pub fn hold(&mut self, partition: PartitionId, due_ms: i64, item: T) {
        let queue = self.held.entry(partition).or_default();
        queue.push_back((due_ms, item));
    }

    /// The next that may go on. What stands behind one that is not due waits for it: positions only move forward.
    pub fn next(&mut self, now_ms: i64) -> Option<T> {
        let due = |(_, queue): &(&PartitionId, &mut VecDeque<(i64, T)>)| {
            queue.front().is_some_and(|(due_ms, _)| *due_ms <= now_ms)
        };
        let (partition, queue) = self.held.iter_mut().find(due)?;
        let partition = *partition;
        let (_, item) = queue.pop_front()?;
        if queue.is_empty() {
            self.held.remove(&partition);
        }
        Some(item)
    }

    /// Partitions of which something is held: nothing more of them is to be read.
    pub fn shut(&self) -> impl Iterator<Item = PartitionId> {
        self.held.keys().copied()
    }

    /// What is held first of each partition.
    pub fn firsts(&self) -> impl Iterator<Item = &T> {
        let firsts = self.held.values().filter_map(VecDeque::front);
        firsts.map(|(_, item)| item)
    }

    /// Forgets what is held of partitions that are gone.
    pub fn retain(&mut self, keep: impl Fn(PartitionId) -> bool) {
        self.held.retain(|partition, _| keep(*partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_goes_in_the_order_of_its_partition() {
        let mut gate = Gate::default();
        for (partition, due_ms, item) in [(1, 50, 'a'), (1, 40, 'b'), (2, 60, 'c')] {
            gate.hold(partition, due_ms, item);
        }
        assert_eq!(gate.next(49), None, "`b` stands behind `a`");
        assert_eq!(gate.shut().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(gate.firsts().copied().collect::<String>(), "ac");
        assert_eq!(
            (gate.next(50), gate.next(50), gate.next(50)),
            (Some('a'), Some('b'), None)
        );
        assert_eq!(gate.shut().collect::<Vec<_>>(), [2]);
        gate.retain(|partition| partition != 2);
        assert_eq!(gate.next(i64::MAX), None);
    }
}
