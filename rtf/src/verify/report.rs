//! The comparison, and how it reads. Pure.

use super::Topics;
use super::foreign::{Foreign, Parked};
use super::letters::Letters;
use super::log::{Log, Winner};
use super::sink::Rows;
use rtf_proto::{Offset, Outcome, PartitionId, Reason};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Offenders named in a report; there may be more.
const NAMED: usize = 20;

/// What is where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records in the foreign topic.
    pub foreign_records: u64,
    /// Events among them: records with the same id are one.
    pub foreign_events: u64,
    /// Events joined.
    pub joined: u64,
    /// Events given up.
    pub unjoinable: u64,
    /// The same, by reason.
    pub unjoinable_by_reason: BTreeMap<&'static str, u64>,
    /// Records that could not be read.
    pub malformed: u64,
    /// Events not resolved yet: not yet read, waiting in memory, or parked.
    pub waiting: u64,
    /// Those of them that are parked in retry topics.
    pub parked: u64,
    /// Events whose outcome the log no longer has: it says that they had one.
    pub forgotten: u64,
    /// Rows accepted and not yet in Redis.
    pub unpublished: u64,
    /// Rows in Redis.
    pub rows: u64,
    /// Rows that Redis no longer keeps (`redis.max_rows`).
    pub trimmed: u64,
    /// Dead letters.
    pub letters: u64,
    /// Events that are to have a dead letter, and have none yet.
    pub letters_unpublished: u64,
    /// Dead letters that the topic no longer keeps (`publisher.dead_letter_retention`).
    pub letters_trimmed: u64,
    /// Records of the log that came after the first of their id.
    pub superseded: u64,
    /// Records of the log that no replica accepts: written for another log, or for partitions that had been split meanwhile.
    pub misplaced: u64,
    /// Events that were passed over without an outcome, and rows and dead letters that are not where they must be though later ones are.
    pub lost: u64,
    /// Rows and dead letters that the log did not accept there, or a second one of an event.
    pub duplicated: u64,
    /// Where the first of the lost and duplicated are.
    pub offenders: Vec<String>,
}

impl Report {
    /// Compares. `emits_unmatched`: whether unjoinable events have rows too.
    pub(super) fn of(read: &Topics, rows: Rows, emits_unmatched: bool) -> Self {
        let Topics {
            foreign,
            parked,
            log,
            letters,
        } = read;
        let mut report = Self {
            letters: letters.len() as u64,
            foreign_records: foreign.records,
            foreign_events: foreign.events.len() as u64,
            rows: rows.rows.len() as u64,
            superseded: log.superseded,
            misplaced: log.misplaced,
            ..Self::default()
        };
        report.outcomes(log);
        report.unresolved(foreign, parked, log);
        let ends_of_log = ends(log.accepted().map(place));
        report.compare_rows(log, &ends_of_log, &rows, emits_unmatched);
        report.compare_letters(log, &ends_of_log, letters, emits_unmatched);
        report
    }

