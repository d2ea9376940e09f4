//! Parked events are woken by their key: reads a retry topic ahead of its time, remembers which key waits where, and has those joined at once whose
//! key arrives. On an OS thread of its own, one for each retry topic.
//!
//! What was parked before it began to listen, by it or by another, is looked for once: the partner may have come in between, and a joiner that was restarted
//! learns which keys are wanted. So it begins anew when a joiner is listened to anew.
//!
//! It owns nothing and moves no position. What it has joined is found resolved when it comes back in its time; what it misses, a wake-up that was lost or a key
//! of which the joiner no longer knows that it is wanted, comes back in its time too.

use crate::engine::Engine;
use crate::intake::Intake;
use crate::key_index::KeyIndex;
use crate::parked::Parked;
use crate::recent::Recent;
use crate::{Answers, Done, Epoch, Flight, Mark, Options, Place};
use metrics::gauge;
use parking_lot::Mutex;
use rtf_kafka::{Cluster, Isolation, KafkaError, Polled, Settings, Start, Tail, TopicInfo};
use rtf_proto::{JoinKey, Offset, Original, PartitionId, Source};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Batches of keys that may wait to be looked for; further ones are lost, and their events come back in their time.
const KEY_BATCHES: usize = 256;
/// Events of one key that are woken at once.
const WOKEN_AT_ONCE: usize = 10_000;
/// A look for a record to be indexed: a wake-up waits no longer.
const POLL: Duration = Duration::from_millis(20);
/// Records indexed between two looks at what was woken.
const INDEXED_AT_ONCE: usize = 5_000;
/// Between two looks at what is assigned.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two looks whether the topic is there, and after trouble.
const REST: Duration = Duration::from_secs(1);
/// What was woken is read for so long, then there is another look at what else there is to do.
const FETCH_FOR: Duration = Duration::from_secs(1);
/// Records between two wanted ones that are rather read than skipped: a jump costs as much time as reading some thousands.
const READ_THROUGH: u64 = 5_000;
/// Woken events that are still to be read; further ones come back in their time.
const WANTED_MAX: usize = 1_000_000;

/// Where the listener puts the keys that arrived.
pub(crate) type Keys = SyncSender<Arc<Vec<JoinKey>>>;

/// The thread of one retry topic.
pub(crate) struct Waker {
    engine: Arc<Engine>,
    intake: Intake,
    index: Arc<Mutex<KeyIndex>>,
    keys: Receiver<Arc<Vec<JoinKey>>>,
    topic: Arc<str>,
    group: String,
    batch: usize,
    settings: Settings,
    halt: CancellationToken,
    recent: Recent,
    /// Of each assigned partition, what is indexed next.
    next: BTreeMap<PartitionId, Offset>,
    /// And what was parked before it was listened to, so that it has to be looked for.
    old: BTreeMap<PartitionId, Offset>,
    /// How often a joiner was listened to anew.
    listened: Arc<AtomicU64>,
    heard: u64,
    looked_at: Option<Instant>,
    fetcher: Option<Tail>,
    /// Where those are parked that were woken and are not read yet.
    wanted: BTreeSet<(PartitionId, Offset)>,
    collect: Duration,
    /// Events that wait for further partners, and until when.
    collecting: Mutex<VecDeque<(Instant, Flight)>>,
}

impl Waker {
    /// A waker beside the reader of the same retry topic, whose machine is `engine`.
    pub fn new(
        engine: Arc<Engine>,
        intake: Intake,
        index: Arc<Mutex<KeyIndex>>,
        options: &Options,
        settings: Settings,
        listened: Arc<AtomicU64>,
        halt: CancellationToken,
    ) -> (Self, Keys) {
        let (tell, keys) = sync_channel(KEY_BATCHES);
        let waker = Self {
            engine,
            intake,
            index,
            keys,
            topic: options.topic.as_str().into(),
            group: options.group.clone(),
            batch: options.batch.max(1),
            settings,
            halt,
            recent: Recent::default(),
            next: BTreeMap::new(),
            old: BTreeMap::new(),
            listened,
            heard: 0,
            looked_at: None,
            fetcher: None,
            wanted: BTreeSet::new(),
            collect: options.collect,
            collecting: Mutex::default(),
        };
        (waker, tell)
    }

    /// Works until halted; after trouble it begins anew.
    pub fn run(mut self) {
        let mut cluster = None;
        while !self.halt.is_cancelled() {
            if let Err(error) = self.work(&mut cluster) {
                tracing::debug!(topic = %self.topic, %error, "parked events are not woken for a moment");
            }
            self.forget();
            self.rest();
        }
    }

    fn forget(&mut self) {
        let mut index = self.index.lock();
        std::mem::take(&mut self.next)
            .keys()
            .for_each(|p| index.close(*p));
        self.looked_at = None;
        self.fetcher = None;
        self.wanted.clear();
        // They come back in their time.
        self.collecting.lock().clear();
    }

    fn rest(&self) {
        let end = Instant::now() + REST;
        while Instant::now() < end && !self.halt.is_cancelled() {
            std::thread::sleep(POLL);
            // Nobody is waited for here.
            while self.keys.try_recv().is_ok() {}
        }
    }

