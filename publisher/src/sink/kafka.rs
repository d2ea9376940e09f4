//! A Kafka topic as a sink: its last letter says how far the log is carried, as the last row does in Redis (DESIGN §7).
//!
//! Each letter names the log and the offset that decided, and letters are appended in transactions: what a reader of committed records finds last
//! is the cursor. A transactional id per partition has one living producer: who makes one fences the other, wherever that is, and ends what it
//! had begun. The fenced one stands by, and takes over when the cursor does not move though there is something to append; so two publishers do
//! not fence each other for ever.
//!
//! When nothing is to be appended, a position of a consumer group in the log follows it, so that a stream without dead letters does not fall behind
//! the log's retention, and is not read from its beginning by who comes next. That is harmless from whoever: the cursor is the further one of
//! last letter and position.

use super::{AppendOutcome, Place, Row, Sink, SinkError};
use crate::letter;
use async_trait::async_trait;
use rtf_kafka::{
    Cluster, Cursors, Isolation, KafkaError, Polled, Settings, Start, Tail, TransactError,
    Transactor, TransactorOptions,
};
use rtf_proto::{LogId, Offset, Original, PartitionId, naming};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// One that was fenced takes over when the cursor has not moved for so long though there is something to append.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(5);
/// Meanwhile it looks this often: each look makes a client.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Without anything to append, the position follows the log this often.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
/// A position is told within this.
const POSITION_WITHIN: Duration = Duration::from_secs(12);
/// Reading the topic's end takes no longer.
const END_WITHIN: Duration = Duration::from_secs(15);
/// So many records before the end are looked at for the last letter, then twice as many, and so on.
const LOOK_BACK: u64 = 64;
const POLL: Duration = Duration::from_millis(100);

/// Where dead letters go, and how their topic is made.
#[derive(Clone, Debug)]
pub struct KafkaSinkOptions {
    /// The join's name: topic, group and transactional ids are named after it.
    pub name: String,
    /// Partitions of the topic when it is made: as many as the join log's.
    pub partitions: u32,
    /// Its replicas; `None`: three where there are three brokers.
    pub replication: Option<i32>,
    /// How long letters are kept; at the least as long as the log keeps its records.
    pub retention: Duration,
    /// Largest letter.
    pub max_record_bytes: usize,
}

/// Each of one log: nothing that is known of a partition holds for another log.
type Lanes = HashMap<PartitionId, (LogId, Arc<Mutex<Lane>>)>;

/// The dead-letter topic.
pub struct KafkaSink {
    shared: Arc<Shared>,
    lanes: parking_lot::Mutex<Lanes>,
}

struct Shared {
    settings: Settings,
    options: KafkaSinkOptions,
    topic: String,
    /// What outlives a call: clients, and how many partitions the topic is known to have.
    clients: parking_lot::Mutex<Option<Clients>>,
}

#[derive(Clone)]
struct Clients {
    cluster: Arc<Cluster>,
    cursors: Arc<Cursors>,
    partitions: u32,
}

/// What is appended together.
struct Letters {
    originals: Vec<Original>,
    /// The log's offset of the last of them.
    last: Offset,
}

/// One partition.
#[derive(Default)]
struct Lane {
    /// The log is carried up to here, as far as is known; only this one moves it while it has a producer.
    cursor: Option<Offset>,
    producer: Option<Transactor>,
    /// A transaction may still be open that only another producer ends.
    is_uncertain: bool,
    /// Somebody else was quicker.
    is_standby: bool,
    /// The topic's end when its last letter was looked for: as long as it stays, there is no other.
    looked_at: Option<Offset>,
    /// Since when it has waited for that one to append what is to be appended.
    waits_since: Option<Instant>,
    settled_at: Option<Instant>,
}

