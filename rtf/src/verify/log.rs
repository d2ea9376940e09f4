//! What the join log says: winners, found anew from its raw records.

use super::partition::{Life, Partition};
use super::{IdHash, hash, share};
use crate::reader::Reader;
use anyhow::bail;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::control::Control;
use rtf_proto::record::{Content, DecodeError, Event, Record, Stamp, decode};
use rtf_proto::{LogId, Offset, Outcome, PartitionId};
use rtf_registry::Age;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The join log, as far as it was read.
#[derive(Default)]
pub struct Log {
    /// The log's id.
    id: LogId,
    /// Partitions of its topic. It may use fewer: a split begins with more of them.
    partitions: u32,
    /// First offset of each partition of the topic.
    firsts: Vec<Offset>,
    /// Partitions the log began with, if that is known.
    roots: Option<u32>,
    /// Ids that are remembered.
    remembered: HashSet<IdHash>,
    /// Those that were read, and the children of those that were split.
    states: BTreeMap<PartitionId, Partition>,
    /// Events that came after the first of their id: they changed nothing.
    superseded: u64,
    /// Records of ours written for another log or partition, or another count of them: no replica accepts them. A split leaves some.
    misplaced: u64,
}

/// The record that decided an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Winner {
    /// The event.
    pub id: IdHash,
    /// Offset in its partition of the log.
    pub offset: Offset,
    /// How the event ended.
    pub outcome: Outcome,
}

/// Where the log can be read.
pub struct LogReader {
    topic: String,
    reader: Reader,
    /// Offsets of broken records that are to be passed over.
    skip: BTreeSet<(PartitionId, Offset)>,
    /// Partitions the log began with, if that is known.
    roots: Option<u32>,
}

impl LogReader {
    /// Asks where the log begins and ends; `None` if there is none: nothing ran yet. Blocking.
    ///
    /// # Errors
    /// No answer.
    pub fn open(
        cluster: &Cluster,
        settings: &Settings,
        topic: &str,
        skip: BTreeSet<(PartitionId, Offset)>,
    ) -> anyhow::Result<Option<Self>> {
        let isolation = Isolation::ReadUncommitted;
        let Some(reader) = Reader::open(cluster, settings, topic, isolation, "join log")? else {
            return Ok(None);
        };
        let mut reader = Self {
            topic: topic.to_owned(),
            reader,
            skip,
            roots: None,
        };
        reader.roots = reader.find_roots()?;
        Ok(Some(reader))
    }

    /// The log's id.
    pub fn id(&self) -> LogId {
        self.reader.info.id
    }

    /// Partitions of its topic.
    pub fn partitions(&self) -> u32 {
        self.reader.info.partitions
    }

    /// Groups of partitions, each with all that were split off its members, parents first: what a partition knows goes on in its children, and nowhere
    /// else.
    pub fn families(&self) -> Vec<Vec<PartitionId>> {
        families(self.partitions(), self.root_count())
    }

    /// Which family an event's id belongs to, as an index into [`families`](Self::families).
    pub fn family(&self, id: IdHash) -> usize {
        share(id, self.root_count()) as usize
    }

    /// How many families there are; where that is not known, each partition is one.
    fn root_count(&self) -> u32 {
        root_count(self.partitions(), self.roots)
    }

    /// Reads nothing yet; knows what there is.
    pub fn log(&self) -> Log {
        let firsts = (0..self.partitions()).map(|partition| self.reader.first(partition));
        Log::new(self.id(), self.roots, firsts.collect())
    }

    /// Reads a partition to its present end and gives what was accepted in it, in its order. Blocking.
    ///
    /// # Errors
    /// It cannot be read, holds a broken record that is not to be skipped, or what `accepted` says.
    pub fn read(
        &self,
        log: &mut Log,
        partition: PartitionId,
        mut accepted: impl FnMut(Winner) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        log.open(partition);
        self.reader.read([partition], |record| {
            let at = (partition, record.offset());
            let decoded = self.decode(at, record)?;
            let winner = log.record(at, record.timestamp_ms(), decoded.as_ref());
            winner.map_or(Ok(()), &mut accepted)
        })
    }

