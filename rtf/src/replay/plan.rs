//! Which partitions go back to where. Pure: what the topic has and where the group is come in as arguments.
//!
//! A replay only goes back. Everything below the mark has an outcome in the join log, so that reading it again changes nothing; what lies beyond has none yet, and
//! whoever skipped it would lose it.

use rtf_proto::{Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The same offset in all partitions.
    Offset(Offset),
    /// An offset each; the others stay.
    PerPartition(BTreeMap<PartitionId, Offset>),
    /// The first record of that time or later, ms since 1970.
    Time(i64),
    /// So many offsets back.
    Back(u64),
    /// The first record there is.
    Earliest,
}

/// What there is of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Which.
    pub partition: PartitionId,
    /// Its first offset.
    pub first: Offset,
    /// One past its last.
    pub end: Offset,
    /// What the group has committed.
    pub mark: Option<Offset>,
    /// The first offset of the time that is asked for; none: all records are older.
    pub at_time: Option<Offset>,
}

/// What becomes of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Which.
    pub partition: PartitionId,
    /// Where the group is.
    pub mark: Offset,
    /// Where it goes; never behind where it is.
    pub to: Offset,
    /// Offsets from there to where it is, or to the end of the topic: at most so many records are read again.
    pub records: u64,
    /// What should be known about it.
    pub note: Option<String>,
}

/// What becomes of all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// One for each partition that is meant.
    pub lines: Vec<Line>,
}

impl Plan {
    /// Partitions that go back, and to where.
    pub fn changes(&self) -> Vec<(PartitionId, Offset)> {
        let changes = self.lines.iter().filter(|line| line.to < line.mark);
        changes.map(|line| (line.partition, line.to)).collect()
    }

    /// At most so many records are read again.
    pub fn records(&self) -> u64 {
        self.lines.iter().map(|line| line.records).sum()
    }
}

/// What cannot be meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Beyond the mark: per partition the offset asked for, and the mark.
    Forward(Vec<(PartitionId, Offset, Offset)>),
    /// The topic has not that many partitions.
    Unknown(BTreeSet<PartitionId>),
    /// An offset is given for partitions that are left out.
    LeftOut(BTreeSet<PartitionId>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(lines) => {
                for (partition, asked, mark) in lines {
                    write!(
                        f,
                        "partition {partition}: offset {asked} is beyond {mark}, below which all is resolved; "
                    )?;
                }
                f.write_str("going forward would skip events that are not resolved, and they would be lost. A replay only goes back")
            }
            Self::Unknown(partitions) => write!(f, "the topic has no partitions {partitions:?}"),
            Self::LeftOut(partitions) => write!(
                f,
                "offsets are given for partitions {partitions:?}, which --partitions leaves out"
            ),
        }
    }
}

/// Which partitions go back to where, of those that are `chosen` or of all.
pub fn plan(
    target: &Target,
    extents: &[Extent],
    chosen: Option<&BTreeSet<PartitionId>>,
) -> Result<Plan, Refused> {
    named_rightly(target, extents, chosen)?;
    let meant = extents.iter().filter(|extent| {
        chosen.is_none_or(|chosen| chosen.contains(&extent.partition)) && target.means(extent)
    });
    let (mut lines, mut forward) = (Vec::new(), Vec::new());
    for extent in meant {
        match line(target, extent) {
            Ok(line) => lines.push(line),
            Err(asked) => forward.push((extent.partition, asked, extent.position())),
        }
    }
    if forward.is_empty() {
        Ok(Plan { lines })
    } else {
        Err(Refused::Forward(forward))
    }
}

