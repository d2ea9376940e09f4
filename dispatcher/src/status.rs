//! What a dispatcher says of itself, and what an operator tells it.

use crate::engine::Shared;
use crate::health::{Health, Part};
use crate::orders::{Left, OperatorError, Order, Rewound};
use crate::{Millis, Options, Tally, Which};
use rtf_proto::{EventId, JoinKey, Offset, PartitionId, Source};
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

/// An event that waits for its partner.
#[derive(Clone, PartialEq, Debug)]
pub struct WaitingEvent {
    /// What its partner must have; `None` of what is only to be registered again.
    pub key: Option<JoinKey>,
    /// How often a partner was looked for in vain.
    pub attempts: u32,
    /// When any dispatcher saw it first, ms since 1970.
    pub first_seen_ms: i64,
    /// When it is tried again unless its partner comes before, ms since 1970.
    pub due_ms: i64,
    /// Where it stands in the foreign topic.
    pub source: Source,
    /// The retry topic it came back from.
    pub tier: Option<String>,
}

/// Asks a dispatcher, and tells it what an operator wants; cheap to clone, and still answers when it has ended.
#[derive(Clone)]
pub struct DispatcherHandle {
    fleet: Arc<Fleet>,
    health: Arc<Health>,
    topic: Arc<str>,
    group: Arc<str>,
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
    pub(crate) fn new(fleet: Arc<Fleet>, health: Arc<Health>, options: &Options) -> Self {
        Self {
            fleet,
            health,
            topic: options.topic.as_str().into(),
            group: options.group.as_str().into(),
        }
    }

    /// What it says of itself.
    pub fn status(&self) -> DispatcherStatus {
        status(&self.fleet)
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
        let now = self.fleet.foreign.now();
        let ages = self
            .fleet
            .all()
            .map(|shared| shared.core().waiting_by_age(now, &bounds));
        let sum =
            |sum: Vec<usize>, more: Vec<usize>| sum.iter().zip(more).map(|(a, b)| a + b).collect();
        ages.reduce(sum).unwrap_or_default()
    }

    /// The event if it waits in memory. Looks at each that does.
    pub fn find(&self, id: &EventId) -> Option<WaitingEvent> {
        let clock = &self.fleet.foreign.clock;
        self.fleet.all().find_map(|shared| {
            let core = shared.core();
            let (flight, due) = core.find(id)?;
            let origin = flight.origin.as_ref();
            Some(WaitingEvent {
                key: flight.subject.key().cloned(),
                attempts: flight.attempts,
                first_seen_ms: flight.first_seen_ms,
                due_ms: clock.wall_ms(due),
                source: origin.unwrap_or(flight.subject.source()).clone(),
                tier: origin.map(|_| shared.topic.clone()),
            })
        })
    }

    /// Whether an operator wants no more to be read.
    pub fn is_paused(&self) -> bool {
        self.fleet.foreign.held.load(Ordering::Relaxed)
    }

    /// Reads no more, in a moment; what is in flight and what waits goes on. Says whether it was so before.
    pub fn pause(&self) -> bool {
        let was_paused = self.hold(true);
        self.health.trouble(Part::Operator, PAUSED);
        was_paused
    }

    /// Reads on, and tries what waits. Says whether it was paused.
    pub fn resume(&self) -> bool {
        self.fleet
            .all()
            .for_each(|shared| shared.core().rest(false));
        let was_paused = self.hold(false);
        self.health.well(Part::Operator);
        was_paused
    }

    /// Pauses, lets what waits rest, and waits until nothing is in flight, at most so long; then commits what is done. It stays paused.
    ///
    /// # Errors
    /// It does not run, or what is done could not be committed.
    pub async fn drain(&self, within: Duration) -> Result<Left, OperatorError> {
        self.pause();
        self.fleet.all().for_each(|shared| shared.core().rest(true));
        let deadline = Instant::now() + within;
        while !self.is_still() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.order(Order::Commit).await??;
        if !self.fleet.foreign.still.load(Ordering::Relaxed) {
            return Err(OperatorError::Busy);
        }
        Ok(Left {
            in_flight: self.fleet.all().map(|shared| shared.core().flying()).sum(),
            waiting: self
                .fleet
                .all()
                .map(|shared| shared.core().waiting().0)
                .sum(),
        })
    }

    /// Tries some of what waits now. Says how many events that are.
    pub fn retry_now(&self, which: &Which) -> usize {
        let now = self.fleet.foreign.now();
        let all = self.fleet.all();
        all.map(|shared| shared.core().retry_now(which, now)).sum()
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
        let still = self.fleet.foreign.still.load(Ordering::Relaxed);
        still && self.fleet.all().all(|shared| shared.core().flying() == 0)
    }

    /// The retry topics are read by the same rule. Says what was so before.
    fn hold(&self, held: bool) -> bool {
        for tier in &self.fleet.tiers {
            tier.held.store(held, Ordering::Relaxed);
        }
        self.fleet.foreign.held.swap(held, Ordering::Relaxed)
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, OperatorError> {
        let (tell, told) = oneshot::channel();
        self.fleet.foreign.orders.give(order(tell))?;
        match tokio::time::timeout(OBEYED_WITHIN, told).await {
            Ok(told) => told.map_err(|_| OperatorError::Stopped),
            Err(_) => Err(OperatorError::Busy),
        }
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
