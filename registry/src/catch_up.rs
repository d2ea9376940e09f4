//! Carrying a reader from where it is to where the recent records begin: from Kafka, by offset.
//!
//! Which records of the log were accepted need not be decided again: the blocks hold the winners' offsets in order.

use crate::handle::Shared;
use crate::log_topic::MAX_RECORD_BYTES;
use crate::recent::{BATCH_BYTES, BATCH_RECORDS};
use bytes::Bytes;
use rtf_kafka::{Isolation, Polled, Record, Start, Tail};
use rtf_proto::record::{Content, decode};
use rtf_proto::{Accepted, AcceptedBatch, Offset, PartitionId, RegistryError};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Catch-ups at once in a replica; more wait.
pub const AT_ONCE: usize = 4;
const POLL: Duration = Duration::from_millis(100);
/// A winner known to the index must be readable within this.
const STALLED_AFTER: Duration = Duration::from_secs(20);
const QUESTION: Duration = Duration::from_secs(10);

type Batches = mpsc::Sender<Result<AcceptedBatch, RegistryError>>;

/// Sends everything accepted from `from` on until the recent records take over. Blocking; ends early when nobody listens.
pub fn run(shared: &Shared, partition: PartitionId, from: Offset, batches: &Batches) {
    if let Err(error) = carry(shared, partition, from, batches) {
        // A reader that went away needs no error.
        let _ = batches.blocking_send(Err(error));
    }
}

fn carry(
    shared: &Shared,
    partition: PartitionId,
    from: Offset,
    batches: &Batches,
) -> Result<(), RegistryError> {
    let mut cursor = Cursor {
        next: from,
        hint: 0,
        winners: VecDeque::new(),
    };
    cursor.refill(shared, partition)?;
    if cursor.winners.is_empty() {
        // Nothing was accepted between here and the recent records.
        let next = shared.recent.start(partition);
        let _ = batches.blocking_send(Ok(AcceptedBatch {
            records: Vec::new(),
            next,
        }));
        return Ok(());
    }
    let tail = open(shared, partition, from)?;
    let mut last_progress = Instant::now();
    while cursor.next < shared.recent.start(partition) {
        let batch = cursor.collect(shared, partition, &tail)?;
        if batch.next > from && (batch.next > cursor.next || !batch.records.is_empty()) {
            last_progress = Instant::now();
        } else if last_progress.elapsed() > STALLED_AFTER {
            let words = format!(
                "partition {partition} gives no record at offset {}",
                cursor.next
            );
            return Err(RegistryError::Unavailable(words));
        }
        cursor.next = batch.next;
        if batches.blocking_send(Ok(batch)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn open(shared: &Shared, partition: PartitionId, from: Offset) -> Result<Tail, RegistryError> {
    let unavailable = |e: rtf_kafka::KafkaError| RegistryError::Unavailable(e.to_string());
    let start = if from == 0 {
        Start::Beginning
    } else {
        Start::Offset(from)
    };
    let tail = Tail::open(
        &shared.settings,
        &shared.topic,
        &[(partition, start)],
        Isolation::ReadUncommitted,
    )
    .map_err(unavailable)?;
    let (first, _) = tail.offsets(partition, QUESTION).map_err(unavailable)?;
    if from != 0 && from < first {
        return Err(RegistryError::OutOfRange {
            partition,
            asked: from,
            first,
        });
    }
    Ok(tail)
}

struct Cursor {
    next: Offset,
    hint: u32,
    winners: VecDeque<Offset>,
}

impl Cursor {
    fn refill(&mut self, shared: &Shared, partition: PartitionId) -> Result<(), RegistryError> {
        let offsets = shared
            .memory(partition)
            .read()
            .winners_from(self.next, &mut self.hint);
        self.winners = offsets
            .map_err(|e| RegistryError::Unavailable(e.to_string()))?
            .into();
        Ok(())
    }

    /// Reads until a batch is full or nothing comes.
    fn collect(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        tail: &Tail,
    ) -> Result<AcceptedBatch, RegistryError> {
        let mut batch = AcceptedBatch {
            records: Vec::new(),
            next: self.next,
        };
        let mut bytes = 0;
        while batch.records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match tail.poll(POLL) {
                Polled::Record(record) if record.offset() < batch.next => {}
                Polled::Record(record) => {
                    batch.next = record.offset() + 1;
                    if self.is_winner(shared, partition, record.offset(), batch.next)? {
                        let accepted = accepted(&record)?;
                        bytes += accepted.body.len();
                        batch.records.push(accepted);
                    }
                    if batch.next >= shared.recent.start(partition) {
                        break;
                    }
                }
                Polled::EndOfPartition(_) | Polled::Idle => break,
                Polled::Failed(error) => return Err(RegistryError::Unavailable(error.to_string())),
            }
        }
        Ok(batch)
    }

    fn is_winner(
        &mut self,
        shared: &Shared,
        partition: PartitionId,
        offset: Offset,
        next: Offset,
    ) -> Result<bool, RegistryError> {
        while self.winners.front().is_some_and(|winner| *winner < offset) {
            self.winners.pop_front();
        }
        if self.winners.is_empty() {
            self.next = next - 1;
            self.refill(shared, partition)?;
        }
        Ok(self.winners.front() == Some(&offset))
    }
}

fn accepted(record: &Record<'_>) -> Result<Accepted, RegistryError> {
    let broken = |words: &dyn std::fmt::Display| {
        RegistryError::Refused(format!(
            "partition {} offset {}: {words}",
            record.partition(),
            record.offset()
        ))
    };
    let value = record.value().unwrap_or_default();
    assert!(
        value.len() <= MAX_RECORD_BYTES * 2,
        "the topic's limit was checked"
    );
    match decode(record.key(), record.value())
        .map_err(|e| broken(&e))?
        .content
    {
        Content::Event(event) => Ok(Accepted {
            offset: record.offset(),
            log_ts: record.timestamp_ms(),
            later_ts: event.later_ts,
            outcome: event.outcome,
            body: Bytes::copy_from_slice(event.body),
        }),
        Content::Barrier => Err(broken(&"a barrier where a winner was remembered")),
    }
}
