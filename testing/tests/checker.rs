//! The checker itself is tested: a log and rows made by hand are found right, and each deliberate fault is found.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_kafka::{Cluster, Sender};
use rtf_proto::control::Control;
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{
    Body, Content, Stamp, decode, encode_barrier, encode_control, encode_event,
};
use rtf_proto::row::{RowParts, close, open};
use rtf_proto::{
    EventId, Incarnation, JoinKey, LogId, Original, Outcome, Reason, Registration, Source, Token,
    naming,
};
use rtf_synth::{CLICKS, Clicks, ClicksParams, Expected, Share};
use rtf_testing::{Checker, Fate, Finished, Load, Pipeline, PipelineOptions, Servers, TopicReader};
use serde_json::Value;

/// Partitions of the log; the last test splits each of them in two.
const PARTITIONS: u32 = 2;
const SPLIT: u32 = 2 * PARTITIONS;
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// A pipeline made by hand, and honest unless told otherwise.
struct Hand {
    servers: Servers,
    checker: Checker,
    sender: Sender,
    log: LogId,
    sequence: u64,
    /// Joined rows in the log that won nothing, and are not published.
    losers: BTreeSet<(u32, u64)>,
    /// Place and content of each foreign record by its value; the later one of two that are equal.
    foreign: HashMap<Vec<u8>, (Source, Original)>,
    /// Value of each good click and query, by its id.
    clicks: HashMap<String, Vec<u8>>,
    queries: HashMap<String, Vec<u8>>,
}

