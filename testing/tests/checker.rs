//! The checker itself is tested: a log and rows made by hand are found right, and each deliberate fault is found.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rtf_kafka::{Cluster, Sender};
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{Body, Content, Stamp, decode, encode_barrier, encode_event};
use rtf_proto::row::{RowParts, close, open};
use rtf_proto::{
    EventId, Incarnation, JoinKey, LogId, Original, Outcome, Reason, Registration, Source, Token,
    naming,
};
use rtf_synth::{CLICKS, Clicks, ClicksParams, Expected, Share};
use rtf_testing::{Checker, Fate, Load, Servers, TopicReader};

const PARTITIONS: u32 = 2;
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// A pipeline made by hand, and honest unless told otherwise.
struct Hand {
    servers: Servers,
    checker: Checker,
    sender: Sender,
    log: LogId,
    sequence: u64,
    /// Place and value of each foreign record by its value; the later one of two that are equal.
    foreign: HashMap<Vec<u8>, Source>,
    /// Value of each good click and query, by its id.
    clicks: HashMap<String, Vec<u8>>,
    queries: HashMap<String, Vec<u8>>,
}

impl Hand {
    fn new(clicks: &Clicks) -> Result<Self> {
        let servers = Servers::start()?;
        servers.create_topics(&CLICKS, 2)?;
        let checker = servers.checker(CLICKS);
        let settings = checker.settings();
        Load::start(settings, CLICKS, clicks.events())?.finish()?;
        let config = [("message.timestamp.type", "LogAppendTime")];
        let topic = naming::log_topic(CLICKS.name);
        let log = Cluster::connect(settings)?.ensure_topic(&topic, PARTITIONS, None, &config)?;
        let sender = Sender::open(settings)?;
        let mut hand = Self {
            log: log.id,
            servers,
            checker,
            sender,
            sequence: 0,
            foreign: HashMap::new(),
            clicks: HashMap::new(),
            queries: HashMap::new(),
        };
        hand.append_barriers()?;
        hand.read_topics()?;
        Ok(hand)
    }

    fn read_topics(&mut self) -> Result<()> {
        let id_in = |value: &[u8], pointer: &str| {
            let json: Option<serde_json::Value> = serde_json::from_slice(value).ok();
            Some(json?.pointer(pointer)?.as_str()?.to_owned())
        };
        let mut reader = TopicReader::open(self.checker.settings(), CLICKS.foreign.topic)?;
        let topic_id = reader.info().id;
        reader.read_to_end(|record| {
            let value = record.value().context("no null is sent")?.to_vec();
            let source = Source {
                topic: CLICKS.foreign.topic.into(),
                topic_id,
                partition: record.partition(),
                offset: record.offset(),
            };
            let id = id_in(&value, CLICKS.foreign.id);
            self.clicks.extend(id.map(|id| (id, value.clone())));
            self.foreign.insert(value, source);
            Ok(())
        })?;
        let topic = CLICKS.primary.topic;
        TopicReader::open(self.checker.settings(), topic)?.read_to_end(|record| {
            let value = record.value().context("no null is sent")?.to_vec();
            let id = id_in(&value, CLICKS.primary.id);
            self.queries.extend(id.map(|id| (id, value)));
            Ok(())
        })
    }

    /// What must be registered for an event.
    fn registration(&self, expected: &Expected) -> Registration {
        let (id, key, partner, value) = match expected {
            Expected::Joined { id, key, primary } => (id, key, primary.as_ref(), &self.clicks[id]),
            Expected::Unjoinable { id, key } => (id, key, None, &self.clicks[id]),
            Expected::Malformed { value } => return self.malformed(value),
        };
        let (event_id, key) = (EventId::from(id.as_str()), JoinKey::from(key.as_str()));
        let primary: Vec<&[u8]> = partner
            .map(|id| &self.queries[id][..])
            .into_iter()
            .collect();
        let outcome = match partner {
            Some(_) => Outcome::Joined,
            None => Outcome::Unjoinable(Reason::TimedOut),
        };
        let row = open(&RowParts {
            id: &event_id,
            key: &key,
            outcome,
            foreign: value,
            primary: &primary,
            foreign_ts: 1,
            primary_ts: partner.map(|_| 2),
        });
        let body = match outcome {
            Outcome::Joined => Body::Joined { row },
            _ => Body::Unjoinable {
                row,
                attempts: 3,
                first_seen_ms: 4,
                original: original(value),
            },
        };
        self.to_log(event_id, outcome, value, body)
    }

