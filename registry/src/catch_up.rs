//! Carrying a reader from where it is into the middle of the recent records: from Kafka, by offset.
//!
//! Which records of the log were accepted need not be decided again: the partition remembers which were not.

use crate::database::guarded;
use crate::handle::Shared;
use crate::lanes::Lane;
use crate::recent::{BATCH_BYTES, BATCH_RECORDS};
use bytes::Bytes;
use rtf_kafka::{Isolation, Polled, Record, Start, Tail};
use rtf_proto::record::{Content, DecodeError, decode};
use rtf_proto::{Accepted, AcceptedBatch, Offset, Outcomes, RegistryError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Catch-ups at once in a replica; more wait.
pub const AT_ONCE: usize = 4;
const POLL: Duration = Duration::from_millis(100);
/// Records looked at before the reader is told how far it is, and it is seen whether it still listens, however few of them it wants.
const LOOKED_AT: usize = 20 * BATCH_RECORDS;
/// A winner known to the index must be readable within this.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// A reader behind the recent records takes what it is given within this.
const READER_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const QUESTION: Duration = Duration::from_secs(10);

type Batches = mpsc::Sender<Result<AcceptedBatch, RegistryError>>;

/// One reader's way through what is older than the recent records.
pub struct CatchUp {
    pub shared: Arc<Shared>,
    pub lane: Arc<Lane>,
    pub outcomes: Outcomes,
    /// Where what is read goes.
    pub batches: Batches,
}

impl CatchUp {
    /// Sends everything accepted from `from` on until the recent records take over. Blocking; ends early when nobody listens.
    pub fn run(&self, from: Offset) {
        if let Err(error) = self.carry(from) {
            // A reader that went away needs no error, and one that takes nothing hears its stream end.
            let _ = self.batches.try_send(Err(error));
        }
    }

    fn carry(&self, from: Offset) -> Result<(), RegistryError> {
        let tail = self.open(from)?;
        let (mut next, mut last_progress) = (from, Instant::now());
        while next < self.lane.recent.middle() {
            let Some(batch) = self.more(&tail, &mut next, &mut last_progress)? else {
                continue;
            };
            if !self.send(batch)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What comes next, if it has come; an error when nothing came for too long.
    fn more(
        &self,
        tail: &Tail,
        next: &mut Offset,
        last_progress: &mut Instant,
    ) -> Result<Option<AcceptedBatch>, RegistryError> {
        let batch = self.collect(tail, *next)?;
        if batch.next > *next {
            (*next, *last_progress) = (batch.next, Instant::now());
            return Ok(Some(batch));
        }
        if last_progress.elapsed() <= STALLED_AFTER {
            return Ok(None);
        }
        let words = format!(
            "partition {} gives no record at offset {next}",
            self.lane.partition
        );
        Err(RegistryError::Unavailable(words))
    }

    /// As [`run`](Self::run), as a task: time passes where the thread would wait, and for others as well.
    #[cfg(feature = "simulation")]
    pub async fn run_simulated(&self, from: Offset) {
        if let Err(error) = self.carry_simulated(from).await {
            let _ = self.batches.try_send(Err(error));
        }
    }

    #[cfg(feature = "simulation")]
    async fn carry_simulated(&self, from: Offset) -> Result<(), RegistryError> {
        let tail = self.open(from)?;
        let (mut next, mut last_progress) = (from, Instant::now());
        while next < self.lane.recent.middle() {
            let Some(batch) = self.more(&tail, &mut next, &mut last_progress)? else {
                rtf_kafka::simulated::rest(&self.shared.topic, POLL).await;
                continue;
            };
            let sent = tokio::time::timeout(READER_WITHIN, self.batches.send(Ok(batch))).await;
            match sent {
                Ok(Ok(())) => {}
                // Nobody listens any more.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(self.takes_nothing()),
            }
        }
        Ok(())
    }

    fn takes_nothing(&self) -> RegistryError {
        RegistryError::Unavailable(format!(
            "the reader of partition {} took nothing for {READER_WITHIN:?}",
            self.lane.partition
        ))
    }

    /// Whether somebody still listens. A reader that takes nothing for long gives its place to others, and may ask again.
    fn send(&self, batch: AcceptedBatch) -> Result<bool, RegistryError> {
        let deadline = Instant::now() + READER_WITHIN;
        let mut batch = Ok(batch);
        loop {
            match self.batches.try_send(batch) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Closed(_)) => return Ok(false),
                Err(TrySendError::Full(_)) if Instant::now() > deadline => {
                    return Err(self.takes_nothing());
                }
                Err(TrySendError::Full(back)) => batch = back,
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn open(&self, from: Offset) -> Result<Tail, RegistryError> {
        let (shared, partition) = (&self.shared, self.lane.partition);
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

    /// Reads until a batch is full or nothing comes.
    fn collect(&self, tail: &Tail, from: Offset) -> Result<AcceptedBatch, RegistryError> {
        let end = self.lane.recent.middle();
        let mut batch = AcceptedBatch {
            records: Vec::new(),
            next: from,
        };
        let (mut bytes, mut looked_at) = (0, 0);
        while batch.records.len() < BATCH_RECORDS
            && bytes < BATCH_BYTES
            && looked_at < LOOKED_AT
            && batch.next < end
        {
            let polled = tail.poll(POLL);
            looked_at += usize::from(matches!(polled, Polled::Record(_)));
            match polled {
                Polled::Record(record) if record.offset() < batch.next => {}
                // What comes now is for the recent records; only offsets without a record lay before it.
                Polled::Record(record) if record.offset() >= end => batch.next = end,
                Polled::Record(record) => {
                    batch.next = record.offset() + 1;
                    if let Some(accepted) = self.accepted(&record)? {
                        bytes += accepted.body.len();
                        batch.records.push(accepted);
                    }
                }
                Polled::EndOfPartition(_) | Polled::Idle => break,
                Polled::Failed(error) => return Err(RegistryError::Unavailable(error.to_string())),
            }
        }
        metrics::counter!("rtf_registry_reread_records_total").increment(looked_at as u64);
        Ok(batch)
    }

    /// The record, if it is wanted and won its id.
    fn accepted(&self, record: &Record<'_>) -> Result<Option<Accepted>, RegistryError> {
        let (partition, offset) = (record.partition(), record.offset());
        let event = match decode(record.key(), record.value()) {
            Ok(decoded) => match decoded.content {
                Content::Event(event) => event,
                Content::Barrier | Content::Control(_) => return Ok(None),
            },
            Err(DecodeError::Foreign) => return Ok(None),
            Err(_) if self.shared.skips(partition, offset) => return Ok(None),
            Err(error) => {
                let words = format!("partition {partition} offset {offset}: {error}");
                return Err(RegistryError::Refused(words));
            }
        };
        if !self.outcomes.has(event.outcome) {
            return Ok(None);
        }
        let remembered = self.lane.remembered.read();
        let is_accepted = guarded(|| remembered.is_accepted(offset, event.id));
        let is_accepted = is_accepted.map_err(|error| self.shared.unanswered(error))?;
        Ok(is_accepted.then(|| Accepted {
            offset,
            log_ts: record.timestamp_ms(),
            later_ts: event.later_ts,
            outcome: event.outcome,
            source: event.place(),
            body: Bytes::copy_from_slice(event.body),
        }))
    }
}
