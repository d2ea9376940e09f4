//! Lets happen what the machine decides: one lock around [`Core`], one task per batch.

use crate::carry::Carrier;
use crate::clock::Clock;
use crate::orders::Orders;
use crate::{Answers, Batch, Core, Event, Flight, Kind, Limits, Millis, Tally};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rtf_proto::{Offset, PartitionId, SourceId, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// What outlives a run: the machine, and what is reported beside it.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Something was answered.
    moved: Condvar,
    pub clock: Clock,
    /// What is being read.
    pub topic: String,
    /// Ends of partitions and positions committed, as last heard.
    pub outside: Mutex<Outside>,
    /// What became of parked events that were woken, beside the machine.
    pub woken: Mutex<Tally>,
    /// Whether reading pauses because too much is held.
    pub paused: AtomicBool,
    /// Whether an operator wants no more to be read.
    pub held: AtomicBool,
    /// Whether the reading thread reads no more, and has handed in what it read.
    pub still: AtomicBool,
    /// An operator's orders to the reading thread.
    pub orders: Orders,
    /// Batches in flight: the machine's own number, to be read without its lock.
    batches: AtomicUsize,
}

/// What is known of the topic beyond what was read.
#[derive(Default)]
pub(crate) struct Outside {
    pub ends: BTreeMap<PartitionId, Offset>,
    pub committed: BTreeMap<PartitionId, Offset>,
    /// When the parked event that was seen first was, ms since 1970, of those that come back next.
    pub oldest_parked_ms: Option<i64>,
    /// The topic was made anew, under this id; the reader takes it.
    pub made_anew: Option<TopicId>,
}

impl Shared {
    pub fn new(topic: &str, clock: Clock, limits: Limits) -> Self {
        Self {
            topic: topic.into(),
            core: Mutex::new(Core::new(limits)),
            moved: Condvar::new(),
            clock,
            outside: Mutex::default(),
            woken: Mutex::default(),
            paused: AtomicBool::new(false),
            held: AtomicBool::new(false),
            still: AtomicBool::new(false),
            orders: Orders::new(),
            batches: AtomicUsize::new(0),
        }
    }

    /// Whether no batch is in flight.
    pub fn is_idle(&self) -> bool {
        self.batches.load(Ordering::Relaxed) == 0
    }

    /// Tells the machine, under its lock.
    fn tell(&self, core: &mut Core, event: Event) -> Vec<Batch> {
        let batches = core.on(event, self.now());
        self.batches.store(core.batches(), Ordering::Relaxed);
        batches
    }

    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }
}

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offered {
    /// There is no room; it stays where it is.
    NoRoom,
    /// Taken.
    Taken,
    /// Taken, and some partition has enough pending for now.
    Crowded,
}

/// The machine at work.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    carrier: Arc<Carrier>,
    runtime: Handle,
    /// Ends the tasks, wherever they are.
    stop: CancellationToken,
    /// Ends the run after a defect.
    halt: CancellationToken,
    broken: AtomicBool,
}

impl Engine {
    /// Runs its tasks on the present runtime, until `stop`. A defect in one of them cancels `halt`.
    pub fn new(
        shared: Arc<Shared>,
        carrier: Arc<Carrier>,
        stop: CancellationToken,
        halt: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            carrier,
            runtime: Handle::current(),
            stop,
            halt,
            broken: AtomicBool::new(false),
        })
    }

    /// The machine, to be asked.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.shared.core()
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes records through look-up, join and registration beside the machine; false when it was stopped before. Blocks.
    pub fn carry_aside(&self, flights: Vec<Flight>, report: impl Fn(Answers)) -> bool {
        let carrying = self.carrier.carry(flights, report);
        let carried = self.stop.run_until_cancelled(carrying);
        self.runtime.block_on(carried).is_some()
    }

    /// Whether a task panicked.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Tells the machine what happened, and does what it decides.
    pub fn on(self: &Arc<Self>, event: Event) {
        let batches = self.shared.tell(&mut self.shared.core(), event);
        self.shared.moved.notify_all();
        for batch in batches {
            self.send(batch);
        }
    }

    /// Hands in what was read, if there is room; else leaves it where it is.
    pub fn offer(self: &Arc<Self>, flights: &mut Vec<Flight>) -> Offered {
        let mut core = self.shared.core();
        if !core.room() {
            return Offered::NoRoom;
        }
        let next = Vec::with_capacity(flights.len());
        let flights = std::mem::replace(flights, next);
        let batches = self.shared.tell(&mut core, Event::Read(flights));
        let is_crowded = core.crowded().next().is_some();
        drop(core);
        for batch in batches {
            self.send(batch);
        }
        if is_crowded {
            Offered::Crowded
        } else {
            Offered::Taken
        }
    }

    /// Waits until the machine is as wanted; false when it was not within the bound. Blocks.
    pub fn wait_until(&self, wanted: impl Fn(&Core) -> bool, bound: Duration) -> bool {
        let deadline = Instant::now() + bound;
        let mut core = self.shared.core();
        while !wanted(&core) {
            if self
                .shared
                .moved
                .wait_until(&mut core, deadline)
                .timed_out()
            {
                return wanted(&core);
            }
        }
        true
    }

    /// Ends the epochs of these partitions; says what may be committed of them.
    pub fn part_with(self: &Arc<Self>, partitions: &[PartitionId]) -> Vec<(PartitionId, Offset)> {
        let positions = self.core().positions(partitions);
        self.on(Event::Gone(partitions.to_vec()));
        positions
    }

    /// Tells the registry how far these sources are done; a lost call is made good by the next one.
    pub fn announce(self: &Arc<Self>, marks: Vec<(SourceId, Offset)>) {
        let engine = Arc::clone(self);
        self.runtime.spawn(async move {
            let told = engine.carrier.registry.progress(marks);
            if let Some(Err(error)) = engine.stop.run_until_cancelled(told).await {
                tracing::debug!(%error, "the registry was not told how far the foreign topic is done");
            }
        });
    }

    fn send(self: &Arc<Self>, batch: Batch) {
        let engine = Arc::clone(self);
        self.runtime.spawn(async move {
            let _alarm = Alarm(&engine);
            let stop = engine.stop.clone();
            stop.run_until_cancelled(engine.carry(batch)).await;
        });
    }

    async fn carry(self: &Arc<Self>, batch: Batch) {
        let report = |answers| self.on(Event::Answered(answers));
        match batch.kind {
            Kind::Fresh | Kind::Retried => self.carrier.carry(batch.flights, report).await,
            Kind::Parking => self.carrier.park(batch.flights, report).await,
        }
        self.on(Event::Ended(batch.kind));
    }
}

/// A batch whose task panics would be in flight for ever: better to end, and let the records be read again.
struct Alarm<'a>(&'a Engine);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
            self.0.halt.cancel();
        }
    }
}
