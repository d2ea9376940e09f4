//! Reading given partitions from given offsets: no group, no committed offsets, no silent reset (RULE 4).

use crate::polled::polled;
use crate::settings::{self, Quiet, create, signed, watermarks};
#[cfg(feature = "simulation")]
use crate::simulated;
use crate::waiting::Waiting;
use crate::{Isolation, KafkaError, Polled, Settings};
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError as Native, KafkaResult, RDKafkaErrorCode as Code};
use rtf_proto::{Offset, PartitionId};
use std::time::Duration;

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With this offset; it must exist.
    Offset(Offset),
    /// With the first record there is.
    Beginning,
    /// With what comes next.
    End,
}

impl Start {
    fn native(self) -> rdkafka::Offset {
        match self {
            Self::Offset(offset) => rdkafka::Offset::Offset(signed(offset)),
            Self::Beginning => rdkafka::Offset::Beginning,
            Self::End => rdkafka::Offset::End,
        }
    }
}

/// A reader of some partitions of one topic.
pub struct Tail {
    client: Client,
    topic: String,
}

enum Client {
    Native(Waiting<Quiet>),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Cursors),
}

impl Client {
    fn new(settings: &Settings, _topic: &str, isolation: Isolation) -> Result<Self, KafkaError> {
        #[cfg(feature = "simulation")]
        if let Some(client) = simulated::client(settings) {
            return Ok(Self::Simulated(simulated::Cursors::new(client, _topic)));
        }
        let consumer = create(&config(settings, isolation), Quiet)?;
        Ok(Self::Native(Waiting::new(consumer)))
    }
}

impl Tail {
    /// Prepares to read; the broker is first asked by [`poll`](Self::poll).
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(
        settings: &Settings,
        topic: &str,
        positions: &[(PartitionId, Start)],
        isolation: Isolation,
    ) -> Result<Self, KafkaError> {
        let tail = Self {
            client: Client::new(settings, topic, isolation)?,
            topic: topic.into(),
        };
        tail.assign(positions)?;
        Ok(tail)
    }

    /// Reads these partitions from these positions from now on, instead of what it read before.
    ///
    /// # Errors
    /// A list librdkafka does not accept.
    pub fn assign(&self, positions: &[(PartitionId, Start)]) -> Result<(), KafkaError> {
        match &self.client {
            Client::Native(consumer) => consumer
                .assign(&self.list(positions)?)
                .map_err(|e| KafkaError::topic(&self.topic, e)),
            #[cfg(feature = "simulation")]
            Client::Simulated(cursors) => {
                cursors.clear();
                cursors.add(positions);
                Ok(())
            }
        }
    }

    /// Reads these partitions too, if the broker says that they are there. One that was made a moment ago may not be known yet: ask again.
    ///
    /// # Errors
    /// No answer within `timeout`, or a list librdkafka does not accept.
    pub fn add(
        &self,
        positions: &[(PartitionId, Start)],
        timeout: Duration,
    ) -> Result<bool, KafkaError> {
        let known = match &self.client {
            Client::Native(consumer) => {
                settings::partitions(consumer.client(), &self.topic, timeout)?
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(_) => {
                (simulated::kafka().topic(&self.topic)).map_or(0, |info| info.partitions)
            }
        };
        if positions.iter().any(|(partition, _)| *partition >= known) {
            return Ok(false);
        }
        match &self.client {
            Client::Native(consumer) => consumer
                .incremental_assign(&self.list(positions)?)
                .map_err(|e| KafkaError::topic(&self.topic, e))?,
            #[cfg(feature = "simulation")]
            Client::Simulated(cursors) => cursors.add(positions),
        }
        Ok(true)
    }

    /// Reads on from there in one partition that it reads. What was read of it already, and not polled, is dropped.
    ///
    /// # Errors
    /// The partition is not read.
    pub fn seek(&self, partition: PartitionId, offset: Offset) -> Result<(), KafkaError> {
        match &self.client {
            Client::Native(consumer) => {
                let position = Start::Offset(offset).native();
                let partition = settings::partition(partition);
                // It is not waited for: the next record that is polled is the right one.
                consumer
                    .seek(&self.topic, partition, position, Duration::ZERO)
                    .map_err(|e| KafkaError::topic(&self.topic, e))
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(cursors) => {
                cursors.add(&[(partition, Start::Offset(offset))]);
                Ok(())
            }
        }
    }

    fn list(&self, positions: &[(PartitionId, Start)]) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, start) in positions {
            list.add_partition_offset(&self.topic, settings::partition(*partition), start.native())
                .map_err(|e| KafkaError::topic(&self.topic, e))?;
        }
        Ok(list)
    }

    /// The next thing, at the latest after `timeout`, and never later than after 100 ms.
    pub fn poll(&self, timeout: Duration) -> Polled<'_> {
        match &self.client {
            Client::Native(consumer) => {
                let met = consumer.poll(timeout);
                polled(&self.topic, met.filter(|met| !is_about_a_group(met)))
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(cursors) => cursors.poll(),
        }
    }

    /// The partition's first offset and its end (one past the last), asked of the broker.
    ///
    /// # Errors
    /// No answer within `timeout`.
    pub fn offsets(
        &self,
        partition: PartitionId,
        timeout: Duration,
    ) -> Result<(Offset, Offset), KafkaError> {
        match &self.client {
            Client::Native(consumer) => {
                watermarks(consumer.client(), &self.topic, partition, timeout)
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(cursors) => cursors.offsets(partition),
        }
    }
}

/// librdkafka asks who coordinates the group; that we may not know it does no harm to who is in none.
fn is_about_a_group<T>(met: &KafkaResult<T>) -> bool {
    matches!(
        met,
        Err(Native::MessageConsumption(Code::GroupAuthorizationFailed))
    )
}

/// What RULES 4 and 8 want of it.
fn config(settings: &Settings, isolation: Isolation) -> ClientConfig {
    let mut config = settings.consumer(isolation);
    // A group id is demanded by librdkafka and never used: nothing is committed.
    config
        .set("group.id", "ready-to-fly.tail")
        .set("auto.offset.reset", "error");
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{careless, expect};

    #[test]
    fn a_tail_commits_and_resets_nothing_whatever_the_user_sets() {
        let wanted = [
            ("auto.offset.reset", "error"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("check.crcs", "true"),
            ("isolation.level", "read_uncommitted"),
        ];
        expect(&config(&careless(), Isolation::ReadUncommitted), &wanted);
    }
}
