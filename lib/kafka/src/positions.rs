//! A consumer group's positions in one topic, seen and set from outside the group. Blocking, with time-outs.

use crate::settings::{self, Quiet, create, signed};
use crate::{KafkaError, Settings};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use rtf_proto::{Offset, PartitionId};
use std::time::Duration;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a broker says that is not the group's coordinator, or is not yet.
const MOVING: [Code; 3] = [
    Code::NotCoordinator,
    Code::CoordinatorNotAvailable,
    Code::CoordinatorLoadInProgress,
];
/// States of a group that has no members, as brokers write them.
const WITHOUT_MEMBERS: [&str; 2] = ["Empty", "Dead"];

/// Who reads at present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupState {
    /// The broker's word: Stable, Empty, PreparingRebalance, …
    pub state: String,
    /// Its members' hosts.
    pub members: Vec<String>,
}

impl GroupState {
    /// Whether somebody reads, or is about to.
    pub fn is_active(&self) -> bool {
        !self.members.is_empty() || !WITHOUT_MEMBERS.contains(&self.state.as_str())
    }
}

/// A group and a topic.
pub struct Positions {
    consumer: BaseConsumer<Quiet>,
    group: String,
    topic: String,
}

impl Positions {
    /// Joins nothing and reads nothing.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(settings: &Settings, group: &str, topic: &str) -> Result<Self, KafkaError> {
        let mut config = settings.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false");
        Ok(Self {
            consumer: create(&config, Quiet)?,
            group: group.into(),
            topic: topic.into(),
        })
    }

    /// Who is in the group.
    ///
    /// # Errors
    /// No answer.
    pub fn group(&self) -> Result<GroupState, KafkaError> {
        let list = until_the_coordinator_answers(|| {
            self.consumer.fetch_group_list(Some(&self.group), TIMEOUT)
        });
        let list = list.map_err(|e| KafkaError::topic(&self.topic, e))?;
        let Some(group) = list.groups().iter().find(|g| g.name() == self.group) else {
            return Ok(GroupState {
                state: "Dead".into(),
                members: Vec::new(),
            });
        };
        let members = group.members().iter();
        Ok(GroupState {
            state: group.state().into(),
            members: members.map(|m| m.client_host().to_owned()).collect(),
        })
    }

    /// What the group has committed (the next offset to read) of these partitions, where it has committed anything.
    ///
    /// # Errors
    /// No answer.
    pub fn committed(
        &self,
        partitions: &[PartitionId],
    ) -> Result<Vec<(PartitionId, Offset)>, KafkaError> {
        let list = self.list(partitions, |_| rdkafka::Offset::Invalid)?;
        let committed = until_the_coordinator_answers(|| {
            self.consumer.committed_offsets(list.clone(), TIMEOUT)
        });
        Ok(offsets(&self.said(committed)?))
    }

    /// The first offset of each of these partitions whose record is of that time or later, ms since 1970; partitions without such a record are missing.
    ///
    /// # Errors
    /// No answer.
    pub fn at_time(
        &self,
        partitions: &[PartitionId],
        time_ms: i64,
    ) -> Result<Vec<(PartitionId, Offset)>, KafkaError> {
        let times = self.list(partitions, |_| rdkafka::Offset::Offset(time_ms))?;
        let found = self.said(self.consumer.offsets_for_times(times, TIMEOUT))?;
        let failed = found.elements().into_iter().find_map(|e| e.error().err());
        match failed {
            Some(error) => Err(KafkaError::topic(&self.topic, error)),
            None => Ok(offsets(&found)),
        }
    }

    /// Has the group go on from there. The broker refuses while the group has members.
    ///
    /// # Errors
    /// It refused, or did not answer.
    pub fn set(&self, positions: &[(PartitionId, Offset)]) -> Result<(), KafkaError> {
        let partitions: Vec<_> = positions.iter().map(|(partition, _)| *partition).collect();
        let list = self.list(&partitions, |at| {
            rdkafka::Offset::Offset(signed(positions[at].1))
        })?;
        self.said(until_the_coordinator_answers(|| {
            self.consumer.commit(&list, CommitMode::Sync)
        }))
    }

    fn said<T>(&self, result: KafkaResult<T>) -> Result<T, KafkaError> {
        result.map_err(|e| KafkaError::topic(&self.topic, e))
    }

    fn list(
        &self,
        partitions: &[PartitionId],
        offset: impl Fn(usize) -> rdkafka::Offset,
    ) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (at, partition) in partitions.iter().enumerate() {
            let number = settings::partition(*partition);
            self.said(list.add_partition_offset(&self.topic, number, offset(at)))?;
        }
        Ok(list)
    }
}

/// A group's coordinator moves, or has yet to read its partition of `__consumer_offsets`, after each start of a broker and with the first group of all.
/// librdkafka looks for the coordinator again then, and leaves the question to the caller.
fn until_the_coordinator_answers<T>(ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    settings::ask_until_decided(TIMEOUT, &MOVING, ask)
}

fn offsets(list: &TopicPartitionList) -> Vec<(PartitionId, Offset)> {
    let offset = |e: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
        rdkafka::Offset::Offset(offset) => {
            Some((e.partition().unsigned_abs(), offset.unsigned_abs()))
        }
        _ => None,
    };
    list.elements().into_iter().filter_map(offset).collect()
}
