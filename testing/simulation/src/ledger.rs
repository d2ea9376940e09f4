//! Who won, found anew: the first record of each id that stands in the partition it belongs to. Reads the log's bytes itself, by the table in
//! `proto/src/record.rs`, and shares no code with whoever applies them.

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
    partitions: u32,
    log: LogId,
}

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

impl Ledger {
    /// Of this log, of so many partitions.
    pub fn new(log: LogId, partitions: u32) -> Self {
        Self {
            log,
            partitions,
            ..Self::default()
        }
    }

    /// A record has arrived. Words, if it is none of ours.
    pub fn arrived(&mut self, record: &SimulatedRecord, now_ms: u64) -> Result<(), String> {
        let value = record.original.value.clone().unwrap_or_default();
        let number = |at: usize, bytes: usize| {
            let all = value[at..at + bytes].iter().rev();
            all.fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if value.len() < 48 || value[..4] != *b"RTFJ" || value[4] != 1 {
            return Err("it is no record of ours".into());
        }
        if value[5] != 1 {
            return Ok(());
        }
        let id = record
            .original
            .key
            .clone()
            .ok_or("an event without an id")?;
        let mut crc = crc32fast::Hasher::new();
        [&id, &value[..44], &value[48..]]
            .iter()
            .for_each(|part| crc.update(part));
        if u64::from(crc.finalize()) != number(44, 4) {
            return Err("its sum is wrong".into());
        }
        let id = EventId::new(id);
        let belongs = partition_of(id.as_bytes(), self.partitions) == record.partition;
        if value[8..24] != self.log.0 || !belongs || number(24, 4) != u64::from(self.partitions) {
            return Err(format!("{id} does not belong there"));
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
