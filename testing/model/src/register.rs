//! Registering: clients with attempt chains of their own resolve the same events through replicas that append to one partition of the log, apply it,
//! and answer when their own record has come back. What becomes of a record is the registry's own `apply`.

use crate::explore::Protocol;
use rtf_proto::record::{Event, Stamp};
use rtf_proto::{Incarnation, LogId, Offset, Outcome, PartitionId, SourceId, Token, TopicId};
use rtf_registry::parts::{Decision, Ids, Place, Winner, apply};
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

const LOG: LogId = TopicId([1; 16]);
const PLACE: Place = Place {
    log: LOG,
    partitions: 1,
    partition: 0,
};

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The producer's delivery report is an answer.
    AckOnDelivery,
    /// A producer that does not know what became of a record is one that succeeded.
    AckOnUnknown,
    /// An id that this replica does not remember is new.
    MissAnsweredLocally,
    /// A client that asks again does so with another token.
    TokenPerRetry,
    /// How far the log was applied, and what was remembered, are saved one after the other.
    PositionApart,
    /// The last record of an id wins.
    LastWins,
    /// A replica knows its own record by its sequence alone.
    SequenceAlone,
    /// A replica without a state begins at the log's end.
    BeginsAtEnd,
}

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Register {
    /// The event each client resolves.
    pub events: Vec<u8>,
    /// Replicas.
    pub replicas: u8,
    /// How often a replica dies, with its disk or without.
    pub crashes: u8,
    /// How often a client gives up waiting and asks again, all together.
    pub impatience: u8,
    /// How often a producer does not know what became of a record, all together.
    pub unknowns: u8,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// A record of the log. Ordered, so that those under way are a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Record {
    client: u8,
    attempt: u8,
    token: u8,
    replica: u8,
    life: u8,
    sequence: u8,
}

/// By event: offset and token of its winner.
type Winners = BTreeMap<u8, (u8, u8)>;

/// What a client was told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Answer {
    Registered,
    AlreadyResolved,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Client {
    /// How often it asked.
    attempts: u8,
    /// Replica it waits for.
    waits_for: Option<u8>,
    answer: Option<Answer>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Replica {
    /// Its producer's incarnation.
    life: u8,
    sequence: u8,
    /// First offset not applied.
    next: u8,
    winners: Winners,
    /// By sequence: the client who waits, and its attempt.
    pending: BTreeMap<u8, (u8, u8)>,
}

/// All there is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    log: Vec<Record>,
    /// Sent, and not in the log: each gets there at some time, or never.
    under_way: BTreeSet<Record>,
    replicas: Vec<Replica>,
    clients: Vec<Client>,
    crashes: u8,
    impatience: u8,
    unknowns: u8,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A client asks a replica to register its event.
    Ask { client: u8, replica: u8 },
    /// A client does not wait any longer.
    Leave { client: u8 },
    /// A record gets into the log.
    Land(Record),
    /// A producer does not know what became of a record: its replica appends again.
    Unknown { replica: u8, sequence: u8 },
    /// A replica reads and applies the next record.
    Apply { replica: u8 },
    /// A replica dies, and begins anew with what it had saved: all below an offset, or nothing if its disk is gone.
    Die { replica: u8, saved: u8 },
}

impl Register {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The first record of an event.
    fn first(&self, log: &[Record], event: u8) -> Option<(u8, Record)> {
        let mut offsets = (0..).zip(log);
        let first = offsets.find(|(_, record)| self.events[record.client as usize] == event);
        first.map(|(offset, record)| (offset, *record))
    }

    fn ask(&self, state: &mut State, client: u8, replica: u8) {
        let asking = &mut state.clients[client as usize];
        asking.attempts += 1;
        let attempt = asking.attempts;
        let retries = if self.is(Flaw::TokenPerRetry) {
            attempt
        } else {
            0
        };
        let token = client * 16 + retries;
        let asked = &mut state.replicas[replica as usize];
        // A hit is final; only a miss needs the log.
        if let Some((_, winner)) = asked.winners.get(&self.events[client as usize]) {
            asking.answer = Some(answer_of(*winner == token));
            return;
        }
        asking.waits_for = Some(replica);
        append(state, replica, client, token);
        if self.is(Flaw::MissAnsweredLocally) {
            answer(state, replica, (client, attempt), Answer::Registered);
        }
    }

