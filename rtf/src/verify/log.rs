//! What the join log says: winners, found anew from its raw records.

use super::{IdHash, hash, read_topic};
use anyhow::bail;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{Content, DecodeError, decode};
use rtf_proto::{LogId, Offset, Outcome, PartitionId};
use std::collections::HashMap;

/// The join log, read once.
#[derive(Default)]
pub struct Log {
    /// The log's id.
    pub id: LogId,
    /// Its partition count.
    pub partitions: u32,
    /// The first record of each id.
    pub winners: HashMap<IdHash, Winner>,
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
/// The log cannot be read, or holds a broken record.
pub fn read(cluster: &Cluster, settings: &Settings, topic: &str) -> anyhow::Result<Log> {
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
            match decode(record.key(), record.value()) {
                Ok(decoded) => match decoded.content {
                    Content::Barrier | Content::Control(_) => {}
                    Content::Event(event) => {
                        let in_place = decoded.stamp.log == log.id
                            && decoded.stamp.partitions == log.partitions
                            && partition_of(event.id, log.partitions) == at.0;
                        if in_place {
                            log.add(event.id, at, event.outcome)
                        } else {
                            log.misplaced += 1
                        }
                    }
                },
                Err(DecodeError::Foreign) => log.foreign += 1,
                Err(error) => bail!(
                    "topic `{topic}` partition {} offset {}: {error}",
                    at.0,
                    at.1
                ),
            }
            Ok(())
        },
    )?;
    Ok(log)
}

impl Log {
    fn add(&mut self, id: &[u8], (partition, offset): (PartitionId, Offset), outcome: Outcome) {
        use std::collections::hash_map::Entry;
        match self.winners.entry(hash(id)) {
            Entry::Occupied(_) => self.superseded += 1,
            Entry::Vacant(vacant) => {
                vacant.insert(Winner {
                    partition,
                    offset,
                    outcome,
                });
            }
        }
    }
}
