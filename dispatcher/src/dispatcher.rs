//! The role: puts the parts together, starts them, waits, stops them.

use crate::carry::Carrier;
use crate::clock::Clock;
use crate::engine::{Engine, Shared};
use crate::health::Health;
use crate::intake::Intake;
use crate::key_index::KeyIndex;
use crate::meters::Meters;
use crate::parker::Parker;
use crate::reader::Reader;
use crate::status::{DispatcherHandle, Fleet};
use crate::woken::{Keys, Waker};
use crate::{DispatcherError, Event, Options, Tier, lag, wakeups};
use futures::StreamExt;
#[cfg(feature = "simulation")]
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use rtf_json::Extractor;
#[cfg(feature = "simulation")]
use rtf_kafka::Cluster;
use rtf_kafka::{Prefetch, Settings};
use rtf_proto::{Joiner, Registry};
use rtf_service::Component;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(5);
/// Simulated, between two looks: so long at the least, and at the most where nothing waits.
#[cfg(feature = "simulation")]
const SIMULATED_TICKS: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(250)];

/// A dispatcher that has not begun yet.
pub struct Dispatcher {
    options: Options,
    settings: Settings,
    registry: Arc<dyn Registry>,
    joiner: Arc<dyn Joiner>,
    health: Arc<Health>,
    intake: Intake,
    clock: Clock,
    fleet: Arc<Fleet>,
}

impl Dispatcher {
    /// Puts it together; nothing is connected yet.
    ///
    /// # Errors
    /// A JSON pointer that is none.
    pub fn new(
        options: Options,
        settings: Settings,
        registry: Arc<dyn Registry>,
        joiner: Arc<dyn Joiner>,
        component: Component,
    ) -> Result<Self, DispatcherError> {
        let clock = Clock::start();
        let shared =
            |options: &Options| Arc::new(Shared::new(&options.topic, clock, options.limits()));
        let tiers = options.tiers().iter();
        let fleet = Fleet {
            foreign: shared(&options),
            tiers: tiers.map(|tier| shared(&options.of_tier(tier))).collect(),
        };
        Ok(Self {
            intake: Intake::new(Extractor::new(options.fields())?),
            fleet: Arc::new(fleet),
            clock,
            options,
            settings,
            registry,
            joiner,
            health: Arc::new(Health::new(component)),
        })
    }

    /// To ask it while it runs.
    pub fn handle(&self) -> DispatcherHandle {
        let health = Arc::clone(&self.health);
        DispatcherHandle::new(Arc::clone(&self.fleet), health, &self.options)
    }

