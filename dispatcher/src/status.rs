//! What a dispatcher says of itself.

use crate::Tally;
use crate::engine::Shared;
use rtf_proto::{Offset, PartitionId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One assigned partition of the foreign topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: PartitionId,
    /// First offset that is not resolved; `None` before the first record of this assignment.
    pub position: Option<Offset>,
    /// What was committed last under this assignment.
    pub committed: Option<Offset>,
    /// Next offset to be read.
    pub next: Option<Offset>,
    /// The partition's end, as last heard.
    pub end: Option<Offset>,
    /// Records not yet read.
    pub lag: Option<u64>,
    /// Records read and not resolved.
    pub pending: usize,
    /// Those of them that are in flight; the others wait for a partner.
    pub in_flight: usize,
}

/// A dispatcher at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DispatcherStatus {
    /// The assigned partitions.
    pub partitions: Vec<PartitionStatus>,
    /// Events that wait for a partner.
    pub waiting: usize,
    /// What they cost in memory, bytes.
    pub waiting_bytes: usize,
    /// How long the oldest of them has waited.
    pub oldest_waiting: Option<Duration>,
    /// Records in flight.
    pub in_flight: usize,
    /// Whether reading pauses, in part or wholly, because too much is held.
    pub paused: bool,
    /// Counts since the start.
    pub tally: Tally,
}

/// Asks a dispatcher; cheap to clone, and still answers when it has ended.
#[derive(Clone)]
pub struct DispatcherHandle {
    shared: Arc<Shared>,
}

impl DispatcherHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What it says of itself.
    pub fn status(&self) -> DispatcherStatus {
        status(&self.shared)
    }
}

pub(crate) fn status(shared: &Shared) -> DispatcherStatus {
    let now = shared.now();
    let outside = shared.outside.lock();
    let core = shared.core();
    let partitions = core.windows().map(|window| {
        let end = outside.ends.get(&window.partition).copied();
        PartitionStatus {
            partition: window.partition,
            position: window.position,
            committed: outside.committed.get(&window.partition).copied(),
            next: window.next,
            end,
            lag: end
                .zip(window.next)
                .map(|(end, next)| end.saturating_sub(next)),
            pending: window.pending,
            in_flight: window.working,
        }
    });
    let partitions = partitions.collect();
    let (waiting, waiting_bytes, oldest) = core.waiting();
    DispatcherStatus {
        partitions,
        waiting,
        waiting_bytes,
        oldest_waiting: oldest.map(|seen| Duration::from_millis(now.saturating_sub(seen))),
        in_flight: core.flying(),
        paused: shared.paused.load(Ordering::Relaxed),
        tally: core.tally(),
    }
}
