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

/// One retry topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedStatus {
    /// The topic.
    pub topic: String,
    /// Records in those of its partitions that are assigned to this dispatcher which have not come back yet, as last heard; some may have been joined since,
    /// woken by their key.
    pub records: u64,
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
    /// Events parked, by retry topic.
    pub parked: Vec<ParkedStatus>,
    /// How long the oldest that waits or is parked has waited.
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
    fleet: Arc<Fleet>,
}

/// What is known of all that a dispatcher reads.
pub(crate) struct Fleet {
    pub foreign: Arc<Shared>,
    /// One for each retry topic.
    pub tiers: Vec<Arc<Shared>>,
}

impl Fleet {
    pub fn all(&self) -> impl Iterator<Item = &Arc<Shared>> {
        std::iter::once(&self.foreign).chain(&self.tiers)
    }

    /// What came of everything. That a parked event is found resolved when it comes back is nobody's duplicate: it was woken.
    fn tally(&self) -> Tally {
        let of_tier = |tier: &Arc<Shared>| Tally {
            already_resolved: 0,
            ..tier.core().tally() + *tier.woken.lock()
        };
        let tiers = self.tiers.iter().map(of_tier);
        tiers.fold(self.foreign.core().tally(), |sum, tally| sum + tally)
    }

    /// How long the oldest has waited that waits in memory or comes back next.
    fn oldest_waiting(&self) -> Option<Duration> {
        let now = self.foreign.now();
        let waited = |shared: &Arc<Shared>| {
            let (.., oldest) = shared.core().waiting();
            let parked = shared.outside.lock().oldest_parked_ms;
            let parked = parked.map(|seen| self.foreign.clock.wall_ms(now).saturating_sub(seen));
            let parked = parked.and_then(|ms| u64::try_from(ms).ok());
            oldest.map(|seen| now.saturating_sub(seen)).max(parked)
        };
        self.all()
            .filter_map(waited)
            .max()
            .map(Duration::from_millis)
    }
}

impl DispatcherHandle {
    pub(crate) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
    }

    /// What it says of itself.
    pub fn status(&self) -> DispatcherStatus {
        status(&self.fleet)
    }
}

pub(crate) fn status(fleet: &Fleet) -> DispatcherStatus {
    let is_paused = |shared: &Arc<Shared>| shared.paused.load(Ordering::Relaxed);
    let waiting: Vec<_> = fleet.all().map(|shared| shared.core().waiting()).collect();
    DispatcherStatus {
        partitions: partitions(&fleet.foreign),
        waiting: waiting.iter().map(|(events, ..)| events).sum(),
        waiting_bytes: waiting.iter().map(|(_, bytes, _)| bytes).sum(),
        parked: fleet.tiers.iter().map(|tier| parked(tier)).collect(),
        oldest_waiting: fleet.oldest_waiting(),
        in_flight: fleet.all().map(|shared| shared.core().flying()).sum(),
        paused: is_paused(&fleet.foreign),
        tally: fleet.tally(),
    }
}

pub(crate) fn partitions(shared: &Shared) -> Vec<PartitionStatus> {
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
    partitions.collect()
}

fn parked(tier: &Shared) -> ParkedStatus {
    let left = |partition: PartitionStatus| {
        let from = partition
            .position
            .or(partition.committed)
            .unwrap_or_default();
        partition.end.map_or(0, |end| end.saturating_sub(from))
    };
    ParkedStatus {
        topic: tier.topic.clone(),
        records: partitions(tier).into_iter().map(left).sum(),
    }
}
