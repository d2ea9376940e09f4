//! A topic: partitions of records that only grow. Knows no client.

use rtf_kafka::simulated::SimulatedRecord;
use rtf_proto::{Offset, Original, PartitionId, TopicId};

/// A topic.
#[derive(Debug)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// A partition: the records that all replicas have.
#[derive(Default, Debug)]
pub struct Partition {
    /// By offset, which may have gaps.
    pub records: Vec<SimulatedRecord>,
    /// One past the last offset that was given.
    pub end: Offset,
    /// Elections so far.
    pub leader_epoch: i32,
    /// How far the leader's clock is ahead, ms.
    pub ahead_ms: i64,
}

impl Topic {
    /// Nothing in it.
    pub fn new(id: TopicId, partitions: u32) -> Self {
        Self {
            id,
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
        }
    }

    /// Gets more partitions, if it has fewer.
    pub fn raise(&mut self, partitions: u32) {
        let partitions = self.partitions.len().max(partitions as usize);
        self.partitions.resize_with(partitions, Partition::default);
    }

    /// One past the last offset of each partition.
    pub fn ends(&self) -> Vec<(PartitionId, Offset)> {
        let ends = self.partitions.iter().map(|partition| partition.end);
        (0..).zip(ends).collect()
    }
}

impl Partition {
    /// Appends a record behind so many offsets without one (transaction markers).
    pub fn append(
        &mut self,
        partition: PartitionId,
        original: Original,
        now_ms: i64,
        gap: u64,
    ) -> &SimulatedRecord {
        let offset = self.end + gap;
        self.end = offset + 1;
        self.records.push(SimulatedRecord {
            partition,
            offset,
            timestamp_ms: now_ms + self.ahead_ms,
            leader_epoch: self.leader_epoch,
            original,
        });
        self.records.last().expect("just pushed")
    }

    /// The first record from an offset on.
    pub fn fetch(&self, from: Offset) -> Option<&SimulatedRecord> {
        let at = self.records.partition_point(|record| record.offset < from);
        self.records.get(at)
    }
}
