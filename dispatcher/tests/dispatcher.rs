//! The whole role against librdkafka's mock cluster, with a registry and a joiner that live in one small world.

use async_trait::async_trait;
use parking_lot::Mutex;
use rtf_dispatcher::{
    Dispatcher, DispatcherError, DispatcherHandle, Left, OperatorError, Options, Which,
};
use rtf_kafka::{Cluster, Embedded, Sender, Settings};
use rtf_proto::{
    AcceptedStream, EventId, ForeignEvent, JoinKey, JoinVerdict, Joiner, JoinerError, JoinerStatus,
    Known, LookupItem, Offset, Outcome, Outcomes, PartitionId, Registration, Registry,
    RegistryError, RegistryStatus, Resolved, Token, Verdict, WakeupStream,
};
use rtf_service::Readiness;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "clicks";
const GROUP: &str = "g.dispatcher";
/// The largest body this world's log takes.
const RECORD_MAX: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(40);

/// How the ports behave.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Weather {
    #[default]
    Fair,
    /// Nobody answers, nothing is done.
    Away,
    /// Everything is done, and the answer is lost.
    Mute,
    /// The event store has not caught up.
    NotReady,
}

#[derive(Default)]
struct State {
    log: HashMap<EventId, (Outcome, Token)>,
    order: Vec<EventId>,
    primaries: HashSet<JoinKey>,
    wanted: HashSet<JoinKey>,
    listeners: Vec<mpsc::UnboundedSender<Vec<JoinKey>>>,
    weather: Weather,
    too_large: HashSet<JoinKey>,
    joins: u64,
}

/// Registry, joiner and primary topic in one.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

impl State {
    /// The first of an id wins; its own token means success.
    fn append(&mut self, id: &EventId, outcome: Outcome, token: Token) -> Result<(), ()> {
        if let Some((_, winner)) = self.log.get(id) {
            return if *winner == token { Ok(()) } else { Err(()) };
        }
        self.log.insert(id.clone(), (outcome, token));
        self.order.push(id.clone());
        Ok(())
    }

    fn register(&mut self, registration: &Registration) -> Verdict {
        if registration.body.len() > RECORD_MAX {
            return Verdict::TooLarge;
        }
        match self.append(&registration.id, registration.outcome, registration.token) {
            Ok(()) => Verdict::Registered(0),
            Err(()) => Verdict::AlreadyResolved(0),
        }
    }

    fn join(&mut self, event: &ForeignEvent) -> JoinVerdict {
        self.joins += 1;
        if !self.primaries.contains(&event.key) {
            self.wanted.insert(event.key.clone());
            return JoinVerdict::NotFound;
        }
        if self.too_large.contains(&event.key) {
            return JoinVerdict::RowTooLarge;
        }
        match self.append(&event.id, Outcome::Joined, event.token) {
            Ok(()) => JoinVerdict::Joined(0),
            Err(()) => JoinVerdict::AlreadyResolved(0),
        }
    }
}

impl World {
    fn arrive(&self, keys: impl IntoIterator<Item = String>) {
        let mut state = self.0.lock();
        let keys: Vec<JoinKey> = keys.into_iter().map(JoinKey::from).collect();
        state.primaries.extend(keys.iter().cloned());
        let woken: Vec<JoinKey> = keys
            .into_iter()
            .filter(|key| state.wanted.remove(key))
            .collect();
        state
            .listeners
            .retain(|listener| listener.send(woken.clone()).is_ok());
    }

    fn weather(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    fn resolved(&self) -> usize {
        self.0.lock().log.len()
    }

    fn outcomes(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (outcome, _) in self.0.lock().log.values() {
            *counts.entry(outcome.to_string()).or_default() += 1;
        }
        counts
    }
}

#[async_trait]
impl Registry for World {
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut state = self.0.lock();
        if state.weather == Weather::Away {
            return Err(RegistryError::Unavailable("away".into()));
        }
        let verdicts = batch.iter().map(|r| state.register(r)).collect();
        match state.weather {
            Weather::Mute => Err(RegistryError::Unavailable("lost".into())),
            _ => Ok(verdicts),
        }
    }

