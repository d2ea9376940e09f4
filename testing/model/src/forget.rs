//! Forgetting: a dispatcher reads a topic in which events were sent twice, registers, says how far it is, and goes back to the beginning; records come late; time passes in the
//! log. When something is forgotten, and what floor it leaves, is the registry's own `Age`; what becomes of a record is `apply`.

use crate::explore::Protocol;
use rtf_proto::control::Settings;
use rtf_proto::record::{Event, Stamp};
use rtf_proto::{Incarnation, LogId, Offset, Outcome, PartitionId, SourceId, Token, TopicId};
use rtf_registry::parts::{Decision, Ids, Place, Winner, apply};
use rtf_registry::{Age, BucketId};
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

const LOG: LogId = TopicId([1; 16]);
const TOPIC: TopicId = TopicId([2; 16]);
const PLACE: Place = Place {
    log: LOG,
    partitions: 1,
    partition: 0,
};
/// One tick of the log's time is a bucket.
const SETTINGS: Settings = Settings {
    horizon_ms: 2,
    span_ms: 1,
};
const BEGINS_MS: i64 = 10;
/// Nobody reads the log twice here, so that all that counts of an offset is that it is another one.
const EARLIER: Offset = 0;
const NOW: Offset = 1;

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Floors are left, and nobody looks at them.
    FloorIgnored,
    /// The floor is what was registered, not the mark: the first version of ADR 6.
    FloorIsTop,
    /// Only sources of what is forgotten get a floor.
    FloorOfWinnersOnly,
    /// Buckets die when their time has come, wherever the marks are.
    TimeAlone,
    /// The mark passes what has no outcome yet.
    MarkAhead,
}

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Forget {
    /// The topic: by partition, the event of each record.
    pub topic: Vec<Vec<u8>>,
    /// How far the log's time goes.
    pub ticks: u8,
    /// How often a dispatcher goes back to the beginning, having lost its positions or because it was told to.
    pub replays: u8,
    /// How often a dispatcher says how far it is.
    pub words: u8,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// A record's place in the topic.
type Position = (u8, u8);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Content {
    /// The record that stands there is resolved.
    Event(Position),
    /// Below it everything is.
    Progress(Position),
    /// Time passed.
    Heartbeat,
}

/// A record under way; of an event it is the so-manieth that the reader of its partition sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Record {
    number: u8,
    content: Content,
}

/// What a replica remembers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Memory {
    age: Age,
    /// By event: its winner's bucket.
    winners: BTreeMap<u8, BucketId>,
    /// Floors that are left by a deliberate mistake.
    wrong_floors: BTreeMap<SourceId, Offset>,
    flaw: Flaws,
}

/// Which mistake a memory makes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Flaws {
    ignores_floors: bool,
    has_wrong_floors: bool,
}

/// A reader of one partition of the topic.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Reader {
    /// Next record.
    position: u8,
    /// Registrations it sent.
    sent: u8,
    /// The one it waits for.
    waits_for: Option<u8>,
    /// What it said last.
    said: u8,
}

/// What happened, for those who judge it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Past {
    /// By position: when its record won.
    won: BTreeMap<Position, i64>,
    /// Positions that had an outcome.
    resolved: BTreeSet<Position>,
    /// A record won though all below a mark had an outcome.
    won_below_mark: bool,
    /// A record won twice.
    won_twice: bool,
    /// An event won again before a horizon had passed.
    won_early: bool,
    /// A record was too old, and never had an outcome.
    lost: bool,
    /// Something was too old.
    too_old: bool,
}

/// All there is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Records that are not applied yet, with their append times.
    log: VecDeque<(i64, Record)>,
    under_way: BTreeSet<Record>,
    now_ms: i64,
    memory: Memory,
    marks: BTreeMap<u8, u8>,
    readers: Vec<Reader>,
    past: Past,
    replays: u8,
    words: u8,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A dispatcher looks up the next record of a partition, and registers it if it is not known.
    Read { partition: u8 },
    /// A dispatcher says how far it is.
    Say { partition: u8 },
    /// A record gets into the log.
    Land(Record),
    /// The log's next record is applied.
    Apply,
    /// Time passes, and the log says so.
    Tick,
    /// A partition is read from its beginning again.
    Replay { partition: u8 },
}

