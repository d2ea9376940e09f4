//! Appending to the join log, under an incarnation that is made anew when its producer breaks.
//!
//! An error of the producer means *unknown*, never *absent* (RULE 2): the record is appended again with the same token under
//! another sequence, and whichever copy comes first in the log wins; the other loses to its own token.

use crate::pending::{Batch, Pending, Slot};
use parking_lot::{Mutex, RwLock};
use rtf_kafka::{AppendError, Appender, AppenderOptions, Deliveries, KafkaError, Settings};
use rtf_proto::control::Control;
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{HEADER_BYTES, Stamp, encode_barrier, encode_control, encode_event};
use rtf_proto::{Incarnation, LogId, PartitionId, Registration, RegistryError, Verdict};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Kafka's own framing of one record, at the most.
const FRAMING_BYTES: usize = 1024;
/// How long to wait for room in the producer before a record of unknown fate is appended again.
const ROOM_POLL: Duration = Duration::from_millis(10);

/// An append of unknown fate. The channel is as bounded as the appends in flight are.
pub type Unknown = (Incarnation, u64);

struct Reports {
    incarnation: Incarnation,
    unknown: mpsc::UnboundedSender<Unknown>,
}

impl Deliveries for Reports {
    /// Not believed: only the tail decides (RULE 1).
    fn delivered(&self, _sequence: u64) {}

    fn unknown(&self, sequence: u64, words: &str) {
        tracing::debug!(
            sequence,
            words,
            "an append's fate is unknown; it is appended again"
        );
        metrics::counter!("rtf_registry_unknown_appends_total").increment(1);
        // Fails only when the replica is gone, and its waiters with it.
        let _ = self.unknown.send((self.incarnation, sequence));
    }
}

/// One life of a producer.
struct Life {
    incarnation: Incarnation,
    appender: Appender<Reports>,
    pending: Mutex<Pending>,
}

/// The writing half of a replica.
pub struct Writer {
    settings: Settings,
    options: AppenderOptions,
    log: LogId,
    partitions: u32,
    life: RwLock<Arc<Life>>,
    unknown: mpsc::UnboundedSender<Unknown>,
}