    async fn lookup(&self, batch: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        let state = self.0.lock();
        let resolved = |item: &LookupItem| {
            let (outcome, _) = state.log.get(&item.id)?;
            Some(Known::Resolved(Resolved {
                partition: 0,
                offset: 0,
                outcome: *outcome,
            }))
        };
        match state.weather {
            Weather::Away => Err(RegistryError::Busy),
            _ => Ok(batch.iter().map(resolved).collect()),
        }
    }

    async fn progress(&self, _: Vec<(rtf_proto::SourceId, u64)>) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn tail(
        &self,
        _: PartitionId,
        _: Offset,
        _: Outcomes,
    ) -> Result<AcceptedStream, RegistryError> {
        Err(RegistryError::Refused("not in this world".into()))
    }

    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        Ok(RegistryStatus::default())
    }
}

#[async_trait]
impl Joiner for World {
    async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut state = self.0.lock();
        match state.weather {
            Weather::Away => return Err(JoinerError::Unavailable("away".into())),
            Weather::NotReady => return Ok(vec![JoinVerdict::NotReady; batch.len()]),
            Weather::Fair | Weather::Mute => {}
        }
        let verdicts = batch.iter().map(|event| state.join(event)).collect();
        match state.weather {
            Weather::Mute => Err(JoinerError::Unavailable("lost".into())),
            _ => Ok(verdicts),
        }
    }

    async fn wakeups(&self) -> Result<WakeupStream, JoinerError> {
        let (tell, told) = mpsc::unbounded_channel();
        self.0.lock().listeners.push(tell);
        Ok(Box::pin(
            tokio_stream::wrappers::UnboundedReceiverStream::new(told),
        ))
    }

    async fn status(&self) -> Result<JoinerStatus, JoinerError> {
        Ok(JoinerStatus::default())
    }
}

/// A running dispatcher.
struct Running {
    handle: DispatcherHandle,
    readiness: Readiness,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), DispatcherError>>,
}

