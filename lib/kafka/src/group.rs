//! Reading as a member of a consumer group, cooperatively.

use crate::polled::polled;
use crate::settings::{self, create, log, signed, watermarks};
#[cfg(feature = "simulation")]
use crate::simulated;
use crate::waiting::Waiting;
use crate::{Isolation, KafkaError, Polled, Settings};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::{Offset as NativeOffset, TopicPartitionList};
use rtf_proto::{Offset, PartitionId};
use std::time::Duration;

/// A leader that does not answer within this is not waited for: it cannot be fetched from either.
const WAKE_WITHIN: Duration = Duration::from_millis(100);

/// Who reads what.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// Topic.
    pub topic: String,
    /// Consumer group.
    pub group: String,
    /// A member that is silent for so long is dead; heartbeats are sent four times as often.
    pub session_timeout: Duration,
    /// Which records of transactions are seen.
    pub isolation: Isolation,
    /// A name that survives a restart makes the member static (KIP-345).
    pub instance_id: Option<String>,
}

/// What a group does to its member. Called inside [`GroupReader::poll`], on the polling thread.
pub trait GroupEvents: Send + Sync + 'static {
    /// These partitions are ours from now on.
    fn assigned(&self, partitions: &[PartitionId]);
    /// These go to somebody else. Drain within a bound and return the positions (the next offset to read) to be
    /// committed before they go.
    fn revoked(&self, partitions: &[PartitionId]) -> Vec<(PartitionId, Offset)>;
    /// These are somebody else's already; nothing can be committed any more.
    fn lost(&self, partitions: &[PartitionId]);
}

struct Context<H> {
    topic: String,
    events: H,
}

impl<H: GroupEvents> ClientContext for Context<H> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        log(level, facility, words);
    }
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl<H: GroupEvents> ConsumerContext for Context<H> {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.events.assigned(&partitions(list)),
            Rebalance::Revoke(list) if consumer.assignment_lost() => {
                self.events.lost(&partitions(list))
            }
            Rebalance::Revoke(list) => {
                let positions = self.events.revoked(&partitions(list));
                if let Err(error) = commit(consumer, &self.topic, &positions, CommitMode::Sync) {
                    tracing::warn!(%error, "positions of revoked partitions were not committed; they will be read again");
                }
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, topic = self.topic, "rebalance failed")
            }
        }
    }
}