    fn land(&self, state: &mut State, record: Record) {
        state.under_way.remove(&record);
        state.log.push(record);
        let writer = &mut state.replicas[record.replica as usize];
        if self.is(Flaw::AckOnDelivery) && writer.life == record.life {
            let waiting = writer.pending.remove(&record.sequence);
            if let Some(waiting) = waiting {
                answer(state, record.replica, waiting, Answer::Registered);
            }
        }
    }

    fn unknown(&self, state: &mut State, replica: u8, sequence: u8) {
        state.unknowns -= 1;
        let writer = &mut state.replicas[replica as usize];
        let Some(waiting) = writer.pending.remove(&sequence) else {
            return;
        };
        if self.is(Flaw::AckOnUnknown) {
            answer(state, replica, waiting, Answer::Registered);
            return;
        }
        let again = state.under_way.iter().find(|record| {
            (record.replica, record.life, record.sequence)
                == (replica, state.replicas[replica as usize].life, sequence)
        });
        let token = again.expect("only those under way are unknown").token;
        append(state, replica, waiting.0, token);
    }

    fn apply(&self, state: &mut State, at: u8) {
        let replica = &mut state.replicas[at as usize];
        let offset = replica.next;
        let record = state.log[offset as usize];
        let event = self.events[record.client as usize];
        let decision = decide(&mut replica.winners, offset, &record, event);
        if self.is(Flaw::LastWins) && decision != Decision::Won {
            replica.winners.insert(event, (offset, record.token));
        }
        replica.next += 1;
        let is_own = (record.replica, record.life) == (at, replica.life);
        if !is_own && !self.is(Flaw::SequenceAlone) {
            return;
        }
        let Some(waiting) = replica.pending.remove(&record.sequence) else {
            return;
        };
        let verdict = match decision {
            Decision::Won => Answer::Registered,
            // The chain's own earlier record was first: that is success.
            Decision::Lost(winner) => answer_of(winner.token == Some(Token(record.token.into()))),
            Decision::TooOld | Decision::Misplaced => {
                unreachable!("nothing is forgotten or moved here")
            }
        };
        answer(state, at, waiting, verdict);
    }

    fn die(&self, state: &mut State, at: u8, saved: u8) {
        state.crashes -= 1;
        let life = state.replicas[at as usize].life + 1;
        let remembered = if self.is(Flaw::PositionApart) {
            saved.saturating_sub(1)
        } else {
            saved
        };
        let end = u8::try_from(state.log.len()).expect("logs are short here");
        let begins_at_end = self.is(Flaw::BeginsAtEnd) && saved == 0;
        state.replicas[at as usize] = Replica {
            life,
            next: if begins_at_end { end } else { saved },
            winners: self.winners(&state.log[..remembered as usize]),
            ..Replica::default()
        };
        for client in &mut state.clients {
            client.waits_for.take_if(|waits_for| *waits_for == at);
        }
    }

    /// What a replica that applied these remembers.
    fn winners(&self, log: &[Record]) -> Winners {
        let mut winners = Winners::new();
        for (offset, record) in (0..).zip(log) {
            let event = self.events[record.client as usize];
            decide(&mut winners, offset, record, event);
        }
        winners
    }

    /// Every replica remembers the first record of each event in what it applied, and nothing else.
    fn remembers_the_first(&self, state: &State) -> bool {
        state.replicas.iter().all(|replica| {
            let applied = &state.log[..replica.next as usize];
            let first = |event: u8| {
                let (offset, record) = self.first(applied, event)?;
                Some((event, (offset, record.token)))
            };
            let events: BTreeSet<u8> = self.events.iter().copied().collect();
            let firsts: Winners = events.into_iter().filter_map(first).collect();
            replica.winners == firsts
        })
    }