fn named_rightly(
    target: &Target,
    extents: &[Extent],
    chosen: Option<&BTreeSet<PartitionId>>,
) -> Result<(), Refused> {
    let offsets: BTreeSet<PartitionId> = match target {
        Target::PerPartition(offsets) => offsets.keys().copied().collect(),
        _ => BTreeSet::new(),
    };
    let known: BTreeSet<PartitionId> = extents.iter().map(|extent| extent.partition).collect();
    let named = offsets.iter().chain(chosen.into_iter().flatten()).copied();
    let unknown: BTreeSet<_> = named.filter(|p| !known.contains(p)).collect();
    if !unknown.is_empty() {
        return Err(Refused::Unknown(unknown));
    }
    let left_out: BTreeSet<_> = match chosen {
        Some(chosen) => offsets.difference(chosen).copied().collect(),
        None => BTreeSet::new(),
    };
    if left_out.is_empty() {
        Ok(())
    } else {
        Err(Refused::LeftOut(left_out))
    }
}

impl Target {
    fn means(&self, extent: &Extent) -> bool {
        match self {
            Self::PerPartition(offsets) => offsets.contains_key(&extent.partition),
            _ => true,
        }
    }

    fn asked(&self, extent: &Extent) -> Offset {
        match self {
            Self::Offset(offset) => *offset,
            Self::PerPartition(offsets) => offsets[&extent.partition],
            Self::Time(_) => extent.at_time.unwrap_or(extent.end),
            Self::Back(back) => extent.position().saturating_sub(*back),
            Self::Earliest => extent.first,
        }
    }

    /// Whether somebody typed the offset, and so means just that.
    fn is_exact(&self) -> bool {
        matches!(self, Self::Offset(_) | Self::PerPartition(_))
    }
}

impl Extent {
    /// Where the group is: without a mark it begins with the first record.
    fn position(&self) -> Offset {
        self.mark.unwrap_or(self.first)
    }
}