    /// `None` is one that is not ours.
    fn decode<'r>(
        &self,
        at: (PartitionId, Offset),
        record: &'r rtf_kafka::Record<'_>,
    ) -> anyhow::Result<Option<Record<'r>>> {
        match decode(record.key(), record.value()) {
            Ok(decoded) => Ok(Some(decoded)),
            Err(DecodeError::Foreign) => Ok(None),
            Err(_) if self.skip.contains(&at) => Ok(None),
            Err(error) => {
                let (topic, (partition, offset)) = (&self.topic, at);
                bail!("topic `{topic}` partition {partition} offset {offset}: {error}")
            }
        }
    }

    /// How many partitions the log began with: the first record of ours in partition 0 tells it or, where retention took that, a checkpoint, which names all
    /// counts there were.
    fn find_roots(&self) -> anyhow::Result<Option<u32>> {
        let mut roots = Roots::new(self.id(), self.reader.first(0) > 0);
        if self.partitions() > 0 {
            self.reader.read_while([(0, 0)], |record| {
                let decoded = self.decode((0, record.offset()), record)?;
                Ok(decoded.is_none_or(|record| !roots.learn(&record)))
            })?;
        }
        Ok(roots.known)
    }
}

/// How many partitions a log began with, learned from the records of partition 0.
struct Roots {
    log: LogId,
    has_lost_beginning: bool,
    known: Option<u32>,
}

impl Roots {
    fn new(log: LogId, has_lost_beginning: bool) -> Self {
        Self {
            log,
            has_lost_beginning,
            known: None,
        }
    }

    /// Whether it is certain now.
    fn learn(&mut self, record: &Record<'_>) -> bool {
        let stamp = &record.stamp;
        if stamp.log != self.log || stamp.partitions == 0 {
            return false;
        }
        let told = match &record.content {
            Content::Control(Control::Checkpoint(checkpoint)) => checkpoint.counts.first(),
            _ => None,
        };
        if let Some(count) = told {
            self.known = Some(*count);
            return true;
        }
        self.known.get_or_insert(stamp.partitions);
        !self.has_lost_beginning
    }
}

fn root_count(partitions: u32, roots: Option<u32>) -> u32 {
    roots.unwrap_or(partitions).clamp(1, partitions.max(1))
}

fn families(partitions: u32, roots: u32) -> Vec<Vec<PartitionId>> {
    let family = |root| (root..partitions).step_by(roots as usize).collect();
    (0..roots).map(family).collect()
}

impl Log {
    /// Nothing of it was read; its partitions begin with these offsets.
    fn new(id: LogId, roots: Option<u32>, firsts: Vec<Offset>) -> Self {
        Self {
            id,
            roots,
            partitions: u32::try_from(firsts.len())
                .expect("a topic's partitions are counted in 32 bits"),
            firsts,
            ..Self::default()
        }
    }

    /// A family is read: what is known of its partitions when all was read, and records that were superseded and misplaced in them.
    pub fn close(&mut self) -> (Vec<Age>, u64, u64) {
        self.remembered = HashSet::new();
        let states = std::mem::take(&mut self.states);
        let ages = states.into_values().map(Partition::into_age).collect();
        (
            ages,
            std::mem::take(&mut self.superseded),
            std::mem::take(&mut self.misplaced),
        )
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

    /// The next record of the partition that was opened last; `None` is one that is not ours. What it decided, if anything.
    fn record(
        &mut self,
        at: (PartitionId, Offset),
        append_ms: i64,
        record: Option<&Record<'_>>,
    ) -> Option<Winner> {
        self.partition(at.0).reach(append_ms);
        let mut winner = None;
        match record {
            None => {}
            Some(record) if record.stamp.log != self.id => self.misplaced += 1,
            Some(Record { stamp, content }) => match content {
                Content::Barrier => {}
                Content::Event(event) => winner = self.event(at, stamp, event),
                Content::Control(control) => self.control(at, stamp, control),
            },
        }
        for id in self.partition(at.0).bury() {
            self.remembered.remove(&id);
        }
        winner
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

    fn event(
        &mut self,
        at: (PartitionId, Offset),
        stamp: &Stamp,
        event: &Event<'_>,
    ) -> Option<Winner> {
        let (topic, source_partition, source_offset) = event.source;
        let (id, source) = (hash(event.id), (topic, source_partition));
        let is_known = self.remembered.contains(&id);
        let partition = self.partition(at.0);
        if !partition.keeps(stamp.partitions, event.id) {
            self.misplaced += 1;
            return None;
        }
        if is_known || partition.is_below_floor(source, source_offset) {
            self.superseded += 1;
            return None;
        }
        partition.registered(id, source, source_offset);
        self.remembered.insert(id);
        Some(Winner {
            id,
            offset: at.1,
            outcome: event.outcome,
        })
    }
}

#[cfg(test)]
mod tests;