    /// Whoever was told something can find it in the log, and so can everybody else.
    fn answers_are_true(&self, state: &State) -> bool {
        (0..).zip(&state.clients).all(|(number, client)| {
            let Some(answer) = client.answer else {
                return true;
            };
            let first = self.first(&state.log, self.events[usize::from(number)]);
            first.is_some_and(|(_, record)| answer == answer_of(record.client == number))
        })
    }
}

fn answer_of(is_own: bool) -> Answer {
    if is_own {
        Answer::Registered
    } else {
        Answer::AlreadyResolved
    }
}

/// Sends a record off.
fn append(state: &mut State, at: u8, client: u8, token: u8) {
    let attempt = state.clients[client as usize].attempts;
    let replica = &mut state.replicas[at as usize];
    let sequence = replica.sequence;
    replica.sequence += 1;
    replica.pending.insert(sequence, (client, attempt));
    state.under_way.insert(Record {
        client,
        attempt,
        token,
        replica: at,
        life: replica.life,
        sequence,
    });
}

/// Answers a client, if it still waits for that.
fn answer(state: &mut State, replica: u8, (client, attempt): (u8, u8), answer: Answer) {
    let client = &mut state.clients[client as usize];
    if client.attempts == attempt && client.waits_for == Some(replica) {
        client.waits_for = None;
        client.answer = Some(answer);
    }
}

/// What a replica remembers, as `apply` sees it.
struct Memory<'a>(&'a mut Winners);

impl Ids for Memory<'_> {
    type Error = Infallible;

    fn find(&self, id: &[u8]) -> Result<Option<(PartitionId, Winner)>, Infallible> {
        let winner = self.0.get(&id[0]).map(|(offset, token)| Winner {
            offset: (*offset).into(),
            token: Some(Token((*token).into())),
            outcome: Outcome::Joined,
        });
        Ok(winner.map(|winner| (PLACE.partition, winner)))
    }

    fn insert(&mut self, id: &[u8], winner: Winner) {
        let small = |number: u64| u8::try_from(number).expect("all numbers are small here");
        let token = winner.token.expect("it was just registered").0;
        self.0.insert(id[0], (small(winner.offset), small(token)));
    }

    fn is_too_old(&self, _: SourceId, _: Offset) -> bool {
        false
    }

    fn won(&mut self, _: &[u8], _: &Winner, _: SourceId, _: Offset) {}
}

fn decide(winners: &mut Winners, offset: u8, record: &Record, event: u8) -> Decision {
    let stamp = Stamp {
        log: LOG,
        partitions: PLACE.partitions,
        incarnation: Incarnation((u64::from(record.replica) << 8) | u64::from(record.life)),
        sequence: record.sequence.into(),
    };
    let event = Event {
        id: &[event],
        outcome: Outcome::Joined,
        token: Token(record.token.into()),
        source: (LOG, 0, event.into()),
        later_ts: 0,
        body: b"",
    };
    let Ok(decision) = apply(&PLACE, &mut Memory(winners), offset.into(), &stamp, &event);
    decision
}

impl Model for Register {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            log: Vec::new(),
            under_way: BTreeSet::new(),
            replicas: vec![Replica::default(); self.replicas.into()],
            clients: vec![Client::default(); self.events.len()],
            crashes: self.crashes,
            impatience: self.impatience,
            unknowns: self.unknowns,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (client, asking) in (0..).zip(&state.clients) {
            if asking.answer.is_some() {
                continue;
            }
            match asking.waits_for {
                None => {
                    let all = 0..self.replicas;
                    actions.extend(all.map(|replica| Action::Ask { client, replica }));
                }
                Some(_) if state.impatience > 0 => actions.push(Action::Leave { client }),
                Some(_) => {}
            }
        }
        actions.extend(state.under_way.iter().map(|record| Action::Land(*record)));
        for (replica, it) in (0..).zip(&state.replicas) {
            if usize::from(it.next) < state.log.len() {
                actions.push(Action::Apply { replica });
            }
            if state.crashes > 0 {
                let all = 0..=it.next;
                actions.extend(all.map(|saved| Action::Die { replica, saved }));
            }
        }
        if state.unknowns > 0 {
            let doubtful = state.under_way.iter().filter(|record| {
                let writer = &state.replicas[record.replica as usize];
                writer.life == record.life && writer.pending.contains_key(&record.sequence)
            });
            actions.extend(doubtful.map(|record| Action::Unknown {
                replica: record.replica,
                sequence: record.sequence,
            }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Ask { client, replica } => self.ask(&mut state, client, replica),
            Action::Leave { client } => {
                state.impatience -= 1;
                state.clients[client as usize].waits_for = None;
            }
            Action::Land(record) => self.land(&mut state, record),
            Action::Unknown { replica, sequence } => self.unknown(&mut state, replica, sequence),
            Action::Apply { replica } => self.apply(&mut state, replica),
            Action::Die { replica, saved } => self.die(&mut state, replica, saved),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "every replica remembers the first record of an id",
                Self::remembers_the_first,
            ),
            Property::always(
                "what a client is told stands in the log, and its own record is never somebody else's",
                Self::answers_are_true,
            ),
            Property::always(
                "at rest every client has its answer",
                |model: &Self, state: &State| {
                    state.clients.iter().all(|client| client.answer.is_some())
                        || !model.is_at_rest(state)
                },
            ),
            Property::sometimes(
                "a ghost is in the log beside its chain's other record",
                |_: &Self, state: &State| {
                    state.clients.iter().all(|client| client.answer.is_some())
                        && state.log.len() > state.clients.len()
                },
            ),
        ]
    }
}

