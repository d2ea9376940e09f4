//! Decides what is appended to a sink and from where the log is read. Knows no clock, no I/O, no sink and no registry.
//!
//! A carry holds a *floor*, where it believes the sink to end, and a *window*, all rows above the floor that it has read.
//! Appends take rows from the window's front, a few may be under way at once: each expects the one before to have
//! succeeded, so that when one fails those after it fail harmlessly. Rows leave the window when they are known to be in the
//! sink. Whatever else happens (refused appends, no answer, doubt), the next thing to know is where the sink really
//! ends, and then either the window can go on from there or the log is read again.

use crate::sink::Row;
use rtf_proto::Offset;
use rtf_service::mutant;
use std::collections::VecDeque;

/// How much is done at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Rows of an append.
    pub batch_rows: usize,
    /// Bytes of an append; a single row may be larger.
    pub batch_bytes: usize,
    /// Appends under way.
    pub under_way: usize,
    /// When the window has so many rows, no more are read.
    pub window_rows: usize,
    /// When the window has so many bytes, no more are read.
    pub window_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_rows: 500,
            batch_bytes: 512 << 10,
            under_way: 2,
            window_rows: 1000,
            window_bytes: 1 << 20,
        }
    }
}

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask the sink where it ends, then tell by [`Carry::located`].
    Locate,
    /// Read the log from here, then tell by [`Carry::tail_opened`].
    Tail {
        /// First offset wanted.
        from: Offset,
    },
    /// Append, then tell by [`Carry::appended`], [`Carry::moved`] or [`Carry::failed`], in the order of the appends.
    Append(Append),
    /// Wait for the log or for an append under way.
    Wait,
}

/// Rows for the sink.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Append {
    /// Where the sink must end for the rows to be appended.
    pub expected: Option<Offset>,
    /// At least one.
    pub rows: Vec<Row>,
}

/// The sink has more than the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ahead {
    /// Where the sink ends.
    pub last: Offset,
    /// One past the log's last record, as far as anybody knows.
    pub end: Offset,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Nobody knows where the sink ends.
    Lost,
    /// An append was refused because the sink ends here; others may still be under way.
    Moved(Option<Offset>),
    /// The sink ends at the floor, plus what is under way.
    Placed,
}

/// The cursor of one partition of one log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Carry {
    limits: Limits,
    phase: Phase,
    floor: Option<Offset>,
    window: VecDeque<Row>,
    window_bytes: usize,
    /// Row counts of the appends under way, oldest first; together they are the window's front.
    under_way: VecDeque<usize>,
    /// Every row above the floor and below this is in the window.
    next: Offset,
    tailing: bool,
}

