//! A joiner that shares the primary topic against the embedded broker, with a registry that says yes.

use async_trait::async_trait;
use bytes::Bytes;
use rtf_joiner::{
    Group, JoinerFailure, Options, PartitionedHandle, PartitionedRole, Policy, Readiness,
};
use rtf_json::Folding;
use rtf_kafka::{Embedded, Sender, Settings};
use rtf_proto::partitioner::partition_of;
use rtf_proto::{
    AcceptedStream, EventId, ForeignEvent, JoinKey, JoinVerdict, Joiner, Known, LookupItem, Offset,
    Original, Outcomes, PartitionId, Registration, Registry, RegistryError, RegistryStatus, Source,
    SourceId, Token, TopicId, Verdict,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "queries";
const PARTITIONS: u32 = 3;
const SOON: Duration = Duration::from_secs(20);

struct Yes;

#[async_trait]
impl Registry for Yes {
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        Ok(batch.iter().map(|_| Verdict::Registered(1)).collect())
    }
    async fn lookup(&self, _: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        Err(RegistryError::Busy)
    }
    async fn progress(&self, _: Vec<(SourceId, u64)>) -> Result<(), RegistryError> {
        Ok(())
    }
    async fn tail(
        &self,
        _: PartitionId,
        _: Offset,
        _: Outcomes,
    ) -> Result<AcceptedStream, RegistryError> {
        Err(RegistryError::Busy)
    }
    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        Err(RegistryError::Busy)
    }
}

struct Running {
    joiner: PartitionedHandle,
    readiness: watch::Receiver<Option<Readiness>>,
    role: JoinHandle<Result<(), JoinerFailure>>,
    shutdown: CancellationToken,
}

fn start(memory_bytes: usize, settings: &Settings) -> Running {
    start_with(None, memory_bytes, settings)
}

fn start_with(data: Option<PathBuf>, memory_bytes: usize, settings: &Settings) -> Running {
    let options = Options {
        topic: TOPIC.into(),
        id: Vec::new(),
        key: vec!["@key".into()],
        time: None,
        expires: None,
        folding: Folding::default(),
        data,
        policy: Policy::First,
        memory_bytes,
        wanted_keys: 1000,
        batches_in_flight: 8,
    };
    let group = Group {
        name: "clicks.joiners".into(),
        session_timeout: Duration::from_secs(6),
    };
    let role = PartitionedRole::open(options, group, settings, Arc::new(Yes)).unwrap();
    let joiner = role.handle();
    let (told, readiness) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let tell = move |now| drop(told.send(Some(now)));
    let role = tokio::spawn(role.run(tell, shutdown.clone()));
    Running {
        joiner,
        readiness,
        role,
        shutdown,
    }
}

impl Running {
    async fn until(&mut self, is_it: impl Fn(&Readiness) -> bool) {
        let waited = self
            .readiness
            .wait_for(|now| now.as_ref().is_some_and(&is_it));
        tokio::time::timeout(SOON, waited).await.unwrap().unwrap();
    }

    async fn ask(&self, keys: &[u32]) -> Vec<JoinVerdict> {
        let batch = keys.iter().map(|key| foreign(&key.to_string())).collect();
        self.joiner.join(batch).await.unwrap()
    }

    async fn end(self) -> Result<(), JoinerFailure> {
        tokio::time::timeout(SOON, self.role)
            .await
            .unwrap()
            .unwrap()
    }
}

fn foreign(key: &str) -> ForeignEvent {
    ForeignEvent {
        id: EventId::from(key),
        key: JoinKey::from(key),
        source: Source {
            topic: "clicks".into(),
            topic_id: TopicId([1; 16]),
            partition: 0,
            offset: 0,
        },
        foreign_ts: 1,
        kafka_ts: 1,
        token: Token(1),
        attempts: 0,
        original: Original {
            value: Some(Bytes::from_static(b"{}")),
            ..Original::default()
        },
        collect: false,
    }
}

fn broker() -> (Embedded, Sender) {
    let broker = Embedded::start().unwrap();
    broker.create_topic(TOPIC, PARTITIONS).unwrap();
    let sender = Sender::open(&broker.settings()).unwrap();
    (broker, sender)
}

/// Sends primaries with these keys, as any Java producer would.
fn send(sender: &Sender, keys: std::ops::Range<u32>) {
    for key in keys {
        let key = key.to_string();
        let sent = sender.send(TOPIC, None, Some(key.as_bytes()), Some(b"{}"));
        sent.unwrap();
    }
    sender.flush(SOON).unwrap();
}

