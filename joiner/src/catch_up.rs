//! How far the primary topic has been read, and whether that is as far as it reached at the start. Pure.

use rtf_proto::{Offset, PartitionId};

/// Positions in all partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CatchUp {
    partitions: Vec<Progress>,
    behind: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Progress {
    next: Offset,
    /// Where the partition ended at the start, until that is reached.
    target: Option<Offset>,
}

impl CatchUp {
    /// Begins with each partition's first offset and end.
    pub fn new(offsets: &[(Offset, Offset)]) -> Self {
        let progress = |(first, end): &(Offset, Offset)| Progress {
            next: *first,
            target: (first < end).then_some(*end),
        };
        let partitions: Vec<Progress> = offsets.iter().map(progress).collect();
        let behind = partitions.iter().filter(|p| p.target.is_some()).count();
        Self { partitions, behind }
    }

    /// Whether every partition's end of the start has been reached.
    pub fn is_done(&self) -> bool {
        self.behind == 0
    }

    /// Partitions known.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// The next offset to read, per partition.
    pub fn positions(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        (0..).zip(self.partitions.iter().map(|p| p.next))
    }

    /// Offsets still to be read until it is done; some of them may be gaps.
    pub fn left(&self) -> u64 {
        let left = |p: &Progress| p.target.map_or(0, |end| end.saturating_sub(p.next));
        self.partitions.iter().map(left).sum()
    }

    /// A partition that came into being later: nothing of it was missing at the start.
    pub fn add(&mut self) {
        self.partitions.push(Progress {
            next: 0,
            target: None,
        });
    }

    /// A record is there; whether it is a new one.
    pub fn read(&mut self, partition: PartitionId, offset: Offset) -> bool {
        let Some(progress) = self.partitions.get_mut(partition as usize) else {
            return false;
        };
        if offset < progress.next {
            return false;
        }
        self.jump(partition, offset + 1);
        true
    }

    /// All before `next` has been read or is gone.
    pub fn jump(&mut self, partition: PartitionId, next: Offset) {
        let Some(progress) = self.partitions.get_mut(partition as usize) else {
            return;
        };
        progress.next = next;
        if progress.target.is_some_and(|end| next >= end) {
            self.reached(partition);
        }
    }

    /// The reader has come to the end of the partition. Behind the last record there may be offsets without one
    /// (transaction markers), so the end need not be reached by counting.
    pub fn reached(&mut self, partition: PartitionId) {
        let progress = self.partitions.get_mut(partition as usize);
        if progress.and_then(|p| p.target.take()).is_some() {
            self.behind -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_done_when_every_end_was_reached() {
        let mut catch_up = CatchUp::new(&[(0, 3), (5, 5), (2, 4)]);
        assert_eq!(catch_up.left(), 5);
        assert!(catch_up.read(0, 1), "gaps are normal");
        assert!(catch_up.read(0, 2));
        assert!(!catch_up.is_done());
        assert!(catch_up.read(2, 2));
        assert!(!catch_up.read(2, 2), "a record is taken once");
        assert!(!catch_up.is_done());
        // Offset 3 is a transaction's marker.
        catch_up.reached(2);
        catch_up.reached(2);
        assert!(catch_up.is_done());
        assert_eq!(catch_up.left(), 0);
        let positions: Vec<_> = catch_up.positions().collect();
        assert_eq!(positions, [(0, 3), (1, 5), (2, 3)]);
    }

    #[test]
    fn new_partitions_hold_nobody_up() {
        let mut catch_up = CatchUp::new(&[(0, 0)]);
        assert!(catch_up.is_done());
        catch_up.add();
        assert!(catch_up.is_done());
        assert!(catch_up.read(1, 0) && !catch_up.read(2, 0));
    }

    #[test]
    fn records_that_are_gone_count_as_read() {
        let mut catch_up = CatchUp::new(&[(0, 10)]);
        catch_up.jump(0, 10);
        assert!(catch_up.is_done());
        assert!(!catch_up.read(0, 9));
    }
}