impl Writer {
    /// Makes the first incarnation; unknown appends are reported on the channel.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(
        settings: Settings,
        options: AppenderOptions,
        log: LogId,
        partitions: u32,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Unknown>), KafkaError> {
        let (unknown, reports) = mpsc::unbounded_channel();
        let life = RwLock::new(new_life(&settings, &options, &unknown)?);
        Ok((
            Self {
                settings,
                options,
                log,
                partitions,
                life,
                unknown,
            },
            reports,
        ))
    }

    /// The present incarnation.
    pub fn incarnation(&self) -> Incarnation {
        self.life.read().incarnation
    }

    /// Appends registrations: question `index` of `batch` each.
    ///
    /// # Errors
    /// Not all were taken; those that were may be in the log.
    pub fn append(
        &self,
        items: impl IntoIterator<Item = (usize, Registration)>,
        batch: &Arc<Batch>,
    ) -> Result<(), RegistryError> {
        let life = self.life.read().clone();
        let mut value = Vec::new();
        for (index, item) in items {
            if self.is_too_large(&item) {
                batch.give(index, Verdict::TooLarge);
                continue;
            }
            let slot = Slot::Event {
                item,
                batch: batch.clone(),
                index,
            };
            match self.send(&life, slot, &mut value) {
                Ok(()) => {}
                Err((AppendError::Full, _)) => return Err(RegistryError::Busy),
                Err((AppendError::TooLarge, _)) => batch.give(index, Verdict::TooLarge),
                Err((AppendError::Fatal(words), _)) => {
                    self.renew(&life, &words);
                    return Err(RegistryError::Unavailable(format!(
                        "the producer failed: {words}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Appends a barrier to one partition.
    pub fn append_barrier(&self, partition: PartitionId) {
        self.append_aside(Slot::Barrier(partition));
    }

    /// Appends something about the log itself; whoever needs it in the log appends it again until it is there.
    pub fn append_control(&self, partition: PartitionId, control: Control) {
        self.append_aside(Slot::Control(partition, control));
    }

    fn append_aside(&self, slot: Slot) {
        let life = self.life.read().clone();
        if let Err((error, _)) = self.send(&life, slot, &mut Vec::new()) {
            tracing::warn!(%error, "a record about the log itself was not taken; it is tried again");
            if let AppendError::Fatal(words) = error {
                self.renew(&life, &words);
            }
        }
    }

    /// A record of ours came back: who waits for it? `None` for records of earlier lives and for ghosts.
    pub fn came_back(&self, incarnation: Incarnation, sequence: u64) -> Option<Slot> {
        let life = self.life.read();
        if life.incarnation != incarnation {
            return None;
        }
        life.pending.lock().take(sequence)
    }

    /// Appends again what is of unknown fate, for as long as somebody waits for it.
    pub async fn append_again(&self, (incarnation, sequence): Unknown) {
        let Some(slot) = self.came_back(incarnation, sequence) else {
            return;
        };
        self.append_slot(slot).await;
        let life = self.life.read().clone();
        if let Some(words) = life.appender.fatal() {
            for slot in self.renew(&life, &words) {
                self.append_slot(slot).await;
            }
        }
    }

    async fn append_slot(&self, mut slot: Slot) {
        let mut value = Vec::new();
        loop {
            if matches!(&slot, Slot::Event { batch, .. } if batch.is_abandoned()) {
                return;
            }
            let life = self.life.read().clone();
            match self.send(&life, slot, &mut value) {
                Ok(()) | Err((AppendError::TooLarge, _)) => return,
                Err((AppendError::Full, back)) => {
                    slot = *back;
                    tokio::time::sleep(ROOM_POLL).await;
                }
                Err((AppendError::Fatal(words), back)) => {
                    // What the broken producer still held is appended by whoever waits for it: its callers try again.
                    self.renew(&life, &words);
                    slot = *back;
                    tokio::time::sleep(ROOM_POLL).await;
                }
            }
        }
    }

    /// Hands one record to the producer; its slot is known before the record can come back.
    fn send(
        &self,
        life: &Life,
        slot: Slot,
        value: &mut Vec<u8>,
    ) -> Result<(), (AppendError, Box<Slot>)> {
        let mut pending = life.pending.lock();
        let sequence = pending.add(slot);
        let stamp = Stamp {
            log: self.log,
            partitions: self.partitions,
            incarnation: life.incarnation,
            sequence,
        };
        let Some(slot) = pending.peek(sequence) else {
            unreachable!("just added")
        };
        let (partition, key) = match slot {
            Slot::Barrier(partition) => {
                encode_barrier(&stamp, value);
                (*partition, None)
            }
            Slot::Control(partition, control) => {
                encode_control(&stamp, control, value);
                (*partition, None)
            }
            Slot::Event { item, .. } => {
                encode_event(&stamp, item, value);
                (
                    partition_of(item.id.as_bytes(), self.partitions),
                    Some(item.id.bytes().clone()),
                )
            }
        };
        drop(pending);
        life.appender
            .append(partition, key.as_deref(), value, sequence)
            .map_err(|error| {
                let slot = life
                    .pending
                    .lock()
                    .take(sequence)
                    .expect("a record that was not taken cannot come back");
                (error, Box::new(slot))
            })
    }

    fn is_too_large(&self, item: &Registration) -> bool {
        HEADER_BYTES + item.id.as_bytes().len() + item.body.len() + FRAMING_BYTES
            > self.options.max_record_bytes
    }

    /// Replaces a broken producer, once, and returns what it had not seen come back.
    fn renew(&self, broken: &Arc<Life>, words: &str) -> Vec<Slot> {
        let mut life = self.life.write();
        if life.incarnation != broken.incarnation {
            return Vec::new();
        }
        match new_life(&self.settings, &self.options, &self.unknown) {
            Ok(new) => {
                tracing::warn!(reason = words, incarnation = %new.incarnation, "the producer of the join log was made anew");
                *life = new;
                broken.pending.lock().drain()
            }
            Err(error) => {
                tracing::error!(%error, "the producer of the join log cannot be made anew");
                Vec::new()
            }
        }
    }

    /// Registrations that were appended and have not come back.
    pub fn events_under_way(&self) -> usize {
        let life = self.life.read().clone();
        let pending = life.pending.lock();
        pending.events()
    }

    /// Waits until nothing is under way, at the most for `timeout`. Blocking.
    pub fn flush(&self, timeout: Duration) {
        let life = self.life.read().clone();
        life.appender.flush(timeout);
    }
}

fn new_life(
    settings: &Settings,
    options: &AppenderOptions,
    unknown: &mpsc::UnboundedSender<Unknown>,
) -> Result<Arc<Life>, KafkaError> {
    let incarnation = Incarnation::fresh();
    let reports = Reports {
        incarnation,
        unknown: unknown.clone(),
    };
    let appender = Appender::open(settings, options, reports)?;
    Ok(Arc::new(Life {
        incarnation,
        appender,
        pending: Mutex::default(),
    }))
}
