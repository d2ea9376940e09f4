//! The whole joiner against the embedded broker, with a registry that says yes.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use rtf_joiner::{Direction, JoinerFailure, JoinerRole, Options, Policy, Readiness};
use rtf_json::Folding;
use rtf_kafka::{Embedded, Sender, Settings};
use rtf_proto::client::{Endpoints, JoinerClient};
use rtf_proto::{
    AcceptedStream, EventId, ForeignEvent, JoinKey, JoinVerdict, Joiner, Known, LookupItem, Offset,
    Original, Outcomes, PartitionId, Registration, Registry, RegistryError, RegistryStatus, Source,
    Token, TopicId, Verdict,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "deals";
const SOON: Duration = Duration::from_secs(20);

/// Registers everything; the offset is the row's length, so that a row can be told by its verdict.
struct Yes;

#[async_trait]
impl Registry for Yes {
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        let rows = batch.iter().map(|item| item.body.len() as u64);
        Ok(rows.map(Verdict::Registered).collect())
    }
    async fn lookup(&self, _: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        Err(RegistryError::Busy)
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
        Err(RegistryError::Busy)
    }
    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        Err(RegistryError::Busy)
    }
}

fn options() -> Options {
    Options {
        topic: TOPIC.into(),
        id: vec!["/id".into()],
        key: vec!["/from".into()],
        time: None,
        expires: Some("/gone".into()),
        folding: Folding::default(),
        policy: Policy::Best {
            order_by: "/fare".into(),
            direction: Direction::Ascending,
            limit: 2,
        },
        data: None,
        memory_bytes: 64 << 20,
        wanted_keys: 1000,
        batches_in_flight: 8,
    }
}

struct Running {
    joiner: rtf_joiner::JoinerHandle,
    readiness: watch::Receiver<Option<Readiness>>,
    role: JoinHandle<Result<(), JoinerFailure>>,
    shutdown: CancellationToken,
}

fn start(options: Options, settings: &Settings) -> Running {
    let role = JoinerRole::open(options, settings, Arc::new(Yes)).unwrap();
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

    async fn stop(self) -> Result<(), JoinerFailure> {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.role)
            .await
            .unwrap()
            .unwrap()
    }
}