impl Hand {
    fn new(clicks: &Clicks) -> Result<Self> {
        let servers = Servers::start()?;
        servers.create_topics(&CLICKS, 2)?;
        let checker = servers.checker(CLICKS).without_letters();
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
            losers: BTreeSet::new(),
            foreign: HashMap::new(),
            clicks: HashMap::new(),
            queries: HashMap::new(),
        };
        hand.append_barriers(0..PARTITIONS)?;
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
            self.foreign.insert(value, (source, record.original()));
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
            attempts: 1,
        });
        let body = match outcome {
            Outcome::Joined => Body::Joined { row },
            _ => Body::Unjoinable {
                row,
                attempts: 3,
                first_seen_ms: 4,
                original: self.foreign[value].1.clone(),
            },
        };
        self.to_log(event_id, outcome, value, body)
    }

    fn malformed(&self, value: &[u8]) -> Registration {
        let (source, original) = &self.foreign[value];
        let body = Body::Malformed {
            words: "no event".into(),
            original: original.clone(),
        };
        let id = source.event_id();
        self.to_log(id, Outcome::Malformed, value, body)
    }

    fn to_log(&self, id: EventId, outcome: Outcome, value: &[u8], body: Body) -> Registration {
        Registration {
            id,
            outcome,
            source: self.foreign[value].0.clone(),
            token: Token::fresh(),
            later_ts: 5,
            body: body.encode(),
        }
    }

    fn append(&mut self, registration: &Registration) -> Result<()> {
        let partition = partition_of(registration.id.as_bytes(), PARTITIONS);
        self.append_to(partition, PARTITIONS, registration)
    }

    /// By a writer that knows of so many partitions.
    fn append_to(
        &mut self,
        partition: u32,
        partitions: u32,
        registration: &Registration,
    ) -> Result<()> {
        let mut value = Vec::new();
        encode_event(&self.stamp(partitions), registration, &mut value);
        let key = registration.id.as_bytes();
        self.send(partition, Some(key), &value)
    }

    /// As every replica does first: no row may have the offset 0, which Redis does not allow.
    fn append_barriers(&mut self, partitions: Range<u32>) -> Result<()> {
        let end = partitions.end;
        for partition in partitions {
            let mut value = Vec::new();
            encode_barrier(&self.stamp(end), &mut value);
            self.send(partition, None, &value)?;
        }
        Ok(())
    }

    fn stamp(&mut self, partitions: u32) -> Stamp {
        self.sequence += 1;
        Stamp {
            log: self.log,
            partitions,
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

    /// Carries every joined row of the log into Redis, without asking whether it won; only those that are known to be losers stay behind.
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
            if self.losers.contains(&(partition, offset)) {
                return Ok(());
            }
            let row = close(event.body, record.timestamp_ms(), offset, partition);
            self.xadd(&mut redis, partition, &format!("{offset}-0"), &row)
        })?;
        for partition in 0..self.log_partitions()? {
            let mark = naming::redis_log_key(CLICKS.name, partition);
            let mut set = redis::cmd("SET");
            set.arg(mark).arg(self.log.to_string()).exec(&mut redis)?;
        }
        Ok(())
    }

    /// There are more of them after the split.
    fn log_partitions(&self) -> Result<u32> {
        let topic = naming::log_topic(CLICKS.name);
        let info = Cluster::connect(self.checker.settings())?.topic(&topic)?;
        Ok(info.context("the log exists")?.partitions)
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

/// A log that was split by hand, with all that a split leaves behind.
struct Split {
    hand: Hand,
    pipeline: Pipeline,
    good: Vec<Fate>,
    /// Where a second record of an event stands: its parent had the first one.
    again: (u32, u64),
    /// Where an event stands before the birth of its partition.
    unborn: (u32, u64),
    /// Where an event stands that no longer belongs there.
    stale: (u32, u64),
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_split_log_is_found_right_and_each_fault_is_found() -> Result<()> {
    let clicks = Clicks::new(ClicksParams {
        count: 300,
        malformed: Share::per_thousand(50),
        ..ClicksParams::default()
    });
    let mut split = Split::make(&clicks)?;
    split.is_right()?;
    split.faults_of_redis()?;
    split.an_event_out_of_place_is_found(clicks.expected())
}

impl Split {
    fn make(clicks: &Clicks) -> Result<Self> {
        let mut hand = Hand::new(clicks)?;
        let pipeline = hand.servers.pipeline(&PipelineOptions::new(CLICKS))?;
        let mut progress = hand.servers.progress(CLICKS)?;
        let events: Vec<Expected> = clicks.expected().collect();
        let good: Vec<Fate> = events.iter().cloned().map(Fate::from).collect();
        let (before, after) = events.split_at(events.len() / 2);
        for event in before {
            hand.append(&hand.registration(event))?;
        }
        hand.sender.flush(FLUSH_WITHIN)?;
        ensure!(progress.resolved()? == before.len() as u64);

        hand.more_partitions()?;
        let epoch = hand.control(0, PARTITIONS, Control::Epoch { partitions: SPLIT })?;
        let child = PARTITIONS;
        let mut of_child = (after.iter())
            .filter(|event| matches!(event, Expected::Joined { .. }))
            .map(|event| hand.registration(event))
            .filter(|registration| partition_of(registration.id.as_bytes(), SPLIT) == child)
            .collect::<Vec<_>>()
            .into_iter();
        let mut next = || of_child.next().context("the child has joined events");
        let (late, hasty) = (next()?, next()?);
        let stale = hand.append_loser(0, PARTITIONS, &late)?;
        let unborn = hand.append_loser(child, SPLIT, &hasty)?;
        hand.control(child, SPLIT, born(0, epoch + 1))?;
        hand.control(child, SPLIT, born(0, epoch))?;
        let first = (before.iter())
            .filter(|event| matches!(event, Expected::Joined { .. }))
            .map(|event| hand.registration(event))
            .find(|registration| partition_of(registration.id.as_bytes(), SPLIT) == child);
        let first = first.context("the parent had joined events of the child")?;
        let again = hand.append_loser(child, SPLIT, &first)?;
        let epoch = hand.control(1, PARTITIONS, Control::Epoch { partitions: SPLIT })?;
        hand.control(1 + PARTITIONS, SPLIT, born(1, epoch))?;
        for event in after.iter().rev() {
            let registration = hand.registration(event);
            // The record before its birth is not enough.
            if registration.id == hasty.id {
                continue;
            }
            hand.append_to(
                partition_of(registration.id.as_bytes(), SPLIT),
                SPLIT,
                &registration,
            )?;
        }
        hand.publish()?;
        hand.finds(&good, "missing in the log (1)")?;
        hand.append_to(child, SPLIT, &hasty)?;
        hand.servers.redis.flushall()?;
        hand.publish()?;
        ensure!(
            progress.resolved()? == good.len() as u64,
            "growth is followed"
        );
        Ok(Self {
            hand,
            pipeline,
            good,
            again,
            unborn,
            stale,
        })
    }

    /// The checker and the product's own proof, which share no code, agree.
    fn is_right(&self) -> Result<()> {
        let checked = self.hand.checker.check(self.good.clone())?;
        ensure!(
            (checked.misplaced, checked.superseded) == (2, 1),
            "{checked:?}"
        );
        let verified = self.verify()?;
        ensure!(verified.code() == 0, "{}", verified.output);
        let report = verified.json()?;
        let numbers = [
            ("joined", checked.joined),
            ("unjoinable", checked.unjoinable),
            ("malformed", checked.malformed),
            ("rows", checked.joined),
            ("misplaced", checked.misplaced),
            ("superseded", checked.superseded),
            ("waiting", 0),
            ("unpublished", 0),
        ];
        for (name, number) in numbers {
            ensure!(report[name] == number, "{name} is not {number}: {report}");
        }
        Ok(())
    }

    fn verify(&self) -> Result<Finished> {
        self.pipeline.rtf("verify", &["--json"])
    }

    /// Each is mended before the next.
    fn faults_of_redis(&mut self) -> Result<()> {
        for loser in [self.again, self.unborn, self.stale] {
            self.hand.losers.remove(&loser);
            self.publish_again()?;
            let fault = "in Redis, but not joined in the log (1)";
            self.both_find(fault, "duplicated")?;
            self.hand.losers.insert(loser);
        }
        self.publish_again()?;
        let stream = naming::redis_stream(CLICKS.name, self.again.0);
        let rows = self.hand.checker.rows()?.streams[&stream].clone();
        let mut redis = self.hand.servers.redis.connection()?;
        redis::cmd("XDEL")
            .arg(&stream)
            .arg(&rows[rows.len() / 2].0)
            .exec(&mut redis)?;
        self.both_find("missing in Redis (1)", "lost")?;
        self.publish_again()?;
        self.is_right()
    }

    fn publish_again(&self) -> Result<()> {
        self.hand.servers.redis.flushall()?;
        self.hand.publish()
    }

    /// The checker by its words, `rtf verify` by its figure.
    fn both_find(&self, fault: &str, figure: &str) -> Result<()> {
        self.hand.finds(&self.good, fault)?;
        let verified = self.verify()?;
        let report: Value = verified.json()?;
        ensure!(
            verified.code() == 1 && report[figure] == 1,
            "no {figure}: {report}"
        );
        Ok(())
    }

    /// Where no split explains it.
    fn an_event_out_of_place_is_found(
        &mut self,
        mut events: impl Iterator<Item = Expected>,
    ) -> Result<()> {
        let registration = self.hand.registration(&events.next().context("an event")?);
        let elsewhere = (partition_of(registration.id.as_bytes(), SPLIT) + 1) % SPLIT;
        self.hand.append_to(elsewhere, SPLIT, &registration)?;
        self.hand.finds(&self.good, "out of place in the log (1)")
    }
}

fn born(parent: u32, offset: u64) -> Control {
    Control::Born { parent, offset }
}

impl Hand {
    fn more_partitions(&mut self) -> Result<()> {
        let cluster = Cluster::connect(self.checker.settings())?;
        cluster.raise_partitions(&naming::log_topic(CLICKS.name), SPLIT)?;
        // The old one would take minutes to hear of them.
        self.sender = Sender::open(self.checker.settings())?;
        self.append_barriers(PARTITIONS..SPLIT)
    }

    /// Appends what the log says about itself, and tells its offset.
    fn control(&mut self, partition: u32, partitions: u32, control: Control) -> Result<u64> {
        let mut value = Vec::new();
        encode_control(&self.stamp(partitions), &control, &mut value);
        self.send(partition, None, &value)?;
        self.last_offset(partition)
    }

    /// An event that must not count, and is not published.
    fn append_loser(
        &mut self,
        partition: u32,
        partitions: u32,
        registration: &Registration,
    ) -> Result<(u32, u64)> {
        self.append_to(partition, partitions, registration)?;
        let place = (partition, self.last_offset(partition)?);
        self.losers.insert(place);
        Ok(place)
    }

    fn last_offset(&self, partition: u32) -> Result<u64> {
        self.sender.flush(FLUSH_WITHIN)?;
        let cluster = Cluster::connect(self.checker.settings())?;
        let (_, end) = cluster.offsets(&naming::log_topic(CLICKS.name), partition)?;
        Ok(end - 1)
    }
}
