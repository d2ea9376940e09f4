//! A sample of a topic: the first and the last records of each partition, within bounds of number, size and time. Blocking.

pub mod overlap;

use anyhow::Context;
use rtf_kafka::{Cluster, Isolation, Polled, Prefetch, Record, Settings, Start, Tail};
use rtf_proto::{Offset, Original, PartitionId};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);
/// A topic with very many partitions gives fewer records of each.
const RECORDS_MAX: u64 = 40_000;

/// How much is read at the most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Records at the beginning of each partition.
    pub first: u64,
    /// Records at the end of each partition.
    pub last: u64,
    /// Keys and values of all of them together.
    pub bytes: usize,
    /// So long it takes.
    pub time: Duration,
}

/// A record of it.
#[derive(Debug)]
pub struct Sampled {
    /// Kafka's time of it, ms since 1970; 0 where there is none.
    pub timestamp_ms: i64,
    /// The record.
    pub original: Original,
}

/// What was read of a topic.
#[derive(Debug)]
pub struct Sample {
    /// Its partitions.
    pub partitions: u32,
    /// Records it holds, by its offsets: there may be fewer.
    pub total: u64,
    /// Those that were read.
    pub records: Vec<Sampled>,
    /// Whether these are all there are.
    pub is_whole: bool,
}

impl Sample {
    /// The part of the topic that was read, above 0 and at most 1.
    pub fn coverage(&self) -> f64 {
        if self.is_whole || self.total == 0 {
            return 1.0;
        }
        (self.records.len().max(1) as f64 / self.total as f64).min(1.0)
    }
}

/// Reads a sample; `None` if there is no such topic.
///
/// # Errors
/// Kafka does not answer, or lets nobody read.
pub fn take(
    cluster: &Cluster,
    settings: &Settings,
    topic: &str,
    isolation: Isolation,
    bounds: Bounds,
) -> anyhow::Result<Option<Sample>> {
    let Some(info) = cluster.topic(topic)? else {
        return Ok(None);
    };
    let extents = (0..info.partitions)
        .map(|partition| Ok((partition, cluster.offsets(topic, partition)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let total = extents.iter().map(|(_, (first, end))| end - first).sum();
    let windows = windows(&extents, bounds);
    let settings = Settings {
        prefetch: Prefetch::Frugal,
        ..settings.clone()
    };
    let mut reading = Reading {
        tail: Tail::open(&settings, topic, &[], isolation)?,
        records: Vec::new(),
        is_cut: windows.is_cut,
    };
    let passes = [windows.last, windows.first];
    let passes = passes.into_iter().filter(|pass| !pass.is_empty());
    for pass in passes {
        reading
            .pass(pass, bounds.bytes / 2, bounds.time / 2)
            .with_context(|| format!("topic `{topic}` cannot be read"))?;
    }
    Ok(Some(Sample {
        partitions: info.partitions,
        total,
        records: reading.records,
        is_whole: !reading.is_cut,
    }))
}

/// What is read of each partition: of some all in one go, of others the end and the beginning.
#[derive(Debug, Default, PartialEq)]
struct Windows {
    first: BTreeMap<PartitionId, Range<Offset>>,
    last: BTreeMap<PartitionId, Range<Offset>>,
    is_cut: bool,
}

fn windows(extents: &[(PartitionId, (Offset, Offset))], bounds: Bounds) -> Windows {
    let mut windows = Windows::default();
    let each = (RECORDS_MAX / extents.len().max(1) as u64).max(1);
    let room = if bounds.first == 0 {
        each
    } else {
        each.div_ceil(2)
    };
    let last = bounds.last.min(room);
    let first = bounds.first.min(each - last);
    for (partition, (begin, end)) in extents {
        let (partition, begin, end) = (*partition, *begin, *end);
        if begin == end {
            continue;
        }
        if end - begin <= first + last {
            windows.last.insert(partition, begin..end);
            continue;
        }
        windows.is_cut = true;
        windows.last.insert(partition, end - last..end);
        if first > 0 {
            windows.first.insert(partition, begin..begin + first);
        }
    }
    windows
}

struct Reading {
    tail: Tail,
    records: Vec<Sampled>,
    is_cut: bool,
}

impl Reading {
    /// Reads these windows, each partition its part of the bytes.
    fn pass(
        &mut self,
        windows: BTreeMap<PartitionId, Range<Offset>>,
        bytes: usize,
        time: Duration,
    ) -> anyhow::Result<()> {
        let share = bytes / windows.len();
        let deadline = Instant::now() + time;
        let starts: Vec<_> = (windows.iter())
            .map(|(partition, window)| (*partition, Start::Offset(window.start)))
            .collect();
        self.tail.assign(&starts)?;
        let mut left: BTreeMap<PartitionId, (Offset, usize)> = (windows.into_iter())
            .map(|(partition, window)| (partition, (window.end, share)))
            .collect();
        while !left.is_empty() {
            if Instant::now() > deadline {
                self.is_cut = true;
                break;
            }
            match self.tail.poll(POLL) {
                Polled::Record(record) => {
                    let Some((end, room)) = left.get_mut(&record.partition()) else {
                        continue;
                    };
                    let (is_last, is_in) = (record.offset() + 1 >= *end, record.offset() < *end);
                    let size = size(&record);
                    let has_room = size <= *room;
                    *room = room.saturating_sub(size);
                    if is_in {
                        self.records.push(Sampled {
                            timestamp_ms: record.timestamp_ms(),
                            original: record.original(),
                        });
                    }
                    self.is_cut |= !has_room && !is_last;
                    if is_last || !has_room {
                        left.remove(&record.partition());
                    }
                }
                Polled::EndOfPartition(partition) => drop(left.remove(&partition)),
                Polled::Idle => {}
                Polled::Failed(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn size(record: &Record<'_>) -> usize {
    record.key().map_or(0, <[u8]>::len) + record.value().map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(first: u64, last: u64) -> Bounds {
        Bounds {
            first,
            last,
            bytes: 1,
            time: Duration::ZERO,
        }
    }

    #[test]
    fn both_ends_are_read_and_small_partitions_whole() {
        let extents = [(0, (5, 5)), (1, (10, 30)), (2, (100, 1100))];
        let read = windows(&extents, bounds(10, 10));
        assert_eq!(read.last, BTreeMap::from([(1, 10..30), (2, 1090..1100)]));
        assert_eq!(read.first, BTreeMap::from([(2, 100..110)]));
        assert!(read.is_cut);
        assert!(!windows(&extents[..2], bounds(10, 10)).is_cut);
        let only_last = windows(&extents, bounds(0, 1));
        assert!(only_last.first.is_empty() && only_last.last[&2] == (1099..1100));
    }

    #[test]
    fn very_many_partitions_give_few_records_each() {
        let extents: Vec<_> = (0..4096).map(|p| (p, (0, 1_000_000))).collect();
        let read = windows(&extents, bounds(500, 500));
        let all = read.first.values().chain(read.last.values());
        let records: u64 = all.map(|window| window.end - window.start).sum();
        assert!(
            records <= RECORDS_MAX && records > RECORDS_MAX / 2,
            "{records}"
        );
    }
}
