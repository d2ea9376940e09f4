//! Which events have no outcome: the foreign topic against the log, by id. Pure.

use super::IdHash;
use super::report::Report;
use super::spill::{Entry, Identified};
use bytes::{Buf, BufMut};
use rtf_proto::{Offset, PartitionId, SourceId, TopicId};
use rtf_registry::Age;
use std::collections::{HashMap, HashSet, hash_map};
use std::io;

/// A record of the foreign topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its event.
    pub id: IdHash,
    /// Where it stands.
    pub partition: PartitionId,
    /// Where it stands.
    pub offset: Offset,
    /// Whether the group has passed it: then its event must be in the log, or parked.
    pub committed: bool,
}

impl Entry for Seen {
    const BYTES: usize = 29;

    fn put(&self, out: &mut Vec<u8>) {
        self.id.put(out);
        out.put_u32_le(self.partition);
        out.put_u64_le(self.offset);
        out.put_u8(self.committed.into());
    }

    fn take(bytes: &mut &[u8]) -> Self {
        Self {
            id: IdHash::take(bytes),
            partition: bytes.get_u32_le(),
            offset: bytes.get_u64_le(),
            committed: bytes.get_u8() != 0,
        }
    }
}

impl Identified for Seen {
    fn id(&self) -> IdHash {
        self.id
    }
}

/// What is known beside the records themselves.
pub struct Known<'a> {
    /// The foreign topic.
    pub topic_id: TopicId,
    /// What each partition of the log remembered in the end.
    pub ages: &'a [Age],
}

impl Known<'_> {
    /// Whether the log says that everything up to there had an outcome, though it may be gone from it.
    fn is_below_floor(&self, seen: &Seen) -> bool {
        let source: SourceId = (self.topic_id, seen.partition);
        let mut ages = self.ages.iter();
        ages.any(|age| age.is_below_floor(source, seen.offset))
    }

    /// Holds records of some ids against what the log resolved and what is parked of these ids.
    ///
    /// # Errors
    /// What the iterators say.
    pub fn compare(
        &self,
        foreign: impl Iterator<Item = io::Result<Seen>>,
        parked: impl Iterator<Item = io::Result<IdHash>>,
        resolved: impl Iterator<Item = io::Result<IdHash>>,
        report: &mut Report,
    ) -> io::Result<()> {
        let resolved = resolved.collect::<io::Result<HashSet<_>>>()?;
        let parked = parked.collect::<io::Result<HashSet<_>>>()?;
        let mut events: HashMap<IdHash, Seen> = HashMap::new();
        for seen in foreign {
            let seen = seen?;
            match events.entry(seen.id) {
                hash_map::Entry::Vacant(entry) => drop(entry.insert(seen)),
                hash_map::Entry::Occupied(mut first) => first.get_mut().committed |= seen.committed,
            }
        }
        report.foreign_events += events.len() as u64;
        let mut unresolved: Vec<_> = events
            .into_values()
            .filter(|seen| !resolved.contains(&seen.id))
            .collect();
        unresolved.sort_unstable_by_key(|seen| (seen.partition, seen.offset));
        for seen in unresolved {
            if self.is_below_floor(&seen) {
                report.forgotten += 1;
            } else if parked.contains(&seen.id) {
                report.waiting += 1;
                report.parked += 1;
            } else if seen.committed {
                report.lost(format!(
                    "foreign partition {} offset {} was committed without an outcome",
                    seen.partition, seen.offset
                ));
            } else {
                report.waiting += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: u128, offset: Offset, committed: bool) -> Seen {
        Seen {
            id,
            partition: 3,
            offset,
            committed,
        }
    }

    fn compare(foreign: &[Seen], parked: &[u128], resolved: &[u128]) -> Report {
        let mut report = Report::default();
        let known = Known {
            topic_id: TopicId::default(),
            ages: &[],
        };
        fn ids(ids: &[u128]) -> impl Iterator<Item = io::Result<u128>> {
            ids.iter().copied().map(Ok)
        }
        let foreign = foreign.iter().copied().map(Ok);
        known
            .compare(foreign, ids(parked), ids(resolved), &mut report)
            .unwrap();
        report
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let entry = Seen {
            id: u128::MAX - 5,
            partition: 0x0102_0304,
            offset: u64::MAX - 77,
            committed: true,
        };
        let mut bytes = Vec::new();
        entry.put(&mut bytes);
        assert_eq!(bytes.len(), Seen::BYTES);
        assert_eq!(Seen::take(&mut &bytes[..]), entry);
    }

    #[test]
    fn a_committed_event_without_an_outcome_is_lost() {
        let report = compare(&[seen(1, 7, true)], &[], &[]);
        assert_eq!((report.lost, report.waiting), (1, 0));
        assert!(
            report.offenders[0].contains("partition 3 offset 7"),
            "{report}"
        );
        let report = compare(&[seen(1, 7, true)], &[1], &[]);
        assert_eq!((report.lost, report.waiting, report.parked), (0, 1, 1));
        let report = compare(&[seen(1, 7, true)], &[], &[1]);
        assert_eq!((report.lost, report.waiting), (0, 0));
        let report = compare(&[seen(1, 7, false)], &[], &[]);
        assert_eq!((report.lost, report.waiting), (0, 1));
    }

    #[test]
    fn records_of_one_id_are_one_event() {
        let twice = [seen(1, 7, false), seen(1, 9, true), seen(2, 8, false)];
        let report = compare(&twice, &[], &[]);
        assert_eq!(
            (report.foreign_events, report.lost, report.waiting),
            (2, 1, 1)
        );
        assert!(
            report.offenders[0].contains("offset 7"),
            "the first of them"
        );
    }
}
