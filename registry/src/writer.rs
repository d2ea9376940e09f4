//! Appending to the join log, under an incarnation that is made anew when its producer breaks.
//!
//! An error of the producer means *unknown*, never *absent* (RULE 2): the record is appended again with the same token under
//! another sequence, and whichever copy comes first in the log wins; the other loses to its own token.

use crate::lanes::{Lanes, Route};
use crate::pending::{Batch, Pending, Slot};
use parking_lot::{Mutex, RwLock};
use rtf_kafka::{AppendError, Appender, AppenderOptions, Deliveries, KafkaError, Settings};
use rtf_proto::control::Control;
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{HEADER_BYTES, Stamp, encode_barrier, encode_control, encode_event};
use rtf_proto::{Incarnation, LogId, PartitionId, Registration, RegistryError, Verdict};
use rtf_service::mutant;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Kafka's own framing of one record, at the most.
const FRAMING_BYTES: usize = 1024;
/// How long to wait for room in the producer before a record of unknown fate is appended again.
const ROOM_POLL: Duration = Duration::from_millis(10);

/// A broker that is well says within this how many partitions a topic has.
const REFRESH_WITHIN: Duration = Duration::from_secs(5);

/// What is to be appended once more. The channel is as bounded as the appends in flight are.
pub enum Again {
    /// An append of unknown fate, by its producer's life and sequence.
    Unknown(Incarnation, u64),
    /// It was not appended yet, or stands where it counts for nothing: its partition was split meanwhile.
    Slot(Slot),
}

struct Reports {
    incarnation: Incarnation,
    again: mpsc::UnboundedSender<Again>,
}

impl Deliveries for Reports {
    /// Not believed: only the tail decides (RULE 1).
    fn delivered(&self, sequence: u64) {
        if mutant::is("ack-on-delivery-report") {
            let _ = self.again.send(Again::Unknown(self.incarnation, sequence));
        }
    }

