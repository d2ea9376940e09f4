//! Reigns: which records of a log count that was split while it was written. A partition keeps the same ids from one offset to another; then
//! it keeps fewer, and its children keep the others.

use std::collections::{BTreeMap, VecDeque};

use rtf_proto::LogId;
use rtf_proto::control::Control;
use rtf_proto::partitioner::partition_of;
use rtf_proto::record::{Content, Record, Stamp};

/// What the log says of its splits, noted partition by partition.
#[derive(Debug, Default)]
pub(super) struct Splits {
    log: LogId,
    /// Partitions it began with.
    roots: Option<u32>,
    by_partition: BTreeMap<u32, Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Offset, and the count it wants.
    epochs: Vec<(u64, u32)>,
    /// Offset, and the parent's epoch it names.
    births: Vec<(u64, (u32, u64))>,
}

/// Who kept what, and where.
#[derive(Debug)]
pub(super) struct Reigns {
    log: LogId,
    by_partition: BTreeMap<u32, Vec<Reign>>,
}

/// Between two offsets a partition keeps what hashes to it among so many.
#[derive(Debug, PartialEq, Eq)]
struct Reign {
    from: u64,
    to: u64,
    count: u32,
}

impl Splits {
    pub(super) fn of(log: LogId) -> Self {
        Self {
            log,
            ..Self::default()
        }
    }

    /// Every record of ours is noted, each partition's in order.
    pub(super) fn note(&mut self, partition: u32, offset: u64, record: &Record<'_>) {
        if record.stamp.log != self.log {
            return;
        }
        if partition == 0 {
            self.roots.get_or_insert(record.stamp.partitions);
        }
        let notes = self.by_partition.entry(partition).or_default();
        match record.content {
            Content::Control(Control::Epoch { partitions }) => {
                notes.epochs.push((offset, partitions));
            }
            Content::Control(Control::Born {
                parent,
                offset: epoch,
            }) => notes.births.push((offset, (parent, epoch))),
            _ => {}
        }
    }

    /// What follows. A log that says nothing began with `partitions`, those of its topic.
    pub(super) fn reigns(&self, partitions: u32) -> Reigns {
        let mut by_partition: BTreeMap<u32, Vec<Reign>> = BTreeMap::new();
        let roots = self.roots.unwrap_or(partitions);
        let mut alive: VecDeque<(u32, u64, u32)> =
            (0..roots).map(|root| (root, 0, roots)).collect();
        while let Some((partition, mut from, mut count)) = alive.pop_front() {
            let reigns = by_partition.entry(partition).or_default();
            for (to, wanted) in self.epochs(partition, from) {
                if wanted <= count || wanted % count != 0 {
                    continue;
                }
                reigns.push(Reign { from, to, count });
                for child in (partition..wanted).step_by(count as usize).skip(1) {
                    let born = self.birth(child, (partition, to));
                    alive.extend(born.map(|born| (child, born, wanted)));
                }
                (from, count) = (to, wanted);
            }
            let to = u64::MAX;
            reigns.push(Reign { from, to, count });
        }
        Reigns {
            log: self.log,
            by_partition,
        }
    }

    fn epochs(&self, partition: u32, from: u64) -> impl Iterator<Item = (u64, u32)> {
        let notes = self.by_partition.get(&partition).into_iter();
        let epochs = notes.flat_map(|notes| notes.epochs.iter().copied());
        epochs.filter(move |(offset, _)| *offset >= from)
    }

    /// Where a partition is born by this epoch.
    fn birth(&self, partition: u32, epoch: (u32, u64)) -> Option<u64> {
        let mut births = self.by_partition.get(&partition)?.births.iter();
        births.find_map(|(offset, named)| (*named == epoch).then_some(*offset))
    }
}

impl Reigns {
    /// Whether a replica considers an event at this place.
    pub(super) fn count(&self, place: (u32, u64), stamp: &Stamp, id: &[u8]) -> bool {
        let (partition, offset) = place;
        self.fitting(partition, stamp, id)
            .any(|reign| reign.from <= offset && offset < reign.to)
    }

