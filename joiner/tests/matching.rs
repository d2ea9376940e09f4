//! The examples of docs/matching.md, run as they stand there: each row of its table against a joiner on the embedded broker.
//!
//! What a dispatcher does is done by hand: an event that finds nobody is tried again after each record, and one that collects is
//! sent again when the table says `collected`.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use rtf_joiner::{Direction, JoinerFailure, JoinerHandle, JoinerRole, Options, Policy, Readiness};
use rtf_json::Folding;
use rtf_kafka::{Embedded, Sender};
use rtf_proto::record::Body;
use rtf_proto::{
    AcceptedStream, EventId, ForeignEvent, JoinKey, JoinVerdict, Joiner, Known, LookupItem, Offset,
    Original, Outcomes, PartitionId, Registration, Registry, RegistryError, RegistryStatus, Source,
    Token, TopicId, Verdict, row,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DOCUMENT: &str = include_str!("../../docs/matching.md");
const HEAD: &str = "| policy | in this order | rows |";
const LEAST_ROWS: usize = 50;
const PARTITIONS: u32 = 2;
/// Rows of the table at the same time, each with a joiner and a topic of its own.
const AT_ONCE: usize = 12;
const SOON: Duration = Duration::from_secs(20);
/// Nobody else's key or id.
const PROBE: &str = "probe";

/// What the table says of one tweet or deal.
type Words<'a> = Vec<&'a str>;

/// The rows of the table: policy, steps, rows.
fn table() -> Vec<[String; 3]> {
    let rows = DOCUMENT.lines().skip_while(|line| *line != HEAD).skip(2);
    let cells = |line: &str| {
        let mut cells = line.trim_matches('|').split('|');
        let mut cell = || {
            let cell = cells.next().expect("three cells").trim();
            let inner = cell.strip_prefix('`').and_then(|c| c.strip_suffix('`'));
            inner.expect("a cell in backticks").to_owned()
        };
        [cell(), cell(), cell()]
    };
    rows.map_while(|line| line.starts_with('|').then(|| cells(line)))
        .collect()
}

/// Registers everything and keeps it.
#[derive(Default)]
struct Log(Mutex<BTreeMap<EventId, Bytes>>);

#[async_trait]
impl Registry for Log {
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        let mut log = self.0.lock().unwrap();
        let verdicts = vec![Verdict::Registered(0); batch.len()];
        log.extend(batch.into_iter().map(|item| (item.id, item.body)));
        Ok(verdicts)
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

impl Log {
    /// The partners in a tweet's row, as the table writes them.
    fn partners(&self, tweet: &str) -> Option<String> {
        let body = self.0.lock().unwrap().get(&EventId::from(tweet))?.clone();
        let Some(Body::Joined { row }) = Body::decode(rtf_proto::Outcome::Joined, body) else {
            panic!("not a joined row");
        };
        let row: Value = serde_json::from_slice(&row::close(&row, 0, 0, 0)).unwrap();
        let partner = |deal: &Value| {
            let id = deal["id"].as_str().unwrap();
            match &deal["fare"] {
                Value::Null => id.to_owned(),
                fare => format!("{id} {fare}"),
            }
        };
        let partners = row["primary"].as_array().unwrap().iter().map(partner);
        Some(partners.collect::<Vec<_>>().join(", "))
    }
}

/// How far a tweet is.
#[derive(PartialEq)]
enum Tweet {
    Waits,
    Collects,
    Joined,
}

/// One row of the table on its way.
struct Run {
    options: Options,
    collects: bool,
    broker: Arc<Embedded>,
    sender: Sender,
    log: Arc<Log>,
    joiner: Running,
    tweets: BTreeMap<String, (JoinKey, Tweet)>,
    records: i64,
    probes: u32,
}

struct Running {
    joiner: JoinerHandle,
    role: JoinHandle<Result<(), JoinerFailure>>,
    shutdown: CancellationToken,
}

async fn start(options: &Options, broker: &Embedded, log: &Arc<Log>) -> Running {
    let role = JoinerRole::open(options.clone(), &broker.settings(), log.clone()).unwrap();
    let joiner = role.handle();
    let (told, mut readiness) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let tell = move |now| drop(told.send(Some(now)));
    let role = tokio::spawn(role.run(tell, shutdown.clone()));
    let ready = readiness.wait_for(|now| *now == Some(Readiness::Ready));
    tokio::time::timeout(SOON, ready).await.unwrap().unwrap();
    Running {
        joiner,
        role,
        shutdown,
    }
}

impl Running {
    async fn stop(&mut self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(SOON, &mut self.role).await;
        ended.unwrap().unwrap().unwrap();
    }
}

fn policy(words: &[&str]) -> Policy {
    let after = |word: &str| words.iter().skip_while(|w| **w != word).nth(1);
    let limit = after("limit").map_or(1, |limit| limit.parse().unwrap());
    match words[0] {
        "first" => Policy::First,
        "latest" => Policy::Latest,
        "all" => Policy::All { limit },
        "best" => Policy::Best {
            order_by: "/fare".into(),
            direction: match words.contains(&"desc") {
                true => Direction::Descending,
                false => Direction::Ascending,
            },
            limit,
        },
        other => panic!("no policy {other}"),
    }
}

fn foreign(id: &str, key: &JoinKey, collect: bool) -> ForeignEvent {
    ForeignEvent {
        id: EventId::from(id),
        key: key.clone(),
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
        collect,
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// A number behind a mark, such as the 5 in `@5`.
fn marked(words: &mut Words<'_>, mark: &str) -> Option<i64> {
    let at = words.iter().position(|word| word.starts_with(mark))?;
    Some(words.remove(at)[mark.len()..].parse().unwrap())
}

impl Run {
    async fn open(broker: &Arc<Embedded>, number: usize, said: &str) -> Self {
        let words: Words<'_> = said.split(' ').collect();
        let options = Options {
            topic: format!("deals-{number}"),
            id: vec!["/id".into()],
            key: vec!["/from".into()],
            time: None,
            expires: Some("/gone".into()),
            folding: Folding::default(),
            policy: policy(&words),
            data: None,
            memory_bytes: 64 << 20,
            wanted_keys: 1000,
            batches_in_flight: 8,
        };
        broker.create_topic(&options.topic, PARTITIONS).unwrap();
        let log = Arc::default();
        Self {
            joiner: start(&options, broker, &log).await,
            sender: Sender::open(&broker.settings()).unwrap(),
            collects: words.contains(&"collect"),
            options,
            broker: broker.clone(),
            log,
            tweets: BTreeMap::new(),
            records: 0,
            probes: 0,
        }
    }

    async fn step(&mut self, step: &str) {
        match step {
            "restart" => {
                self.joiner.stop().await;
                self.joiner = start(&self.options, &self.broker, &self.log).await;
            }
            "collected" => self.ask(true).await,
            "2s later" => tokio::time::sleep(Duration::from_secs(2)).await,
            _ => match step.split(' ').collect::<Words<'_>>() {
                words if step.starts_with('t') => {
                    let [tweet, key] = words[..] else {
                        panic!("no tweet: {step}")
                    };
                    let waiting = (JoinKey::from(key), Tweet::Waits);
                    self.tweets.insert(tweet.to_owned(), waiting);
                    self.ask(false).await;
                }
                words if step.starts_with('d') => {
                    self.deal(words).await;
                    self.ask(false).await;
                }
                _ => panic!("no step: {step}"),
            },
        }
    }

    /// Sends a record of the primary topic and waits until the joiner has read it.
    async fn deal(&mut self, mut words: Words<'_>) {
        self.records += 1;
        let at = marked(&mut words, "@").unwrap_or(self.records) * 1000;
        let partition = marked(&mut words, "/").unwrap_or(0);
        let until = words.iter().position(|word| *word == "until");
        let gone = until.map(|until| {
            let seconds: i64 = words[until + 1].parse().unwrap();
            words.truncate(until);
            now_ms() + seconds * 1000
        });
        let value = match words[..] {
            [_, "gone"] => None,
            ["d?", key] => Some(json!({"from": key, "id": null})),
            [id, key] => Some(json!({"id": id, "from": key, "gone": gone})),
            [id, key, fare] => {
                let fare: Value = serde_json::from_str(fare).unwrap();
                Some(json!({"id": id, "from": key, "fare": fare, "gone": gone}))
            }
            _ => panic!("no deal: {words:?}"),
        };
        let partition = u32::try_from(partition).unwrap();
        self.send(partition, words[0], value, at);
        self.probes += 1;
        let (probe, probed) = (PROBE.to_owned(), self.probes.to_string());
        let probe = format!("{probe} {probed}");
        let value = json!({"id": PROBE, "from": probe});
        self.send(
            partition,
            PROBE,
            Some(value),
            now_ms() + i64::from(self.probes),
        );
        self.sender.flush(SOON).unwrap();
        let probe = foreign(PROBE, &JoinKey::from(probe), true);
        let read = async {
            while self.joiner.joiner.join(vec![probe.clone()]).await.unwrap()
                != [JoinVerdict::Collecting]
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, read).await.unwrap();
    }

    fn send(&self, partition: u32, key: &str, value: Option<Value>, at_ms: i64) {
        let record = Original {
            key: Some(key.to_owned().into()),
            value: value.map(|value| value.to_string().into()),
            headers: Vec::new(),
        };
        let topic = &self.options.topic;
        self.sender
            .send_original(topic, Some(partition), &record, Some(at_ms))
            .unwrap();
    }

    /// Asks for all tweets that wait; for those that collect only when that is over.
    async fn ask(&mut self, collected: bool) {
        for (id, (key, tweet)) in &mut self.tweets {
            let collect = match tweet {
                Tweet::Waits => self.collects,
                Tweet::Collects if collected => false,
                Tweet::Collects | Tweet::Joined => continue,
            };
            let asked = vec![foreign(id, key, collect)];
            *tweet = match self.joiner.joiner.join(asked).await.unwrap()[..] {
                [JoinVerdict::Joined(_)] => Tweet::Joined,
                [JoinVerdict::Collecting] => Tweet::Collects,
                [JoinVerdict::NotFound] => Tweet::Waits,
                ref other => panic!("{other:?}"),
            };
        }
    }

    /// As the table writes it.
    fn rows(&self) -> String {
        let row = |(id, (_, tweet)): (&String, &(JoinKey, Tweet))| {
            let partners = self.log.partners(id);
            assert_eq!(partners.is_some(), *tweet == Tweet::Joined);
            format!("{id}: {}", partners.unwrap_or("waits".into()))
        };
        self.tweets.iter().map(row).collect::<Vec<_>>().join("; ")
    }
}

// Senders block while they flush.
#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn each_row_of_the_table_is_what_comes_out() {
    let table = table();
    assert!(table.len() >= LEAST_ROWS, "{} rows", table.len());
    let broker = Arc::new(Embedded::start().unwrap());
    let runs = table.into_iter().enumerate().map(|(number, row)| {
        let broker = broker.clone();
        let run = async move {
            let [policy, steps, rows] = row;
            let found = rows_of(&broker, number, &policy, &steps).await;
            (found != rows).then(|| format!("{policy} | {steps} | {rows}: but came {found}"))
        };
        async move { tokio::spawn(run).await.unwrap() }
    });
    let wrong: Vec<_> = stream::iter(runs)
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn rows_of(broker: &Arc<Embedded>, number: usize, policy: &str, steps: &str) -> String {
    let mut run = Run::open(broker, number, policy).await;
    for step in steps.split(", ") {
        run.step(step).await;
    }
    run.joiner.stop().await;
    run.rows()
}