    fn unknown(&self, sequence: u64, words: &str) {
        tracing::debug!(
            sequence,
            words,
            "an append's fate is unknown; it is appended again"
        );
        metrics::counter!("rtf_registry_unknown_appends_total").increment(1);
        // Fails only when the replica is gone, and its waiters with it.
        let _ = self.again.send(Again::Unknown(self.incarnation, sequence));
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
    lanes: Arc<Lanes>,
    life: RwLock<Arc<Life>>,
    again: mpsc::UnboundedSender<Again>,
}

impl Writer {
    /// Makes the first incarnation; what is to be [appended again](Self::append_again) comes on the channel.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(
        settings: Settings,
        options: AppenderOptions,
        log: LogId,
        lanes: Arc<Lanes>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Again>), KafkaError> {
        let (again, reports) = mpsc::unbounded_channel();
        let life = RwLock::new(new_life(&settings, &options, &again)?);
        Ok((
            Self {
                settings,
                options,
                log,
                lanes,
                life,
                again,
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
                Err((AppendError::UnknownPartition, slot)) => self.append_later(*slot),
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
        match self.send(&life, slot, &mut Vec::new()) {
            Ok(()) => {}
            Err((AppendError::UnknownPartition, slot)) => self.append_later(*slot),
            Err((error, _)) => {
                tracing::warn!(%error, "a record about the log itself was not taken; it is tried again");
                if let AppendError::Fatal(words) = error {
                    self.renew(&life, &words);
                }
            }
        }
    }

    /// Has it appended by whoever runs [`append_again`](Self::append_again).
    pub fn append_later(&self, slot: Slot) {
        // Fails only when the replica is gone, and its waiters with it.
        let _ = self.again.send(Again::Slot(slot));
    }

    /// A record of ours came back: who waits for it? `None` for records of earlier lives and for ghosts.
    pub fn came_back(&self, incarnation: Incarnation, sequence: u64) -> Option<Slot> {
        let life = self.life.read();
        if life.incarnation != incarnation {
            return None;
        }
        life.pending.lock().take(sequence)
    }

    /// Appends it, for as long as somebody waits for it. Gives it back when its partition is not there yet: after a [`refresh`](Self::refresh)
    /// it may be.
    pub async fn append_again(&self, again: Again) -> Option<Slot> {
        let slot = match again {
            Again::Slot(slot) => slot,
            Again::Unknown(incarnation, sequence) => self.came_back(incarnation, sequence)?,
        };
        if (mutant::is("ack-on-delivery-report") || mutant::is("ack-on-time-out"))
            && let Slot::Event { batch, index, item } = &slot
        {
            let count = self.lanes.partitions();
            let partition = partition_of(item.id.as_bytes(), count);
            let end = self.lanes.get(partition).map_or(0, |lane| lane.applied());
            batch.give(*index, Verdict::Registered(end));
            return None;
        }
        let waits = self.append_slot(slot).await;
        let life = self.life.read().clone();
        if let Some(words) = life.appender.fatal() {
            self.renew(&life, &words);
        }
        waits
    }

    async fn append_slot(&self, mut slot: Slot) -> Option<Slot> {
        let mut value = Vec::new();
        loop {
            if matches!(&slot, Slot::Event { batch, .. } if batch.is_abandoned()) {
                return None;
            }
            let life = self.life.read().clone();
            match self.send(&life, slot, &mut value) {
                Ok(()) | Err((AppendError::TooLarge, _)) => return None,
                Err((AppendError::Full, back)) => {
                    slot = *back;
                    tokio::time::sleep(ROOM_POLL).await;
                }
                Err((AppendError::UnknownPartition, back)) => return Some(*back),
                Err((AppendError::Fatal(words), back)) => {
                    self.renew(&life, &words);
                    slot = *back;
                    tokio::time::sleep(ROOM_POLL).await;
                }
            }
        }
    }

    /// Asks the broker for the log's partitions, so that new ones can be appended to. Blocking.
    pub fn refresh(&self) {
        let life = self.life.read().clone();
        if let Err(error) = life.appender.refresh(REFRESH_WITHIN) {
            tracing::debug!(%error, "the log's partitions are not known");
        }
    }

    /// Hands one record to the producer; its slot is known before the record can come back.
    fn send(
        &self,
        life: &Life,
        slot: Slot,
        value: &mut Vec<u8>,
    ) -> Result<(), (AppendError, Box<Slot>)> {
        let Some((partition, partitions)) = self.route(&slot) else {
            return Err((AppendError::UnknownPartition, Box::new(slot)));
        };
        let mut pending = life.pending.lock();
        let sequence = pending.add(slot);
        let stamp = Stamp {
            log: self.log,
            partitions,
            incarnation: life.incarnation,
            sequence,
        };
        let Some(slot) = pending.peek(sequence) else {
            unreachable!("just added")
        };
        let key = match slot {
            Slot::Barrier(_) => {
                encode_barrier(&stamp, value);
                None
            }
            Slot::Control(_, control) => {
                encode_control(&stamp, control, value);
                None
            }
            Slot::Event { item, .. } => {
                encode_event(&stamp, item, value);
                Some(item.id.bytes().clone())
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

    /// The partition, and the count that holds in it; `None` while it is not born.
    fn route(&self, slot: &Slot) -> Option<(PartitionId, u32)> {
        match slot {
            Slot::Barrier(partition) | Slot::Control(partition, _) => {
                Some((*partition, self.lanes.count(*partition)))
            }
            Slot::Event { item, .. } => match self.lanes.route(item.id.as_bytes()) {
                Route::To(partition, count) => Some((partition, count)),
                Route::Unborn => None,
            },
        }
    }

    fn is_too_large(&self, item: &Registration) -> bool {
        HEADER_BYTES + item.id.as_bytes().len() + item.body.len() + FRAMING_BYTES
            > self.options.max_record_bytes
    }

    /// Replaces a broken producer, once; what it had not seen come back is appended again.
    fn renew(&self, broken: &Arc<Life>, words: &str) {
        let mut life = self.life.write();
        if life.incarnation != broken.incarnation {
            return;
        }
        match new_life(&self.settings, &self.options, &self.again) {
            Ok(new) => {
                tracing::warn!(reason = words, incarnation = %new.incarnation, "the producer of the join log was made anew");
                *life = new;
                let held = broken.pending.lock().drain();
                held.into_iter().for_each(|slot| self.append_later(slot));
            }
            Err(error) => {
                tracing::error!(%error, "the producer of the join log cannot be made anew");
            }
        }
    }

    /// Places kept for what has not come back.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.life.read().pending.lock().len()
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
    again: &mpsc::UnboundedSender<Again>,
) -> Result<Arc<Life>, KafkaError> {
    let incarnation = Incarnation::fresh();
    let reports = Reports {
        incarnation,
        again: again.clone(),
    };
    let appender = Appender::open(settings, options, reports)?;
    Ok(Arc::new(Life {
        incarnation,
        appender,
        pending: Mutex::default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::Lineage;
    use crate::remembered::Remembered;
    use crate::store::Store;
    use crate::testing::{LOG, appends, registration};
    use rtf_kafka::{Embedded, Isolation, Polled, Start, Tail};
    use rtf_proto::Token;
    use rtf_proto::record::{Content, decode};
    use std::time::Instant;
    use tempfile::TempDir;
    use tokio::sync::oneshot::error::TryRecvError;

    /// A writer to a log of one partition, with nobody who reads it.
    struct Alone {
        broker: Embedded,
        writer: Writer,
        again: mpsc::UnboundedReceiver<Again>,
        _folder: TempDir,
    }

    fn alone() -> Alone {
        let broker = Embedded::start().unwrap();
        broker.create_topic("t", 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "t", LOG).unwrap();
        let lanes = Arc::new(Lanes::new(1, None));
        lanes.add(
            0,
            Remembered::fresh(0, Lineage::root(1), &store).unwrap(),
            0,
        );
        let (writer, again) = Writer::open(broker.settings(), appends(), LOG, lanes).unwrap();
        Alone {
            broker,
            writer,
            again,
            _folder: folder,
        }
    }

    impl Alone {
        fn flush(&self) {
            self.writer.flush(Duration::from_secs(10));
        }

        /// Incarnation, sequence and token of the first events of the log.
        fn log(&self, events: usize) -> Vec<(Incarnation, u64, Token)> {
            let from = [(0, Start::Beginning)];
            let settings = self.broker.settings();
            let tail = Tail::open(&settings, "t", &from, Isolation::ReadUncommitted).unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut found = Vec::new();
            while found.len() < events && Instant::now() < deadline {
                let Polled::Record(record) = tail.poll(Duration::from_millis(100)) else {
                    continue;
                };
                let read = decode(record.key(), record.value()).unwrap();
                let Content::Event(event) = read.content else {
                    panic!("only events were appended")
                };
                found.push((read.stamp.incarnation, read.stamp.sequence, event.token));
            }
            found
        }
    }

    #[tokio::test]
    async fn a_delivery_report_answers_nobody() {
        let alone = alone();
        let (batch, mut answers) = Batch::new(1);
        let items = [(0, registration("a", 5))];
        alone.writer.append(items, &batch).unwrap();
        alone.flush();
        assert_eq!(alone.log(1).len(), 1, "it is in the log");
        assert_eq!(answers.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(
            alone.writer.events_under_way(),
            1,
            "its slot waits for the tail"
        );
    }

    #[tokio::test]
    async fn an_append_of_unknown_fate_goes_again_with_its_token() {
        let mut alone = alone();
        let (batch, mut answers) = Batch::new(1);
        let items = [(0, registration("a", 5))];
        alone.writer.append(items, &batch).unwrap();
        alone.flush();
        let life = alone.writer.incarnation();
        let reports = Reports {
            incarnation: life,
            again: alone.writer.again.clone(),
        };
        reports.unknown(0, "timed out");
        assert_eq!(answers.try_recv(), Err(TryRecvError::Empty));
        let again = alone.again.recv().await.unwrap();
        assert!(alone.writer.append_again(again).await.is_none());
        alone.flush();
        let token = Token(5);
        assert_eq!(alone.log(2), [(life, 0, token), (life, 1, token)]);
        assert!(
            alone.writer.came_back(life, 0).is_none(),
            "the ghost is nobody's"
        );
        assert!(alone.writer.came_back(life, 1).is_some());
    }

    #[tokio::test]
    async fn a_broken_producer_is_made_anew_as_another_incarnation() {
        let mut alone = alone();
        let broken = alone.writer.incarnation();
        let (batch, _answers) = Batch::new(1);
        let items = [(0, registration("a", 5))];
        alone.writer.life.read().appender.break_down();
        assert!(alone.writer.append(items.clone(), &batch).is_err());
        let life = alone.writer.incarnation();
        assert_ne!(life, broken);
        alone.writer.append(items, &batch).unwrap();
        alone.flush();
        assert_eq!(alone.log(1), [(life, 0, Token(5))]);
        // So is one that breaks while it has something under way: that is appended again.
        alone.writer.life.read().appender.break_down();
        let (other, _answers) = Batch::new(1);
        let slot = Slot::Event {
            item: registration("b", 6),
            batch: other,
            index: 0,
        };
        assert!(alone.writer.append_again(Again::Slot(slot)).await.is_none());
        let renewed = alone.writer.incarnation();
        assert_ne!(renewed, life);
        while let Ok(again) = alone.again.try_recv() {
            assert!(alone.writer.append_again(again).await.is_none());
        }
        alone.flush();
        let tokens: Vec<_> = (alone.log(3).into_iter())
            .map(|(incarnation, _, token)| (incarnation == renewed, token.0))
            .collect();
        assert_eq!(tokens, [(false, 5), (true, 6), (true, 5)]);
    }
}