fn foreign(id: &str, key: &str) -> ForeignEvent {
    ForeignEvent {
        id: EventId::from(id),
        key: JoinKey::from(key),
        source: Source {
            topic: "tweets".into(),
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

fn send(sender: &Sender, partition: u32, id: &str, value: Option<&str>) {
    let value = value.map(str::as_bytes);
    sender
        .send(TOPIC, Some(partition), Some(id.as_bytes()), value)
        .unwrap();
}

fn broker() -> (Embedded, Sender) {
    let broker = Embedded::start().unwrap();
    broker.create_topic(TOPIC, 2).unwrap();
    let sender = Sender::open(&broker.settings()).unwrap();
    (broker, sender)
}

/// Length of the open row of a foreign event with these partners.
fn row_bytes(id: &str, key: &str, primary: &[&str]) -> Offset {
    let frame = format!(
        r#"{{"id":"{id}","key":"{key}","outcome":"joined","foreign":{{}},"primary":[{}],"foreign_ts":1,"primary_ts":1234567890123,"attempts":1"#,
        primary.join(",")
    );
    frame.len() as Offset
}

#[tokio::test(flavor = "multi_thread")]
async fn primaries_are_loaded_joined_and_waited_for() {
    let (broker, sender) = broker();
    let cheap = r#"{"id":"1","from":"a","fare":1}"#;
    let fair = r#"{"id":"2","from":"a","fare":2}"#;
    for (partition, id, value) in [
        (0, "1", Some(r#"{"id":"1","from":"a","fare":9}"#)),
        (1, "2", Some(fair)),
        (0, "3", Some(r#"{"id":"3","from":"a","fare":3}"#)),
        (0, "1", Some(cheap)),
        (1, "4", Some(r#"{"id":"4","from":"a","fare":0}"#)),
        (1, "4", None),
        (1, "5", Some(r#"{"id":"5","from":"a","fare":0,"gone":1}"#)),
        (0, "6", Some("not json")),
        (0, "7", Some(r#"{"id":"7"}"#)),
    ] {
        send(&sender, partition, id, value);
    }
    sender.flush(SOON).unwrap();
    let mut running = start(options(), &broker.settings());
    running.until(|now| *now == Readiness::Ready).await;
    let status = running.joiner.status().await.unwrap();
    assert_eq!((status.events, status.malformed), (3, 2));

    let mut wakeups = running.joiner.wakeups().await.unwrap();
    let asked = vec![foreign("x", "a"), foreign("y", "b")];
    let verdicts = running.joiner.join(asked).await.unwrap();
    let row = row_bytes("x", "a", &[cheap, fair]);
    assert_eq!(verdicts, [JoinVerdict::Joined(row), JoinVerdict::NotFound]);

    let late = r#"{"id":"8","from":"b"}"#;
    send(&sender, 1, "8", Some(late));
    let woken = tokio::time::timeout(SOON, wakeups.next()).await.unwrap();
    assert_eq!(woken, Some(vec![JoinKey::from("b")]));
    let verdicts = running.joiner.join(vec![foreign("y", "b")]).await.unwrap();
    let row = row_bytes("y", "b", &[late]);
    assert_eq!(verdicts, [JoinVerdict::Joined(row)]);

    let joiner = running.joiner.clone();
    running.stop().await.unwrap();
    let verdicts = joiner.join(vec![foreign("y", "b")]).await.unwrap();
    assert_eq!(verdicts, [JoinVerdict::NotReady]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_ends_the_role_with_instructions() {
    let (broker, sender) = broker();
    for id in 0..10_000 {
        let json = format!(r#"{{"id":{id},"from":"a"}}"#);
        send(&sender, id % 2, &id.to_string(), Some(&json));
    }
    sender.flush(SOON).unwrap();
    let small = Options {
        memory_bytes: 1 << 20,
        ..options()
    };
    let mut running = start(small, &broker.settings());
    let role = &mut running.role;
    let ended = tokio::time::timeout(SOON, role).await.unwrap().unwrap();
    let words = ended.unwrap_err().to_string();
    assert!(
        words.contains("take all of its 1 MiB") && words.ends_with("raise [joiner].memory"),
        "{words}"
    );
    let told = Some(Readiness::NotReady(words));
    assert_eq!(*running.readiness.borrow(), told);
    assert!(!running.joiner.status().await.unwrap().ready);
}

fn segments(data: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(data.join("events")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|is| is == "segment"))
        .collect()
}

/// RULE 9. All topics of embedded brokers have one id.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_topic_said_is_forgotten() {
    let topic = |keys: &[&str]| {
        let (broker, sender) = broker();
        for (id, key) in keys.iter().enumerate() {
            let json = format!(r#"{{"id":{id},"from":"{key}"}}"#);
            send(&sender, 0, &id.to_string(), Some(&json));
        }
        sender.flush(SOON).unwrap();
        broker
    };
    let data = tempfile::tempdir().unwrap();
    let kept = Options {
        data: Some(data.path().into()),
        ..options()
    };
    let run = async |broker: &Embedded| {
        let mut running = start(kept.clone(), &broker.settings());
        running.until(|now| *now == Readiness::Ready).await;
        let asked = ["a", "b", "x", "y"].map(|key| foreign("e", key)).into();
        let verdicts = running.joiner.join(asked).await.unwrap();
        running.stop().await.unwrap();
        let found = verdicts.iter().map(|one| *one != JoinVerdict::NotFound);
        (found.collect::<Vec<_>>(), segments(data.path()))
    };
    let (one, other, shorter) = (topic(&["a", "b"]), topic(&["x", "y"]), topic(&["a"]));
    let (found, made) = run(&one).await;
    assert_eq!(found, [true, true, false, false]);
    assert!(!made.is_empty());
    assert_eq!(
        run(&one).await,
        (found, made.clone()),
        "nothing was forgotten"
    );
    let (found, remade) = run(&other).await;
    assert_eq!(found, [false, false, true, true]);
    assert!(made.is_disjoint(&remade), "{made:?} {remade:?}");
    let (found, made) = run(&shorter).await;
    assert_eq!(found, [true, false, false, false]);
    assert!(made.is_disjoint(&remade), "{made:?} {remade:?}");
}

/// What was read and not yet applied when it was told to stop must not count as read: the next start would never see it.
#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_is_stopped_the_next_start_misses_nothing() {
    const STOPS: u32 = 10;
    let (broker, sender) = broker();
    let data = tempfile::tempdir().unwrap();
    let kept = Options {
        data: Some(data.path().into()),
        ..options()
    };
    let is_over = CancellationToken::new();
    let over = is_over.clone();
    let flood = std::thread::spawn(move || {
        let mut sent = 0;
        while !over.is_cancelled() {
            for _ in 0..20 {
                let json = format!(r#"{{"id":{sent},"from":"{sent}"}}"#);
                send(&sender, 0, &sent.to_string(), Some(&json));
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        sender.flush(SOON).unwrap();
        sent
    });
    for _ in 0..STOPS {
        let mut running = start(kept.clone(), &broker.settings());
        running.until(|now| *now == Readiness::Ready).await;
        running.stop().await.unwrap();
    }
    is_over.cancel();
    let sent = flood.join().unwrap();
    let mut running = start(kept, &broker.settings());
    running.until(|now| *now == Readiness::Ready).await;
    let held = running.joiner.status().await.unwrap().events;
    running.stop().await.unwrap();
    assert_eq!(held, sent, "events held, and sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_away_is_waited_for() {
    let settings = Settings {
        bootstrap: "127.0.0.1:1".into(),
        ..Settings::default()
    };
    let mut running = start(options(), &settings);
    let says = |now: &Readiness| matches!(now, Readiness::NotReady(words) if words.contains("127.0.0.1:1"));
    running.until(says).await;
    let verdicts = running.joiner.join(vec![foreign("x", "a")]).await;
    assert_eq!(verdicts, Ok(vec![JoinVerdict::NotReady]));
    running.stop().await.unwrap();
}

fn url(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

/// Over gRPC, until it stops.
fn serve(
    running: &Running,
    listener: TcpListener,
) -> JoinHandle<Result<(), tonic::transport::Error>> {
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder()
        .add_service(rtf_joiner::service(Arc::new(running.joiner.clone())));
    let stopped = running.shutdown.clone().cancelled_owned();
    tokio::spawn(server.serve_with_incoming_shutdown(incoming, stopped))
}

/// A dispatcher that began before all joiners were there heard only of those keys that it happened to ask the others for.
#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_comes_later_is_listened_to_as_well() {
    let (broker, sender) = broker();
    let mut running = start(options(), &broker.settings());
    running.until(|now| *now == Readiness::Ready).await;
    let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (place, urls) = (late.local_addr().unwrap(), [url(&there), url(&late)]);
    drop(late);
    serve(&running, there);

    let client = JoinerClient::new(Endpoints::new(&urls).unwrap());
    let mut wakeups = client.wakeups().await.unwrap();
    let mut other = start(options(), &broker.settings());
    other.until(|now| *now == Readiness::Ready).await;
    serve(&other, TcpListener::bind(place).await.unwrap());
    let ended = tokio::time::timeout(SOON, wakeups.next()).await.unwrap();
    assert_eq!(ended, None, "so that all are subscribed to anew");

    let mut wakeups = client.wakeups().await.unwrap();
    let verdicts = other.joiner.join(vec![foreign("y", "b")]).await.unwrap();
    assert_eq!(verdicts, [JoinVerdict::NotFound]);
    send(&sender, 1, "2", Some(r#"{"id":"2","from":"b"}"#));
    let woken = tokio::time::timeout(SOON, wakeups.next()).await.unwrap();
    assert_eq!(woken, Some(vec![JoinKey::from("b")]), "wanted at the other");
    running.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_the_same_over_grpc() {
    let (broker, sender) = broker();
    let deal = r#"{"id":"1","from":"a"}"#;
    send(&sender, 0, "1", Some(deal));
    sender.flush(SOON).unwrap();
    let mut running = start(options(), &broker.settings());
    running.until(|now| *now == Readiness::Ready).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(&listener);
    let server = serve(&running, listener);

    let client = JoinerClient::new(Endpoints::new(&[url]).unwrap());
    let mut wakeups = client.wakeups().await.unwrap();
    let asked = vec![foreign("x", "a"), foreign("y", "b")];
    let verdicts = client.join(asked).await.unwrap();
    let row = row_bytes("x", "a", &[deal]);
    assert_eq!(verdicts, [JoinVerdict::Joined(row), JoinVerdict::NotFound]);
    let collecting = ForeignEvent {
        collect: true,
        ..foreign("z", "a")
    };
    let verdicts = client.join(vec![collecting]).await.unwrap();
    assert_eq!(verdicts, [JoinVerdict::Collecting]);
    send(&sender, 1, "2", Some(r#"{"id":"2","from":"b"}"#));
    let woken = tokio::time::timeout(SOON, wakeups.next()).await.unwrap();
    assert_eq!(woken, Some(vec![JoinKey::from("b")]));
    let status = client.status().await.unwrap();
    assert_eq!((status.ready, status.events), (true, 2));

    running.stop().await.unwrap();
    // The stream of wake-ups ends with the joiner, so it does not keep the server from stopping.
    let ended = tokio::time::timeout(SOON, server).await;
    ended.unwrap().unwrap().unwrap();
}