/// As kafka-consumer-groups does, an offset is brought into what the topic has. An error is one that would go forward.
fn line(target: &Target, extent: &Extent) -> Result<Line, Offset> {
    let (asked, mark) = (target.asked(extent), extent.position());
    let to = asked.clamp(extent.first, extent.end.max(extent.first));
    if to > mark && asked > mark && target.is_exact() {
        return Err(asked);
    }
    let note = if extent.mark.is_none() {
        Some("nothing is committed: it is read from its first record anyway".to_owned())
    } else if to > mark {
        Some(match target {
            Target::Time(_) => "nothing from then on is resolved yet: it stays".to_owned(),
            _ => format!("stays: the topic begins at {} by now", extent.first),
        })
    } else if asked < to {
        Some(format!("{asked} is gone: the topic begins at {to}"))
    } else if asked > to {
        Some(format!("{asked} is beyond the topic's end, {to}"))
    } else {
        None
    };
    let to = to.min(mark);
    Ok(Line {
        partition: extent.partition,
        mark,
        to,
        records: mark.min(extent.end).saturating_sub(to.max(extent.first)),
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(partition: PartitionId, first: Offset, end: Offset, mark: Option<Offset>) -> Extent {
        Extent {
            partition,
            first,
            end,
            mark,
            at_time: None,
        }
    }

    fn only(target: &Target, extent: Extent) -> Result<Line, Refused> {
        plan(target, &[extent], None).map(|mut plan| plan.lines.remove(0))
    }

    #[test]
    fn offsets_are_brought_into_what_the_topic_has() {
        let there = extent(0, 10, 100, Some(60));
        let line = only(&Target::Offset(3), there).unwrap();
        assert_eq!((line.to, line.records), (10, 50));
        assert_eq!(line.note.unwrap(), "3 is gone: the topic begins at 10");
        let line = only(&Target::Back(1_000), there).unwrap();
        assert_eq!((line.to, line.records), (10, 50));
        assert_eq!(only(&Target::Earliest, there).unwrap().to, 10);
        assert_eq!(only(&Target::Offset(60), there).unwrap().records, 0);
        // It was truncated below where the group is.
        let line = only(&Target::Offset(70), extent(0, 0, 50, Some(80))).unwrap();
        assert_eq!((line.mark, line.to, line.records), (80, 50, 0));
        assert!(line.note.unwrap().contains("beyond the topic's end"));
    }

    #[test]
    fn nobody_goes_forward() {
        let there = extent(3, 10, 100, Some(60));
        for asked in [61, 99, 100, 5_000] {
            let refused = only(&Target::Offset(asked), there).unwrap_err();
            assert_eq!(refused, Refused::Forward(vec![(3, asked, 60)]));
        }
        let unread = extent(3, 10, 100, None);
        assert!(only(&Target::Offset(11), unread).is_err());
        assert_eq!(only(&Target::Offset(0), unread).unwrap().to, 10);
        // A time that nobody chose for this partition is no mistake.
        let later = Extent {
            at_time: Some(80),
            ..there
        };
        for at_time in [Some(80), None] {
            let line = only(&Target::Time(1), Extent { at_time, ..later }).unwrap();
            assert_eq!((line.to, line.records), (60, 0));
        }
        // Retention took what was not read.
        let line = only(&Target::Earliest, extent(0, 70, 100, Some(60))).unwrap();
        assert_eq!((line.to, line.records), (60, 0));
    }

    #[test]
    fn what_is_named_must_be_there() {
        let extents = [extent(0, 0, 9, Some(9)), extent(1, 0, 9, Some(9))];
        let offsets = |p| Target::PerPartition(BTreeMap::from([(p, 5)]));
        let refused = plan(&offsets(2), &extents, None).unwrap_err();
        assert_eq!(refused, Refused::Unknown([2].into()));
        let chosen = BTreeSet::from([0]);
        let refused = plan(&offsets(1), &extents, Some(&chosen)).unwrap_err();
        assert_eq!(refused, Refused::LeftOut([1].into()));
        let planned = plan(&Target::Earliest, &extents, Some(&chosen)).unwrap();
        assert_eq!(planned.changes(), [(0, 0)]);
        let planned = plan(&offsets(1), &extents, None).unwrap();
        assert_eq!((planned.changes(), planned.records()), (vec![(1, 5)], 4));
    }

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            (0u64..40).prop_map(Target::Offset),
            prop::collection::btree_map(0u32..3, 0u64..40, 0..3).prop_map(Target::PerPartition),
            Just(Target::Time(0)),
            (0u64..40).prop_map(Target::Back),
            Just(Target::Earliest),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Naively: every record is a row with an offset, and the group has read those below its mark.
        #[test]
        fn what_is_read_again_was_read_before(
            target in target(),
            partitions in prop::collection::vec((0u64..20, 0u64..20, prop::option::of(0u64..40), prop::option::of(0u64..20)), 3),
        ) {
            let extents: Vec<Extent> = (0..).zip(partitions).map(|(partition, (first, length, mark, at))| Extent {
                partition, first, end: first + length, mark, at_time: at.filter(|at| *at < length).map(|at| first + at),
            }).collect();
            let Ok(planned) = plan(&target, &extents, None) else {
                prop_assert!(target.is_exact(), "only an offset that was typed is refused");
                return Ok(());
            };
            for line in &planned.lines {
                let extent = extents[line.partition as usize];
                let position = extent.mark.unwrap_or(extent.first);
                prop_assert_eq!(line.mark, position);
                prop_assert!(line.to <= position);
                let records: Vec<Offset> = (extent.first..extent.end).collect();
                let again = records.iter().filter(|offset| **offset >= line.to && **offset < position);
                prop_assert_eq!(line.records, again.clone().count() as u64);
                let wanted = |offset: &Offset| match &target {
                    Target::Offset(from) => offset >= from,
                    Target::PerPartition(from) => *offset >= from[&line.partition],
                    Target::Time(_) => extent.at_time.is_some_and(|at| *offset >= at),
                    Target::Back(back) => offset + back >= position,
                    Target::Earliest => true,
                };
                let naive = records.iter().filter(|offset| **offset < position && wanted(offset));
                prop_assert!(again.eq(naive), "{:?} of {:?} gives {:?}", target, extent, line);
            }
        }
    }
}
