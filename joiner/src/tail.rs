//! The thread that reads the primary topic into the event store: from where the store on disk ends, or from the first record, for ever.
//! Decides nothing.

mod opening;

use crate::catch_up::CatchUp;
use crate::disk::Age;
use crate::event::{EventReader, Place};
use crate::handle::{Shared, now_ms};
use crate::keeper::{KeepError, Keeper};
use crate::position::{Anchor, Position};
use crate::primaries::Full;
use crate::role::{OnReadiness, Readiness};
use crate::state::Change;
use crate::{JoinerFailure, Options};
use rtf_json::Parts;
use rtf_kafka::{Cluster, Isolation, KafkaError, Polled, Record, Settings, Start, Tail, TopicInfo};
use rtf_proto::partitioner::partition_of;
use rtf_proto::{Offset, PartitionId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A look into an empty queue waits so long; a stop is noticed after it.
const POLL: Duration = Duration::from_millis(100);
/// Records taken into the store under one lock.
const BATCH: usize = 256;
/// How often expired events are removed and progress is told.
const TICK: Duration = Duration::from_secs(1);
/// How often Kafka is asked again when it does not answer.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// A question about offsets may take so long.
const OFFSETS_WITHIN: Duration = Duration::from_secs(10);
/// Troubles of the client are told at the most this often.
const TROUBLE_EVERY: Duration = Duration::from_secs(10);
/// So many malformed records are logged each, then one of so many.
const MALFORMED_SHOWN: u64 = 10;
const MALFORMED_SHOWN_EVERY: u64 = 1000;

/// The topic, and the first offset and end of each of its partitions.
type Found = (TopicInfo, Vec<(Offset, Offset)>);

/// The only partition that is read, where each has a reader of its own: it holds those keys that belong to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub partition: PartitionId,
    /// Partitions the topic is cut into.
    pub partitions: u32,
}

impl Part {
    /// Whether the topic is cut into as many partitions as this is one of.
    pub fn check(self, topic: &str, now: u32) -> Result<(), JoinerFailure> {
        if now == self.partitions {
            return Ok(());
        }
        Err(JoinerFailure::Repartitioned {
            topic: topic.into(),
            known: self.partitions,
            now,
        })
    }
}

/// A topic being read, and how far.
struct Reading {
    tail: Tail,
    catch_up: CatchUp,
}

/// The reading half of a joiner.
pub(crate) struct Loader {
    topic: String,
    options: Options,
    settings: Settings,
    reader: EventReader,
    shared: Arc<Shared>,
    on_readiness: OnReadiness,
    /// None where all stays in memory.
    keeper: Option<Keeper>,
    pending: Vec<Change>,
    /// The last record read, per partition; kept where there is a keeper.
    last: Vec<Option<Anchor>>,
    /// Records read that are not counted yet.
    read: u64,
    has_caught_up: bool,
    began: Instant,
    ticked: Instant,
    trouble: Option<Instant>,
}

impl Loader {
    pub fn new(
        options: &Options,
        settings: &Settings,
        reader: EventReader,
        shared: Arc<Shared>,
        on_readiness: OnReadiness,
    ) -> Self {
        Self {
            topic: options.topic.clone(),
            options: options.clone(),
            settings: settings.clone(),
            reader,
            shared,
            on_readiness,
            keeper: None,
            pending: Vec::with_capacity(BATCH),
            last: Vec::new(),
            read: 0,
            has_caught_up: false,
            began: Instant::now(),
            ticked: Instant::now(),
            trouble: None,
        }
    }

    /// Reads until the joiner stops; `found` hears of the topic once it is there.
    pub fn run(mut self, found: impl FnOnce(TopicInfo)) -> Result<(), JoinerFailure> {
        let Some((info, mut reading)) = self.begin()? else {
            return Ok(());
        };
        found(info);
        while !self.shared.stop.is_cancelled() {
            self.turn(&mut reading)?;
        }
        drop(reading.tail);
        // A stop may come between what is read and what is applied, and the position is that of the former.
        self.apply()?;
        self.end(&reading.catch_up)
    }

    /// Finds the topic and begins to read it; `None` when the joiner stops before Kafka answers.
    fn begin(&mut self) -> Result<Option<(TopicInfo, Reading)>, JoinerFailure> {
        let cluster = Cluster::connect(&self.settings)?;
        let Some((info, offsets)) = self.find_topic(&cluster)? else {
            return Ok(None);
        };
        drop(cluster);
        if let Some(part) = self.shared.part {
            part.check(&self.topic, info.partitions)?;
        }
        let offsets = self.open_store(info, offsets)?;
        let catch_up = CatchUp::new(&offsets);
        self.shared
            .partitions
            .store(info.partitions, Ordering::Relaxed);
        tracing::info!(
            topic = self.topic,
            partitions = info.partitions,
            part = self.shared.part.map(|part| part.partition),
            records = catch_up.left(),
            "reading the primary topic"
        );
        let tail = self.open(&catch_up)?;
        Ok(Some((info, Reading { tail, catch_up })))
    }