impl Protocol for Register {
    const NAME: &'static str = "registering";

    fn is_fault(action: &Action) -> bool {
        use Action::{Die, Leave, Unknown};
        matches!(action, Leave { .. } | Unknown { .. } | Die { .. })
    }

    fn bounds(&self) -> String {
        let Self {
            events,
            replicas,
            crashes,
            impatience,
            unknowns,
            ..
        } = self;
        let (clients, events) = (events.len(), events.iter().collect::<BTreeSet<_>>().len());
        format!(
            "{clients} clients, {events} events, {replicas} replicas, {crashes} deaths, {impatience} retries, {unknowns} unknown appends"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::explore;

    const TOLD: &str = "what a client is told";
    const FIRST: &str = "every replica remembers the first";

    fn small(flaw: Option<Flaw>, [crashes, impatience, unknowns]: [u8; 3]) -> Register {
        Register {
            events: vec![0, 0],
            replicas: 2,
            crashes,
            impatience,
            unknowns,
            flaw,
        }
    }

    #[test]
    fn every_answer_is_true_whatever_is_lost_doubled_or_late() {
        for faults in [[1, 0, 0], [0, 1, 0], [0, 0, 1]] {
            explore(small(None, faults)).unwrap_or_else(|violation| panic!("{violation}"));
        }
    }

    fn finds(flaw: Flaw, faults: [u8; 3], property: &str) {
        let violation = explore(small(Some(flaw), faults)).expect_err("a deliberate mistake");
        assert!(violation.property.starts_with(property), "{violation}");
    }

    #[test]
    fn an_answer_by_the_delivery_report_is_found() {
        finds(Flaw::AckOnDelivery, [0, 0, 0], TOLD);
    }

    #[test]
    fn an_answer_by_a_time_out_is_found() {
        finds(Flaw::AckOnUnknown, [0, 0, 1], TOLD);
    }

    #[test]
    fn a_miss_that_is_answered_locally_is_found() {
        finds(Flaw::MissAnsweredLocally, [0, 0, 0], TOLD);
    }

    #[test]
    fn a_token_per_retry_is_found() {
        finds(Flaw::TokenPerRetry, [0, 1, 0], TOLD);
    }

    #[test]
    fn a_position_that_is_saved_apart_is_found() {
        finds(Flaw::PositionApart, [1, 0, 0], FIRST);
    }

    #[test]
    fn a_last_record_that_wins_is_found() {
        finds(Flaw::LastWins, [0, 0, 0], FIRST);
    }

    #[test]
    fn a_record_that_is_known_by_its_sequence_alone_is_found() {
        finds(Flaw::SequenceAlone, [0, 0, 0], TOLD);
    }

    #[test]
    fn a_replica_that_begins_at_the_end_is_found() {
        finds(Flaw::BeginsAtEnd, [1, 0, 0], FIRST);
    }
}