    /// Returns when it is to begin anew, with the same client.
    fn work(&mut self, cluster: &mut Option<Cluster>) -> Result<(), KafkaError> {
        let cluster = match cluster {
            Some(cluster) => cluster,
            none => none.insert(Cluster::connect(&self.settings)?),
        };
        let Some(info) = cluster.topic(&self.topic)? else {
            return Ok(());
        };
        let tail = Tail::open(&self.settings, &self.topic, &[], Isolation::ReadUncommitted)?;
        self.heard = self.listened.load(Ordering::Relaxed);
        let keys = gauge!("rtf_dispatcher_parked_keys", "topic" => self.topic.to_string());
        // Until somebody listens nothing can be woken.
        while !self.halt.is_cancelled() && self.heard > 0 {
            if self.listened.load(Ordering::Relaxed) != self.heard {
                return Ok(());
            }
            self.follow_assignment(cluster, &tail)?;
            let mut flights = self.index(&tail, &info)?;
            keys.set(self.index.lock().len() as f64);
            self.note_woken();
            if !self.wanted.is_empty() {
                flights.extend(self.fetch(&info)?);
            }
            flights.extend(self.collected());
            if !self.join(flights) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads what the reader reads too, from where that will go on.
    fn follow_assignment(&mut self, cluster: &Cluster, tail: &Tail) -> Result<(), KafkaError> {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        self.looked_at = Some(Instant::now());
        let assigned: BTreeSet<PartitionId> = self.engine.core().assignment().into_iter().collect();
        if self.next.keys().eq(&assigned) {
            return Ok(());
        }
        let new: Vec<_> = assigned
            .iter()
            .filter(|p| !self.next.contains_key(p))
            .copied()
            .collect();
        let committed: BTreeMap<_, _> = match new.is_empty() {
            true => BTreeMap::new(),
            false => cluster
                .committed(&self.group, &self.topic)?
                .into_iter()
                .collect(),
        };
        let mut index = self.index.lock();
        let gone: Vec<_> = self
            .next
            .keys()
            .filter(|p| !assigned.contains(p))
            .copied()
            .collect();
        for partition in gone {
            self.next.remove(&partition);
            self.wanted.retain(|(wanted, _)| *wanted != partition);
            index.close(partition);
        }
        for partition in new {
            let (first, end) = cluster.offsets(&self.topic, partition)?;
            self.old.insert(partition, end);
            let committed = committed.get(&partition).copied().flatten();
            let from = committed.unwrap_or_default().max(first);
            self.next.insert(partition, from);
            index.open(partition, from);
        }
        drop(index);
        let starts = self.next.iter();
        let starts: Vec<_> = starts.map(|(p, next)| (*p, Start::Offset(*next))).collect();
        tail.assign(&starts)
    }

    /// Indexes what there is. What is to be looked for at once is given back: what is old, and what was woken a moment ago, before it could be read here.
    fn index(&mut self, tail: &Tail, info: &TopicInfo) -> Result<Vec<Flight>, KafkaError> {
        let mut woken = Vec::new();
        let mut patience = POLL;
        for _ in 0..INDEXED_AT_ONCE {
            match tail.poll(patience) {
                Polled::Record(record) => {
                    patience = Duration::ZERO;
                    let (partition, offset) = (record.partition(), record.offset());
                    let Some(next) = self.next.get_mut(&partition) else {
                        continue;
                    };
                    *next = offset + 1;
                    let headers = record.headers();
                    let Some(key) = Parked::key_of(&headers) else {
                        continue;
                    };
                    let is_old = self.old.get(&partition).is_some_and(|end| offset < *end);
                    let was_woken = || {
                        self.recent
                            .woken_since(&JoinKey::new(key.to_vec()), Mark::default())
                    };
                    if is_old || was_woken() {
                        woken.extend(self.flight(partition, offset, record.original(), info));
                    }
                    self.index.lock().insert(partition, offset, key);
                }
                Polled::EndOfPartition(_) => {}
                Polled::Idle => break,
                Polled::Failed(error) => return Err(error),
            }
        }
        Ok(woken)
    }

    /// Notes where those are parked that wait for keys that have arrived.
    fn note_woken(&mut self) {
        while let Ok(keys) = self.keys.try_recv() {
            self.recent.note(&keys, self.engine.shared().now());
            let mut index = self.index.lock();
            for key in keys.iter() {
                let room = WANTED_MAX.saturating_sub(self.wanted.len());
                let places = index.take(key.as_bytes(), WOKEN_AT_ONCE.min(room));
                self.wanted.extend(places);
            }
        }
    }

    /// Reads parked records, in as few strides as they lie; what there was no time for is read the next time.
    fn fetch(&mut self, info: &TopicInfo) -> Result<Vec<Flight>, KafkaError> {
        let fetcher = match self.fetcher.take() {
            Some(fetcher) => fetcher,
            None => Tail::open(&self.settings, &self.topic, &[], Isolation::ReadUncommitted)?,
        };
        let mut wanted = std::mem::take(&mut self.wanted);
        let deadline = Instant::now() + FETCH_FOR;
        let mut flights = Vec::new();
        while !wanted.is_empty() && Instant::now() < deadline && !self.halt.is_cancelled() {
            let firsts = first_of_each(&wanted);
            let starts: Vec<_> = firsts
                .iter()
                .map(|(p, o)| (*p, Start::Offset(*o)))
                .collect();
            fetcher.assign(&starts)?;
            let mut reading: BTreeSet<PartitionId> = firsts.into_keys().collect();
            while !reading.is_empty() && Instant::now() < deadline {
                match fetcher.poll(POLL) {
                    Polled::Record(record) => {
                        let (partition, offset) = (record.partition(), record.offset());
                        if wanted.remove(&(partition, offset)) {
                            let record = record.original();
                            flights.extend(self.flight(partition, offset, record, info));
                        }
                        // What retention took is not there any more.
                        drop_below(&mut wanted, partition, offset);
                        let next = wanted.range((partition, offset)..).next();
                        let goes_on = next
                            .is_some_and(|(p, o)| *p == partition && *o <= offset + READ_THROUGH);
                        if !goes_on {
                            reading.remove(&partition);
                        }
                    }
                    Polled::EndOfPartition(partition) => {
                        drop_below(&mut wanted, partition, Offset::MAX);
                        reading.remove(&partition);
                    }
                    Polled::Idle => {}
                    Polled::Failed(error) => return Err(error),
                }
            }
        }
        fetcher.assign(&[])?;
        self.fetcher = Some(fetcher);
        self.wanted = wanted;
        Ok(flights)
    }

    fn flight(
        &self,
        partition: PartitionId,
        offset: Offset,
        record: Original,
        info: &TopicInfo,
    ) -> Option<Flight> {
        let source = Source {
            topic: Arc::clone(&self.topic),
            topic_id: info.id,
            partition,
            offset,
        };
        // No machine knows of it, so its epoch is nobody's.
        let place = Place {
            partition,
            epoch: Epoch::default(),
            offset,
        };
        let now = self.engine.shared().now();
        let (_, flight) = self.intake.returned(place, source, record, now)?;
        Some(Flight {
            collected: self.collect.is_zero(),
            ..flight
        })
    }

    /// Events that have waited for further partners.
    fn collected(&self) -> Vec<Flight> {
        let now = Instant::now();
        let mut collecting = self.collecting.lock();
        let due = collecting.partition_point(|(until, _)| *until <= now);
        let due = collecting.drain(..due);
        let collected = |(_, flight)| Flight {
            collected: true,
            ..flight
        };
        due.map(collected).collect()
    }

    /// Has them joined; those that find nobody after all are indexed again. False when it was stopped.
    fn join(&self, mut flights: Vec<Flight>) -> bool {
        while !flights.is_empty() {
            let rest = flights.split_off(flights.len().min(self.batch));
            if !self
                .engine
                .carry_aside(flights, |answers| self.answered(answers))
            {
                return false;
            }
            flights = rest;
        }
        true
    }

    fn answered(&self, answers: Answers) {
        let mut tally = self.engine.shared().woken.lock();
        for landed in answers.done {
            // Somebody else was quicker, or an earlier wake-up: nothing that would have to be counted.
            if !matches!(landed.done, Done::AlreadyResolved | Done::Wasted) {
                tally.count(landed.done);
                tally.wakeups += 1;
            }
        }
        drop(tally);
        let until = Instant::now() + self.collect;
        let collecting = answers.collecting.into_iter();
        let collecting = collecting.map(|flight| (until, flight));
        self.collecting.lock().extend(collecting);
        let mut index = self.index.lock();
        for flight in answers.not_found {
            if let Some(key) = flight.subject.key() {
                let Place {
                    partition, offset, ..
                } = flight.place;
                index.insert(partition, offset, key.as_bytes());
            }
        }
    }
}

/// The first wanted offset of each partition.
fn first_of_each(wanted: &BTreeSet<(PartitionId, Offset)>) -> BTreeMap<PartitionId, Offset> {
    // The last one put in stays.
    wanted.iter().rev().copied().collect()
}

fn drop_below(
    wanted: &mut BTreeSet<(PartitionId, Offset)>,
    partition: PartitionId,
    offset: Offset,
) {
    let below: Vec<_> = wanted
        .range((partition, 0)..(partition, offset))
        .copied()
        .collect();
    for place in below {
        wanted.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_begin_with_the_first_of_each_partition() {
        let mut wanted = BTreeSet::from([(1, 5), (1, 9), (2, 0), (2, 7), (3, 3)]);
        assert_eq!(
            first_of_each(&wanted),
            BTreeMap::from([(1, 5), (2, 0), (3, 3)])
        );
        drop_below(&mut wanted, 1, 9);
        drop_below(&mut wanted, 3, Offset::MAX);
        assert_eq!(wanted, BTreeSet::from([(1, 9), (2, 0), (2, 7)]));
    }
}