    /// Takes what there is.
    fn turn(&mut self, reading: &mut Reading) -> Result<(), JoinerFailure> {
        let Reading { tail, catch_up } = reading;
        if let Some(error) = self.read(tail, catch_up)? {
            if error.is_fatal() {
                self.tell("the reader of the primary topic is made anew", &error);
                *tail = self.open(catch_up)?;
            } else {
                self.recover(tail, catch_up, &error)?;
            }
        }
        self.add_partitions(tail, catch_up)?;
        if let Some(error) = self.shared.disk_failure.lock().take() {
            return Err(self.store_failed(error.into()));
        }
        Ok(())
    }

    /// Flushes what is in memory, so that the next start finds it. Everything that was read has been applied.
    fn end(&mut self, catch_up: &CatchUp) -> Result<(), JoinerFailure> {
        let age = self.age();
        let Some(keeper) = &mut self.keeper else {
            return Ok(());
        };
        let ended = keeper.end(&self.shared.state, &anchored(catch_up, &self.last), &age);
        ended.map_err(|error| self.store_failed(error))
    }

    fn age(&self) -> Age {
        Age {
            now_ms: now_ms(),
            floors: self.shared.floors.lock().clone(),
        }
    }

    fn store_failed(&self, error: KeepError) -> JoinerFailure {
        if let (KeepError::Disk(disk), Some(keeper)) = (&error, &self.keeper)
            && disk.is_damage()
        {
            keeper.condemn(&error);
        }
        JoinerFailure::Store {
            topic: self.topic.clone(),
            words: error.to_string(),
        }
    }

    fn lost_unread(&self, partition: PartitionId, gone: u64) {
        tracing::warn!(
            topic = self.topic,
            partition,
            gone,
            "records left the primary topic before they were read"
        );
    }

