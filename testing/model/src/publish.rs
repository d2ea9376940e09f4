//! Publishing: two publishers carry the accepted rows of one partition into one stream, which compares before it appends, and may forget. What a publisher does
//! next is the product's own `Carry`.

use crate::explore::Protocol;
use bytes::Bytes;
use rtf_proto::Offset;
use rtf_publisher::parts::{Append, Carry, Limits, Step};
use rtf_publisher::sink::{AppendOutcome, Row};
use stateright::{Model, Property};
use std::collections::VecDeque;

/// Few at once, so that appends depend on each other.
const LIMITS: Limits = Limits {
    batch_rows: 1,
    batch_bytes: 1,
    under_way: 2,
    window_rows: 3,
    window_bytes: 3,
};

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The stream appends without looking where it ends.
    NotCompared,
    /// The stream looks where it ends first, and appends later.
    ComparedBefore,
    /// Where the stream ends is kept beside its rows, and stays when rows are forgotten.
    CursorApart,
    /// A publisher never asks again where the stream ends.
    NeverAsksAgain,
}

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Offsets of the accepted rows. The log ends behind the last one.
    pub rows: Vec<Offset>,
    /// Publishers.
    pub publishers: usize,
    /// How often a publisher dies, all together.
    pub deaths: u8,
    /// How often a connection breaks, all together.
    pub breaks: u8,
    /// How often the stream forgets its newest rows, or all of them.
    pub forgets: u8,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// A call on its way to the stream and back.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Call {
    Locate(Option<Option<Offset>>),
    Append(Append, Option<AppendOutcome>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Publisher {
    carry: Carry,
    /// In order, as one connection has them.
    calls: VecDeque<Call>,
}

/// The stream: its rows, and what is kept beside them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Stream {
    rows: Vec<Offset>,
    /// Only for a [`Flaw::CursorApart`].
    cursor: Option<Offset>,
    /// Only for a [`Flaw::ComparedBefore`]: an append that was found right, and is not carried out yet.
    found_right: Option<Vec<Offset>>,
}

/// All there is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    publishers: Vec<Publisher>,
    /// Appends of connections that broke, by connection; the stream may still get them, or never.
    orphans: Vec<VecDeque<Append>>,
    stream: Stream,
    deaths: u8,
    breaks: u8,
    forgets: u8,
}

/// What can happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// A publisher does what its carry says.
    Step { publisher: usize },
    /// A publisher is given the next row of the log.
    Read { publisher: usize },
    /// The stream carries out the first call of a publisher that it has not.
    CarryOut { publisher: usize },
    /// The stream gets an append of a connection that broke.
    CarryOutOrphan { connection: usize },
    /// The stream appends what it found right before.
    AppendNow,
    /// A publisher hears what became of its oldest call.
    Hear { publisher: usize },
    /// A publisher with nothing to do asks again where the stream ends.
    AskAgain { publisher: usize },
    /// A publisher's connection breaks: it hears nothing about its calls.
    Break { publisher: usize },
    /// A publisher dies, and begins anew.
    Die { publisher: usize },
    /// The stream has only so many rows left.
    Forget { left: usize },
}

impl Publish {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn end(&self) -> Offset {
        self.rows.last().map_or(0, |last| last + 1)
    }

    fn last(&self, stream: &Stream) -> Option<Offset> {
        if self.is(Flaw::CursorApart) {
            stream.cursor
        } else {
            stream.rows.last().copied()
        }
    }

    fn step(&self, publisher: &mut Publisher) -> bool {
        let is_asking = matches!(publisher.calls.back(), Some(Call::Locate(_)));
        match publisher.carry.step() {
            Step::Locate if is_asking => return false,
            Step::Locate => publisher.calls.push_back(Call::Locate(None)),
            Step::Tail { .. } => publisher.carry.tail_opened(),
            Step::Append(append) => publisher.calls.push_back(Call::Append(append, None)),
            Step::Wait => return false,
        }
        true
    }

    /// The next row, or that there is none.
    fn read(&self, carry: &mut Carry) {
        let next = self.rows.iter().find(|row| **row >= carry.next()).copied();
        let rows = next.map(|offset| Row {
            offset,
            later_ts: 0,
            payload: Bytes::from_static(b"r"),
        });
        carry.offered(rows, next.map_or(self.end(), |offset| offset + 1));
    }

