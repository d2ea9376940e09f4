//! The role: puts the parts together, starts them, waits, stops them.

use crate::carry::Carrier;
use crate::engine::{Engine, Shared};
use crate::health::Health;
use crate::intake::Intake;
use crate::reader::Reader;
use crate::status::DispatcherHandle;
use crate::{DispatcherError, Event, Options, lag, wakeups};
use rtf_json::Extractor;
use rtf_kafka::Settings;
use rtf_proto::{Joiner, Registry};
use rtf_service::Component;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(5);

/// A dispatcher that has not begun yet.
pub struct Dispatcher {
    options: Options,
    settings: Settings,
    registry: Arc<dyn Registry>,
    joiner: Arc<dyn Joiner>,
    health: Arc<Health>,
    intake: Intake,
    shared: Arc<Shared>,
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
        Ok(Self {
            intake: Intake::new(Extractor::new(options.fields())?),
            shared: Arc::new(Shared::new(options.limits())),
            options,
            settings,
            registry,
            joiner,
            health: Arc::new(Health::new(component)),
        })
    }

    /// To ask it while it runs.
    pub fn handle(&self) -> DispatcherHandle {
        let (topic, group) = (self.options.topic.clone(), self.options.group.clone());
        let (shared, health) = (Arc::clone(&self.shared), Arc::clone(&self.health));
        DispatcherHandle::new(shared, health, topic, group)
    }

    /// Runs until `shutdown`: then reads no more, waits for what is in flight within a bound, commits, leaves the group.
    ///
    /// # Errors
    /// See [`DispatcherError`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DispatcherError> {
        let halt = shutdown.child_token();
        let stop = CancellationToken::new();
        let _ends = (halt.clone().drop_guard(), stop.clone().drop_guard());
        let health = self.health;
        let carrier = Carrier {
            registry: self.registry,
            joiner: Arc::clone(&self.joiner),
            health: Arc::clone(&health),
            clock: self.shared.clock,
        };
        let shared = Arc::clone(&self.shared);
        let engine = Engine::new(self.shared, carrier, stop, halt.clone());
        watch_lag(&engine, &self.settings, &self.options.topic, &halt)?;
        let reader = Reader::new(
            Arc::clone(&engine),
            Arc::clone(&health),
            self.intake,
            self.options,
            self.settings,
            halt,
        )?;
        shared.orders.open();
        let read = tokio::select! {
            read = on_a_thread(reader)? => read,
            never = tick(&engine) => match never {},
            never = wakeups::listen(&engine, &*self.joiner, &health) => match never {},
        };
        shared.orders.close();
        if engine.is_broken() {
            return Err(DispatcherError::Panicked("a batch in flight"));
        }
        read.unwrap_or(Err(DispatcherError::Panicked("the reading thread")))
    }
}

async fn tick(engine: &Arc<Engine>) -> Infallible {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        engine.on(Event::Tick);
    }
}

fn on_a_thread(
    reader: Reader,
) -> Result<oneshot::Receiver<Result<(), DispatcherError>>, DispatcherError> {
    let (tell, told) = oneshot::channel();
    let read = move || {
        // Nobody listens when the run was dropped.
        let _ = tell.send(reader.run());
    };
    std::thread::Builder::new()
        .name("rtf-dispatcher".into())
        .spawn(read)
        .map_err(DispatcherError::Thread)?;
    Ok(told)
}

fn watch_lag(
    engine: &Arc<Engine>,
    settings: &Settings,
    topic: &str,
    halt: &CancellationToken,
) -> Result<(), DispatcherError> {
    let shared = Arc::downgrade(engine.shared());
    let (settings, topic, halt) = (settings.clone(), topic.to_owned(), halt.clone());
    std::thread::Builder::new()
        .name("rtf-lag".into())
        .spawn(move || lag::watch(&shared, &settings, &topic, &halt))
        .map_err(DispatcherError::Thread)?;
    Ok(())
}
