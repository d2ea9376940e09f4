//! What the join log says: winners, found anew from its raw records.

use super::partition::{Life, Partition};
use super::{IdHash, hash};
use crate::reader::Reader;
use anyhow::bail;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::control::Control;
use rtf_proto::record::{Content, DecodeError, Event, Record, Stamp, decode};
use rtf_proto::{LogId, Offset, Outcome, PartitionId, SourceId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The join log, read once.
#[derive(Default)]
pub struct Log {
    /// The log's id.
    pub id: LogId,
    /// Partitions of its topic. It may use fewer: a split begins with more of them.
    pub partitions: u32,
    /// The first record of each id that is remembered.
    pub(super) winners: HashMap<IdHash, Winner>,
    /// Those of ids that are forgotten: an id that was sent again since may have another.
    pub(super) forgotten: HashMap<IdHash, Vec<Winner>>,
    /// First offset of each partition of the topic.
    pub(super) firsts: Vec<Offset>,
    /// Partitions the log began with, once its first record was met.
    pub(super) roots: Option<u32>,
    /// Those that were read, and the children of those that were split.
    pub(super) states: BTreeMap<PartitionId, Partition>,
    /// Events that came after the first of their id: they changed nothing.
    pub superseded: u64,
    /// Records that are not ours.
    pub foreign: u64,
    /// Records of ours written for another log or partition, or another count of them: no replica accepts them. A split leaves some.
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

/// Reads the log to its present end, partition by partition: a child stands behind its parent, and goes on from what that knew. Blocking.
///
/// # Errors
/// The log cannot be read, or holds a broken record that is not to be skipped.
pub fn read(
    cluster: &Cluster,
    settings: &Settings,
    topic: &str,
    skip: &BTreeSet<(PartitionId, Offset)>,
) -> anyhow::Result<Log> {
    let isolation = Isolation::ReadUncommitted;
    let Some(reader) = Reader::open(cluster, settings, topic, isolation, "join log")? else {
        // Nothing ran yet: everything is still waiting.
        return Ok(Log::default());
    };
    let info = reader.info;
    let firsts = (0..info.partitions).map(|partition| reader.first(partition));
    let mut log = Log::new(info.id, firsts.collect());
    for partition in 0..info.partitions {
        log.open(partition);
        reader.read([partition], |record| {
            let at = (record.partition(), record.offset());
            let decoded = match decode(record.key(), record.value()) {
                Ok(decoded) => Some(decoded),
                Err(DecodeError::Foreign) => None,
                Err(_) if skip.contains(&at) => None,
                Err(error) => {
                    let (partition, offset) = at;
                    bail!("topic `{topic}` partition {partition} offset {offset}: {error}")
                }
            };
            log.record(at, record.timestamp_ms(), decoded.as_ref());
            Ok(())
        })?;
    }
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
        self.states
            .values()
            .any(|partition| partition.is_below_floor(source, offset))
    }

    /// Nothing of it was read; its partitions begin with these offsets.
    fn new(id: LogId, firsts: Vec<Offset>) -> Self {
        Self {
            id,
            partitions: u32::try_from(firsts.len())
                .expect("a topic's partitions are counted in 32 bits"),
            firsts,
            ..Self::default()
        }
    }

    /// A partition is read next, after all with lower numbers.
    fn open(&mut self, partition: PartitionId) {
        let roots = self.roots.unwrap_or(self.partitions);
        let has_lost_beginning = self.has_lost(partition, 0);
        let is_uncertain = has_lost_beginning || self.has_lost(0, 0);
        let life = match self.states.get_mut(&partition) {
            // It may have been split itself since.
            Some(child) if has_lost_beginning => return child.live(Life::Uncertain),
            Some(_) => return,
            None if is_uncertain => Life::Uncertain,
            None if partition < roots => Life::Alive(roots),
            None => Life::Unborn(None),
        };
        self.states
            .insert(partition, Partition::new(partition, life));
    }

    /// Whether the log no longer has this record.
    fn has_lost(&self, partition: PartitionId, offset: Offset) -> bool {
        let first = self.firsts.get(partition as usize);
        first.is_some_and(|first| *first > offset)
    }

    /// The next record of the partition that was opened last; `None` is one that is not ours.
    fn record(&mut self, at: (PartitionId, Offset), append_ms: i64, record: Option<&Record<'_>>) {
        if let (0, Some(record)) = (at.0, record) {
            self.root(&record.stamp);
        }
        self.partition(at.0).reach(append_ms);
        match record {
            None => self.foreign += 1,
            Some(record) if record.stamp.log != self.id => self.misplaced += 1,
            Some(Record { stamp, content }) => match content {
                Content::Barrier => {}
                Content::Event(event) => self.event(at, stamp, event),
                Content::Control(control) => self.control(at, stamp, control),
            },
        }
        for id in self.partition(at.0).bury() {
            if let Some(winner) = self.winners.remove(&id) {
                self.forgotten.entry(id).or_default().push(winner);
            }
        }
    }

    /// The first record of ours in partition 0 tells how many partitions the log began with.
    fn root(&mut self, stamp: &Stamp) {
        if self.roots.is_some() || stamp.log != self.id || stamp.partitions == 0 {
            return;
        }
        self.roots = Some(stamp.partitions);
        if !self.has_lost(0, 0) {
            self.partition(0).live(Life::Alive(stamp.partitions));
        }
    }

    fn partition(&mut self, partition: PartitionId) -> &mut Partition {
        self.states
            .get_mut(&partition)
            .expect("a partition is opened before it is read")
    }

    fn control(
        &mut self,
        (partition, at): (PartitionId, Offset),
        stamp: &Stamp,
        control: &Control,
    ) {
        match *control {
            Control::Epoch { partitions } => {
                let end = self.partitions;
                let parent = self.partition(partition);
                let children = parent.split(at, stamp.partitions, partitions, end);
                self.states.extend(children);
            }
            Control::Born { parent, offset } => {
                let is_lost = self.has_lost(parent, offset);
                self.partition(partition).born(parent, offset, is_lost);
            }
            _ => self.partition(partition).control(control),
        }
    }

    fn event(&mut self, at: (PartitionId, Offset), stamp: &Stamp, event: &Event<'_>) {
        let (topic, source_partition, source_offset) = event.source;
        let (id, source) = (hash(event.id), (topic, source_partition));
        let is_known = self.winners.contains_key(&id);
        let partition = self.partition(at.0);
        if !partition.keeps(stamp.partitions, event.id) {
            self.misplaced += 1;
        } else if is_known || partition.is_below_floor(source, source_offset) {
            self.superseded += 1;
        } else {
            partition.registered(id, source, source_offset);
            let winner = Winner {
                partition: at.0,
                offset: at.1,
                outcome: event.outcome,
            };
            self.winners.insert(id, winner);
        }
    }
}

#[cfg(test)]
mod tests;