    /// Runs until `shutdown`: then reads no more, waits for what is in flight within a bound, commits, leaves the group.
    ///
    /// # Errors
    /// See [`DispatcherError`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DispatcherError> {
        let halt = shutdown.child_token();
        let stop = CancellationToken::new();
        let _ends = (halt.clone().drop_guard(), stop.clone().drop_guard());
        let carrier = self.carrier(self.parker());
        let engine = |shared: &Arc<Shared>| {
            let carrier = Arc::clone(&carrier);
            Engine::new(Arc::clone(shared), carrier, stop.clone(), halt.clone())
        };
        let foreign = engine(&self.fleet.foreign);
        let tiers: Vec<_> = self.fleet.tiers.iter().map(engine).collect();
        for engine in std::iter::once(&foreign).chain(&tiers) {
            watch_lag(engine, &self.settings, &halt)?;
        }
        let reader = self.foreign_reader(&foreign, &halt)?;
        let mut reads = vec![on_a_thread("rtf-dispatcher".into(), reader)?];
        let (mut wakers, listened) = (Vec::new(), Arc::new(AtomicU64::new(0)));
        for (tier, engine) in self.options.tiers().iter().zip(&tiers) {
            let (read, keys) = self.begin_tier(tier, engine, &listened, &halt)?;
            reads.push(read);
            wakers.push(keys);
        }
        let engines: Vec<_> = std::iter::once(foreign.clone()).chain(tiers).collect();
        self.fleet.foreign.orders.open();
        let read = tokio::select! {
            read = all_read(reads, &halt) => read,
            never = tick(&engines, TICK) => match never {},
            never = wakeups::listen(&foreign, &*self.joiner, &self.health, &wakers, &listened) => match never {},
        };
        self.fleet.foreign.orders.close();
        if engines.iter().any(|engine| engine.is_broken()) {
            return Err(DispatcherError::Panicked("a batch in flight"));
        }
        read
    }

    /// As [`run`](Self::run), in one task; what is parked comes back in its time, and is not woken. What it is dropped with is as lost as after `kill -9`.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "simulation")]
    pub async fn run_simulated(self, shutdown: CancellationToken) -> Result<(), DispatcherError> {
        let halt = shutdown.child_token();
        let stop = CancellationToken::new();
        let _ends = (halt.clone().drop_guard(), stop.clone().drop_guard());
        let carrier = self.carrier(self.parker().map(Parker::simulated));
        let engine = |shared: &Arc<Shared>| {
            Engine::new(
                Arc::clone(shared),
                Arc::clone(&carrier),
                stop.clone(),
                halt.clone(),
            )
        };
        let foreign = engine(&self.fleet.foreign);
        let tiers: Vec<_> = self.fleet.tiers.iter().map(engine).collect();
        let mut readers = vec![self.foreign_reader(&foreign, &halt)?];
        for (tier, engine) in self.options.tiers().iter().zip(&tiers) {
            readers.push(self.tier_reader(tier, engine, Arc::default(), &halt)?);
        }
        let listened = AtomicU64::new(0);
        let engines: Vec<_> = std::iter::once(Arc::clone(&foreign)).chain(tiers).collect();
        let cluster = Cluster::connect(&self.settings)?;
        let read = tokio::select! {
            biased;
            never = lag::watch_simulated(foreign.shared(), &cluster) => match never {},
            read = try_join_all(readers.into_iter().map(Reader::run_simulated)) => read.map(drop),
            never = tick_simulated(&engines) => match never {},
            never = wakeups::listen(&foreign, &*self.joiner, &self.health, &[], &listened) => match never {},
        };
        if engines.iter().any(|engine| engine.is_broken()) {
            return Err(DispatcherError::Panicked("a batch in flight"));
        }
        read
    }

    fn carrier(&self, parker: Option<Parker>) -> Arc<Carrier> {
        Arc::new(Carrier {
            registry: Arc::clone(&self.registry),
            joiner: Arc::clone(&self.joiner),
            health: Arc::clone(&self.health),
            clock: self.clock,
            parker,
        })
    }

    fn foreign_reader(
        &self,
        engine: &Arc<Engine>,
        halt: &CancellationToken,
    ) -> Result<Reader, DispatcherError> {
        Reader::of_foreign(
            Arc::clone(engine),
            Arc::clone(&self.health),
            self.intake.clone(),
            self.options.clone(),
            self.settings.clone(),
            Meters::new(Arc::clone(&self.fleet)),
            halt.clone(),
        )
    }

    /// What it has read is not in the index any more.
    fn tier_reader(
        &self,
        tier: &Tier,
        engine: &Arc<Engine>,
        index: Arc<Mutex<KeyIndex>>,
        halt: &CancellationToken,
    ) -> Result<Reader, DispatcherError> {
        Reader::of_tier(
            Arc::clone(engine),
            Arc::clone(&self.health),
            self.intake.clone(),
            self.options.of_tier(tier),
            self.frugal(),
            index,
            halt.clone(),
        )
    }

    /// Each retry topic is read three times over: when events are due, for the index, and for those that are woken.
    fn frugal(&self) -> Settings {
        Settings {
            prefetch: Prefetch::Frugal,
            ..self.settings.clone()
        }
    }

    fn parker(&self) -> Option<Parker> {
        let (options, settings) = (&self.options, self.settings.clone());
        let parking = options.parking.clone()?;
        let wait_max = options.wait_max;
        Some(Parker::new(parking, wait_max, settings, &options.topic))
    }

    /// Begins to read a retry topic: the events that are due, and the keys of those that are not.
    fn begin_tier(
        &self,
        tier: &Tier,
        engine: &Arc<Engine>,
        listened: &Arc<AtomicU64>,
        halt: &CancellationToken,
    ) -> Result<(Read, Keys), DispatcherError> {
        let index = Arc::new(Mutex::new(KeyIndex::new()));
        let (waker, keys) = Waker::new(
            Arc::clone(engine),
            self.intake.clone(),
            Arc::clone(&index),
            &self.options.of_tier(tier),
            self.frugal(),
            Arc::clone(listened),
            halt.clone(),
        );
        let reader = self.tier_reader(tier, engine, index, halt)?;
        std::thread::Builder::new()
            .name(format!("rtf-waker-{}", tier.topic))
            .spawn(move || waker.run())
            .map_err(DispatcherError::Thread)?;
        let read = on_a_thread(format!("rtf-retry-{}", tier.topic), reader)?;
        Ok((read, keys))
    }
}

/// How a reading thread ends.
type Read = oneshot::Receiver<Result<(), DispatcherError>>;

/// All reading threads end together: one that fails ends the others.
async fn all_read(reads: Vec<Read>, halt: &CancellationToken) -> Result<(), DispatcherError> {
    let mut reads: FuturesUnordered<Read> = reads.into_iter().collect();
    let mut ended = Ok(());
    while let Some(read) = reads.next().await {
        halt.cancel();
        let read = read.unwrap_or(Err(DispatcherError::Panicked("a reading thread")));
        ended = ended.and(read);
    }
    ended
}

async fn tick(engines: &[Arc<Engine>], every: Duration) -> Infallible {
    let mut every = tokio::time::interval(every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        engines.iter().for_each(|engine| engine.on(Event::Tick));
    }
}

/// Looks no sooner than something is due: a tick that finds nothing costs a simulation as much as one that does.
#[cfg(feature = "simulation")]
async fn tick_simulated(engines: &[Arc<Engine>]) -> Infallible {
    let [least, most] = SIMULATED_TICKS;
    let left = |engine: &Arc<Engine>| {
        let due = engine.core().next_due()?;
        Some(due.saturating_sub(engine.shared().now()))
    };
    loop {
        let first = engines.iter().filter_map(left).min();
        let first = first.map_or(most, Duration::from_millis);
        tokio::time::sleep(first.clamp(least, most)).await;
        engines.iter().for_each(|engine| engine.on(Event::Tick));
    }
}

fn on_a_thread(name: String, reader: Reader) -> Result<Read, DispatcherError> {
    let (tell, told) = oneshot::channel();
    let read = move || {
        // Nobody listens when the run was dropped.
        let _ = tell.send(reader.run());
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(read)
        .map_err(DispatcherError::Thread)?;
    Ok(told)
}

fn watch_lag(
    engine: &Arc<Engine>,
    settings: &Settings,
    halt: &CancellationToken,
) -> Result<(), DispatcherError> {
    let topic = engine.shared().topic.clone();
    let shared = Arc::downgrade(engine.shared());
    let (settings, halt) = (settings.clone(), halt.clone());
    std::thread::Builder::new()
        .name("rtf-lag".into())
        .spawn(move || lag::watch(&shared, &settings, &topic, &halt))
        .map_err(DispatcherError::Thread)?;
    Ok(())
}