    /// Whether it would have counted earlier or later in the same partition: what a split leaves when its writer knew more or less than the log did.
    pub(super) fn explain(&self, partition: u32, stamp: &Stamp, id: &[u8]) -> bool {
        self.fitting(partition, stamp, id).next().is_some()
    }

    fn fitting(&self, partition: u32, stamp: &Stamp, id: &[u8]) -> impl Iterator<Item = &Reign> {
        let reigns = self.by_partition.get(&partition).into_iter().flatten();
        reigns.filter(move |reign| {
            stamp.log == self.log
                && stamp.partitions == reign.count
                && partition_of(id, reign.count) == partition
        })
    }
}

#[cfg(test)]
mod tests {
    use rtf_proto::{Incarnation, TopicId};

    use super::*;

    const LOG: LogId = TopicId([1; 16]);

    fn stamp(partitions: u32) -> Stamp {
        Stamp {
            log: LOG,
            partitions,
            incarnation: Incarnation(2),
            sequence: 3,
        }
    }

    fn splits(controls: &[(u32, u64, Control)]) -> Splits {
        let mut splits = Splits::of(LOG);
        let barrier = Record {
            stamp: stamp(2),
            content: Content::Barrier,
        };
        splits.note(0, 0, &barrier);
        for (partition, offset, control) in controls {
            let record = Record {
                stamp: stamp(2),
                content: Content::Control(control.clone()),
            };
            splits.note(*partition, *offset, &record);
        }
        splits
    }

    fn epoch(partitions: u32) -> Control {
        Control::Epoch { partitions }
    }

    fn born(parent: u32, offset: u64) -> Control {
        Control::Born { parent, offset }
    }

    fn found(reigns: &Reigns) -> Vec<(u32, u64, u64, u32)> {
        let all = reigns.by_partition.iter();
        all.flat_map(|(p, reigns)| reigns.iter().map(|r| (*p, r.from, r.to, r.count)))
            .collect()
    }

    const END: u64 = u64::MAX;

    #[test]
    fn without_splits_all_of_it_is_one_reign() {
        let reigns = splits(&[]).reigns(6);
        assert_eq!(found(&reigns), [(0, 0, END, 2), (1, 0, END, 2)]);
        let reigns = Splits::of(LOG).reigns(1);
        assert_eq!(found(&reigns), [(0, 0, END, 1)]);
    }

    #[test]
    fn children_reign_from_their_births() {
        let reigns = splits(&[
            (1, 10, epoch(3)),
            (1, 20, epoch(4)),
            (1, 30, epoch(4)),
            (3, 4, born(1, 30)),
            (3, 5, born(1, 20)),
            (3, 6, born(1, 20)),
            (3, 7, epoch(8)),
            (7, 0, born(3, 7)),
        ])
        .reigns(8);
        let expected = [
            (0, 0, END, 2),
            (1, 0, 20, 2),
            (1, 20, END, 4),
            (3, 5, 7, 4),
            (3, 7, END, 8),
            (7, 0, END, 8),
        ];
        assert_eq!(found(&reigns), expected);
    }

    #[test]
    fn an_event_counts_in_the_reign_it_was_written_for() {
        let reigns = splits(&[(1, 20, epoch(4)), (3, 5, born(1, 20))]).reigns(4);
        let mut ids = (0..).map(|n: u32| n.to_string().into_bytes());
        let id = ids.find(|id| partition_of(id, 4) == 3).unwrap();
        let counts = |partition, offset, of| reigns.count((partition, offset), &stamp(of), &id);
        assert!(counts(1, 19, 2) && !counts(1, 21, 2) && !counts(1, 21, 4));
        assert!(counts(3, 6, 4) && !counts(3, 4, 4) && !counts(3, 6, 2));
        assert!(reigns.explain(1, &stamp(2), &id) && reigns.explain(3, &stamp(4), &id));
        assert!(!reigns.explain(1, &stamp(4), &id) && !reigns.explain(2, &stamp(2), &id));
    }
}