fn source_of(partition: u8) -> SourceId {
    (TOPIC, partition.into())
}

impl Memory {
    fn new(flaw: Option<Flaw>) -> Self {
        let mut age = Age::default();
        age.settle(SETTINGS);
        age.advance(BEGINS_MS);
        age.bury();
        let has_wrong_floors = matches!(
            flaw,
            Some(Flaw::FloorIsTop | Flaw::FloorOfWinnersOnly | Flaw::TimeAlone)
        );
        Self {
            age,
            winners: BTreeMap::new(),
            wrong_floors: BTreeMap::new(),
            flaw: Flaws {
                ignores_floors: flaw == Some(Flaw::FloorIgnored),
                has_wrong_floors,
            },
        }
    }

    fn bury(&mut self, flaw: Option<Flaw>, marks: &BTreeMap<u8, u8>) {
        let before = self.age.buckets().to_vec();
        let mut dead = self.age.bury();
        if flaw == Some(Flaw::TimeAlone) {
            let horizon = i64::try_from(SETTINGS.horizon_ms).expect("it is small");
            let ends = before.iter().zip(before.iter().skip(1));
            let old = ends.filter(|(_, next)| self.age.time_ms() >= next.id + horizon);
            dead = old.map(|(bucket, _)| bucket.id).collect();
        }
        let mark_of = |source: &SourceId| {
            let partition = u8::try_from(source.1).expect("partitions are few");
            marks.get(&partition).copied().unwrap_or(0).into()
        };
        for bucket in before.iter().filter(|bucket| dead.contains(&bucket.id)) {
            for (source, top) in &bucket.tops {
                let floor = match flaw {
                    Some(Flaw::FloorIsTop) => *top,
                    _ => mark_of(source),
                };
                let known = self.wrong_floors.entry(*source).or_default();
                *known = floor.max(*known);
            }
        }
        self.winners.retain(|_, bucket| !dead.contains(bucket));
    }
}

impl Ids for Memory {
    type Error = Infallible;

    fn find(&self, id: &[u8]) -> Result<Option<(PartitionId, Winner)>, Infallible> {
        let winner = self.winners.get(&id[0]).map(|_| Winner {
            offset: EARLIER,
            token: None,
            outcome: Outcome::Joined,
        });
        Ok(winner.map(|winner| (PLACE.partition, winner)))
    }

    fn insert(&mut self, id: &[u8], _: Winner) {
        self.winners.insert(id[0], self.age.current());
    }

    fn is_too_old(&self, source: SourceId, offset: Offset) -> bool {
        let Flaws {
            ignores_floors,
            has_wrong_floors,
        } = self.flaw;
        let wrong = self.wrong_floors.get(&source).copied().unwrap_or(0);
        match (ignores_floors, has_wrong_floors) {
            (true, _) => false,
            (_, true) => offset < wrong,
            _ => self.age.is_below_floor(source, offset),
        }
    }

    fn won(&mut self, _: &[u8], _: &Winner, source: SourceId, offset: Offset) {
        self.age.registered(source, offset);
    }
}

impl Forget {
    fn event(&self, (partition, offset): Position) -> u8 {
        self.topic[partition as usize][offset as usize]
    }

    /// The look-up decides on what is remembered now; a miss is registered.
    fn read(&self, state: &mut State, partition: u8) {
        let position = (partition, state.readers[partition as usize].position);
        let id = [self.event(position)];
        let Ok(found) = state.memory.find(&id);
        let is_too_old = state
            .memory
            .is_too_old(source_of(partition), position.1.into());
        if found.is_some() {
            state.past.resolved.insert(position);
            state.readers[partition as usize].position += 1;
        } else if is_too_old {
            state.past.was_too_old(position);
            state.readers[partition as usize].position += 1;
        } else {
            let reader = &mut state.readers[partition as usize];
            let number = reader.sent;
            reader.sent += 1;
            reader.waits_for = Some(number);
            let content = Content::Event(position);
            state.under_way.insert(Record { number, content });
        }
    }

