//! Rows and dead letters of one partition, held against the log by their places in it. Pure; both come in the order of the log, so nothing
//! is kept.

use super::IdHash;
use super::report::Report;
use super::spill::Entry;
use bytes::{Buf, BufMut};
use rtf_proto::{Offset, Outcome, PartitionId, Reason};
use std::io;

/// An accepted record of the log, as far as it matters to those who read behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Its event.
    pub id: IdHash,
    /// Where it stands in its partition.
    pub offset: Offset,
    /// Whether the event is to have a row.
    pub has_row: bool,
    /// Whether it is to have a dead letter.
    pub has_letter: bool,
}

impl Accepted {
    /// `emits_unmatched`: whether unjoinable events have rows too.
    pub fn new(id: IdHash, offset: Offset, outcome: Outcome, emits_unmatched: bool) -> Self {
        Self {
            id,
            offset,
            has_row: match outcome {
                Outcome::Joined => true,
                Outcome::Unjoinable(_) => emits_unmatched,
                Outcome::Malformed => false,
            },
            has_letter: match outcome {
                Outcome::Joined => false,
                Outcome::Unjoinable(Reason::TimedOut) => !emits_unmatched,
                Outcome::Unjoinable(Reason::RowTooLarge) | Outcome::Malformed => true,
            },
        }
    }
}

impl Entry for Accepted {
    const BYTES: usize = 26;

    fn put(&self, out: &mut Vec<u8>) {
        self.id.put(out);
        out.put_u64_le(self.offset);
        out.put_u8(self.has_row.into());
        out.put_u8(self.has_letter.into());
    }

    fn take(bytes: &mut &[u8]) -> Self {
        Self {
            id: IdHash::take(bytes),
            offset: bytes.get_u64_le(),
            has_row: bytes.get_u8() != 0,
            has_letter: bytes.get_u8() != 0,
        }
    }
}

/// What is held against the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// Rows in Redis.
    Rows,
    /// Dead letters.
    Letters,
}

/// One partition's comparison.
pub struct Comparison<'r, A> {
    view: View,
    partition: PartitionId,
    /// The last accepted record: what comes behind it was accepted after the log was read.
    end: Option<Offset>,
    accepted: A,
    /// What must be met next.
    next: Option<Accepted>,
    /// What was met last.
    last: Option<Offset>,
    report: &'r mut Report,
}

impl<'r, A: Iterator<Item = io::Result<Accepted>>> Comparison<'r, A> {
    /// Of what the log accepted in one partition, the last of it at `end`.
    ///
    /// # Errors
    /// What the iterator says.
    pub fn new(
        view: View,
        partition: PartitionId,
        accepted: A,
        end: Option<Offset>,
        report: &'r mut Report,
    ) -> io::Result<Self> {
        let mut comparison = Self {
            view,
            partition,
            end,
            accepted,
            next: None,
            last: None,
            report,
        };
        comparison.advance()?;
        Ok(comparison)
    }

    /// The next record of the log that is to be seen in this view.
    fn advance(&mut self) -> io::Result<()> {
        let view = self.view;
        let is_wanted = |accepted: &Accepted| match view {
            View::Rows => accepted.has_row,
            View::Letters => accepted.has_letter,
        };
        let wanted = |entry: &io::Result<Accepted>| entry.as_ref().map_or(true, is_wanted);
        self.next = self.accepted.find(wanted).transpose()?;
        Ok(())
    }

    /// The next row or letter; `id` is what it says of whom it is, if it must say so.
    ///
    /// # Errors
    /// What the iterator says.
    pub fn met(&mut self, offset: Offset, id: Option<Option<IdHash>>) -> io::Result<()> {
        match self.view {
            View::Rows => self.report.rows += 1,
            View::Letters => self.report.letters += 1,
        }
        if self.last.is_some_and(|last| offset <= last) {
            self.duplicated(offset);
            return Ok(());
        }
        while let Some(missing) = self.next.filter(|next| next.offset < offset) {
            self.missing(missing.offset);
            self.advance()?;
        }
        let expected = self.next.filter(|next| next.offset == offset);
        let is_right = expected.is_some_and(|expected| id.is_none_or(|id| id == Some(expected.id)));
        let is_newer = self.end.is_none_or(|end| offset > end);
        if !is_right && !is_newer {
            self.duplicated(offset);
        }
        if expected.is_some() {
            self.advance()?;
        }
        self.last = Some(offset);
        Ok(())
    }

    /// There are no more; what has not been met is on its way.
    ///
    /// # Errors
    /// What the iterator says.
    pub fn finish(mut self) -> io::Result<()> {
        while self.next.is_some() {
            match self.view {
                View::Rows => self.report.unpublished += 1,
                View::Letters => self.report.letters_unpublished += 1,
            }
            self.advance()?;
        }
        Ok(())
    }