impl Carry {
    /// Knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Lost,
            floor: None,
            window: VecDeque::new(),
            window_bytes: 0,
            under_way: VecDeque::new(),
            next: 0,
            tailing: false,
        }
    }

    /// What to do now. An [`Step::Append`] counts as under way from here on.
    pub fn step(&mut self) -> Step {
        match self.phase {
            Phase::Lost if self.under_way.is_empty() => Step::Locate,
            Phase::Lost | Phase::Moved(_) => Step::Wait,
            Phase::Placed if !self.tailing => Step::Tail { from: self.next },
            Phase::Placed => self.take_append().map_or(Step::Wait, Step::Append),
        }
    }

    /// The sink ends at `last`, the log at `end` (one past its last record).
    ///
    /// # Errors
    /// The sink has what the log does not have; nothing changes, [`Step::Locate`] comes again.
    pub fn located(&mut self, last: Option<Offset>, end: Offset) -> Result<(), Ahead> {
        assert!(
            self.under_way.is_empty(),
            "appends under way may still move the sink"
        );
        // The registry's word on the end may be older than what was read.
        let end = end.max(self.next);
        match last {
            Some(last) if last >= end => return Err(Ahead { last, end }),
            Some(ahead) if ahead >= self.next => self.restart(last),
            _ if last < self.floor && !mutant::is("forgotten-rows-not-refilled") => {
                self.restart(last)
            }
            _ => self.forget_up_to(last),
        }
        self.phase = Phase::Placed;
        Ok(())
    }

    /// The log is being read from where [`Step::Tail`] said.
    pub fn tail_opened(&mut self) {
        self.tailing = true;
    }

    /// The log is not read any more.
    pub fn tail_lost(&mut self) {
        self.tailing = false;
        self.phase = Phase::Lost;
    }

    /// Retention took what comes before `first`: there is nothing to wait for below it.
    pub fn log_begins_at(&mut self, first: Offset) {
        self.next = self.next.max(first);
        self.tailing = false;
    }

    /// The log has been read: all rows up to `next`, in order.
    pub fn offered(&mut self, rows: impl IntoIterator<Item = Row>, next: Offset) {
        for row in rows {
            if row.offset >= self.next {
                self.next = row.offset + 1;
                self.window_bytes += row.payload.len();
                self.window.push_back(row);
            }
        }
        self.next = self.next.max(next);
    }

    /// The oldest append under way was carried out; the sink ended at `last` then.
    pub fn appended(&mut self, last: Offset) {
        let rows = self.answered();
        match self.phase {
            Phase::Placed => {
                self.drop_front(rows);
                self.floor = Some(last);
            }
            // Not what was believed: an append before it got no answer, or another one.
            Phase::Moved(_) => self.phase = Phase::Moved(Some(last)),
            Phase::Lost => {}
        }
        self.settle();
    }

    /// The oldest append under way was refused: the sink ended at `last`.
    pub fn moved(&mut self, last: Option<Offset>) {
        self.answered();
        if self.phase != Phase::Lost {
            self.phase = Phase::Moved(last);
        }
        self.settle();
    }

    /// The oldest append under way got no answer; it may have been carried out, or may be yet.
    pub fn failed(&mut self) {
        self.answered();
        self.phase = Phase::Lost;
    }

    /// Ask the sink again where it ends: it may have forgotten.
    pub fn doubt(&mut self) {
        self.phase = Phase::Lost;
    }

    /// Whether there is room for more of the log.
    pub fn wants_more(&self) -> bool {
        self.tailing
            && self.window.len() < self.limits.window_rows
            && self.window_bytes < self.limits.window_bytes
    }

    /// Whether the log is read and all that was read is in the sink.
    pub fn is_idle(&self) -> bool {
        self.tailing && self.window.is_empty()
    }

    /// Every row below this is in the sink.
    pub fn published(&self) -> Offset {
        self.window.front().map_or(self.next, |row| row.offset)
    }

    /// Where the sink ended when it was heard of last.
    pub fn last(&self) -> Option<Offset> {
        self.floor
    }

    /// Offset from which the log is read, or would be.
    pub fn next(&self) -> Offset {
        self.next
    }

    fn take_append(&mut self) -> Option<Append> {
        let sent: usize = self.under_way.iter().sum();
        if sent == self.window.len() || self.under_way.len() == self.limits.under_way {
            return None;
        }
        let expected = match sent {
            0 => self.floor,
            sent => Some(self.window[sent - 1].offset),
        };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.window.range(sent..).take(self.limits.batch_rows) {
            bytes += row.payload.len();
            if bytes > self.limits.batch_bytes && !rows.is_empty() {
                break;
            }
            rows.push(row.clone());
        }
        self.under_way.push_back(rows.len());
        Some(Append { expected, rows })
    }

    fn answered(&mut self) -> usize {
        self.under_way
            .pop_front()
            .expect("answers come to appends under way")
    }

    /// When all appends of a chain that broke are answered, goes on from where the sink said that it ends.
    fn settle(&mut self) {
        let Phase::Moved(last) = self.phase else {
            return;
        };
        if !self.under_way.is_empty() {
            return;
        }
        self.phase = Phase::Placed;
        if last < self.floor {
            self.restart(last);
        } else if last.is_none_or(|last| last < self.next) {
            self.forget_up_to(last);
        } else {
            // Further than we have read: whether the log is that long must be asked.
            self.phase = Phase::Lost;
        }
    }

    /// Reads the log again from behind `last`.
    fn restart(&mut self, last: Option<Offset>) {
        self.window.clear();
        self.window_bytes = 0;
        self.floor = last;
        self.next = last.map_or(0, |last| last + 1);
        self.tailing = false;
    }

    /// Goes on with what of the window is above `last`.
    fn forget_up_to(&mut self, last: Option<Offset>) {
        let known = self.window.partition_point(|row| Some(row.offset) <= last);
        self.drop_front(known);
        self.floor = last;
    }

    fn drop_front(&mut self, rows: usize) {
        for row in self.window.drain(..rows) {
            self.window_bytes -= row.payload.len();
        }
    }
}

#[cfg(test)]
mod tests;