    fn append(&self, stream: &mut Stream, append: &Append) -> AppendOutcome {
        let last = self.last(stream);
        if last != append.expected && !self.is(Flaw::NotCompared) {
            return AppendOutcome::Moved { last };
        }
        let rows: Vec<Offset> = append.rows.iter().map(|row| row.offset).collect();
        let last = *rows.last().expect("an append has rows");
        if self.is(Flaw::ComparedBefore) && stream.found_right.is_none() {
            stream.found_right = Some(rows);
        } else {
            stream.rows.extend(rows);
        }
        stream.cursor = Some(last);
        AppendOutcome::Appended { last }
    }

    fn carry_out(&self, state: &mut State, publisher: usize) {
        let State {
            publishers, stream, ..
        } = state;
        let calls = publishers[publisher].calls.iter_mut();
        for call in calls {
            match call {
                Call::Locate(answer @ None) => *answer = Some(self.last(stream)),
                Call::Append(append, outcome @ None) => {
                    *outcome = Some(self.append(stream, append));
                }
                _ => continue,
            }
            return;
        }
    }

    fn hear(&self, publisher: &mut Publisher) {
        match publisher.calls.pop_front() {
            Some(Call::Locate(Some(last))) => {
                let located = publisher.carry.located(last, self.end());
                located.expect("the stream is never ahead of the log here");
            }
            Some(Call::Append(_, Some(AppendOutcome::Appended { last }))) => {
                publisher.carry.appended(last);
            }
            Some(Call::Append(_, Some(AppendOutcome::Moved { last }))) => {
                publisher.carry.moved(last);
            }
            _ => unreachable!("only what was carried out is heard of"),
        }
    }

    /// All calls of a publisher are without an answer from here on.
    fn cut_off(&self, state: &mut State, publisher: usize) {
        let calls = std::mem::take(&mut state.publishers[publisher].calls);
        let orphans: VecDeque<Append> = (calls.into_iter())
            .filter_map(|call| match call {
                Call::Append(append, None) => Some(append),
                _ => None,
            })
            .collect();
        if !orphans.is_empty() {
            state.orphans.push(orphans);
            // It does not matter which connection was which.
            state.orphans.sort_by_key(|appends| {
                appends
                    .iter()
                    .map(|append| (append.expected, append.rows[0].offset))
                    .collect::<Vec<_>>()
            });
        }
    }

    fn break_connection(&self, state: &mut State, publisher: usize) {
        state.breaks -= 1;
        let calls = state.publishers[publisher].calls.iter();
        let appends = calls
            .filter(|call| matches!(call, Call::Append(..)))
            .count();
        self.cut_off(state, publisher);
        let carry = &mut state.publishers[publisher].carry;
        (0..appends).for_each(|_| carry.failed());
    }

    fn is_whole(&self, rows: &[Offset]) -> bool {
        self.rows.starts_with(rows)
    }
}

/// Whether the stream carried it out.
fn is_done(call: &Call) -> bool {
    matches!(call, Call::Locate(Some(_)) | Call::Append(_, Some(_)))
}

