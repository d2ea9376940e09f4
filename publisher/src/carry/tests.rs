//! The carry against a world that forgets, doubles, delays and refuses.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

const SMALL: Limits = Limits {
    batch_rows: 3,
    batch_bytes: 40,
    under_way: 2,
    window_rows: 7,
    window_bytes: 90,
};

fn row(offset: Offset) -> Row {
    Row {
        offset,
        later_ts: 0,
        payload: vec![b'x'; (offset % 23) as usize].into(),
    }
}

/// A carry that believes the sink to end at `last`, with the log opened behind it.
fn placed(last: Option<Offset>) -> Carry {
    let mut carry = Carry::new(SMALL);
    assert_eq!(carry.step(), Step::Locate);
    carry.located(last, 1000).unwrap();
    let from = last.map_or(0, |last| last + 1);
    assert_eq!(carry.step(), Step::Tail { from });
    carry.tail_opened();
    carry
}

fn append(carry: &mut Carry) -> (Option<Offset>, Vec<Offset>) {
    match carry.step() {
        Step::Append(append) => (
            append.expected,
            append.rows.iter().map(|row| row.offset).collect(),
        ),
        other => panic!("{other:?} instead of an append"),
    }
}

#[test]
fn appends_chain_and_rows_leave_when_they_are_in() {
    let mut carry = placed(Some(4));
    carry.offered([5, 7, 9, 12].map(row), 20);
    assert_eq!(append(&mut carry), (Some(4), vec![5, 7, 9]));
    assert_eq!(append(&mut carry), (Some(9), vec![12]));
    carry.offered([24].map(row), 25);
    assert_eq!(carry.step(), Step::Wait, "two are under way");
    carry.appended(9);
    assert_eq!((carry.last(), carry.published()), (Some(9), 12));
    assert_eq!(append(&mut carry), (Some(12), vec![24]));
    carry.appended(12);
    carry.appended(24);
    assert!(carry.is_idle());
    assert_eq!(carry.published(), 25);
}

#[test]
fn what_another_publisher_appended_is_skipped_without_reading_again() {
    let mut carry = placed(None);
    carry.offered([1, 2, 3, 4, 5].map(row), 6);
    assert_eq!(append(&mut carry), (None, vec![1, 2, 3]));
    assert_eq!(append(&mut carry), (Some(3), vec![4, 5]));
    carry.moved(Some(2));
    assert_eq!(carry.step(), Step::Wait, "the second is still under way");
    carry.moved(Some(4));
    assert_eq!(append(&mut carry), (Some(4), vec![5]));
}

#[test]
fn a_sink_that_forgot_is_filled_from_where_it_ends() {
    let mut carry = placed(Some(4));
    carry.offered([5, 6].map(row), 7);
    append(&mut carry);
    carry.moved(Some(2));
    assert_eq!(carry.step(), Step::Tail { from: 3 });
    carry.tail_opened();
    carry.doubt();
    assert_eq!(carry.step(), Step::Locate);
    carry.located(None, 1000).unwrap();
    assert_eq!(carry.step(), Step::Tail { from: 0 });
}

#[test]
fn a_sink_ahead_of_the_log_is_not_appended_to() {
    let mut carry = Carry::new(SMALL);
    let ahead = carry.located(Some(20), 20);
    assert_eq!(ahead, Err(Ahead { last: 20, end: 20 }));
    assert_eq!(carry.step(), Step::Locate);
    carry.located(Some(20), 21).unwrap();
    assert_eq!(carry.step(), Step::Tail { from: 21 });
    carry.tail_opened();
    carry.offered([22].map(row), 40);
    append(&mut carry);
    carry.moved(Some(60));
    assert_eq!(carry.step(), Step::Locate, "is the log that long?");
    assert!(carry.located(Some(39), 21).is_ok(), "40 was read already");
}

#[test]
fn rows_that_retention_took_are_not_waited_for() {
    let mut carry = placed(Some(4));
    carry.log_begins_at(100);
    assert_eq!(carry.step(), Step::Tail { from: 100 });
    carry.tail_opened();
    carry.offered([101].map(row), 102);
    assert_eq!(append(&mut carry), (Some(4), vec![101]));
}

