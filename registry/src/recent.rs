//! The newest accepted records of a partition, in memory, for whoever carries them on. Knows no Kafka.
//!
//! A reader that keeps up never asks Kafka for what the registry has just read; one that falls behind the ring catches up
//! elsewhere. A slow reader holds nothing up: the ring forgets, the log does not.

use parking_lot::Mutex;
use rtf_proto::{Accepted, AcceptedBatch, Offset, Outcomes};
use std::collections::VecDeque;
use tokio::sync::watch;

/// Bytes of rows kept over all partitions, about.
const RING_BYTES: usize = 32 << 20;
/// However many partitions there are, each keeps a batch or two.
const RING_BYTES_MIN: usize = 2 * BATCH_BYTES;
/// Records and bytes handed out at once, about.
pub const BATCH_RECORDS: usize = 500;
pub const BATCH_BYTES: usize = 900 * 1024;

struct Ring {
    records: VecDeque<Accepted>,
    bytes: usize,
    /// Every accepted record from here on is in the ring.
    start: Offset,
    /// One past the last record applied.
    next: Offset,
}

/// What there is for a reader at some offset.
#[derive(PartialEq, Eq, Debug)]
pub enum Read {
    /// These.
    Batch(AcceptedBatch),
    /// Nothing new.
    Nothing,
    /// The ring begins later, here.
    Behind(Offset),
}

/// A partition's ring.
pub struct Recent {
    ring: Mutex<Ring>,
    changed: watch::Sender<Offset>,
    most_bytes: usize,
}

impl Recent {
    /// An empty ring at the partition's next offset, one of so many.
    pub fn new(next: Offset, rings: usize) -> Self {
        let ring = Ring {
            records: VecDeque::new(),
            bytes: 0,
            start: next,
            next,
        };
        Self {
            ring: Mutex::new(ring),
            changed: watch::Sender::new(next),
            most_bytes: (RING_BYTES / rings.max(1)).max(RING_BYTES_MIN),
        }
    }

    /// Adds what was accepted up to `next`, and wakes readers.
    pub fn push(&self, records: impl IntoIterator<Item = Accepted>, next: Offset) {
        {
            let mut ring = self.ring.lock();
            for record in records {
                ring.bytes += record.body.len();
                ring.records.push_back(record);
            }
            ring.next = next;
            while ring.bytes > self.most_bytes {
                let Some(oldest) = ring.records.pop_front() else {
                    break;
                };
                ring.bytes -= oldest.body.len();
                ring.start = oldest.offset + 1;
            }
        }
        self.changed.send_replace(next);
    }

    /// Tells when there is more.
    pub fn watch(&self) -> watch::Receiver<Offset> {
        self.changed.subscribe()
    }

    /// One past the last record applied.
    pub fn next(&self) -> Offset {
        *self.changed.borrow()
    }

    /// About the middle of the ring: whoever has come so far from elsewhere is not behind again at once.
    pub fn middle(&self) -> Offset {
        let ring = self.ring.lock();
        let middle = ring.records.get(ring.records.len() / 2);
        middle.map_or(ring.next, |record| record.offset)
    }

    /// What is wanted of what comes from `from` on.
    pub fn read(&self, from: Offset, outcomes: Outcomes) -> Read {
        let ring = self.ring.lock();
        if from < ring.start {
            return Read::Behind(ring.start);
        }
        if from >= ring.next {
            return Read::Nothing;
        }
        let first = ring.records.partition_point(|record| record.offset < from);
        let (mut records, mut bytes) = (Vec::new(), 0);
        let rest = ring.records.range(first..);
        for record in rest.filter(|record| outcomes.has(record.outcome)) {
            if records.len() == BATCH_RECORDS
                || (bytes + record.body.len() > BATCH_BYTES && !records.is_empty())
            {
                let next = record.offset;
                return Read::Batch(AcceptedBatch { records, next });
            }
            bytes += record.body.len();
            records.push(record.clone());
        }
        Read::Batch(AcceptedBatch {
            records,
            next: ring.next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtf_proto::{Outcome, TopicId};

    /// Every third of them was not joined.
    fn accepted(offset: Offset, size: usize) -> Accepted {
        let outcome = match offset % 3 {
            0 => Outcome::Malformed,
            _ => Outcome::Joined,
        };
        Accepted {
            offset,
            log_ts: 0,
            later_ts: 0,
            outcome,
            source: ((TopicId::default(), 0), offset),
            body: vec![0; size].into(),
        }
    }

    #[test]
    fn the_middle_has_half_of_the_ring_behind_it() {
        let recent = Recent::new(7, 1);
        assert_eq!(recent.middle(), 7, "there is nothing yet");
        recent.push((7..17).map(|offset| accepted(offset, 1)), 20);
        assert_eq!(recent.middle(), 12);
        recent.push([accepted(20, RING_BYTES + 1)], 21);
        assert_eq!(recent.middle(), 21, "one that is too large pushes all out");
    }

    proptest! {
        /// A reader gets every accepted record that it wants once and in order, or is told that it is behind.
        #[test]
        fn nothing_is_skipped(pushes in prop::collection::vec((prop::collection::vec((1u64..4, 0usize..3_000_000), 0..20), 1u64..5), 1..20), start in 0u64..10, wants_all: bool) {
            let outcomes = if wants_all { Outcomes::All } else { Outcomes::NotJoined };
            let recent = Recent::new(start, 1);
            let (mut all, mut next, mut cursor, mut got) = (Vec::new(), start, start, Vec::new());
            for (records, gap) in pushes {
                let mut batch = Vec::new();
                for (step, size) in records {
                    next += step;
                    batch.push(accepted(next - 1, size));
                    all.extend((wants_all || (next - 1) % 3 == 0).then_some(next - 1));
                }
                next += gap;
                recent.push(batch, next);
                loop {
                    match recent.read(cursor, outcomes) {
                        Read::Batch(batch) => {
                            got.extend(batch.records.iter().map(|r| r.offset));
                            prop_assert!(batch.next > cursor);
                            cursor = batch.next;
                        }
                        Read::Nothing => break,
                        Read::Behind(at) => {
                            prop_assert!(at > cursor);
                            got.extend(all.iter().filter(|o| **o >= cursor && **o < at));
                            cursor = at;
                        }
                    }
                }
                prop_assert_eq!(cursor, next);
                prop_assert_eq!(&got, &all);
            }
        }
    }
}