    /// Nothing is lost, nothing is twice.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0
    }

    fn outcomes(&mut self, log: &Log) {
        for winner in log.accepted() {
            match winner.outcome {
                Outcome::Joined => self.joined += 1,
                Outcome::Malformed => self.malformed += 1,
                Outcome::Unjoinable(reason) => {
                    self.unjoinable += 1;
                    *self
                        .unjoinable_by_reason
                        .entry(reason.as_str())
                        .or_default() += 1;
                }
            }
        }
    }

    fn unresolved(&mut self, foreign: &Foreign, parked: &Parked, log: &Log) {
        for (id, seen) in &foreign.events {
            if log.is_resolved(id) {
                continue;
            }
            if log.is_below_floor((foreign.topic_id, seen.partition), seen.offset) {
                self.forgotten += 1;
            } else if parked.contains(id) {
                self.waiting += 1;
                self.parked += 1;
            } else if seen.committed {
                self.lost += 1;
                self.name(format!(
                    "lost: foreign partition {} offset {} was committed without an outcome",
                    seen.partition, seen.offset
                ));
            } else {
                self.waiting += 1;
            }
        }
    }

    fn compare_rows(&mut self, log: &Log, ends_of_log: &Ends, rows: &Rows, emits_unmatched: bool) {
        let has_row = |winner: &Winner| match winner.outcome {
            Outcome::Joined => true,
            Outcome::Unjoinable(_) => emits_unmatched,
            Outcome::Malformed => false,
        };
        let mut present = HashSet::with_capacity(rows.rows.len());
        for row in &rows.rows {
            let right = row
                .id
                .and_then(|id| log.accepted_at(&id, (row.partition, row.offset)))
                .is_some_and(has_row);
            // What was accepted after the log was read is not known here.
            let newer = ends_of_log
                .get(&row.partition)
                .is_none_or(|end| row.offset > *end);
            if !(right || newer) || !present.insert((row.partition, row.offset)) {
                self.duplicated += 1;
                self.name(format!(
                    "duplicated: row {}-0 of partition {} is not the accepted one of its event",
                    row.offset, row.partition
                ));
            }
        }
        for winner in log.accepted().filter(|winner| has_row(winner)) {
            if present.contains(&place(winner)) {
                continue;
            }
            match rows
                .bounds
                .get(winner.partition as usize)
                .copied()
                .flatten()
            {
                Some((first, _)) if winner.offset < first => self.trimmed += 1,
                Some((_, last)) if winner.offset < last => {
                    self.lost += 1;
                    self.name(format!(
                        "lost: row {}-0 of partition {} is not in Redis, but later ones are",
                        winner.offset, winner.partition
                    ));
                }
                _ => self.unpublished += 1,
            }
        }
    }

    fn compare_letters(
        &mut self,
        log: &Log,
        ends_of_log: &Ends,
        letters: &Letters,
        emits_unmatched: bool,
    ) {
        let has_letter = |winner: &&Winner| match winner.outcome {
            Outcome::Joined => false,
            Outcome::Unjoinable(Reason::TimedOut) => !emits_unmatched,
            Outcome::Unjoinable(Reason::RowTooLarge) | Outcome::Malformed => true,
        };
        let wanted: HashSet<_> = log.accepted().filter(has_letter).map(place).collect();
        let (mut firsts, lasts) = (BTreeMap::new(), ends(letters.iter().copied()));
        let mut present = HashSet::with_capacity(letters.len());
        for (partition, offset) in letters.iter().copied() {
            firsts.entry(partition).or_insert(offset);
            // What was accepted after the log was read is not known here.
            let newer = ends_of_log.get(&partition).is_none_or(|end| offset > *end);
            let right = newer || wanted.contains(&(partition, offset));
            if !present.insert((partition, offset)) || !right {
                self.duplicated += 1;
                self.name(format!(
                    "duplicated: a dead letter of offset {offset} of partition {partition} of the log, which has one or is to have none"
                ));
            }
        }
        for (partition, offset) in wanted.difference(&present) {
            match (firsts.get(partition), lasts.get(partition)) {
                (Some(first), _) if offset < first => self.letters_trimmed += 1,
                (_, Some(last)) if offset < last => {
                    self.lost += 1;
                    self.name(format!(
                        "lost: offset {offset} of partition {partition} of the log has no dead letter, but later ones have"
                    ));
                }
                _ => self.letters_unpublished += 1,
            }
        }
    }

    fn name(&mut self, offender: String) {
        if self.offenders.len() < NAMED {
            self.offenders.push(offender);
        }
    }
}

/// The highest offset of each partition.
type Ends = BTreeMap<PartitionId, Offset>;

fn place(winner: &Winner) -> (PartitionId, Offset) {
    (winner.partition, winner.offset)
}