    /// How far a dispatcher says it is.
    fn mark(&self, reader: &Reader) -> u8 {
        let is_ahead = self.flaw == Some(Flaw::MarkAhead) && reader.waits_for.is_some();
        reader.position + u8::from(is_ahead)
    }

    fn apply(&self, state: &mut State) {
        let Some((append_ms, record)) = state.log.pop_front() else {
            return;
        };
        state.memory.age.advance(append_ms);
        match record.content {
            Content::Event(position) => self.apply_event(state, position),
            Content::Progress((partition, mark)) => {
                let mark_of = state.marks.entry(partition).or_default();
                *mark_of = mark.max(*mark_of);
                let marks = [(source_of(partition), mark.into())];
                state.memory.age.progressed(marks);
            }
            Content::Heartbeat => {}
        }
        state.memory.bury(self.flaw, &state.marks);
        if let Content::Event((partition, _)) = record.content {
            let reader = &mut state.readers[partition as usize];
            if reader
                .waits_for
                .take_if(|number| *number == record.number)
                .is_some()
            {
                reader.position += 1;
            }
        }
    }

    fn apply_event(&self, state: &mut State, position: Position) {
        let id = [self.event(position)];
        let stamp = Stamp {
            log: LOG,
            partitions: PLACE.partitions,
            incarnation: Incarnation(1),
            sequence: 0,
        };
        let event = Event {
            id: &id,
            outcome: Outcome::Joined,
            token: Token(0),
            source: (TOPIC, position.0.into(), position.1.into()),
            later_ts: 0,
            body: b"",
        };
        let memory = &mut state.memory;
        let Ok(decision) = apply(&PLACE, memory, NOW, &stamp, &event);
        match decision {
            Decision::Won => self.won(state, position),
            Decision::Lost(_) => drop(state.past.resolved.insert(position)),
            Decision::TooOld => state.past.was_too_old(position),
            Decision::Misplaced => unreachable!("there is one partition"),
        }
    }

    fn won(&self, state: &mut State, position: Position) {
        let now_ms = state.memory.age.time_ms();
        let horizon = i64::try_from(SETTINGS.horizon_ms).expect("it is small");
        let mark = state.marks.get(&position.0).copied().unwrap_or(0);
        let past = &mut state.past;
        let mut earlier = past
            .won
            .iter()
            .filter(|(it, _)| self.event(**it) == self.event(position));
        past.won_early |= earlier.any(|(_, at_ms)| now_ms < at_ms + horizon);
        past.won_below_mark |= position.1 < mark;
        past.won_twice |= past.won.insert(position, now_ms).is_some();
        past.resolved.insert(position);
    }
}

impl Past {
    fn was_too_old(&mut self, position: Position) {
        self.too_old = true;
        self.lost |= !self.resolved.contains(&position);
    }
}

