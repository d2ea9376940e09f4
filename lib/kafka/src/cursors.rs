//! A cursor in a topic that a group's positions keep, without anybody being a member of the group: each position has a note of the writer's own.

use crate::settings::{self, Quiet, create, signed};
use crate::{Isolation, KafkaError, Settings};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset as NativeOffset, TopicPartitionList};
use rtf_proto::{Offset, PartitionId};
use std::time::Duration;

/// The cursors of one group in the partitions of one topic.
pub struct Cursors {
    consumer: BaseConsumer<Quiet>,
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
            topic: topic.into(),
        })
    }

    /// Where the group stands in a partition and what was noted with it; `None` where it never was. Blocking.
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
}

fn config(settings: &Settings, group: &str) -> ClientConfig {
    let mut config = settings.consumer(Isolation::ReadUncommitted);
    config.set("group.id", group);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{careless, expect};

    #[test]
    fn positions_are_ours_to_move_whatever_the_user_sets() {
        let settings = Settings {
            properties: [("group.id".into(), "theirs".into())].into(),
            ..careless()
        };
        let wanted = [("enable.auto.commit", "false"), ("group.id", "g")];
        expect(&config(&settings, "g"), &wanted);
    }
}
