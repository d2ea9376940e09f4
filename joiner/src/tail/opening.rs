//! Opens the event store before the topic is read, and finds out whether the topic is still the one the store was made of (RULE 9).

use super::{Loader, OFFSETS_WITHIN, RETRY_EVERY};
use crate::JoinerFailure;
use crate::disk::{Identity, StartWorker, Worker};
use crate::event::Place;
use crate::keeper::Keeper;
use crate::position::{Anchor, Position};
use rtf_kafka::{Isolation, KafkaError, Polled, Start, Tail, TopicInfo};
use rtf_proto::{Offset, PartitionId};

/// A partition, and the record that was read last of it.
type Asked = (PartitionId, Anchor);

impl Loader {
    /// Opens what is on disk, if anything shall be there. What is to be read of each partition: from where the store ends, if that is still
    /// there.
    pub(super) fn open_store(
        &mut self,
        info: TopicInfo,
        offsets: Vec<(Offset, Offset)>,
    ) -> Result<Vec<(Offset, Offset)>, JoinerFailure> {
        let Some(data) = self.options.data.clone() else {
            return Ok(offsets);
        };
        let mut settings = self.options.decides_events();
        if let Some(part) = self.shared.part {
            // A topic that is cut into another number of partitions has to prove again that each holds its keys.
            settings += &format!(", one of {} partitions", part.partitions);
        }
        let identity = Identity {
            topic: info.id,
            settings,
        };
        let (policy, memory) = (self.options.policy.clone(), self.options.memory_bytes);
        let opened = Keeper::open_with(self.worker(), &data, &identity, &policy, memory);
        let (mut keeper, mut store) = opened.map_err(|error| self.store_failed(error))?;
        if let Some(difference) = self.difference(keeper.positions(), &offsets) {
            tracing::warn!(
                topic = self.topic,
                difference,
                "the event store was made of other records than the primary topic has now; it is made anew"
            );
            let anew = keeper.begin_anew(&policy, memory);
            store = anew.map_err(|error| self.store_failed(error))?;
        }
        let starts = self.spans(keeper.positions(), &offsets);
        tracing::info!(
            data = %data.display(), events = store.len(), bytes = store.disk_bytes(), ?starts,
            "the event store is open"
        );
        self.last = keeper.positions().iter().map(|one| one.last).collect();
        self.shared.state.write().store = store;
        self.keeper = Some(keeper);
        Ok(starts)
    }

    /// Who writes to the disk.
    fn worker(&self) -> StartWorker {
        #[cfg(feature = "simulation")]
        if self.settings.is_simulated() {
            return Worker::simulated;
        }
        Worker::start
    }

    /// From where to where each partition is to be read.
    fn spans(&self, positions: &[Position], offsets: &[(Offset, Offset)]) -> Vec<(Offset, Offset)> {
        let start = |(partition, (first, end)): (usize, &(Offset, Offset))| {
            let next = positions.get(partition).map_or(*first, |one| one.next);
            if next < *first {
                self.lost_unread(partition as PartitionId, first - next);
            }
            (next.max(*first), *end)
        };
        offsets.iter().enumerate().map(start).collect()
    }

    /// What of the topic is not as it was when the store was made of it.
    fn difference(
        &mut self,
        positions: &[Position],
        offsets: &[(Offset, Offset)],
    ) -> Option<String> {
        let (known, now) = (positions.len(), offsets.len());
        if known > now {
            return Some(format!("it had {known} partitions and has {now}"));
        }
        let mut asked: Vec<Asked> = Vec::new();
        for (partition, (position, (first, end))) in (0..).zip(positions.iter().zip(offsets)) {
            let next = position.next;
            if next > *end {
                return Some(format!(
                    "partition {partition} was read up to {next} and ends at {end}"
                ));
            }
            asked.extend(
                (position.last.filter(|last| last.offset >= *first)).map(|last| (partition, last)),
            );
        }
        while !asked.is_empty() && !self.shared.stop.is_cancelled() {
            match self.other_record(&mut asked) {
                Ok(other) => return other,
                Err(error) => {
                    self.tell("what was read last cannot be compared yet", &error);
                    self.pause(RETRY_EVERY);
                }
            }
        }
        None
    }

    /// Reads these records again; the words for one that is another. What is not there any more, as after a compaction, is passed over.
    fn other_record(&self, asked: &mut Vec<Asked>) -> Result<Option<String>, KafkaError> {
        let starts = asked
            .iter()
            .map(|(p, last)| (*p, Start::Offset(last.offset)));
        let starts: Vec<_> = starts.collect();
        let tail = Tail::open(
            &self.settings,
            &self.topic,
            &starts,
            Isolation::ReadCommitted,
        )?;
        while !asked.is_empty() && !self.shared.stop.is_cancelled() {
            match tail.poll(super::POLL) {
                Polled::Record(record) => {
                    let place = Place {
                        kafka_ts: record.timestamp_ms(),
                        partition: record.partition(),
                        offset: record.offset(),
                    };
                    let found = Anchor::of(place, record.key(), record.value());
                    let is_other = |(partition, last): &Asked| {
                        *partition == place.partition
                            && last.offset == found.offset
                            && *last != found
                    };
                    if asked.iter().any(is_other) {
                        let Place {
                            partition, offset, ..
                        } = place;
                        return Ok(Some(format!(
                            "another record stands at offset {offset} of partition {partition}"
                        )));
                    }
                    asked.retain(|(partition, _)| *partition != place.partition);
                }
                Polled::EndOfPartition(partition) => asked.retain(|(p, _)| *p != partition),
                Polled::Idle => {}
                Polled::Failed(error @ KafkaError::OutOfRange { .. }) => {
                    // Retention may have taken one meanwhile.
                    let mut kept = Vec::new();
                    for (partition, last) in asked.drain(..) {
                        if tail.offsets(partition, OFFSETS_WITHIN)?.0 <= last.offset {
                            kept.push((partition, last));
                        }
                    }
                    *asked = kept;
                    return match asked.is_empty() {
                        true => Ok(None),
                        false => Err(error),
                    };
                }
                Polled::Failed(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
