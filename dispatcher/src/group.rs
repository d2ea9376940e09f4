//! What a rebalance does to the dispatcher: drain, commit, let go. Runs on the reading thread, inside its poll.

use crate::Event;
use crate::engine::Engine;
use crate::health::{Health, Part};
use crate::lanes::{Lanes, Seen};
use parking_lot::Mutex;
use rtf_kafka::GroupEvents;
use rtf_proto::{Offset, PartitionId};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One membership of the group.
pub(crate) struct Member {
    engine: Arc<Engine>,
    lanes: Mutex<Lanes>,
    health: Arc<Health>,
    part: Part,
    drain: Duration,
    joined: AtomicBool,
    /// The topic may be another than when it was described last.
    stale: AtomicBool,
    /// Assigned since the last look.
    new: Mutex<Vec<PartitionId>>,
}

impl Member {
    /// When partitions are revoked, what is in flight has `drain` to be answered.
    pub fn new(engine: Arc<Engine>, health: Arc<Health>, part: Part, drain: Duration) -> Self {
        Self {
            engine,
            lanes: Mutex::default(),
            health,
            part,
            drain,
            joined: AtomicBool::new(false),
            stale: AtomicBool::new(true),
            new: Mutex::default(),
        }
    }

    /// Whether the group has given its assignment, be it an empty one.
    pub fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// Places a record that was read; begins a new epoch when its partition was rewound.
    pub fn see(&self, partition: PartitionId, offset: Offset) -> Seen {
        let seen = self.lanes.lock().see(partition, offset);
        if seen != Seen::Rewound {
            return seen;
        }
        tracing::warn!(
            partition,
            offset,
            topic = self.engine.shared().topic,
            "the topic goes on at an earlier offset: it was truncated or made anew; reading on from there"
        );
        self.rewind(partition);
        self.lanes.lock().see(partition, offset)
    }

    /// Whether the topic must be described (again) before the next record is used; says so once.
    pub fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::Relaxed)
    }

    /// Partitions that were assigned since the last call.
    pub fn take_new(&self) -> Vec<PartitionId> {
        std::mem::take(&mut self.new.lock())
    }

    /// The group was there when a partition was assigned.
    pub fn committed(&self, positions: &[(PartitionId, Offset)]) {
        let mut lanes = self.lanes.lock();
        for (partition, position) in positions {
            lanes.committed(*partition, *position);
        }
    }

    /// Offsets that were skipped, once.
    pub fn take_gap(&self) -> Option<(PartitionId, Range<Offset>)> {
        self.lanes.lock().take_gap()
    }

    /// Begins a new epoch of a partition that is read again from further up.
    pub fn rewind(&self, partition: PartitionId) {
        self.engine.on(Event::Rewound(partition));
        self.begin(&[partition]);
    }

    fn begin(&self, partitions: &[PartitionId]) {
        let mut lanes = self.lanes.lock();
        let core = self.engine.core();
        for partition in partitions {
            if let Some(epoch) = core.epoch(*partition) {
                lanes.begin(*partition, epoch);
            }
        }
        self.stale.store(true, Ordering::Relaxed);
    }

    fn end(&self, partitions: &[PartitionId]) {
        let mut lanes = self.lanes.lock();
        for partition in partitions {
            lanes.end(*partition);
        }
    }
}

impl GroupEvents for Member {
    fn assigned(&self, partitions: &[PartitionId]) {
        tracing::info!(
            topic = self.engine.shared().topic,
            ?partitions,
            "partitions assigned"
        );
        self.joined.store(true, Ordering::Relaxed);
        self.health.well(self.part);
        self.new.lock().extend(partitions);
        self.engine.on(Event::Assigned(partitions.to_vec()));
        self.begin(partitions);
    }

    fn revoked(&self, partitions: &[PartitionId]) -> Vec<(PartitionId, Offset)> {
        self.end(partitions);
        self.engine.on(Event::Draining(partitions.to_vec()));
        let drained = self
            .engine
            .wait_until(|core| core.is_drained(partitions), self.drain);
        let positions = self.engine.part_with(partitions);
        tracing::info!(
            topic = self.engine.shared().topic,
            ?partitions,
            drained,
            "partitions revoked"
        );
        positions
    }

    fn lost(&self, partitions: &[PartitionId]) {
        tracing::warn!(
            ?partitions,
            topic = self.engine.shared().topic,
            "partitions lost; their next owner reads again what was in flight"
        );
        self.end(partitions);
        self.engine.on(Event::Gone(partitions.to_vec()));
    }
}
