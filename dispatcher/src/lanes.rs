//! What the reading thread knows of its partitions: the epoch, and what comes next. Pure.

use crate::{Epoch, Place};
use rtf_proto::{Offset, PartitionId};
use std::collections::HashMap;

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
    next: Offset,
}

/// The assigned partitions.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: HashMap<PartitionId, Lane>,
}

impl Lanes {
    /// A partition is ours, or begins anew.
    pub fn begin(&mut self, partition: PartitionId, epoch: Epoch) {
        self.lanes.insert(partition, Lane { epoch, next: 0 });
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
        lane.next = offset + 1;
        Seen::Next(Place {
            partition,
            epoch: lane.epoch,
            offset,
        })
    }
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
}