/// Sends one to where it does not belong.
fn misplace(sender: &Sender, key: u32) {
    let key = key.to_string();
    let wrong = (partition_of(key.as_bytes(), PARTITIONS) + 1) % PARTITIONS;
    let sent = sender.send(TOPIC, Some(wrong), Some(key.as_bytes()), Some(b"{}"));
    sent.unwrap();
    sender.flush(SOON).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_alone_holds_everything() {
    let (broker, sender) = broker();
    send(&sender, 0..30);
    let mut running = start(1 << 20, &broker.settings());
    let early = running.ask(&[1]).await;
    assert_eq!(early, [JoinVerdict::NotReady]);
    running.until(|now| *now == Readiness::Ready).await;
    let verdicts = running.ask(&(0..30).collect::<Vec<_>>()).await;
    assert_eq!(verdicts, vec![JoinVerdict::Joined(1); 30]);
    assert_eq!(running.ask(&[99]).await, [JoinVerdict::NotFound]);
    let status = running.joiner.status().await.unwrap();
    let share = status.share.unwrap();
    assert_eq!((status.events, status.ready), (30, true));
    assert_eq!(share.partitions, PARTITIONS);
    assert_eq!(share.ready, (0..PARTITIONS).collect());
    running.shutdown.cancel();
    assert!(running.end().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_cut_otherwise_is_refused_by_the_record_that_shows_it() {
    let (broker, sender) = broker();
    send(&sender, 0..30);
    misplace(&sender, 7);
    let running = start(1 << 20, &broker.settings());
    let failure = running.end().await.unwrap_err();
    let JoinerFailure::Misplaced { key, belongs, .. } = &failure else {
        panic!("{failure}");
    };
    assert_eq!(
        (key.as_str(), *belongs),
        ("7", partition_of(b"7", PARTITIONS))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_misplaced_later_ends_all_answers() {
    let (broker, sender) = broker();
    send(&sender, 0..30);
    let mut running = start(1 << 20, &broker.settings());
    running.until(|now| *now == Readiness::Ready).await;
    misplace(&sender, 99);
    let is_broken = |now: &Readiness| matches!(now, Readiness::NotReady(words) if words.contains("not partitioned by its join keys"));
    running.until(is_broken).await;
    let verdicts = running.ask(&[1, 2, 3, 99]).await;
    assert_eq!(verdicts, [JoinVerdict::NotReady; 4]);
    let share = running.joiner.status().await.unwrap().share.unwrap();
    assert!(share.broken.is_some() && share.ready.is_empty());
    running.shutdown.cancel();
    assert!(running.end().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_bounds_all_partitions_together() {
    let (broker, sender) = broker();
    send(&sender, 0..300);
    // No partition alone has as many.
    let running = start(200 * 200, &broker.settings());
    let failure = running.end().await.unwrap_err();
    assert!(
        matches!(failure, JoinerFailure::StoreFull { .. }),
        "{failure}"
    );
}

/// Those of all partitions, with what is in them: it has a seed of its own whenever it is made anew.
fn segments(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let inside = |dir: PathBuf| {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let parts = inside(data.into()).flat_map(|part| inside(part.join("events")));
    parts
        .filter(|path| path.extension().is_some_and(|is| is == "segment"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_is_held_again_unless_the_topic_is_cut_otherwise() {
    let data = tempfile::tempdir().unwrap();
    let run = async |broker: &Embedded, partitions: u32| {
        let mut running = start_with(Some(data.path().into()), 1 << 20, &broker.settings());
        running.until(|now| *now == Readiness::Ready).await;
        let verdicts = running.ask(&(0..30).collect::<Vec<_>>()).await;
        assert_eq!(verdicts, vec![JoinVerdict::Joined(1); 30]);
        let share = running.joiner.status().await.unwrap().share.unwrap();
        assert_eq!(share.ready, (0..partitions).collect());
        running.shutdown.cancel();
        running.end().await.unwrap();
        segments(data.path())
    };
    let (first, sender) = broker();
    send(&sender, 0..30);
    let made = run(&first, PARTITIONS).await;
    assert!(!made.is_empty());
    let again = run(&first, PARTITIONS).await;
    assert!(again == made, "nothing is made anew");
    // All topics of embedded brokers have one id: only the number of partitions tells them apart.
    let other = Embedded::start().unwrap();
    other.create_topic(TOPIC, PARTITIONS + 1).unwrap();
    let sender = Sender::open(&other.settings()).unwrap();
    send(&sender, 0..30);
    let remade = run(&other, PARTITIONS + 1).await;
    let is_kept = |(path, bytes): (&PathBuf, &Vec<u8>)| remade.get(path) == Some(bytes);
    assert!(!made.iter().any(is_kept), "{:?}", made.keys());
}