/// librdkafka notes that a partition is resumed, but does not wake the thread that fetches from its leader, which may sleep for another second. A
/// question to the leader goes through that thread; the answer is not needed.
fn wake_fetchers<C: ConsumerContext>(consumer: &BaseConsumer<C>, list: TopicPartitionList) {
    let mut list = list;
    let asked = list
        .set_all_offsets(NativeOffset::End)
        .and_then(|()| consumer.offsets_for_times(list, WAKE_WITHIN));
    if let Err(error) = asked {
        tracing::debug!(%error, "who fetches was not woken");
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<PartitionId> {
    let number = |p: i32| u32::try_from(p).expect("Kafka's partitions are not negative");
    list.elements()
        .iter()
        .map(|e| number(e.partition()))
        .collect()
}

/// A member of a consumer group over one topic.
pub struct GroupReader<H: GroupEvents> {
    client: Client<H>,
    topic: String,
}

enum Client<H: GroupEvents> {
    Native(Waiting<Context<H>>),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Membership<H>),
}

impl<H: GroupEvents> Client<H> {
    fn new(settings: &Settings, options: &GroupOptions, events: H) -> Result<Self, KafkaError> {
        #[cfg(feature = "simulation")]
        if let Some(client) = simulated::client(settings) {
            let membership = simulated::Membership::open(client, options, events);
            return Ok(Self::Simulated(membership));
        }
        let context = Context {
            topic: options.topic.clone(),
            events,
        };
        let consumer = Waiting::new(create(&config(settings, options), context)?);
        consumer
            .subscribe(&[&options.topic])
            .map_err(|e| KafkaError::topic(&options.topic, e))?;
        Ok(Self::Native(consumer))
    }
}

impl<H: GroupEvents> GroupReader<H> {
    /// Joins the group. Where it has no position it begins with the earliest record.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept.
    pub fn open(
        settings: &Settings,
        options: &GroupOptions,
        events: H,
    ) -> Result<Self, KafkaError> {
        Ok(Self {
            client: Client::new(settings, options, events)?,
            topic: options.topic.clone(),
        })
    }

    /// The next thing, at the latest after `timeout`, and never later than after 100 ms; calls the [`GroupEvents`].
    pub fn poll(&self, timeout: Duration) -> Polled<'_> {
        match &self.client {
            Client::Native(consumer) => polled(&self.topic, consumer.poll(timeout)),
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => membership.poll(),
        }
    }

    /// What was handed in at [`open`](Self::open).
    pub fn events(&self) -> &H {
        match &self.client {
            Client::Native(consumer) => &consumer.context().events,
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => &membership.events,
        }
    }

    /// Stops fetching from these partitions.
    ///
    /// # Errors
    /// A partition that is not assigned.
    pub fn pause(&self, partitions: &[PartitionId]) -> Result<(), KafkaError> {
        match &self.client {
            Client::Native(consumer) => consumer
                .pause(&self.list(partitions))
                .map_err(|e| KafkaError::topic(&self.topic, e)),
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => {
                membership.cursors.pause(partitions, true);
                Ok(())
            }
        }
    }

    /// Fetches from these partitions again, at once.
    ///
    /// # Errors
    /// A partition that is not assigned.
    pub fn resume(&self, partitions: &[PartitionId]) -> Result<(), KafkaError> {
        match &self.client {
            Client::Native(consumer) => {
                let list = self.list(partitions);
                let resumed = consumer.resume(&list);
                resumed.map_err(|e| KafkaError::topic(&self.topic, e))?;
                wake_fetchers(consumer, list);
                Ok(())
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => {
                membership.cursors.pause(partitions, false);
                Ok(())
            }
        }
    }

    /// Reads on from there, whether it is paused or not; nothing of before is polled any more.
    ///
    /// # Errors
    /// A partition that is not assigned, or one whose leader does not answer in time.
    pub fn seek(
        &self,
        partition: PartitionId,
        offset: Offset,
        within: Duration,
    ) -> Result<(), KafkaError> {
        match &self.client {
            Client::Native(consumer) => {
                let position = NativeOffset::Offset(signed(offset));
                let partition = settings::partition(partition);
                consumer
                    .seek(&self.topic, partition, position, within)
                    .map_err(|e| KafkaError::topic(&self.topic, e))
            }
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => {
                let start = crate::Start::Offset(offset);
                membership.cursors.add(&[(partition, start)]);
                Ok(())
            }
        }
    }

    /// Commits positions (the next offset to read) without waiting.
    ///
    /// # Errors
    /// The request could not be made. Its failure later is logged, and nobody is told: rdkafka 0.39 takes commits for events, and librdkafka gives
    /// none without a callback.
    pub fn commit(&self, positions: &[(PartitionId, Offset)]) -> Result<(), KafkaError> {
        self.commit_as(positions, CommitMode::Async)
    }

    /// Commits positions and waits for the answer.
    ///
    /// # Errors
    /// The broker did not take them.
    pub fn commit_sync(&self, positions: &[(PartitionId, Offset)]) -> Result<(), KafkaError> {
        self.commit_as(positions, CommitMode::Sync)
    }

    fn commit_as(
        &self,
        positions: &[(PartitionId, Offset)],
        mode: CommitMode,
    ) -> Result<(), KafkaError> {
        match &self.client {
            Client::Native(consumer) => commit(consumer, &self.topic, positions, mode),
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => match (membership.commit(positions), mode) {
                (false, CommitMode::Sync) => Err(simulated::silence(&self.topic)),
                // Nobody is told.
                _ => Ok(()),
            },
        }
    }

    /// What the group has committed of these partitions, where it has committed anything.
    ///
    /// # Errors
    /// No answer within that time.
    pub fn committed(
        &self,
        partitions: &[PartitionId],
        within: Duration,
    ) -> Result<Vec<(PartitionId, Offset)>, KafkaError> {
        let consumer = match &self.client {
            Client::Native(consumer) => consumer,
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => {
                let committed = membership.committed(partitions);
                return committed.ok_or_else(|| simulated::silence(&self.topic));
            }
        };
        let committed = consumer
            .committed_offsets(self.list(partitions), within)
            .map_err(|e| KafkaError::topic(&self.topic, e))?;
        let position =
            |e: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
                NativeOffset::Offset(offset) => {
                    Some((e.partition().unsigned_abs(), offset.unsigned_abs()))
                }
                _ => None,
            };
        Ok(committed
            .elements()
            .into_iter()
            .filter_map(position)
            .collect())
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
            Client::Simulated(membership) => membership.cursors.offsets(partition),
        }
    }

    fn list(&self, partitions: &[PartitionId]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, settings::partition(*partition));
        }
        list
    }

    /// Leaves the group at once, so that others need not wait for the session to end. The handler sees its
    /// partitions revoked.
    pub fn close(self) {
        let consumer = match self.client {
            Client::Native(consumer) => consumer,
            #[cfg(feature = "simulation")]
            Client::Simulated(membership) => return membership.close(),
        };
        // Unsubscribing leaves the group; the revocation is served by polling.
        consumer.unsubscribe();
        let bound = std::time::Instant::now() + Duration::from_secs(3);
        while consumer.assignment().is_ok_and(|list| list.count() > 0)
            && std::time::Instant::now() < bound
        {
            let _ = consumer.poll(Duration::from_millis(20));
        }
    }
}

fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    positions: &[(PartitionId, Offset)],
    mode: CommitMode,
) -> Result<(), KafkaError> {
    if positions.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::new();
    for (partition, offset) in positions {
        list.add_partition_offset(
            topic,
            settings::partition(*partition),
            NativeOffset::Offset(signed(*offset)),
        )
        .map_err(|e| KafkaError::topic(topic, e))?;
    }
    consumer
        .commit(&list, mode)
        .map_err(|e| KafkaError::topic(topic, e))
}

/// What RULES 14 and 15 want of it.
fn config(settings: &Settings, options: &GroupOptions) -> ClientConfig {
    let mut config = settings.consumer(options.isolation);
    config
        .set("group.id", &options.group)
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set(
            "session.timeout.ms",
            options.session_timeout.as_millis().to_string(),
        )
        .set(
            "heartbeat.interval.ms",
            (options.session_timeout / 4).as_millis().to_string(),
        );
    if let Some(instance) = &options.instance_id {
        config.set("group.instance.id", instance);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{careless, expect};

    #[test]
    fn a_member_is_cooperative_and_soon_missed_whatever_the_user_sets() {
        let options = GroupOptions {
            topic: "t".into(),
            group: "g".into(),
            session_timeout: Duration::from_secs(6),
            isolation: Isolation::ReadCommitted,
            instance_id: None,
        };
        let wanted = [
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "1500"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
        ];
        expect(&config(&careless(), &options), &wanted);
    }
}
