//! A join log in memory that says of itself what a registry would say.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use rtf_proto::record::Body;
use rtf_proto::row::{self, RowParts};
use rtf_proto::{
    Accepted, AcceptedBatch, AcceptedStream, EventId, JoinKey, Known, LogId, LookupItem, Offset,
    Original, Outcome, Outcomes, PartitionId, Reason, Registration, Registry, RegistryError,
    RegistryPartition, RegistryStatus, TopicId, Verdict,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Records handed out at once.
const BATCH: usize = 400;

#[derive(Default)]
struct Partition {
    accepted: BTreeMap<Offset, Accepted>,
    first: Offset,
    end: Offset,
}

/// The log; cheap to clone.
#[derive(Clone)]
pub struct TestLog {
    pub id: LogId,
    roots: u32,
    partitions: Arc<Mutex<Vec<Partition>>>,
    changed: watch::Sender<u64>,
    /// Why nobody gets anything, if so.
    away: Arc<Mutex<Option<RegistryError>>>,
}

impl TestLog {
    /// An empty log; each partition begins with a barrier.
    pub fn new(id: u8, partitions: u32) -> Self {
        let barrier = || Partition {
            end: 1,
            ..Default::default()
        };
        Self {
            id: TopicId([id; 16]),
            roots: partitions,
            partitions: Arc::new(Mutex::new((0..partitions).map(|_| barrier()).collect())),
            changed: watch::Sender::new(0),
            away: Arc::default(),
        }
    }

    /// A split gives it more partitions; fewer is what a replica says that lags behind.
    pub fn split(&self, partitions: u32) {
        let barrier = || Partition {
            end: 1,
            ..Default::default()
        };
        self.partitions
            .lock()
            .resize_with(partitions as usize, barrier);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Appends an event that was resolved so, and somebody's record that is no event every seventh time.
    pub fn resolve(&self, partition: PartitionId, outcome: Outcome, filler: usize) {
        let mut partitions = self.partitions.lock();
        let log = &mut partitions[partition as usize];
        let offset = log.end;
        let accepted = Accepted {
            offset,
            log_ts: 1000 + offset as i64,
            later_ts: 900,
            outcome,
            source: ((TopicId([9; 16]), 3), offset),
            body: body(partition, offset, outcome, filler),
        };
        log.accepted.insert(offset, accepted);
        log.end += if offset.is_multiple_of(7) { 2 } else { 1 };
        drop(partitions);
        self.changed.send_modify(|n| *n += 1);
    }

    pub fn join(&self, partition: PartitionId, count: usize) {
        for _ in 0..count {
            self.resolve(partition, Outcome::Joined, 20);
        }
    }

    /// Puts a body into the log that is none.
    pub fn spoil(&self, partition: PartitionId) {
        self.resolve(partition, Outcome::Unjoinable(Reason::TimedOut), 0);
        let mut partitions = self.partitions.lock();
        let mut last = partitions[partition as usize]
            .accepted
            .last_entry()
            .unwrap();
        last.get_mut().body = Bytes::from_static(b"broken");
    }

    /// Retention takes what is below `first`.
    pub fn retain_from(&self, partition: PartitionId, first: Offset) {
        let mut partitions = self.partitions.lock();
        let log = &mut partitions[partition as usize];
        log.accepted = log.accepted.split_off(&first);
        log.first = first;
    }

    pub fn set_away(&self, error: Option<RegistryError>) {
        *self.away.lock() = error;
        self.changed.send_modify(|n| *n += 1);
    }

    /// Offsets of all that was accepted, with what a sink must show of each.
    pub fn rows(&self, partition: PartitionId, unjoinable: bool) -> Vec<(Offset, String)> {
        let partitions = self.partitions.lock();
        let wanted = |outcome: Outcome| match outcome {
            Outcome::Joined => true,
            Outcome::Unjoinable(_) => unjoinable,
            Outcome::Malformed => false,
        };
        let accepted = partitions[partition as usize].accepted.values();
        accepted
            .filter(|accepted| wanted(accepted.outcome))
            .map(|accepted| {
                let open = Body::decode(accepted.outcome, accepted.body.clone()).unwrap();
                let row = row::close(
                    open.row().unwrap(),
                    accepted.log_ts,
                    accepted.offset,
                    partition,
                );
                (accepted.offset, String::from_utf8(row).unwrap())
            })
            .collect()
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Result<Option<AcceptedBatch>, RegistryError> {
        if let Some(error) = &*self.away.lock() {
            return Err(error.clone());
        }
        let partitions = self.partitions.lock();
        let log = &partitions[partition as usize];
        if from != 0 && from < log.first {
            return Err(RegistryError::OutOfRange {
                partition,
                asked: from,
                first: log.first,
            });
        }
        if from >= log.end {
            return Ok(None);
        }
        let records: Vec<Accepted> = log
            .accepted
            .range(from..)
            .take(BATCH)
            .map(|(_, accepted)| accepted.clone())
            .collect();
        let next = match records.last() {
            Some(last) if records.len() == BATCH => last.offset + 1,
            _ => log.end,
        };
        Ok(Some(AcceptedBatch { records, next }))
    }
}

fn body(partition: PartitionId, offset: Offset, outcome: Outcome, filler: usize) -> Bytes {
    let (id, key) = (
        EventId::from(format!("event {partition} {offset}")),
        JoinKey::from("Austin"),
    );
    let foreign = format!("{{\"text\":\"{}\"}}", "y".repeat(filler));
    let row = row::open(&RowParts {
        id: &id,
        key: &key,
        outcome,
        foreign: foreign.as_bytes(),
        primary: &[],
        foreign_ts: 5,
        primary_ts: None,
        attempts: 1,
    });
    let body = match outcome {
        Outcome::Joined => Body::Joined { row },
        Outcome::Unjoinable(_) => Body::Unjoinable {
            row,
            attempts: 3,
            first_seen_ms: 4,
            original: Original::default(),
        },
        Outcome::Malformed => Body::Malformed {
            words: "no JSON".into(),
            original: Original::default(),
        },
    };
    body.encode()
}

#[async_trait]
impl Registry for TestLog {
    async fn register(&self, _: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        unreachable!("a publisher registers nothing")
    }

    async fn lookup(&self, _: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        unreachable!("a publisher looks nothing up")
    }

    async fn progress(&self, _: Vec<(rtf_proto::SourceId, u64)>) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn tail(
        &self,
        partition: PartitionId,
        from: Offset,
        _: Outcomes,
    ) -> Result<AcceptedStream, RegistryError> {
        let state = Some((self.clone(), self.changed.subscribe(), from));
        Ok(stream::unfold(state, move |state| async move {
            let (log, mut changed, from) = state?;
            loop {
                changed.mark_unchanged();
                match log.read(partition, from) {
                    Err(error) => return Some((Err(error), None)),
                    Ok(Some(batch)) => {
                        let next = batch.next;
                        return Some((Ok(batch), Some((log, changed, next))));
                    }
                    Ok(None) => changed.changed().await.ok()?,
                }
            }
        })
        .boxed())
    }

    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        if let Some(error @ RegistryError::Unavailable(_)) = &*self.away.lock() {
            return Err(error.clone());
        }
        let partitions = self.partitions.lock();
        let served = (0u32..).zip(partitions.iter());
        Ok(RegistryStatus {
            log: self.id,
            partitions: partitions.len() as u32,
            roots: self.roots,
            incarnation: 1,
            disk_bytes: 0,
            ready: true,
            paused: false,
            served: served
                .map(|(partition, log)| RegistryPartition {
                    partition,
                    applied: log.end,
                    end: log.end,
                    ids: 0,
                    ..RegistryPartition::default()
                })
                .collect(),
        })
    }
}
