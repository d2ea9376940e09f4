//! Redis streams in miniature, in memory: where the embedded sink keeps joined rows for the page to read.
//!
//! One [`Rows`] is shared by who appends (the publisher) and who reads (the web). It keeps the contract of the Redis
//! script word for word (compare the last offset and the log's name, then append all or nothing) and must not know
//! what a row means, what a log is, or who calls.

mod ring;

use bytes::Bytes;
use parking_lot::Mutex;
use ring::Ring;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes of row text that the store keeps by default, all partitions together.
pub const DEFAULT_MAX_BYTES: usize = 64 << 20;
/// Rows that the store keeps by default in each partition.
pub const DEFAULT_MAX_ROWS: usize = 1_000_000;

/// A row and the log offset it was accepted at.
pub type Entry = (u64, Bytes);

/// How much the store keeps. What exceeds it is forgotten, the oldest first; a partition's newest row always stays.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows in each partition; 0 for as many as the bytes allow.
    pub max_rows: usize,
    /// Bytes of row text in each partition.
    pub max_bytes: usize,
}

impl Limits {
    /// The defaults, shared fairly by `partitions` partitions.
    pub fn for_partitions(partitions: u32) -> Self {
        Self {
            max_rows: DEFAULT_MAX_ROWS,
            max_bytes: DEFAULT_MAX_BYTES / partitions.max(1) as usize,
        }
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// All rows are in; the partition now ends here.
    Appended {
        /// Offset of the newest row.
        last: u64,
    },
    /// The partition does not end where the caller thought; nothing was appended.
    Behind {
        /// Where it really ends; `None` when nothing was ever appended.
        last: Option<u64>,
    },
    /// The partition was written from another log; nothing was appended.
    OtherLog {
        /// The log it was written from.
        found: String,
    },
}

/// The store: a handle that is cheap to clone, every clone sees the same rows.
#[derive(Clone, Debug)]
pub struct Rows {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// Partitions come into being with their first row.
    partitions: Mutex<BTreeMap<u32, Ring>>,
    /// Counts changes; its only use is to wake whoever waits for rows.
    changes: watch::Sender<u64>,
}

impl Rows {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        let shared = Shared {
            limits,
            partitions: Mutex::new(BTreeMap::new()),
            changes: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Appends `rows` if the partition is of `log` and ends at `expected_last`, all of them or none.
    ///
    /// # Panics
    /// When `rows` is empty, or its offsets do not rise from `expected_last` on: that is no state of the store but a
    /// mistake of the caller.
    pub fn append(
        &self,
        partition: u32,
        log: &str,
        expected_last: Option<u64>,
        rows: &[Entry],
    ) -> AppendOutcome {
        assert_rising(partition, expected_last, rows);
        let mut partitions = self.shared.partitions.lock();
        let ring = partitions.get(&partition);
        if let Some(ring) = ring.filter(|ring| ring.log() != log) {
            return AppendOutcome::OtherLog {
                found: ring.log().to_owned(),
            };
        }
        let last = ring.and_then(Ring::last);
        if last != expected_last {
            return AppendOutcome::Behind { last };
        }
        let ring = partitions
            .entry(partition)
            .or_insert_with(|| Ring::new(log));
        let last = ring.extend(rows, self.shared.limits);
        drop(partitions);
        self.announce();
        AppendOutcome::Appended { last }
    }

    /// Offset of the partition's newest row; `None` when it never had one.
    pub fn last(&self, partition: u32) -> Option<u64> {
        self.shared
            .partitions
            .lock()
            .get(&partition)
            .and_then(Ring::last)
    }

    /// Up to `limit` rows with offsets above `after` (all offsets when `None`), oldest first.
    pub fn read_after(&self, partition: u32, after: Option<u64>, limit: usize) -> Vec<Entry> {
        self.read(partition, |ring| ring.after(after, limit))
    }

    /// Up to `limit` rows with offsets below `before` (all offsets when `None`), newest first.
    pub fn read_before(&self, partition: u32, before: Option<u64>, limit: usize) -> Vec<Entry> {
        self.read(partition, |ring| ring.before(before, limit))
    }

    /// Tells when something changed. The value is a mere counter; mark it seen, read, then wait.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Forgets everything, logs' names too: what FLUSHALL is to Redis.
    pub fn clear(&self) {
        self.shared.partitions.lock().clear();
        self.announce();
    }

    fn read(&self, partition: u32, read: impl FnOnce(&Ring) -> Vec<Entry>) -> Vec<Entry> {
        self.shared
            .partitions
            .lock()
            .get(&partition)
            .map(read)
            .unwrap_or_default()
    }

    fn announce(&self) {
        self.shared.changes.send_modify(|changes| *changes += 1);
    }
}

fn assert_rising(partition: u32, expected_last: Option<u64>, rows: &[Entry]) {
    assert!(
        !rows.is_empty(),
        "an append to partition {partition} has no rows"
    );
    let mut last = expected_last;
    for (offset, _) in rows {
        assert!(
            last < Some(*offset),
            "offset {offset} follows {last:?} in partition {partition}"
        );
        last = Some(*offset);
    }
}

#[cfg(test)]
mod tests;