    /// Something is missing below what was met now: trimmed if nothing was met before.
    fn missing(&mut self, offset: Offset) {
        let (partition, report) = (self.partition, &mut *self.report);
        match (self.view, self.last) {
            (View::Rows, None) => report.trimmed += 1,
            (View::Letters, None) => report.letters_trimmed += 1,
            (View::Rows, Some(_)) => report.lost(format!(
                "row {offset}-0 of partition {partition} is not in Redis, but later ones are"
            )),
            (View::Letters, Some(_)) => report.lost(format!(
                "offset {offset} of partition {partition} of the log has no dead letter, but later ones have"
            )),
        }
    }

    fn duplicated(&mut self, offset: Offset) {
        let partition = self.partition;
        self.report.duplicated(match self.view {
            View::Rows => {
                format!("row {offset}-0 of partition {partition} is not the accepted one of its event")
            }
            View::Letters => format!(
                "a dead letter of offset {offset} of partition {partition} of the log, which has one or is to have none"
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNJOINABLE: Outcome = Outcome::Unjoinable(Reason::TimedOut);

    fn log(accepted: &[(u128, Offset, Outcome)], emits_unmatched: bool) -> Vec<Accepted> {
        let accepted = accepted.iter();
        accepted
            .map(|(id, offset, outcome)| Accepted::new(*id, *offset, *outcome, emits_unmatched))
            .collect()
    }

    fn rows(log: &[Accepted], rows: &[(Offset, u128)]) -> Report {
        let mut report = Report::default();
        let end = log.last().map(|last| last.offset);
        let accepted = log.iter().copied().map(Ok);
        let mut comparison = Comparison::new(View::Rows, 0, accepted, end, &mut report).unwrap();
        for (offset, id) in rows {
            comparison.met(*offset, Some(Some(*id))).unwrap();
        }
        comparison.finish().unwrap();
        report
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        for entry in log(&[(7, u64::MAX, Outcome::Joined), (8, 1, UNJOINABLE)], false) {
            let mut bytes = Vec::new();
            entry.put(&mut bytes);
            assert_eq!(bytes.len(), Accepted::BYTES);
            assert_eq!(Accepted::take(&mut &bytes[..]), entry);
        }
    }

    #[test]
    fn a_whole_run_is_clean() {
        let log = log(
            &[
                (1, 10, Outcome::Joined),
                (2, 11, UNJOINABLE),
                (3, 12, Outcome::Malformed),
            ],
            false,
        );
        let report = rows(&log, &[(10, 1)]);
        assert!(report.is_clean() && report.rows == 1, "{report}");
    }

    #[test]
    fn a_hole_in_the_rows_is_lost_and_the_end_is_not() {
        let joined = |id| (id, 9 + id as u64, Outcome::Joined);
        let log = log(&[1, 2, 3, 4].map(joined), false);
        let report = rows(&log, &[(11, 2), (13, 4)]);
        assert_eq!((report.trimmed, report.lost, report.unpublished), (1, 1, 0));
        let report = rows(&log, &[(10, 1)]);
        assert_eq!((report.trimmed, report.lost, report.unpublished), (0, 0, 3));
        let report = rows(&log, &[]);
        assert_eq!((report.trimmed, report.lost, report.unpublished), (0, 0, 4));
    }

    #[test]
    fn a_row_the_log_did_not_accept_is_a_duplicate() {
        let accepted = [
            (1, 10, Outcome::Joined),
            (2, 12, UNJOINABLE),
            (3, 13, Outcome::Joined),
        ];
        let all = [(10, 1), (11, 1), (12, 2), (13, 3), (14, 9)];
        let report = rows(&log(&accepted, false), &all);
        assert_eq!(
            report.duplicated, 2,
            "a second row, and one of an event that has none"
        );
        assert_eq!(report.lost, 0, "what is newer than the log is not judged");
        let left_join = rows(&log(&accepted, true), &[(10, 1), (12, 2), (13, 3)]);
        assert_eq!(left_join.duplicated, 0);
        let wrong = rows(&log(&accepted, false), &[(10, 3), (13, 3)]);
        assert_eq!((wrong.duplicated, wrong.lost), (1, 0), "another's row");
        let twice = rows(&log(&accepted, false), &[(10, 1), (10, 1), (13, 3)]);
        assert_eq!((twice.duplicated, twice.lost), (1, 0));
    }

    #[test]
    fn dead_letters_are_held_against_the_log() {
        let compare = |letters: &[u64], emits_unmatched| {
            let log = log(
                &[
                    (1, 10, UNJOINABLE),
                    (2, 12, Outcome::Malformed),
                    (3, 14, UNJOINABLE),
                    (4, 15, Outcome::Joined),
                    (5, 16, Outcome::Malformed),
                ],
                emits_unmatched,
            );
            let mut report = Report::default();
            let accepted = log.into_iter().map(Ok);
            let mut comparison =
                Comparison::new(View::Letters, 0, accepted, Some(16), &mut report).unwrap();
            for letter in letters {
                comparison.met(*letter, None).unwrap();
            }
            comparison.finish().unwrap();
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
