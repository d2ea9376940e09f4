//! A cursor in a topic that a group's positions keep, without anybody being a member of the group: each position has a note of the writer's own.

use crate::settings::{self, Quiet, create, signed};
use crate::{Isolation, KafkaError, Settings};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::{ClientConfig, Offset as NativeOffset, TopicPartitionList};
use rtf_proto::{Offset, PartitionId};
use std::time::Duration;

/// The cursors of one group in the partitions of one topic.
pub struct Cursors {
    consumer: BaseConsumer<Quiet>,
    group: String,
    topic: String,
}

impl Cursors {
    /// Makes the client; the broker is first asked by a question.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(settings: &Settings, group: &str, topic: &str) -> Result<Self, KafkaError> {
        Ok(Self {
            consumer: create(&config(settings, group), Quiet)?,
            group: group.into(),
            topic: topic.into(),
        })
    }

    /// The topic they are in.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Where the group stands in a partition and what was noted with it; `None` where it never was. Waits for a transaction that is about to move
    /// it. Blocking.
    ///
    /// # Errors
    /// No answer within that time.
    pub fn read(
        &self,
        partition: PartitionId,
        within: Duration,
    ) -> Result<Option<(Offset, String)>, KafkaError> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&self.topic, settings::partition(partition));
        let found = self
            .consumer
            .committed_offsets(wanted, within)
            .map_err(|e| KafkaError::topic(&self.topic, e))?;
        let elements = found.elements();
        let Some(element) = elements.first() else {
            return Ok(None);
        };
        element
            .error()
            .map_err(|e| KafkaError::topic(&self.topic, e))?;
        Ok(match element.offset() {
            NativeOffset::Offset(offset) => {
                Some((offset.unsigned_abs(), element.metadata().to_owned()))
            }
            _ => None,
        })
    }

    /// Moves the group's position, with a note. Blocking.
    ///
    /// # Errors
    /// The broker did not take it.
    pub fn write(
        &self,
        partition: PartitionId,
        next: Offset,
        note: &str,
    ) -> Result<(), KafkaError> {
        let failed = |e| KafkaError::topic(&self.topic, e);
        let mut list = TopicPartitionList::new();
        let mut position = list.add_partition(&self.topic, settings::partition(partition));
        position
            .set_offset(NativeOffset::Offset(signed(next)))
            .map_err(failed)?;
        position.set_metadata(note);
        self.consumer
            .commit(&list, CommitMode::Sync)
            .map_err(failed)
    }

    pub(crate) fn group(&self) -> Result<ConsumerGroupMetadata, KafkaError> {
        let none = || KafkaError::Settings(format!("`{}` is no group", self.group));
        self.consumer.group_metadata().ok_or_else(none)
    }
}

/// `read_committed` lets the broker withhold a position that an open transaction is about to move (KIP-447).
fn config(settings: &Settings, group: &str) -> ClientConfig {
    let mut config = settings.consumer(Isolation::ReadCommitted);
    config.set("group.id", group);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{careless, expect};

    #[test]
    fn unstable_positions_are_not_read_whatever_the_user_sets() {
        let settings = Settings {
            properties: [("isolation.level".into(), "read_uncommitted".into())].into(),
            ..careless()
        };
        let wanted = [
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("group.id", "g"),
        ];
        expect(&config(&settings, "g"), &wanted);
    }
}