fn ends(places: impl Iterator<Item = (PartitionId, Offset)>) -> Ends {
    places.fold(BTreeMap::new(), |mut ends, (partition, offset)| {
        let end = ends.entry(partition).or_insert(offset);
        *end = offset.max(*end);
        ends
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "foreign events  {:>12}   ({} records)",
            self.foreign_events, self.foreign_records
        )?;
        writeln!(f, "  joined        {:>12}", self.joined)?;
        write!(f, "  unjoinable    {:>12}", self.unjoinable)?;
        for (reason, count) in &self.unjoinable_by_reason {
            write!(f, "   {reason} {count}")?;
        }
        writeln!(f, "\n  malformed     {:>12}", self.malformed)?;
        writeln!(
            f,
            "  waiting       {:>12}   ({} of them parked)",
            self.waiting, self.parked
        )?;
        if self.forgotten > 0 {
            writeln!(
                f,
                "  forgotten     {:>12}   (resolved before the log begins)",
                self.forgotten
            )?;
        }
        writeln!(
            f,
            "rows in Redis   {:>12}   (not there yet {}, trimmed {})",
            self.rows, self.unpublished, self.trimmed
        )?;
        writeln!(
            f,
            "dead letters    {:>12}   (not there yet {}, trimmed {})",
            self.letters, self.letters_unpublished, self.letters_trimmed
        )?;
        if self.misplaced > 0 {
            writeln!(
                f,
                "misplaced       {:>12}   (records that no replica accepts; a split leaves some)",
                self.misplaced
            )?;
        }
        writeln!(f, "lost            {:>12}", self.lost)?;
        writeln!(f, "duplicated      {:>12}", self.duplicated)?;
        for offender in &self.offenders {
            writeln!(f, "  {offender}")?;
        }
        let named = self.offenders.len() as u64;
        if self.lost + self.duplicated > named {
            writeln!(f, "  and {} more", self.lost + self.duplicated - named)?;
        }
        writeln!(
            f,
            "{}",
            if self.is_clean() {
                "exactly once: yes"
            } else {
                "exactly once: NO"
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::foreign::Seen;
    use crate::verify::sink::RowSeen;
    fn foreign(ids: &[(u128, bool)]) -> Foreign {
        let seen = |(id, committed): &(u128, bool)| {
            (
                *id,
                Seen {
                    partition: 0,
                    offset: *id as u64,
                    committed: *committed,
                },
            )
        };
        Foreign {
            topic_id: rtf_proto::TopicId::default(),
            records: ids.len() as u64,
            events: ids.iter().map(seen).collect(),
        }
    }

    fn log(winners: &[(u128, u64, Outcome)]) -> Log {
        let winner = |(id, offset, outcome): &(u128, u64, Outcome)| {
            (
                *id,
                Winner {
                    partition: 0,
                    offset: *offset,
                    outcome: *outcome,
                },
            )
        };
        Log {
            partitions: 1,
            winners: winners.iter().map(winner).collect(),
            ..Log::default()
        }
    }

    fn rows(rows: &[(u64, u128)]) -> Rows {
        let seen = |(offset, id): &(u64, u128)| RowSeen {
            partition: 0,
            offset: *offset,
            id: Some(*id),
        };
        let bounds = rows
            .first()
            .zip(rows.last())
            .map(|(first, last)| (first.0, last.0));
        Rows {
            rows: rows.iter().map(seen).collect(),
            bounds: vec![bounds],
        }
    }

    fn of(foreign: Foreign, log: Log, rows: Rows, emits_unmatched: bool) -> Report {
        let read = Topics {
            foreign,
            parked: Parked::from([9]),
            log,
            letters: Letters::new(),
        };
        Report::of(&read, rows, emits_unmatched)
    }

    const UNJOINABLE: Outcome = Outcome::Unjoinable(Reason::TimedOut);

    #[test]
    fn a_whole_run_is_clean() {
        let foreign = foreign(&[(1, true), (2, true), (3, true), (4, false)]);
        let log = log(&[
            (1, 10, Outcome::Joined),
            (2, 11, UNJOINABLE),
            (3, 12, Outcome::Malformed),
        ]);
        let report = of(foreign, log, rows(&[(10, 1)]), false);
        assert!(report.is_clean(), "{report}");
        assert_eq!(
            (
                report.joined,
                report.unjoinable,
                report.malformed,
                report.waiting
            ),
            (1, 1, 1, 1)
        );
    }

    #[test]
    fn what_a_split_leaves_is_told_and_is_no_fault() {
        let log = Log {
            misplaced: 3,
            ..log(&[(1, 10, Outcome::Joined)])
        };
        let report = of(foreign(&[(1, true)]), log, rows(&[(10, 1)]), false);
        assert!(report.is_clean() && report.misplaced == 3, "{report}");
        assert!(report.to_string().contains("misplaced                  3"));
    }

    #[test]
    fn a_committed_event_without_an_outcome_is_lost() {
        let report = of(foreign(&[(1, true)]), log(&[]), rows(&[]), false);
        assert_eq!((report.lost, report.waiting), (1, 0));
        let report = of(foreign(&[(9, true)]), log(&[]), rows(&[]), false);
        let waiting = (report.waiting, report.parked);
        assert_eq!((report.lost, waiting), (0, (1, 1)), "it is parked");
    }

    #[test]
    fn a_hole_in_the_rows_is_lost_and_the_end_is_not() {
        let log = || {
            log(&[
                (1, 10, Outcome::Joined),
                (2, 11, Outcome::Joined),
                (3, 12, Outcome::Joined),
                (4, 13, Outcome::Joined),
            ])
        };
        let report = of(foreign(&[]), log(), rows(&[(11, 2), (13, 4)]), false);
        assert_eq!((report.trimmed, report.lost, report.unpublished), (1, 1, 0));
        let report = of(foreign(&[]), log(), rows(&[(10, 1)]), false);
        assert_eq!((report.lost, report.unpublished), (0, 3));
    }

    #[test]
    fn a_row_the_log_did_not_accept_is_a_duplicate() {
        let log = || {
            log(&[
                (1, 10, Outcome::Joined),
                (2, 12, UNJOINABLE),
                (3, 13, Outcome::Joined),
            ])
        };
        let report = of(
            foreign(&[]),
            log(),
            rows(&[(10, 1), (11, 1), (12, 2), (13, 3)]),
            false,
        );
        assert_eq!(
            report.duplicated, 2,
            "a second row of event 1, and one of an event that has none"
        );
        assert_eq!(
            of(
                foreign(&[]),
                log(),
                rows(&[(10, 1), (12, 2), (13, 3)]),
                true
            )
            .duplicated,
            0
        );
    }

    #[test]
    fn dead_letters_are_held_against_the_log() {
        let compare = |letters: &[u64], emits_unmatched| {
            let log = log(&[
                (1, 10, UNJOINABLE),
                (2, 12, Outcome::Malformed),
                (3, 14, UNJOINABLE),
                (4, 15, Outcome::Joined),
                (5, 16, Outcome::Malformed),
            ]);
            let mut report = Report::default();
            let letters = letters.iter().map(|offset| (0, *offset)).collect();
            let ends_of_log = ends(log.accepted().map(place));
            report.compare_letters(&log, &ends_of_log, &letters, emits_unmatched);
            let waiting = (report.letters_unpublished, report.letters_trimmed);
            (report.lost, report.duplicated, waiting)
        };
        assert_eq!(compare(&[10, 12, 14, 16], false), (0, 0, (0, 0)));
        assert_eq!(compare(&[10, 12], false), (0, 0, (2, 0)), "later ones come");
        assert_eq!(
            compare(&[14, 16, 17], false),
            (0, 0, (0, 2)),
            "the log goes on"
        );
        assert_eq!(compare(&[10, 14, 16], false), (1, 0, (0, 0)));
        assert_eq!(compare(&[10, 12, 12, 14, 16], false), (0, 1, (0, 0)));
        assert_eq!(compare(&[10, 12, 14, 15, 16], false), (0, 1, (0, 0)));
        assert_eq!(compare(&[12, 16], true), (0, 0, (0, 0)), "a left join");
        assert_eq!(compare(&[10, 12, 16], true), (0, 1, (0, 0)));
    }
}
