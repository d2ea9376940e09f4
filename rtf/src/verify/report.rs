//! What came out, and how it reads. Pure.

use rtf_proto::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Offenders named in a report; there may be more.
const NAMED: usize = 20;

/// What is where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Partitions of the join log that were looked at: with `--sample` a part of them. All that follows but `foreign_records` is of their ids.
    pub partitions_checked: u32,
    /// Partitions it has.
    pub partitions: u32,
    /// Records in the foreign topic.
    pub foreign_records: u64,
    /// Events among them: records with the same id are one.
    pub foreign_events: u64,
    /// Events joined.
    pub joined: u64,
    /// Events given up.
    pub unjoinable: u64,
    /// The same, by reason.
    pub unjoinable_by_reason: BTreeMap<String, u64>,
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
    /// Nothing is lost, nothing is twice.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0
    }

    /// The log decided an event.
    pub(super) fn accepted(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Joined => self.joined += 1,
            Outcome::Malformed => self.malformed += 1,
            Outcome::Unjoinable(reason) => {
                self.unjoinable += 1;
                let reason = reason.as_str().to_owned();
                *self.unjoinable_by_reason.entry(reason).or_default() += 1;
            }
        }
    }

    /// Something that must be there is not.
    pub(super) fn lost(&mut self, offender: String) {
        self.lost += 1;
        self.name("lost", &offender);
    }

    /// Something is there that must not be.
    pub(super) fn duplicated(&mut self, offender: String) {
        self.duplicated += 1;
        self.name("duplicated", &offender);
    }

    fn name(&mut self, how: &str, offender: &str) {
        if self.offenders.len() < NAMED {
            self.offenders.push(format!("{how}: {offender}"));
        }
    }
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
        if self.partitions_checked < self.partitions {
            writeln!(
                f,
                "looked at {} of {} partitions of the log: this is a sample",
                self.partitions_checked, self.partitions
            )?;
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

    #[test]
    fn the_first_offenders_are_named_and_the_others_counted() {
        let mut report = Report::default();
        (0..25).for_each(|n| report.lost(format!("number {n}")));
        report.duplicated("another".to_owned());
        assert_eq!(
            (report.lost, report.duplicated, report.offenders.len()),
            (25, 1, NAMED)
        );
        let text = report.to_string();
        assert!(
            text.contains("lost: number 19") && !text.contains("number 20"),
            "{text}"
        );
        assert!(
            text.contains("and 6 more") && text.contains("exactly once: NO"),
            "{text}"
        );
    }

    #[test]
    fn what_a_split_leaves_is_told_and_is_no_fault() {
        let report = Report {
            misplaced: 3,
            ..Report::default()
        };
        assert!(report.is_clean());
        assert!(report.to_string().contains("misplaced                  3"));
    }

    #[test]
    fn a_sample_says_that_it_is_one() {
        let report = Report {
            partitions_checked: 2,
            partitions: 16,
            ..Report::default()
        };
        assert!(report.to_string().contains("2 of 16 partitions"));
    }
}
