//! What the join log says: winners, found anew from its raw records.

use super::{IdHash, hash, read_topic};
use anyhow::bail;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{Content, DecodeError, Event, decode};
use rtf_proto::{LogId, Offset, Outcome, PartitionId, SourceId};
use rtf_registry::{Age, BucketId};
use std::collections::{BTreeSet, HashMap};

/// The join log, read once.
#[derive(Default)]
pub struct Log {
    /// The log's id.
    pub id: LogId,
    /// Its partition count.
    pub partitions: u32,
    /// The first record of each id that is remembered.
    pub(super) winners: HashMap<IdHash, Winner>,
    /// Those of ids that are forgotten: an id that was sent again since may have another.
    pub(super) forgotten: HashMap<IdHash, Vec<Winner>>,
    /// How old each partition is.
    pub(super) ages: Vec<Age>,
    /// What was registered in each bucket.
    pub(super) buckets: HashMap<(PartitionId, BucketId), Vec<IdHash>>,
    /// Events that came after the first of their id: they changed nothing.
    pub superseded: u64,
    /// Records that are not ours.
    pub foreign: u64,
    /// Records of ours written for another log or partition: no replica accepts them.
    pub misplaced: u64,
}

/// The record that decided an id.
#[derive(Clone, Copy)]
pub struct Winner {
    /// Partition of the log.
    pub partition: PartitionId,
    /// Offset in it.
    pub offset: Offset,
    /// How the event ended.
    pub outcome: Outcome,
}

/// Reads the log to its present end. Blocking.
///
/// # Errors
/// The log cannot be read, or holds a broken record that is not to be skipped.
pub fn read(
    cluster: &Cluster,
    settings: &Settings,
    topic: &str,
    skip: &BTreeSet<(PartitionId, Offset)>,
) -> anyhow::Result<Log> {
    let Some(info) = cluster.topic(topic)? else {
        // Nothing ran yet: everything is still waiting.
        return Ok(Log::default());
    };
    let mut log = Log {
        id: info.id,
        partitions: info.partitions,
        ..Log::default()
    };
    read_topic(
        cluster,
        settings,
        topic,
        Isolation::ReadUncommitted,
        "join log",
        |record| {
            let at = (record.partition(), record.offset());
            log.age(at.0).advance(record.timestamp_ms());
            match decode(record.key(), record.value()) {
                Ok(decoded) => match decoded.content {
                    Content::Barrier => {}
                    Content::Control(control) => log.age(at.0).control(&control),
                    Content::Event(event) => {
                        let in_place = decoded.stamp.log == log.id
                            && decoded.stamp.partitions == log.partitions
                            && partition_of(event.id, log.partitions) == at.0;
                        if in_place {
                            log.add(at, &event)
                        } else {
                            log.misplaced += 1
                        }
                    }
                },
                Err(DecodeError::Foreign) => log.foreign += 1,
                Err(_) if skip.contains(&at) => log.foreign += 1,
                Err(error) => bail!(
                    "topic `{topic}` partition {} offset {}: {error}",
                    at.0,
                    at.1
                ),
            }
            log.bury(at.0);
            Ok(())
        },
    )?;
    Ok(log)
}

impl Log {
    /// Every accepted record.
    pub fn accepted(&self) -> impl Iterator<Item = &Winner> {
        self.winners
            .values()
            .chain(self.forgotten.values().flatten())
    }

    /// The accepted record of an event at this place.
    pub fn accepted_at(&self, id: &IdHash, at: (PartitionId, Offset)) -> Option<&Winner> {
        let now = self.winners.get(id).into_iter();
        let mut all = now.chain(self.forgotten.get(id).into_iter().flatten());
        all.find(|winner| (winner.partition, winner.offset) == at)
    }

    /// Whether the event has an outcome.
    pub fn is_resolved(&self, id: &IdHash) -> bool {
        self.winners.contains_key(id) || self.forgotten.contains_key(id)
    }

    /// Whether the log says that everything up to there had an outcome, though it may be gone from it.
    pub fn is_below_floor(&self, source: SourceId, offset: Offset) -> bool {
        self.ages
            .iter()
            .any(|age| age.is_below_floor(source, offset))
    }

    fn age(&mut self, partition: PartitionId) -> &mut Age {
        let at = partition as usize;
        self.ages
            .resize_with(self.ages.len().max(at + 1), Age::default);
        &mut self.ages[at]
    }

    fn add(&mut self, (partition, offset): (PartitionId, Offset), event: &Event<'_>) {
        let id = hash(event.id);
        let (topic, source_partition, source_offset) = event.source;
        let source = (topic, source_partition);
        let age = self.age(partition);
        let (is_too_old, bucket) = (age.is_below_floor(source, source_offset), age.current());
        if is_too_old || self.winners.contains_key(&id) {
            self.superseded += 1;
            return;
        }
        self.age(partition).registered(source, source_offset);
        self.buckets
            .entry((partition, bucket))
            .or_default()
            .push(id);
        let winner = Winner {
            partition,
            offset,
            outcome: event.outcome,
        };
        self.winners.insert(id, winner);
    }

    /// Forgets as the registry does.
    fn bury(&mut self, partition: PartitionId) {
        for bucket in self.age(partition).bury() {
            for id in self
                .buckets
                .remove(&(partition, bucket))
                .unwrap_or_default()
            {
                if let Some(winner) = self.winners.remove(&id) {
                    self.forgotten.entry(id).or_default().push(winner);
                }
            }
        }
    }
}
