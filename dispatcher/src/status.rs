//! What a dispatcher says of itself, and what an operator tells it.

use crate::engine::Shared;
use crate::health::{Health, Part};
use crate::orders::{Left, OperatorError, Order, Rewound};
use crate::{Millis, Tally, Which};
use rtf_proto::{Offset, PartitionId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Waiting events are counted by age below each of these, and beyond the last.
pub const AGES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];
/// What a paused dispatcher says of itself.
const PAUSED: &str = "paused by an operator";
/// The reading thread obeys within this: it may be rebalancing, or committing.
const OBEYED_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks whether a drain is done.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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

/// Asks a dispatcher, and tells it what an operator wants; cheap to clone, and still answers when it has ended.
#[derive(Clone)]
pub struct DispatcherHandle {
    shared: Arc<Shared>,
    health: Arc<Health>,
    topic: Arc<str>,
    group: Arc<str>,
}

impl DispatcherHandle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        health: Arc<Health>,
        topic: String,
        group: String,
    ) -> Self {
        Self {
            shared,
            health,
            topic: topic.into(),
            group: group.into(),
        }
    }

    /// What it says of itself.
    pub fn status(&self) -> DispatcherStatus {
        status(&self.shared)
    }

    /// The foreign topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// How many events wait, by the time since they were first read: below each of [`AGES`], and beyond. Looks at each of them.
    pub fn waiting_by_age(&self) -> Vec<usize> {
        let bounds = AGES.map(|age| Millis::try_from(age.as_millis()).unwrap_or(Millis::MAX));
        let now = self.shared.now();
        self.shared.core().waiting_by_age(now, &bounds)
    }

    /// Whether an operator wants no more to be read.
    pub fn is_paused(&self) -> bool {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Reads no more, in a moment; what is in flight and what waits goes on. Says whether it was so before.
    pub fn pause(&self) -> bool {
        let was_paused = self.shared.held.swap(true, Ordering::Relaxed);
        self.health.trouble(Part::Operator, PAUSED);
        was_paused
    }

    /// Reads on, and tries what waits. Says whether it was paused.
    pub fn resume(&self) -> bool {
        self.shared.core().rest(false);
        let was_paused = self.shared.held.swap(false, Ordering::Relaxed);
        self.health.well(Part::Operator);
        was_paused
    }

    /// Pauses, lets what waits rest, and waits until nothing is in flight, at most so long; then commits what is done. It stays paused.
    ///
    /// # Errors
    /// It does not run, or what is done could not be committed.
    pub async fn drain(&self, within: Duration) -> Result<Left, OperatorError> {
        self.pause();
        self.shared.core().rest(true);
        let deadline = Instant::now() + within;
        while !self.is_still() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.order(Order::Commit).await??;
        if !self.shared.still.load(Ordering::Relaxed) {
            return Err(OperatorError::Busy);
        }
        let core = self.shared.core();
        Ok(Left {
            in_flight: core.flying(),
            waiting: core.waiting().0,
        })
    }

    /// Tries some of what waits now. Says how many events that are.
    pub fn retry_now(&self, which: &Which) -> usize {
        let now = self.shared.now();
        self.shared.core().retry_now(which, now)
    }

    /// Goes back in these partitions of `topic`, as far as they are assigned here; a partition that is not is missing in the answer. What is read again
    /// is found resolved, and changes nothing; the waits of what is not resolved begin anew.
    ///
    /// # Errors
    /// Another topic, or it does not run.
    pub async fn replay(
        &self,
        topic: &str,
        positions: Vec<(PartitionId, Offset)>,
    ) -> Result<Vec<Rewound>, OperatorError> {
        if topic != &*self.topic {
            return Err(OperatorError::OtherTopic {
                reads: self.topic.to_string(),
                asked: topic.into(),
            });
        }
        self.order(|tell| Order::Rewind(positions, tell)).await
    }

    fn is_still(&self) -> bool {
        self.shared.still.load(Ordering::Relaxed) && self.shared.core().flying() == 0
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, OperatorError> {
        let (tell, told) = oneshot::channel();
        self.shared.orders.give(order(tell))?;
        match tokio::time::timeout(OBEYED_WITHIN, told).await {
            Ok(told) => told.map_err(|_| OperatorError::Stopped),
            Err(_) => Err(OperatorError::Busy),
        }
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