    fn malformed(&self, value: &[u8]) -> Registration {
        let body = Body::Malformed {
            words: "no event".into(),
            original: original(value),
        };
        let id = self.foreign[value].event_id();
        self.to_log(id, Outcome::Malformed, value, body)
    }

    fn to_log(&self, id: EventId, outcome: Outcome, value: &[u8], body: Body) -> Registration {
        Registration {
            id,
            outcome,
            source: self.foreign[value].clone(),
            token: Token::fresh(),
            later_ts: 5,
            body: body.encode(),
        }
    }

    fn append(&mut self, registration: &Registration) -> Result<()> {
        let mut value = Vec::new();
        encode_event(&self.stamp(), registration, &mut value);
        let key = registration.id.as_bytes();
        self.send(partition_of(key, PARTITIONS), Some(key), &value)
    }

    /// As every replica does first: no row may have the offset 0, which Redis does not allow.
    fn append_barriers(&mut self) -> Result<()> {
        for partition in 0..PARTITIONS {
            let mut value = Vec::new();
            encode_barrier(&self.stamp(), &mut value);
            self.send(partition, None, &value)?;
        }
        Ok(())
    }

    fn stamp(&mut self) -> Stamp {
        self.sequence += 1;
        Stamp {
            log: self.log,
            partitions: PARTITIONS,
            incarnation: Incarnation(1),
            sequence: self.sequence,
        }
    }

    fn send(&self, partition: u32, key: Option<&[u8]>, value: &[u8]) -> Result<()> {
        let topic = naming::log_topic(CLICKS.name);
        Ok(self
            .sender
            .send(&topic, Some(partition), key, Some(value))?)
    }

    /// Carries every joined row of the log into Redis, without asking whether it won.
    fn publish(&self) -> Result<()> {
        self.sender.flush(FLUSH_WITHIN)?;
        let mut redis = self.servers.redis.connection()?;
        let topic = naming::log_topic(CLICKS.name);
        TopicReader::open(self.checker.settings(), &topic)?.read_to_end(|record| {
            let decoded = decode(record.key(), record.value())?;
            let Content::Event(event) = decoded.content else {
                return Ok(());
            };
            if event.outcome != Outcome::Joined {
                return Ok(());
            }
            let (partition, offset) = (record.partition(), record.offset());
            let row = close(event.body, record.timestamp_ms(), offset, partition);
            self.xadd(&mut redis, partition, &format!("{offset}-0"), &row)
        })?;
        for partition in 0..PARTITIONS {
            let mark = naming::redis_log_key(CLICKS.name, partition);
            let mut set = redis::cmd("SET");
            set.arg(mark).arg(self.log.to_string()).exec(&mut redis)?;
        }
        Ok(())
    }

    fn xadd(
        &self,
        redis: &mut redis::Connection,
        partition: u32,
        entry: &str,
        row: &[u8],
    ) -> Result<()> {
        let stream = naming::redis_stream(CLICKS.name, partition);
        let mut xadd = redis::cmd("XADD");
        Ok(xadd
            .arg(stream)
            .arg(entry)
            .arg("row")
            .arg(row)
            .exec(redis)?)
    }

    /// Demands that the check fails with this.
    fn finds(&self, expected: &[Fate], fault: &str) -> Result<()> {
        self.sender.flush(FLUSH_WITHIN)?;
        let found = self.checker.check(expected.iter().cloned());
        let error = found.err().with_context(|| format!("not found: {fault}"))?;
        ensure!(
            error.to_string().contains(fault),
            "not {fault}, but: {error}"
        );
        Ok(())
    }
}

