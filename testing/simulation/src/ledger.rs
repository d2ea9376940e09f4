//! Who won, found anew: the first record of each id that stands in the partition it belongs to. Reads the log's bytes itself, by the tables in
//! `proto/src/record.rs` and `control.rs`, and shares no code with whoever applies them.
//!
//! Where it belongs is what splits have made of it so far (docs/adr/0008): from its epoch on a partition keeps the ids that hash to it among the new count, and
//! a child begins with the record that names the epoch it was born of. A record whose writer knew another count stands where it counts for nothing.

use bytes::Bytes;
use rtf_kafka::simulated::SimulatedRecord;
use rtf_proto::partitioner::partition_of;
use rtf_proto::{EventId, LogId, Offset, PartitionId};
use std::collections::BTreeMap;

/// A record that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where it stands.
    pub place: (PartitionId, Offset),
    /// When the log got it, by the log's own clock, ms since 1970.
    pub logged_ms: i64,
    /// Whose attempt it was.
    pub token: u64,
    /// Outcome and reason, as they stand in the record.
    pub outcome: u16,
    /// What the event ended with.
    pub body: Bytes,
    /// When it arrived, ms after the beginning.
    pub arrived_ms: u64,
}

/// All winners of the log so far.
#[derive(Default, Debug)]
pub struct Ledger {
    /// By id.
    pub winners: BTreeMap<EventId, Entry>,
    /// Those that have a row for the sink, by where they stand.
    pub joined: BTreeMap<(PartitionId, Offset), EventId>,
    partitions: BTreeMap<PartitionId, Shape>,
    /// Counts that held in some partition, in the order in which they came.
    counts: Vec<u32>,
    log: LogId,
}

/// What splits have made of a partition so far.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// It holds the ids that hash to it among so many.
    count: u32,
    /// Whose epoch it waits to be born of, and where that stands; none: it is born.
    unborn: Option<(PartitionId, Offset)>,
}

const EVENT: u8 = 1;
const CONTROL: u8 = 3;
const EPOCH: u8 = 7;
const BORN: u8 = 8;
const JOINED: u16 = 0x0100;
const MALFORMED: u16 = 0x0300;

impl Entry {
    /// Whether it has a row for the sink.
    pub fn is_joined(&self) -> bool {
        self.outcome == JOINED
    }

    /// Whether it could not be read.
    pub fn is_malformed(&self) -> bool {
        self.outcome == MALFORMED
    }
}

fn little_endian(bytes: &[u8], at: usize, count: usize) -> u64 {
    let all = bytes[at..at + count].iter().rev();
    all.fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Ledger {
    /// Of this log, of so many partitions.
    pub fn new(log: LogId, partitions: u32) -> Self {
        let root = Shape {
            count: partitions,
            unborn: None,
        };
        Self {
            log,
            partitions: (0..partitions).map(|number| (number, root)).collect(),
            counts: vec![partitions],
            ..Self::default()
        }
    }

    /// Whether all partitions there are have come to this count, and are born.
    pub fn is_split(&self, count: u32) -> bool {
        let mut shapes = self.partitions.values();
        shapes.all(|shape| shape.count == count && shape.unborn.is_none())
    }

    /// A record about the log itself.
    fn controlled(&mut self, record: &SimulatedRecord, control: &[u8]) {
        let Some(shape) = self.partitions.get_mut(&record.partition) else {
            return;
        };
        let number = |at: usize, bytes: usize| little_endian(control, at, bytes);
        match control.first() {
            Some(&EPOCH) if control.len() == 5 => {
                let (before, count) = (shape.count, number(1, 4) as u32);
                let fits = count > before && count.is_multiple_of(before);
                if !fits || shape.unborn.is_some() {
                    return;
                }
                shape.count = count;
                if !self.counts.contains(&count) {
                    self.counts.push(count);
                }
                let child = Shape {
                    count,
                    unborn: Some((record.partition, record.offset)),
                };
                let children = (record.partition..count).step_by(before as usize);
                for number in children.skip(1) {
                    self.partitions.entry(number).or_insert(child);
                }
            }
            Some(&BORN) if control.len() == 13 => {
                let birth = (number(1, 4) as PartitionId, number(5, 8));
                if shape.unborn == Some(birth) {
                    shape.unborn = None;
                }
            }
            _ => {}
        }
    }

    /// A record has arrived. Words, if it is none of ours.
    pub fn arrived(&mut self, record: &SimulatedRecord, now_ms: u64) -> Result<(), String> {
        let value = record.original.value.clone().unwrap_or_default();
        let number = |at: usize, bytes: usize| little_endian(&value, at, bytes);
        if value.len() < 48 || value[..4] != *b"RTFJ" || value[4] != 1 {
            return Err("it is no record of ours".into());
        }
        let key = record.original.key.clone().unwrap_or_default();
        let mut crc = crc32fast::Hasher::new();
        [&key, &value[..44], &value[48..]]
            .iter()
            .for_each(|part| crc.update(part));
        if u64::from(crc.finalize()) != number(44, 4) {
            return Err("its sum is wrong".into());
        }
        if value[8..24] != self.log.0 {
            return Err("it was written for another log".into());
        }
        match value[5] {
            EVENT if record.original.key.is_none() => return Err("an event without an id".into()),
            EVENT => {}
            CONTROL => {
                self.controlled(record, &value[48..]);
                return Ok(());
            }
            _ => return Ok(()),
        }
        let id = EventId::new(key);
        // Its writer's count holds somewhere or held once, and by that it stands where it belongs.
        let count = number(24, 4) as u32;
        let is_known = self.counts.contains(&count);
        if !is_known || partition_of(id.as_bytes(), count) != record.partition {
            return Err(format!("{id} does not belong there"));
        }
        let shape = self.partitions.get(&record.partition);
        if shape.is_none_or(|shape| shape.count != count || shape.unborn.is_some()) {
            return Ok(());
        }
        let entry = Entry {
            place: (record.partition, record.offset),
            logged_ms: record.timestamp_ms,
            token: number(48, 8),
            outcome: u16::from_be_bytes([value[6], value[7]]),
            body: value.slice(92..),
            arrived_ms: now_ms,
        };
        if !self.winners.contains_key(&id) {
            if entry.is_joined() {
                self.joined.insert(entry.place, id.clone());
            }
            self.winners.insert(id, entry);
        }
        Ok(())
    }
}