impl Model for Publish {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let publisher = Publisher {
            carry: Carry::new(LIMITS),
            calls: VecDeque::new(),
        };
        vec![State {
            publishers: vec![publisher; self.publishers],
            orphans: Vec::new(),
            stream: Stream::default(),
            deaths: self.deaths,
            breaks: self.breaks,
            forgets: self.forgets,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (publisher, it) in state.publishers.iter().enumerate() {
            if self.step(&mut it.clone()) {
                actions.push(Action::Step { publisher });
            }
            if it.carry.wants_more() && it.carry.next() < self.end() {
                actions.push(Action::Read { publisher });
            }
            if it.calls.iter().any(|call| !is_done(call)) {
                actions.push(Action::CarryOut { publisher });
            }
            if it.calls.front().is_some_and(is_done) {
                actions.push(Action::Hear { publisher });
            }
            let is_idle = it.carry.is_idle() && it.calls.is_empty();
            let has_changed = self.last(&state.stream) != it.carry.last();
            if is_idle && has_changed && !self.is(Flaw::NeverAsksAgain) {
                actions.push(Action::AskAgain { publisher });
            }
            if state.breaks > 0 && !it.calls.is_empty() {
                actions.push(Action::Break { publisher });
            }
            if state.deaths > 0 {
                actions.push(Action::Die { publisher });
            }
        }
        let connections = 0..state.orphans.len();
        actions.extend(connections.map(|connection| Action::CarryOutOrphan { connection }));
        if state.stream.found_right.is_some() {
            actions.push(Action::AppendNow);
        }
        if state.forgets > 0 {
            let fewer = 0..state.stream.rows.len();
            actions.extend(fewer.map(|left| Action::Forget { left }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Step { publisher } => {
                self.step(&mut state.publishers[publisher]);
            }
            Action::Read { publisher } => self.read(&mut state.publishers[publisher].carry),
            Action::CarryOut { publisher } => self.carry_out(&mut state, publisher),
            Action::CarryOutOrphan { connection } => {
                if let Some(append) = state.orphans[connection].pop_front() {
                    self.append(&mut state.stream, &append);
                }
                state.orphans.retain(|appends| !appends.is_empty());
            }
            Action::AppendNow => {
                let rows = state.stream.found_right.take();
                state.stream.rows.extend(rows.into_iter().flatten());
            }
            Action::Hear { publisher } => self.hear(&mut state.publishers[publisher]),
            Action::AskAgain { publisher } => state.publishers[publisher].carry.doubt(),
            Action::Break { publisher } => self.break_connection(&mut state, publisher),
            Action::Die { publisher } => {
                state.deaths -= 1;
                self.cut_off(&mut state, publisher);
                state.publishers[publisher].carry = Carry::new(LIMITS);
            }
            Action::Forget { left } => {
                state.forgets -= 1;
                state.stream.rows.truncate(left);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "the stream is the accepted rows up to its end, each once and in order",
                |model: &Self, state: &State| model.is_whole(&state.stream.rows),
            ),
            Property::always(
                "at rest the stream has all rows",
                |model: &Self, state: &State| {
                    state.stream.rows == model.rows || !model.is_at_rest(state)
                },
            ),
            Property::sometimes(
                "both publishers believe to have published all, and a zombie's append is still on its way",
                |model: &Self, state: &State| {
                    let all = state
                        .publishers
                        .iter()
                        .all(|it| it.carry.published() == model.end());
                    all && !state.orphans.is_empty()
                },
            ),
        ]
    }
}

impl Protocol for Publish {
    const NAME: &'static str = "publishing";

    fn is_fault(action: &Action) -> bool {
        use Action::{Break, Die, Forget};
        matches!(action, Break { .. } | Die { .. } | Forget { .. })
    }

    fn bounds(&self) -> String {
        let Self {
            rows,
            publishers,
            deaths,
            breaks,
            forgets,
            ..
        } = self;
        let rows = rows.len();
        format!(
            "{rows} rows, {publishers} publishers, {deaths} deaths, {breaks} broken connections, the stream forgets {forgets} times"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::explore;

    fn small(flaw: Option<Flaw>) -> Publish {
        Publish {
            rows: vec![1, 4],
            publishers: 2,
            deaths: 1,
            breaks: 0,
            forgets: 1,
            flaw,
        }
    }

    #[test]
    fn each_row_is_in_the_stream_once_and_in_order() {
        explore(small(None)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn finds(flaw: Flaw, property: &str) {
        let violation = explore(small(Some(flaw))).expect_err("a deliberate mistake");
        assert!(violation.property.starts_with(property), "{violation}");
    }

    #[test]
    fn a_cursor_that_is_not_compared_is_found() {
        finds(Flaw::NotCompared, "the stream is");
    }

    #[test]
    fn a_cursor_that_is_compared_before_is_found() {
        finds(Flaw::ComparedBefore, "the stream is");
    }

    #[test]
    fn a_cursor_that_is_kept_apart_is_found() {
        finds(Flaw::CursorApart, "the stream is");
    }

    #[test]
    fn a_publisher_that_never_asks_again_is_found() {
        finds(Flaw::NeverAsksAgain, "at rest");
    }
}