fn original(value: &[u8]) -> Original {
    Original {
        value: Some(Bytes::copy_from_slice(value)),
        ..Original::default()
    }
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_is_right_is_found_right_and_each_fault_is_found() -> Result<()> {
    let clicks = Clicks::new(ClicksParams {
        count: 300,
        malformed: Share::per_thousand(50),
        ..ClicksParams::default()
    });
    let mut hand = Hand::new(&clicks)?;
    let events: Vec<Expected> = clicks.expected().collect();
    for event in &events {
        hand.append(&hand.registration(event))?;
    }
    hand.publish()?;
    let good: Vec<Fate> = events.iter().cloned().map(Fate::from).collect();
    let checked = hand.checker.check(good.clone())?;
    ensure!(checked.joined > 0 && checked.unjoinable > 0 && checked.malformed > 0);
    ensure!(checked.joined + checked.unjoinable + checked.malformed == good.len() as u64);

    let first = events
        .iter()
        .position(|event| matches!(event, Expected::Joined { .. }));
    let first = first.context("there are joined ones")?;
    faults_of_the_oracle(&hand, &good, first)?;
    faults_of_redis(&hand, &good)?;
    faults_of_the_log(&mut hand, &good, &events[first])
}

/// The log has what the oracle does not expect, and the other way round.
fn faults_of_the_oracle(hand: &Hand, good: &[Fate], first: usize) -> Result<()> {
    let mut fewer = good.to_vec();
    let taken = fewer.remove(first);
    hand.finds(&fewer, "not expected in the log (1)")?;
    let twice = [good, &[taken]].concat();
    hand.finds(&twice, "missing in the log (1)")?;
    let mut other = good.to_vec();
    if let Fate::Joined { primary, .. } = &mut other[first] {
        *primary = Some("somebody else".into());
    }
    hand.finds(&other, "somebody else")
}

/// Each is mended before the next.
fn faults_of_redis(hand: &Hand, good: &[Fate]) -> Result<()> {
    let mut redis = hand.servers.redis.connection()?;
    hand.xadd(&mut redis, 0, "999999-0", b"{}")?;
    hand.finds(good, "in Redis, but not joined in the log (1)")?;
    hand.servers.redis.flushall()?;
    hand.finds(good, "missing in Redis")?;
    hand.publish()?;
    hand.checker.check(good.to_vec())?;

    let stream = naming::redis_stream(CLICKS.name, 0);
    let rows = hand.checker.rows()?.streams[&stream].clone();
    let (entry, _) = &rows[rows.len() / 2];
    redis::cmd("XDEL")
        .arg(&stream)
        .arg(entry)
        .exec(&mut redis)?;
    hand.finds(good, "missing in Redis (1)")?;
    redis::cmd("DEL").arg(&stream).exec(&mut redis)?;
    for (entry, _) in &rows {
        hand.xadd(&mut redis, 0, entry, &rows[0].1)?;
    }
    hand.finds(good, "not the log's row in Redis")?;
    hand.servers.redis.flushall()?;
    hand.publish()?;
    let mark = naming::redis_log_key(CLICKS.name, 1);
    redis::cmd("SET")
        .arg(mark)
        .arg("another log")
        .exec(&mut redis)?;
    hand.finds(good, "not a mark of the log (1)")?;
    hand.publish_again(good)
}

impl Hand {
    fn publish_again(&self, good: &[Fate]) -> Result<()> {
        self.servers.redis.flushall()?;
        self.publish()?;
        self.checker.check(good.to_vec()).map(drop)
    }
}

/// These cannot be mended: each comes on top of those before.
fn faults_of_the_log(hand: &mut Hand, good: &[Fate], joined: &Expected) -> Result<()> {
    // A second record of an event is no fault, as long as its row is not published.
    let again = hand.registration(joined);
    hand.append(&again)?;
    hand.sender.flush(FLUSH_WITHIN)?;
    let checked = hand.checker.check(good.to_vec())?;
    ensure!(checked.superseded == 1, "{checked:?}");
    hand.servers.redis.flushall()?;
    hand.publish()?;
    hand.finds(good, "in Redis, but not joined in the log (1)")?;

    let mut row = again.body.to_vec();
    let at = row
        .windows(5)
        .position(|five| five == b"\"page")
        .context("a query has a page")?;
    row[at + 1] = b'P';
    hand.append(&Registration {
        id: "another".into(),
        body: row.into(),
        ..again.clone()
    })?;
    hand.finds(good, "wrong in the log (1)")?;
    let mut source = again.source.clone();
    source.offset = 1_000_000;
    hand.append(&Registration {
        id: "nobody".into(),
        source,
        ..again
    })?;
    hand.finds(good, "never sent")?;
    let topic = naming::log_topic(CLICKS.name);
    hand.sender
        .send(&topic, Some(0), Some(b"x"), Some(b"garbage"))?;
    hand.sender.flush(FLUSH_WITHIN)?;
    hand.finds(good, "unreadable in the log (1)")
}