impl Running {
    fn start(world: &World, settings: Settings, options: Options) -> Self {
        let readiness = Readiness::default();
        let ports = Arc::new(world.clone());
        let component = readiness.component("dispatcher");
        let dispatcher =
            Dispatcher::new(options, settings, ports.clone(), ports, component).unwrap();
        let (handle, shutdown) = (dispatcher.handle(), CancellationToken::new());
        let task = tokio::spawn(dispatcher.run(shutdown.clone()));
        Self {
            handle,
            readiness,
            shutdown,
            task,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("it stops").unwrap().unwrap();
    }
}

fn options() -> Options {
    Options {
        id: vec!["/id".into()],
        retry_initial: Duration::from_millis(50),
        retry_max: Duration::from_secs(1),
        commit_every: Duration::from_millis(200),
        session_timeout: Duration::from_secs(2),
        batch: 20,
        in_flight: 4,
        ..Options::new(TOPIC, GROUP, vec!["/key".into()])
    }
}

fn broker(partitions: u32) -> (Embedded, Sender) {
    let broker = Embedded::start().unwrap();
    broker.create_topic(TOPIC, partitions).unwrap();
    let sender = Sender::open(&broker.settings()).unwrap();
    (broker, sender)
}

fn click(id: usize, key: &str) -> String {
    format!(r#"{{"id":{id},"key":"{key}"}}"#)
}

fn send(sender: &Sender, partitions: u32, values: impl IntoIterator<Item = String>) {
    for (n, value) in values.into_iter().enumerate() {
        let partition = u32::try_from(n).unwrap() % partitions;
        sender
            .send(TOPIC, Some(partition), None, Some(value.as_bytes()))
            .unwrap();
    }
    sender.flush(Duration::from_secs(10)).unwrap();
}

/// Waits for a state.
async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn committed(broker: &Embedded) -> u64 {
    let cluster = Cluster::connect(&broker.settings()).unwrap();
    let positions = cluster.committed(GROUP, TOPIC).unwrap();
    positions.iter().filter_map(|(_, position)| *position).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_ends_once_whatever_it_is() {
    let (broker, sender) = broker(3);
    let world = World::default();
    world.arrive((0..6).map(|n| format!("k{n}")));
    world.0.lock().too_large.insert("k5".into());
    let clicks = (0..600).map(|n| match n % 10 {
        7 => click(n, &format!("late{n}")),
        8 => click(n - 8, &format!("k{}", (n - 8) % 6)),
        9 => "not JSON".into(),
        _ if n == 6 => click(n, "nobody"),
        _ => click(n, &format!("k{}", n % 6)),
    });
    send(&sender, 3, clicks);
    sender.send(TOPIC, Some(0), None, None).unwrap();
    let wait_max = Duration::from_secs(5);
    let running = Running::start(
        &world,
        broker.settings(),
        Options {
            wait_max,
            ..options()
        },
    );
    until("all but the late ones and one are resolved", || {
        world.resolved() == 600 + 1 - 60 - 60 - 1
    })
    .await;
    until("the others are held", || {
        let status = running.handle.status();
        status.waiting + status.in_flight == 61
    })
    .await;
    assert!(running.readiness.is_ready());
    world.arrive((0..600).map(|n| format!("late{n}")));
    until("all are resolved", || world.resolved() == 541).await;
    until("all is committed", || {
        running
            .handle
            .status()
            .partitions
            .iter()
            .all(|p| p.committed.is_some() && p.committed == p.next)
    })
    .await;
    let tally = running.handle.status().tally;
    let outcomes = world.outcomes();
    assert_eq!(outcomes["malformed"], 61);
    assert_eq!(outcomes["unjoinable (timed_out)"], 1);
    let too_large = (0..600)
        .filter(|n| n % 10 < 7 && *n != 6 && n % 6 == 5)
        .count();
    assert_eq!(outcomes["unjoinable (row_too_large)"], too_large);
    assert_eq!((tally.malformed, tally.already_resolved), (61, 60));
    assert_eq!(tally.joined + tally.unjoinable, 541 - 61);
    running.stop().await;
    assert_eq!(committed(&broker), 601);
}

/// Its wait counted from when the reader had begun to look for it: up to a whole look too early, and found by the simulation.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_lull_waits_its_whole_time() {
    let (broker, sender) = broker(1);
    let world = World::default();
    let wait_max = Duration::from_millis(300);
    let options = Options {
        wait_max,
        ..options()
    };
    let running = Running::start(&world, broker.settings(), options);
    for n in 0..8 {
        let sent = Instant::now();
        send(&sender, 1, [click(n, "nobody")]);
        until("it is given up", || world.resolved() == n + 1).await;
        // Milliseconds are counted whole.
        let least = wait_max - Duration::from_millis(1);
        assert!(sent.elapsed() >= least, "{:?}", sent.elapsed());
        // A look for the next one is under way for a while, each time for another.
        tokio::time::sleep(Duration::from_millis(20 + 10 * n as u64)).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_behind_what_is_resolved_and_reads_again_what_is_not() {
    let (broker, sender) = broker(1);
    let world = World::default();
    world.arrive(["k".into()]);
    let waits = |n: usize| n == 70;
    let clicks = (0..100).map(|n| click(n, if waits(n) { "late" } else { "k" }));
    send(&sender, 1, clicks);
    let running = Running::start(&world, broker.settings(), options());
    until("all but one are resolved", || world.resolved() == 99).await;
    until("one waits", || running.handle.status().waiting == 1).await;
    let stopping = Instant::now();
    running.stop().await;
    assert!(
        stopping.elapsed() < Duration::from_secs(2),
        "what waits for a partner delays nobody"
    );
    assert_eq!(committed(&broker), 70);
    let joins = world.0.lock().joins;
    let running = Running::start(&world, broker.settings(), options());
    until("it was read again", || running.handle.status().waiting == 1).await;
    until("the others are known", || {
        running.handle.status().tally.already_resolved == 29
    })
    .await;
    assert!(
        world.0.lock().joins < joins + 20,
        "what is resolved is not joined again"
    );
    world.arrive(["late".into()]);
    until("all are resolved", || world.resolved() == 100).await;
    until("the wake-up counted", || {
        running.handle.status().tally.joined == 1
    })
    .await;
    running.stop().await;
    assert_eq!(committed(&broker), 100);
    assert_eq!(world.outcomes(), BTreeMap::from([("joined".into(), 100)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_absent_ports_change_nothing() {
    let (broker, sender) = broker(2);
    let world = World::default();
    world.arrive((0..300).map(|n| format!("k{n}")));
    world.weather(Weather::Away);
    // Batches without answers keep their places.
    let roomy = Options {
        in_flight: 100,
        ..options()
    };
    let clicks = |from: usize| (from..from + 100).map(|n| click(n, &format!("k{n}")));
    send(&sender, 2, clicks(0));
    let running = Running::start(&world, broker.settings(), roomy);
    until("it is noticed", || {
        running.handle.status().in_flight > 0 && world.0.lock().joins == 0
    })
    .await;
    world.weather(Weather::NotReady);
    until("not ready is said", || {
        let components = running.readiness.components();
        components["dispatcher"]
            .as_ref()
            .is_some_and(|words| words.contains("caught up"))
    })
    .await;
    assert_eq!(running.handle.status().waiting, 0, "not ready is no answer");
    world.weather(Weather::Mute);
    until("the first are resolved", || world.resolved() == 100).await;
    send(&sender, 2, clicks(100));
    until("the second are resolved", || world.resolved() == 200).await;
    assert_eq!(
        running.handle.status().tally.joined,
        0,
        "nobody was told so far"
    );
    world.weather(Weather::Fair);
    send(&sender, 2, clicks(200));
    until("all are told", || {
        running.handle.status().in_flight == 0 && world.resolved() == 300
    })
    .await;
    // The same token was used all along, so that each knew its own record.
    assert_eq!(running.handle.status().tally.joined, 300);
    until("ready again", || running.readiness.is_ready()).await;
    running.stop().await;
    assert_eq!(committed(&broker), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_pauses_when_too_much_waits_and_skips_nothing_when_it_goes_on() {
    const EVENTS: usize = 3_000;
    let (broker, sender) = broker(3);
    let world = World::default();
    send(&sender, 3, (0..EVENTS).map(|n| click(n, &format!("k{n}"))));
    let tight = Options {
        max_events: 200,
        window_events: 100,
        ..options()
    };
    let running = Running::start(&world, broker.settings(), tight);
    let mut arrived = HashSet::new();
    for _ in 0..3 {
        until("reading pauses", || running.handle.status().paused).await;
        let status = running.handle.status();
        assert!(status.waiting + status.in_flight < 200 + 20);
        for _ in 0..10 {
            let waiting: Vec<JoinKey> = world.0.lock().wanted.iter().cloned().collect();
            arrived.extend(waiting.iter().cloned());
            world.arrive(waiting.iter().map(ToString::to_string));
            until("they are joined", || world.resolved() >= arrived.len()).await;
        }
    }
    world.arrive((0..EVENTS).map(|n| format!("k{n}")));
    until("all are resolved", || world.resolved() == EVENTS).await;
    until("nothing is held", || {
        let status = running.handle.status();
        status.waiting + status.in_flight == 0 && !status.paused
    })
    .await;
    running.stop().await;
    assert_eq!(committed(&broker), EVENTS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_between_dispatchers_and_nothing_is_lost() {
    const EVENTS: usize = 2_000;
    let (broker, sender) = broker(4);
    let world = World::default();
    world.arrive((0..EVENTS).filter(|n| n % 7 != 0).map(|n| format!("k{n}")));
    send(
        &sender,
        4,
        (0..EVENTS / 2).map(|n| click(n, &format!("k{n}"))),
    );
    let first = Running::start(&world, broker.settings(), options());
    until("the first works", || world.resolved() > 0).await;
    let second = Running::start(&world, broker.settings(), options());
    until("the second has a share", || {
        !second.handle.status().partitions.is_empty()
    })
    .await;
    send(
        &sender,
        4,
        (EVENTS / 2..EVENTS).map(|n| click(n, &format!("k{n}"))),
    );
    first.stop().await;
    until("the second has all", || {
        second.handle.status().partitions.len() == 4
    })
    .await;
    world.arrive((0..EVENTS).map(|n| format!("k{n}")));
    until("all are resolved", || world.resolved() == EVENTS).await;
    until("nothing is held", || {
        let status = second.handle.status();
        status.waiting + status.in_flight == 0
    })
    .await;
    second.stop().await;
    assert_eq!(committed(&broker), EVENTS as u64);
    let state = world.0.lock();
    assert_eq!(state.order.len(), EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_the_log_ends_as_malformed() {
    let (broker, sender) = broker(1);
    let world = World::default();
    let large = format!(
        r#"{{"id":1,"key":"nobody","x":"{}"}}"#,
        "x".repeat(RECORD_MAX)
    );
    send(
        &sender,
        1,
        [large, "y".repeat(2 * RECORD_MAX), click(2, "nobody")],
    );
    let wait_max = Duration::from_millis(300);
    let running = Running::start(
        &world,
        broker.settings(),
        Options {
            wait_max,
            ..options()
        },
    );
    until("all are resolved", || world.resolved() == 3).await;
    assert_eq!(
        world.0.lock().log[&EventId::from("1")].0,
        Outcome::Malformed
    );
    let expected = [
        ("malformed".into(), 2),
        ("unjoinable (timed_out)".into(), 1),
    ];
    assert_eq!(world.outcomes(), BTreeMap::from(expected));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_named() {
    let world = Arc::new(World::default());
    let settings = Settings {
        bootstrap: "127.0.0.1:1".into(),
        ..Settings::default()
    };
    let component = Readiness::default().component("dispatcher");
    let dispatcher = Dispatcher::new(options(), settings, world.clone(), world, component).unwrap();
    let error = dispatcher.run(CancellationToken::new()).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("127.0.0.1:1"), "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_dispatcher_reads_nothing_and_goes_on_with_what_it_has() {
    let (broker, sender) = broker(2);
    let world = World::default();
    world.arrive(["k".into()]);
    send(&sender, 2, (0..100).map(|n| click(n, "k")));
    send(&sender, 2, [click(100, "late"), click(101, "later")]);
    let running = Running::start(&world, broker.settings(), options());
    until("two wait", || running.handle.status().waiting == 2).await;
    assert!(!running.handle.pause() && running.handle.pause());
    assert!(running.handle.is_paused());
    assert_eq!(
        running.readiness.components()["dispatcher"].as_deref(),
        Some("paused by an operator")
    );
    // The reader has looked since, so that it is told by now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    until("all are resolved but two", || world.resolved() == 100).await;
    send(&sender, 2, (200..300).map(|n| click(n, "k")));
    world.arrive(["late".into()]);
    until("what waits is joined", || world.resolved() == 101).await;
    let left = running.handle.drain(PATIENCE).await;
    let waiting = 1;
    assert_eq!(
        left,
        Ok(Left {
            in_flight: 0,
            waiting
        })
    );
    // Everything below the one that waits is committed.
    assert_eq!(committed(&broker), 51 + 50);
    world.arrive(["later".into()]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.resolved(), 101, "what is drained rests");
    assert!(running.handle.resume() && !running.handle.resume());
    until("all are resolved", || world.resolved() == 202).await;
    until("ready again", || running.readiness.is_ready()).await;
    running.stop().await;
    assert_eq!(committed(&broker), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_it_tried_now() {
    let (broker, sender) = broker(1);
    let world = World::default();
    let patient = Options {
        retry_initial: Duration::from_secs(1000),
        retry_max: Duration::from_secs(1000),
        ..options()
    };
    send(&sender, 1, (0..4).map(|n| click(n, &format!("k{}", n % 3))));
    let running = Running::start(&world, broker.settings(), patient);
    until("all wait", || running.handle.status().waiting == 4).await;
    let ages = running.handle.waiting_by_age();
    assert_eq!(ages.iter().sum::<usize>(), 4);
    // Their partners are there, and nobody says so.
    let keys = (0..3).map(|n| JoinKey::from(format!("k{n}")));
    world.0.lock().primaries.extend(keys);
    assert_eq!(running.handle.retry_now(&Which::Key("none".into())), 0);
    assert_eq!(running.handle.retry_now(&Which::Key("k0".into())), 2);
    until("two are joined", || world.resolved() == 2).await;
    assert_eq!(running.handle.retry_now(&Which::Id("1".into())), 1);
    until("three are joined", || world.resolved() == 3).await;
    assert_eq!(running.handle.retry_now(&Which::All), 1);
    until("all are joined", || world.resolved() == 4).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_back_only_and_changes_nothing() {
    const EVENTS: usize = 1_000;
    let (broker, sender) = broker(2);
    let world = World::default();
    world.arrive(["k".into()]);
    let waits = |n: usize| n == 600;
    let clicks = (0..EVENTS).map(|n| click(n, if waits(n) { "late" } else { "k" }));
    send(&sender, 2, clicks);
    let running = Running::start(&world, broker.settings(), options());
    until("one waits", || {
        world.resolved() == EVENTS - 1 && running.handle.status().waiting == 1
    })
    .await;
    let handle = running.handle.clone();
    let replay = |positions: Vec<(PartitionId, Offset)>| {
        let handle = handle.clone();
        async move { handle.replay(TOPIC, positions).await.unwrap() }
    };
    // The event that waits is 600: in partition 0 everything below offset 300 is resolved.
    let refused = replay(vec![(0, 301), (7, 0)]).await;
    assert_eq!(refused.len(), 1, "partition 7 is nobody's");
    assert_eq!((refused[0].before, refused[0].offset), (300, 301));
    assert!(
        refused[0]
            .error
            .as_ref()
            .unwrap()
            .contains("beyond what is resolved")
    );
    let known = running.handle.status().tally.already_resolved;
    let replayed = replay(vec![(0, 100), (1, 0)]).await;
    assert!(replayed.iter().all(|r| r.error.is_none()), "{replayed:?}");
    assert_eq!(replayed.iter().map(|r| r.before).sum::<u64>(), 300 + 500);
    until("they are found resolved", || {
        let status = running.handle.status();
        status.tally.already_resolved - known == 399 + 500 && status.waiting == 1
    })
    .await;
    // While it is paused it goes back too, and the position is committed before it answers.
    running.handle.drain(PATIENCE).await.unwrap();
    replay(vec![(0, 0), (1, 250)]).await;
    assert_eq!(committed(&broker), 250);
    running.handle.resume();
    until("they are found resolved again", || {
        let status = running.handle.status();
        status.tally.already_resolved - known == 899 + 499 + 250 && status.waiting == 1
    })
    .await;
    world.arrive(["late".into()]);
    until("all are resolved", || world.resolved() == EVENTS).await;
    assert_eq!(world.0.lock().order.len(), EVENTS);
    let other = running.handle.replay("other", vec![(0, 0)]).await;
    assert!(matches!(other, Err(OperatorError::OtherTopic { .. })));
    running.stop().await;
    assert_eq!(committed(&broker), EVENTS as u64);
    let stopped = handle.replay(TOPIC, vec![(0, 0)]).await;
    assert_eq!(stopped, Err(OperatorError::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_refused_is_made_good_though_nothing_moves_on() {
    let (broker, sender) = broker(1);
    let world = World::default();
    world.arrive(["k".into()]);
    broker.refuse_commit();
    send(&sender, 1, [click(0, "k")]);
    let running = Running::start(&world, broker.settings(), options());
    until("it is resolved", || world.resolved() == 1).await;
    until("it is committed", || committed(&broker) == 1).await;
    running.stop().await;
}