impl Model for Forget {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            log: VecDeque::new(),
            under_way: BTreeSet::new(),
            now_ms: BEGINS_MS,
            memory: Memory::new(self.flaw),
            marks: BTreeMap::new(),
            readers: vec![Reader::default(); self.topic.len()],
            past: Past::default(),
            replays: self.replays,
            words: self.words,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (partition, reader) in (0..).zip(&state.readers) {
            let end = self.topic[usize::from(partition)].len();
            if usize::from(reader.position) < end && reader.waits_for.is_none() {
                actions.push(Action::Read { partition });
            }
            if self.mark(reader) > reader.said && state.words > 0 {
                actions.push(Action::Say { partition });
            }
            let has_begun = reader.position > 0 || reader.waits_for.is_some();
            if has_begun && state.replays > 0 {
                actions.push(Action::Replay { partition });
            }
        }
        actions.extend(state.under_way.iter().map(|record| Action::Land(*record)));
        if !state.log.is_empty() {
            actions.push(Action::Apply);
        }
        if state.now_ms < BEGINS_MS + i64::from(self.ticks) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Read { partition } => self.read(&mut state, partition),
            Action::Say { partition } => {
                let reader = &mut state.readers[partition as usize];
                let mark = self.mark(reader);
                reader.said = mark;
                state.words -= 1;
                let content = Content::Progress((partition, mark));
                state.under_way.insert(Record { number: 0, content });
            }
            Action::Land(record) => {
                state.under_way.remove(&record);
                state.log.push_back((state.now_ms, record));
            }
            Action::Apply => self.apply(&mut state),
            Action::Tick => {
                state.now_ms += 1;
                let content = Content::Heartbeat;
                let heartbeat = Record { number: 0, content };
                state.log.push_back((state.now_ms, heartbeat));
            }
            Action::Replay { partition } => {
                state.replays -= 1;
                let reader = &mut state.readers[partition as usize];
                (reader.position, reader.waits_for) = (0, None);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no record is joined twice", |_: &Self, state: &State| {
                !state.past.won_twice
            }),
            Property::always(
                "nothing below a mark is joined",
                |_: &Self, state: &State| !state.past.won_below_mark,
            ),
            Property::always(
                "no event is joined again within a horizon",
                |_: &Self, state: &State| !state.past.won_early,
            ),
            Property::always(
                "what is too old had an outcome",
                |_: &Self, state: &State| !state.past.lost,
            ),
            Property::always(
                "at rest every record had an outcome",
                |model: &Self, state: &State| {
                    let records: usize = model.topic.iter().map(Vec::len).sum();
                    state.past.resolved.len() == records || !model.is_at_rest(state)
                },
            ),
            Property::sometimes(
                "something is forgotten, read again and left alone",
                |_: &Self, state: &State| state.past.too_old,
            ),
        ]
    }
}

impl Protocol for Forget {
    const NAME: &'static str = "forgetting";

    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::Replay { .. })
    }

    fn bounds(&self) -> String {
        let Self {
            topic,
            ticks,
            replays,
            words,
            ..
        } = self;
        let horizon = SETTINGS.horizon_ms;
        format!(
            "topic {topic:?}, a horizon of {horizon} in {ticks} buckets of time, {replays} replays, {words} marks said"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::explore;

    fn small(flaw: Option<Flaw>) -> Forget {
        Forget {
            topic: vec![vec![0, 0]],
            ticks: 4,
            replays: 1,
            words: 2,
            flaw,
        }
    }

    /// A copy of the event in another partition.
    fn apart(flaw: Option<Flaw>) -> Forget {
        Forget {
            topic: vec![vec![0], vec![0]],
            ..small(flaw)
        }
    }

    #[test]
    fn what_is_forgotten_is_not_joined_again() {
        explore(small(None)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    #[test]
    fn a_copy_in_another_partition_is_not_joined_either() {
        explore(apart(None)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn finds(model: Forget, property: &str) {
        let violation = explore(model).expect_err("a deliberate mistake");
        assert!(violation.property.starts_with(property), "{violation}");
    }

    #[test]
    fn a_floor_that_is_ignored_is_found() {
        finds(small(Some(Flaw::FloorIgnored)), "no record is joined twice");
    }

    #[test]
    fn a_floor_at_what_was_registered_is_found() {
        finds(small(Some(Flaw::FloorIsTop)), "nothing below a mark");
    }

    #[test]
    fn a_floor_of_winners_only_is_found() {
        finds(
            apart(Some(Flaw::FloorOfWinnersOnly)),
            "nothing below a mark",
        );
    }

    #[test]
    fn forgetting_by_time_alone_is_found() {
        finds(small(Some(Flaw::TimeAlone)), "no record is joined twice");
    }

    #[test]
    fn a_mark_that_passes_what_is_unresolved_is_found() {
        finds(small(Some(Flaw::MarkAhead)), "nothing below a mark");
    }
}