#[test]
fn the_window_and_the_batches_are_bounded() {
    let mut carry = placed(None);
    carry.offered([22, 45].map(row), 46);
    assert!(carry.wants_more());
    assert_eq!(append(&mut carry).1, [22], "22 bytes, and 22 more are 44");
    carry.offered((46..60).map(row), 60);
    assert!(!carry.wants_more());
}

/// What Redis is: rows of one log, or another's.
#[derive(Clone, Default)]
struct Stream {
    rows: Vec<Offset>,
    of_another_log: bool,
}

impl Stream {
    fn last(&self) -> Option<Offset> {
        self.rows.last().copied()
    }
}

/// A publisher: its carry, how far its tail is, and what it has sent.
struct Publisher {
    carry: Carry,
    read: Offset,
    sent: VecDeque<Append>,
}

impl Publisher {
    fn new() -> Self {
        Self {
            carry: Carry::new(SMALL),
            read: 0,
            sent: VecDeque::new(),
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// A publisher does what its carry says; a question may go wrong.
    Step {
        who: usize,
        fails: bool,
    },
    /// The tail gives the next records.
    Tail {
        who: usize,
        count: u64,
    },
    TailBreaks {
        who: usize,
    },
    /// The sink carries out the oldest append of a publisher and answers.
    Execute {
        who: usize,
    },
    /// No answer: the append is lost, was carried out, or is carried out some time later.
    NoAnswer {
        who: usize,
        fate: u8,
    },
    /// A late append of a connection long given up, or of a zombie.
    Ghost(Index),
    Crash {
        who: usize,
    },
    Doubt {
        who: usize,
    },
    Flush,
    Snapshot,
    /// A failover to a replica that has only the snapshot.
    Failover,
    /// The sink is found to be another log's.
    Foreign,
    /// Somebody follows the instruction.
    Delete,
    Log {
        count: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let who = || 0usize..2;
    prop_oneof![
        20 => (who(), prop::bool::weighted(0.1)).prop_map(|(who, fails)| Op::Step { who, fails }),
        10 => (who(), 1u64..9).prop_map(|(who, count)| Op::Tail { who, count }),
        1 => who().prop_map(|who| Op::TailBreaks { who }),
        15 => who().prop_map(|who| Op::Execute { who }),
        3 => (who(), 0u8..3).prop_map(|(who, fate)| Op::NoAnswer { who, fate }),
        3 => any::<Index>().prop_map(Op::Ghost),
        1 => who().prop_map(|who| Op::Crash { who }),
        1 => who().prop_map(|who| Op::Doubt { who }),
        1 => Just(Op::Flush),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Failover),
        1 => Just(Op::Foreign),
        1 => Just(Op::Delete),
        5 => (1u64..6).prop_map(|count| Op::Log { count }),
    ]
}

struct World {
    /// One past the log's last record.
    end: Offset,
    sink: Stream,
    snapshot: Stream,
    ghosts: Vec<Append>,
    publishers: [Publisher; 2],
}

/// Which records of the log are rows; the others are barriers, losers and what no sink wants.
fn is_row(offset: Offset) -> bool {
    offset > 0 && offset % 5 != 2
}

impl World {
    fn new() -> Self {
        Self {
            end: 1,
            sink: Stream::default(),
            snapshot: Stream::default(),
            ghosts: Vec::new(),
            publishers: [Publisher::new(), Publisher::new()],
        }
    }

    /// What the script does. `Err` is a refusal.
    fn execute(&mut self, append: &Append) -> Result<Result<Offset, Option<Offset>>, ()> {
        if self.sink.of_another_log {
            return Err(());
        }
        if self.sink.last() != append.expected {
            return Ok(Err(self.sink.last()));
        }
        self.sink
            .rows
            .extend(append.rows.iter().map(|row| row.offset));
        Ok(Ok(append.rows.last().unwrap().offset))
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Step { who, fails } => self.step(who, fails),
            Op::Tail { who, count } => self.tail(who, count),
            Op::TailBreaks { who } => self.publishers[who].carry.tail_lost(),
            Op::Execute { who } => self.answer(who),
            Op::NoAnswer { who, fate } => {
                let Some(append) = self.publishers[who].sent.pop_front() else {
                    return;
                };
                match fate {
                    0 => {}
                    1 => drop(self.execute(&append)),
                    _ => self.ghosts.push(append),
                }
                self.publishers[who].carry.failed();
            }
            Op::Ghost(index) => {
                if !self.ghosts.is_empty() {
                    let ghost = self.ghosts.swap_remove(index.index(self.ghosts.len()));
                    let _ = self.execute(&ghost);
                }
            }
            Op::Crash { who } => {
                let old = std::mem::replace(&mut self.publishers[who], Publisher::new());
                self.ghosts.extend(old.sent);
            }
            Op::Doubt { who } => {
                if self.publishers[who].carry.is_idle() {
                    self.publishers[who].carry.doubt();
                }
            }
            Op::Flush | Op::Delete => self.sink = Stream::default(),
            Op::Snapshot => self.snapshot = self.sink.clone(),
            Op::Failover => self.sink = self.snapshot.clone(),
            Op::Foreign => self.sink.of_another_log = !self.sink.rows.is_empty(),
            Op::Log { count } => self.end += count,
        }
    }

    fn step(&mut self, who: usize, fails: bool) {
        let (sink, end) = (&self.sink, self.end);
        let publisher = &mut self.publishers[who];
        match publisher.carry.step() {
            Step::Locate if !fails && !sink.of_another_log => {
                publisher
                    .carry
                    .located(sink.last(), end)
                    .expect("the sink is never ahead here");
            }
            Step::Tail { .. } if fails => publisher.carry.tail_lost(),
            Step::Tail { from } => {
                publisher.read = from;
                publisher.carry.tail_opened();
            }
            Step::Append(append) => publisher.sent.push_back(append),
            Step::Locate | Step::Wait => {}
        }
    }

    fn tail(&mut self, who: usize, count: u64) {
        let publisher = &mut self.publishers[who];
        if publisher.carry.wants_more() {
            let to = (publisher.read + count).min(self.end);
            let rows = (publisher.read..to).filter(|offset| is_row(*offset));
            publisher.carry.offered(rows.map(row), to);
            publisher.read = to;
        }
    }

    fn answer(&mut self, who: usize) {
        let Some(append) = self.publishers[who].sent.pop_front() else {
            return;
        };
        let outcome = self.execute(&append);
        let carry = &mut self.publishers[who].carry;
        match outcome {
            Ok(Ok(last)) => carry.appended(last),
            Ok(Err(last)) => carry.moved(last),
            Err(()) => carry.failed(),
        }
    }

    /// Every row once and in order, from the first to the sink's last.
    fn check(&self) -> Result<(), TestCaseError> {
        let all = (0..self.end).filter(|offset| is_row(*offset));
        let expected: Vec<Offset> = all.take(self.sink.rows.len()).collect();
        prop_assert_eq!(&self.sink.rows, &expected);
        Ok(())
    }

    /// No more faults: everything must come to rest within a bound.
    fn heal(&mut self) {
        self.sink.of_another_log = false;
        for publisher in &mut self.publishers {
            if publisher.carry.is_idle() {
                publisher.carry.doubt();
            }
        }
        for _ in 0..20 + self.end * 2 {
            for who in 0..2 {
                for _ in 0..4 {
                    self.step(who, false);
                }
                self.tail(who, 100);
                self.answer(who);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_sink_has_each_row_once_and_in_order(ops in prop::collection::vec(op(), 0..300)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check()?;
        }
        world.heal();
        world.check()?;
        let rows = (0..world.end).filter(|offset| is_row(*offset)).count();
        prop_assert_eq!(world.sink.rows.len(), rows, "something never arrived");
        for publisher in &world.publishers {
            prop_assert!(publisher.carry.is_idle());
            prop_assert_eq!(publisher.carry.published(), world.end);
        }
    }
}