    /// Waits for Kafka; `None` when the joiner stops before Kafka answers.
    fn find_topic(&mut self, cluster: &Cluster) -> Result<Option<Found>, JoinerFailure> {
        while !self.shared.stop.is_cancelled() {
            match self.ask(cluster) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {
                    return Err(JoinerFailure::TopicMissing {
                        topic: self.topic.clone(),
                        bootstrap: self.settings.bootstrap.clone(),
                    });
                }
                Err(error) => {
                    (self.on_readiness)(Readiness::NotReady(error.to_string()));
                    tracing::warn!(topic = self.topic, %error, "the primary topic cannot be read yet; trying again");
                    self.pause(RETRY_EVERY);
                }
            }
        }
        Ok(None)
    }

    fn ask(&self, cluster: &Cluster) -> Result<Option<Found>, KafkaError> {
        let Some(info) = cluster.topic(&self.topic)? else {
            return Ok(None);
        };
        let offsets = (0..info.partitions).map(|partition| match self.shared.reads(partition) {
            true => cluster.offsets(&self.topic, partition),
            false => Ok((0, 0)),
        });
        Ok(Some((info, offsets.collect::<Result<_, _>>()?)))
    }

    fn open(&self, catch_up: &CatchUp) -> Result<Tail, KafkaError> {
        Tail::open(
            &self.settings,
            &self.topic,
            &self.starts(catch_up),
            Isolation::ReadCommitted,
        )
    }

    /// Takes what one poll brings. What is left to do about an error is the caller's.
    fn read(
        &mut self,
        tail: &Tail,
        catch_up: &mut CatchUp,
    ) -> Result<Option<KafkaError>, JoinerFailure> {
        // What has been read is not kept waiting for more.
        let timeout = match self.pending.is_empty() {
            true => POLL,
            false => Duration::ZERO,
        };
        let mut failed = None;
        match tail.poll(timeout) {
            Polled::Record(record) => {
                if catch_up.read(record.partition(), record.offset()) {
                    self.read += 1;
                    self.take(&record)?;
                }
                if self.pending.len() < BATCH {
                    return Ok(None);
                }
            }
            Polled::EndOfPartition(partition) => catch_up.reached(partition),
            Polled::Idle => {}
            Polled::Failed(error) => failed = Some(error),
        }
        self.apply()?;
        self.keep(catch_up)?;
        self.tick(catch_up);
        Ok(failed)
    }

    /// Reads one record. Malformed ones are counted, told and passed over.
    fn take(&mut self, record: &Record<'_>) -> Result<(), JoinerFailure> {
        let place = Place {
            kafka_ts: record.timestamp_ms(),
            partition: record.partition(),
            offset: record.offset(),
        };
        if self.keeper.is_some() {
            let at = place.partition as usize;
            self.last.resize(self.last.len().max(at + 1), None);
            self.last[at] = Some(Anchor::of(place, record.key(), record.value()));
        }
        let headers = match self.reader.reads_headers() {
            true => record.headers(),
            false => Vec::new(),
        };
        let parts = Parts {
            value: record.value().unwrap_or_default(),
            key: record.key(),
            headers: &headers,
        };
        match record.value() {
            Some(_) => match self.reader.read(&parts, place) {
                Ok(event) => {
                    self.check_place(event.key(), place)?;
                    self.pending.push(Change::Upsert(event));
                }
                Err(error) => self.malformed(place, &error.to_string()),
            },
            None if !self.reader.has_id() => {
                metrics::counter!("rtf_joiner_tombstones_ignored_total").increment(1);
            }
            None => match self.reader.deleted(&parts) {
                Ok(Some(id)) => self.pending.push(Change::Delete {
                    id: id.as_ref().into(),
                    place,
                }),
                Ok(None) => self.malformed(place, "it has neither key nor value"),
                Err(error) => self.malformed(place, &error.to_string()),
            },
        }
        Ok(())
    }

    /// Where partitions have readers of their own, a key's primaries must stand in the key's partition: else nobody could say that it has none.
    fn check_place(&self, key: &[u8], place: Place) -> Result<(), JoinerFailure> {
        let Some(Part { partitions, .. }) = self.shared.part else {
            return Ok(());
        };
        let belongs = partition_of(key, partitions);
        if belongs == place.partition {
            return Ok(());
        }
        metrics::counter!("rtf_joiner_misplaced_total").increment(1);
        Err(JoinerFailure::Misplaced {
            topic: self.topic.clone(),
            partition: place.partition,
            offset: place.offset,
            key: String::from_utf8_lossy(key).into_owned(),
            belongs,
            partitions,
        })
    }

    fn malformed(&self, place: Place, words: &str) {
        metrics::counter!("rtf_joiner_malformed_total").increment(1);
        let count = self.shared.malformed.fetch_add(1, Ordering::Relaxed) + 1;
        if count <= MALFORMED_SHOWN || count.is_multiple_of(MALFORMED_SHOWN_EVERY) {
            tracing::warn!(
                topic = self.topic,
                partition = place.partition,
                offset = place.offset,
                words,
                count,
                "a primary record could not be read and is passed over"
            );
        }
    }

    fn apply(&mut self) -> Result<(), JoinerFailure> {
        metrics::counter!("rtf_joiner_records_read_total")
            .increment(std::mem::take(&mut self.read));
        if self.pending.is_empty() {
            return Ok(());
        }
        let located = match &self.keeper {
            Some(keeper) => keeper.locate(&self.pending),
            None => Ok(vec![None; self.pending.len()]),
        };
        let located = located.map_err(|error| self.store_failed(error))?;
        let mut woken = Vec::new();
        let changes = self.pending.drain(..).zip(located);
        let mut state = self.shared.state.write();
        let applied = state.apply(changes, now_ms(), &mut woken);
        drop(state);
        self.shared.wake(woken);
        applied.map_err(|Full { events, limit }| JoinerFailure::StoreFull {
            topic: self.topic.clone(),
            events,
            limit,
        })
    }

    /// Everything that was read has been applied.
    fn keep(&mut self, catch_up: &CatchUp) -> Result<(), JoinerFailure> {
        let age = self.age();
        let Some(keeper) = &mut self.keeper else {
            return Ok(());
        };
        let kept = keeper.keep(&self.shared.state, &anchored(catch_up, &self.last), &age);
        kept.map_err(|error| self.store_failed(error))
    }

    /// What is done now and then, or as soon as there is news.
    fn tick(&mut self, catch_up: &CatchUp) {
        let is_new = catch_up.is_done() && !self.has_caught_up;
        if is_new {
            self.caught_up();
        }
        if !is_new && self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        *self.shared.positions.lock() = positions(catch_up);
        metrics::gauge!("rtf_joiner_catch_up_records").set(catch_up.left() as f64);
        let now = now_ms();
        while self.shared.state.write().sweep(now) {}
        if !catch_up.is_done() {
            (self.on_readiness)(Readiness::NotReady(format!(
                "reading topic `{}`: about {} records to go",
                self.topic,
                catch_up.left()
            )));
        }
    }

    fn caught_up(&mut self) {
        self.has_caught_up = true;
        self.shared.caught_up();
        (self.on_readiness)(Readiness::Ready);
        let state = self.shared.state.read();
        tracing::info!(
            topic = self.topic,
            part = self.shared.part.map(|part| part.partition),
            events = state.store.len(),
            bytes = state.store.bytes(),
            ms = self.began.elapsed().as_millis(),
            "the event store has caught up"
        );
    }

    /// Brings a reader back that cannot go on from where it is.
    fn recover(
        &mut self,
        tail: &Tail,
        catch_up: &mut CatchUp,
        error: &KafkaError,
    ) -> Result<(), JoinerFailure> {
        self.tell("the primary topic cannot be read", error);
        if !matches!(error, KafkaError::OutOfRange { .. }) {
            self.pause(POLL);
            return Ok(());
        }
        while !self.shared.stop.is_cancelled() {
            match self.reposition(tail, catch_up)? {
                Ok(()) => return Ok(tail.assign(&self.starts(catch_up))?),
                Err(error) => {
                    self.tell("the primary topic cannot be read", &error);
                    self.pause(RETRY_EVERY);
                }
            }
        }
        Ok(())
    }

    /// Finds each partition's place again. What retention took before it was read is gone from Kafka as well; but a
    /// partition that became shorter is another one.
    fn reposition(
        &self,
        tail: &Tail,
        catch_up: &mut CatchUp,
    ) -> Result<Result<(), KafkaError>, JoinerFailure> {
        let positions = catch_up.positions().filter(|(p, _)| self.shared.reads(*p));
        let positions: Vec<(PartitionId, Offset)> = positions.collect();
        for (partition, next) in positions {
            let (first, end) = match tail.offsets(partition, OFFSETS_WITHIN) {
                Ok(offsets) => offsets,
                Err(error) => return Ok(Err(error)),
            };
            if next > end {
                return Err(JoinerFailure::Truncated {
                    topic: self.topic.clone(),
                    partition,
                    read: next,
                    end,
                });
            }
            if next < first {
                self.lost_unread(partition, first - next);
                catch_up.jump(partition, first);
            }
        }
        Ok(Ok(()))
    }

    /// Reads partitions that came into being since.
    fn add_partitions(&self, tail: &Tail, catch_up: &mut CatchUp) -> Result<(), KafkaError> {
        let partitions = self.shared.partitions.load(Ordering::Relaxed) as usize;
        if partitions <= catch_up.len() {
            return Ok(());
        }
        tracing::info!(
            topic = self.topic,
            partitions,
            "the primary topic has grown"
        );
        while catch_up.len() < partitions {
            catch_up.add();
        }
        tail.assign(&self.starts(catch_up))
    }

    fn starts(&self, catch_up: &CatchUp) -> Vec<(PartitionId, Start)> {
        let start = |next| match next {
            0 => Start::Beginning,
            next => Start::Offset(next),
        };
        let positions = catch_up.positions().filter(|(p, _)| self.shared.reads(*p));
        positions.map(|(p, next)| (p, start(next))).collect()
    }

    fn tell(&mut self, what: &str, error: &KafkaError) {
        let is_quiet = |told: Instant| told.elapsed() < TROUBLE_EVERY;
        if !self.trouble.is_some_and(is_quiet) {
            self.trouble = Some(Instant::now());
            tracing::warn!(topic = self.topic, %error, "{what}");
        }
    }

    /// Sleeps, but not past a stop.
    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.shared.stop.is_cancelled() && Instant::now() < end {
            std::thread::sleep(POLL);
        }
    }
}