impl KafkaSink {
    /// A sink that connects with its first call.
    pub fn new(settings: Settings, options: KafkaSinkOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                topic: naming::dead_letter_topic(&options.name),
                settings,
                options,
                clients: parking_lot::Mutex::default(),
            }),
            lanes: parking_lot::Mutex::default(),
        }
    }

    /// Does something with a partition that may block, one after the other in the order of the calls.
    async fn with<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&Shared, &mut Lane) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let mut lane = self.lane(place).await;
        let shared = Arc::clone(&self.shared);
        blocking(move || work(&shared, &mut lane)).await
    }

    async fn lane(&self, place: Place) -> OwnedMutexGuard<Lane> {
        let lane = {
            let mut lanes = self.lanes.lock();
            let fresh = || (place.log, Arc::default());
            let known = lanes.entry(place.partition).or_insert_with(fresh);
            if known.0 != place.log {
                *known = fresh();
            }
            Arc::clone(&known.1)
        };
        lane.lock_owned().await
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn last(&self, place: Place) -> Result<Option<Offset>, SinkError> {
        self.with(place, move |shared, lane| {
            let clients = shared.clients(place.partition)?;
            if lane.is_uncertain {
                shared.produce(lane, place)?;
            }
            shared.locate(&clients, lane, place)
        })
        .await
    }

    async fn announce(&self, partitions: u32) -> Result<(), SinkError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.raise(partitions)).await
    }

    async fn settled(&self, place: Place, next: Offset) -> Result<(), SinkError> {
        self.with(place, move |shared, lane| shared.settle(lane, place, next))
            .await
    }

    async fn append(
        &self,
        place: Place,
        expected_last: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        let letters = Letters {
            originals: rows.iter().map(|row| letter::read(&row.payload)).collect(),
            last: rows.last().expect("there is something to append").offset,
        };
        let letters = Arc::new(letters);
        // Held all the time, so that appends go one after the other.
        let mut lane = self.lane(place).await;
        loop {
            let (shared, letters) = (Arc::clone(&self.shared), Arc::clone(&letters));
            let appended;
            (lane, appended) = blocking(move || {
                let appended = shared.append(&mut lane, place, expected_last, &letters)?;
                Ok((lane, appended))
            })
            .await?;
            match appended {
                Some(outcome) => return Ok(outcome),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    fn subject(&self, partition: PartitionId) -> String {
        format!("topic {} partition {partition}", self.shared.topic)
    }

    fn remedy(&self, _partition: PartitionId) -> String {
        let name = &self.shared.options.name;
        format!(
            "delete topic {} and the positions of group {}, or use another join.name",
            self.shared.topic,
            naming::dead_letter_group(name)
        )
    }
}

impl Shared {
    /// The clients, and the topic made if it is not there.
    fn clients(&self, partition: PartitionId) -> Result<Clients, SinkError> {
        let mut known = self.clients.lock();
        let clients = match &*known {
            Some(clients) => clients.clone(),
            None => known.insert(self.connect().map_err(away)?).clone(),
        };
        if partition < clients.partitions {
            return Ok(clients);
        }
        let words = format!("topic {} has no partition {partition} yet", self.topic);
        Err(SinkError::Unavailable(words))
    }

    fn connect(&self) -> Result<Clients, KafkaError> {
        let options = &self.options;
        let cluster = Cluster::connect(&self.settings)?;
        let (retention, max_bytes) = (
            options.retention.as_millis().to_string(),
            options.max_record_bytes.to_string(),
        );
        let config = [
            ("cleanup.policy", "delete"),
            ("retention.ms", retention.as_str()),
            ("max.message.bytes", max_bytes.as_str()),
        ];
        let info = cluster.ensure_topic(
            &self.topic,
            options.partitions,
            options.replication,
            &config,
        )?;
        cluster.raise_partitions(&self.topic, options.partitions)?;
        let group = naming::dead_letter_group(&options.name);
        let log = naming::log_topic(&options.name);
        Ok(Clients {
            cluster: Arc::new(cluster),
            cursors: Arc::new(Cursors::open(&self.settings, &group, &log)?),
            partitions: info.partitions.max(options.partitions),
        })
    }

    fn raise(&self, partitions: u32) -> Result<(), SinkError> {
        let clients = self.clients(0)?;
        if clients.partitions >= partitions {
            return Ok(());
        }
        clients
            .cluster
            .raise_partitions(&self.topic, partitions)
            .map_err(away)?;
        // The old client would hear of them in half a minute.
        let cluster = Arc::new(Cluster::connect(&self.settings).map_err(away)?);
        if let Some(known) = &mut *self.clients.lock() {
            known.cluster = cluster;
            known.partitions = partitions.max(known.partitions);
        }
        Ok(())
    }

    /// Where the sink ends. Who has the producer knows; others ask.
    fn locate(
        &self,
        clients: &Clients,
        lane: &mut Lane,
        place: Place,
    ) -> Result<Option<Offset>, SinkError> {
        let cursor = match (lane.cursor, &lane.producer) {
            (Some(cursor), Some(_)) => cursor,
            (known, _) => {
                let position = self.position(clients, place)?;
                let ended = self.ended(clients, lane, place)?;
                known.max(ended).unwrap_or(0).max(position)
            }
        };
        lane.cursor = Some(cursor);
        Ok(cursor.checked_sub(1))
    }

    /// The group's position in this log; 0 where it has none.
    fn position(&self, clients: &Clients, place: Place) -> Result<Offset, SinkError> {
        let position = clients
            .cursors
            .read(place.partition, POSITION_WITHIN)
            .map_err(away)?;
        Ok(match position {
            Some((next, log)) if log == place.log.to_string() => next,
            _ => 0,
        })
    }

    /// One past the last letter's offset in this log; 0 where there is none, `None` where there is none that is new. Letters of an earlier log
    /// may stand before.
    fn ended(
        &self,
        clients: &Clients,
        lane: &mut Lane,
        place: Place,
    ) -> Result<Option<Offset>, SinkError> {
        let (first, end) = clients
            .cluster
            .offsets(&self.topic, place.partition)
            .map_err(away)?;
        if lane.cursor.is_some() && lane.looked_at == Some(end) {
            return Ok(None);
        }
        let ended = self.last_offset(place, first, end)?;
        lane.looked_at = Some(end);
        Ok(Some(ended))
    }

    fn last_offset(&self, place: Place, first: Offset, end: Offset) -> Result<Offset, SinkError> {
        let mut look_back = LOOK_BACK;
        loop {
            let from = end.saturating_sub(look_back).max(first);
            if let Some((log, offset)) = self.last_letter(place.partition, from, end)? {
                let is_ours = log == place.log.to_string();
                return Ok(if is_ours { offset + 1 } else { 0 });
            }
            if from == first {
                return Ok(0);
            }
            look_back *= 2;
        }
    }

    /// The last letter among the committed records of a stretch. Aborted ones and transaction markers take offsets too.
    fn last_letter(
        &self,
        partition: PartitionId,
        from: Offset,
        end: Offset,
    ) -> Result<Option<(String, Offset)>, SinkError> {
        if from >= end {
            return Ok(None);
        }
        let starts = [(partition, Start::Offset(from))];
        let tail = Tail::open(
            &self.settings,
            &self.topic,
            &starts,
            Isolation::ReadCommitted,
        )
        .map_err(away)?;
        let deadline = Instant::now() + END_WITHIN;
        let mut last = None;
        while Instant::now() < deadline {
            match tail.poll(POLL) {
                Polled::Record(record) => {
                    last = letter::decided_by(&record.headers()).or(last);
                    if record.offset() + 1 >= end {
                        return Ok(last);
                    }
                }
                Polled::EndOfPartition(_) => return Ok(last),
                Polled::Idle => {}
                Polled::Failed(error) => return Err(away(error)),
            }
        }
        let words = format!("the end of topic {} cannot be read", self.topic);
        Err(SinkError::Unavailable(words))
    }

    /// `None`: it stands by; ask again in a moment.
    fn append(
        &self,
        lane: &mut Lane,
        place: Place,
        expected: Option<Offset>,
        letters: &Letters,
    ) -> Result<Option<AppendOutcome>, SinkError> {
        let clients = self.clients(place.partition)?;
        if lane.producer.is_none() && self.locate(&clients, lane, place)? == expected {
            if lane.stands_by(place.partition) {
                return Ok(None);
            }
            self.produce(lane, place)?;
        }
        let found = self.locate(&clients, lane, place)?;
        let Some(producer) = lane.producer.as_ref().filter(|_| found == expected) else {
            lane.waits_since = None;
            return Ok(Some(AppendOutcome::Moved { last: found }));
        };
        let last = letters.last;
        match producer.commit(place.partition, &letters.originals) {
            Ok(()) => {
                lane.cursor = Some(last + 1);
                Ok(Some(AppendOutcome::Appended { last }))
            }
            Err(TransactError::Fenced) => {
                tracing::info!(
                    partition = place.partition,
                    "another publisher writes the dead letters of this partition; standing by"
                );
                *lane = Lane {
                    is_standby: true,
                    ..Lane::default()
                };
                let last = self.locate(&clients, lane, place)?;
                Ok(Some(AppendOutcome::Moved { last }))
            }
            Err(error @ TransactError::Unknown { .. }) => {
                *lane = Lane {
                    is_uncertain: true,
                    ..Lane::default()
                };
                Err(SinkError::Unavailable(error.to_string()))
            }
        }
    }

    /// Makes the partition's living producer. What it believed of the cursor before is asked anew: the one it fences may have moved it until now.
    fn produce(&self, lane: &mut Lane, place: Place) -> Result<(), SinkError> {
        let options = TransactorOptions {
            topic: self.topic.clone(),
            transactional_id: naming::dead_letter_transaction(&self.options.name, place.partition),
            max_record_bytes: self.options.max_record_bytes,
        };
        let producer = Transactor::open(&self.settings, &options);
        let producer = producer.map_err(away)?;
        *lane = Lane {
            producer: Some(producer),
            settled_at: lane.settled_at,
            ..Lane::default()
        };
        Ok(())
    }

    fn settle(&self, lane: &mut Lane, place: Place, next: Offset) -> Result<(), SinkError> {
        let is_due = lane
            .settled_at
            .is_none_or(|at| at.elapsed() >= SETTLE_EVERY);
        let Some(cursor) = lane.cursor.filter(|cursor| is_due && *cursor < next) else {
            return Ok(());
        };
        lane.settled_at = Some(Instant::now());
        let clients = self.clients(place.partition)?;
        let log = place.log.to_string();
        clients
            .cursors
            .write(place.partition, next, &log)
            .map_err(away)?;
        lane.cursor = Some(next.max(cursor));
        Ok(())
    }
}

impl Lane {
    /// Whether the one that was quicker is to be waited for still: there is something to append, and it may be about to.
    fn stands_by(&mut self, partition: PartitionId) -> bool {
        if !self.is_standby {
            return false;
        }
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        if since.elapsed() < TAKE_OVER_AFTER {
            return true;
        }
        tracing::info!(
            partition,
            "the dead letters of this partition do not move; taking over"
        );
        false
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|cut| Err(SinkError::Unavailable(cut.to_string())))
}

fn away(error: KafkaError) -> SinkError {
    SinkError::Unavailable(error.to_string())
}
