//! What the reading thread knows of its partitions: the epoch, what comes next, and what was skipped. Pure.
//!
//! Offsets are skipped by transactions and compaction, and by retention that took records before anybody read them. Only where the partition begins by now
//! tells the one from the other, so a gap is kept until the broker was asked.

use crate::{Epoch, Place};
use rtf_proto::{Offset, PartitionId};
use std::collections::HashMap;
use std::ops::Range;

/// What a record's position says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// It is the next one.
    Next(Place),
    /// Its partition is not ours: it is nobody's business here.
    Stranger,
    /// It was read before: the partition was truncated, or its topic made anew.
    Rewound,
}

#[derive(Debug)]
struct Lane {
    epoch: Epoch,
    /// What was read first.
    first: Option<Offset>,
    next: Offset,
    /// Where the group was.
    committed: Option<Offset>,
    /// The longest since the last one was taken.
    gap: Option<Range<Offset>>,
}

impl Lane {
    fn skipped(&mut self, gap: Range<Offset>) {
        let is_longer = |known: &Range<Offset>| gap.end - gap.start > known.end - known.start;
        if self.gap.as_ref().is_none_or(is_longer) {
            self.gap = Some(gap);
        }
    }
}

/// The assigned partitions.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: HashMap<PartitionId, Lane>,
}

impl Lanes {
    /// A partition is ours, or begins anew.
    pub fn begin(&mut self, partition: PartitionId, epoch: Epoch) {
        let lane = Lane {
            epoch,
            first: None,
            next: 0,
            committed: None,
            gap: None,
        };
        self.lanes.insert(partition, lane);
    }

    /// A partition is not ours any more.
    pub fn end(&mut self, partition: PartitionId) {
        self.lanes.remove(&partition);
    }

    /// A record was read.
    pub fn see(&mut self, partition: PartitionId, offset: Offset) -> Seen {
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Seen::Stranger;
        };
        if offset < lane.next {
            return Seen::Rewound;
        }
        let expected = match lane.first {
            Some(_) => Some(lane.next),
            None => lane.committed,
        };
        if let Some(expected) = expected.filter(|expected| *expected < offset) {
            lane.skipped(expected..offset);
        }
        lane.first.get_or_insert(offset);
        lane.next = offset + 1;
        Seen::Next(Place {
            partition,
            epoch: lane.epoch,
            offset,
        })
    }

    /// The group was there when the partition became ours; reading may have begun already.
    pub fn committed(&mut self, partition: PartitionId, position: Offset) {
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return;
        };
        match lane.first {
            Some(first) if first > position => lane.skipped(position..first),
            Some(_) => {}
            None => lane.committed = Some(position),
        }
    }

    /// A gap of some partition, once.
    pub fn take_gap(&mut self) -> Option<(PartitionId, Range<Offset>)> {
        let mut lanes = self.lanes.iter_mut();
        lanes.find_map(|(partition, lane)| Some((*partition, lane.gap.take()?)))
    }
}

/// How much of a gap lies before the first record there is by now: so much nobody has read.
pub(crate) fn missed(gap: &Range<Offset>, first: Offset) -> u64 {
    first.min(gap.end).saturating_sub(gap.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::first_epoch;

    #[test]
    fn positions_only_grow_within_an_epoch() {
        let epoch = first_epoch();
        let place = |offset| Place {
            partition: 0,
            epoch,
            offset,
        };
        let mut lanes = Lanes::default();
        assert_eq!(lanes.see(0, 7), Seen::Stranger);
        lanes.begin(0, epoch);
        assert_eq!(lanes.see(0, 7), Seen::Next(place(7)));
        assert_eq!(lanes.see(0, 9), Seen::Next(place(9)), "gaps are normal");
        assert_eq!(lanes.see(0, 9), Seen::Rewound);
        lanes.begin(0, epoch);
        assert_eq!(lanes.see(0, 0), Seen::Next(place(0)));
        lanes.end(0);
        assert_eq!(lanes.see(0, 1), Seen::Stranger);
    }

    #[test]
    fn what_is_skipped_is_told_once() {
        let mut lanes = Lanes::default();
        lanes.begin(0, first_epoch());
        lanes.see(0, 5);
        assert_eq!(lanes.take_gap(), None, "nobody knows where it was to begin");
        lanes.committed(0, 3);
        assert_eq!(lanes.take_gap(), Some((0, 3..5)));
        assert_eq!(lanes.take_gap(), None);
        lanes.see(0, 6);
        lanes.see(0, 9);
        lanes.see(0, 20);
        lanes.see(0, 23);
        assert_eq!(lanes.take_gap(), Some((0, 10..20)), "the longest");
        lanes.begin(1, first_epoch());
        lanes.committed(1, 3);
        lanes.see(1, 5);
        assert_eq!(lanes.take_gap(), Some((1, 3..5)), "whichever comes first");
        lanes.begin(0, first_epoch());
        lanes.see(0, 2);
        assert_eq!(lanes.take_gap(), None, "read anew");
    }

    #[test]
    fn missed_is_what_lies_before_the_first_record() {
        assert_eq!(missed(&(10..20), 0), 0, "a transaction, or compaction");
        assert_eq!(missed(&(10..20), 15), 5);
        assert_eq!(missed(&(10..20), 20), 10);
        assert_eq!(missed(&(10..20), 90), 10, "the rest was read");
    }
}