/// The longest look into an empty topic.
#[cfg(feature = "simulation")]
const SIMULATED_POLL: Duration = Duration::from_millis(500);

#[cfg(feature = "simulation")]
impl Loader {
    /// As [`run`](Self::run), as a task: time passes where the thread would wait.
    pub async fn run_simulated(mut self) -> Result<(), JoinerFailure> {
        self.shared.is_simulated.store(true, Ordering::Relaxed);
        let cluster = Cluster::connect(&self.settings)?;
        while self.ask(&cluster).is_err() {
            tokio::time::sleep(RETRY_EVERY).await;
        }
        let Some((_, mut reading)) = self.begin()? else {
            return Ok(());
        };
        while !self.shared.stop.is_cancelled() {
            let before = self.read;
            self.turn(&mut reading)?;
            if self.read == before {
                rtf_kafka::simulated::rest(&self.topic, SIMULATED_POLL).await;
            }
        }
        Ok(())
    }
}

/// The next offset to read, per partition.
fn positions(catch_up: &CatchUp) -> Vec<Offset> {
    catch_up.positions().map(|(_, next)| next).collect()
}

/// The same, with what was read there last.
fn anchored(catch_up: &CatchUp, last: &[Option<Anchor>]) -> Vec<Position> {
    let last = last.iter().copied().chain(std::iter::repeat(None));
    let positions = catch_up.positions().zip(last);
    positions
        .map(|((_, next), last)| Position { next, last })
        .collect()
}
