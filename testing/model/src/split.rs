//! Splitting the log: operators wish, replicas do the steps, clients register meanwhile. What a partition keeps and what its children take over is the registry's own
//! `Lineage`, where an id belongs is `Layout`, what becomes of a record is `apply`.

use crate::explore::Protocol;
use rtf_proto::partitioner::{Layout, children, partition_of};
use rtf_proto::record::{Event, Stamp};
use rtf_proto::{Incarnation, LogId, Offset, Outcome, PartitionId, SourceId, Token, TopicId};
use rtf_registry::parts::{Birth, Decision, Ids, Lineage, Place, Winner, apply};
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

const LOG: LogId = TopicId([1; 16]);

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Every epoch that asks for more counts, not the first one that fits.
    EveryEpochCounts,
    /// The last wish stands, not the first.
    LastWishStands,
    /// A child does not know what its parent knew.
    ChildForgets,
    /// A partition accepts what was written for another count.
    CountIgnored,
    /// A writer whose record came too late for its partition gives up.
    NotAppendedAgain,
    /// Whoever dies between two steps is waited for: nobody else does them.
    OneCoordinator,
}

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Split {
    /// Partitions the log begins with.
    pub roots: u32,
    /// What the operators want: the first one of the first replica, and so on.
    pub wishes: Vec<u32>,
    /// Epochs of partition 0 that nobody wished for any more: ghosts.
    pub strays: Vec<u32>,
    /// The event each client resolves.
    pub events: Vec<u8>,
    /// Replicas.
    pub replicas: u8,
    /// How often a replica dies with its disk.
    pub deaths: u8,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Content {
    Event { client: u8, count: u32 },
    Wish(u32),
    Epoch(u32),
    Born { parent: PartitionId, offset: Offset },
}

/// A record, and who wrote it in which of its lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Record {
    partition: PartitionId,
    content: Content,
    replica: u8,
    life: u8,
}

/// Where an event's winner stands, and whose it is.
type Won = (PartitionId, u8, u8);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Partition {
    next: u8,
    lineage: Lineage,
    winners: BTreeMap<u8, Won>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Replica {
    life: u8,
    partitions: BTreeMap<PartitionId, Partition>,
    /// What it appended to the log about the log in this life.
    said: BTreeSet<(PartitionId, Content)>,
    /// Clients whose record it waits for.
    pending: BTreeSet<u8>,
    /// Records that counted for nothing, or could not be appended yet.
    again: BTreeSet<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Client {
    Idle,
    WaitsFor(u8),
    /// Its own record won, or another one.
    Told(bool),
}

/// All there is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    logs: BTreeMap<PartitionId, Vec<Record>>,
    under_way: BTreeSet<Record>,
    replicas: Vec<Replica>,
    clients: Vec<Client>,
    /// Which operators have wished.
    wished: usize,
    deaths: u8,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The next operator says to its replica what is wanted.
    Wish,
    /// A client asks a replica to register its event.
    Ask { client: u8, replica: u8 },
    /// A record gets into the log.
    Land(Record),
    /// A replica reads and applies the next record of a partition.
    Apply { replica: u8, partition: PartitionId },
    /// A replica appends a client's record again.
    Again { replica: u8, client: u8 },
    /// A replica does the next steps of a split.
    Advance { replica: u8 },
    /// A replica dies, and its disk with it.
    Die { replica: u8 },
}

impl Partition {
    fn root(roots: u32) -> Self {
        Self {
            next: 0,
            lineage: Lineage::root(roots),
            winners: BTreeMap::new(),
        }
    }
}

impl Replica {
    fn new(life: u8, roots: u32) -> Self {
        let all = (0..roots).map(|partition| (partition, Partition::root(roots)));
        Self {
            life,
            partitions: all.collect(),
            said: BTreeSet::new(),
            pending: BTreeSet::new(),
            again: BTreeSet::new(),
        }
    }

    /// Where an event is to be appended, and for which count; `None` while its partition is unborn.
    fn route(&self, roots: u32, event: u8) -> Option<(PartitionId, u32)> {
        let mut layout = Layout::new(roots);
        for (partition, it) in &self.partitions {
            layout.set(*partition, it.lineage.count());
        }
        let partition = layout.partition_of(&[event]);
        let lineage = &self.partitions.get(&partition)?.lineage;
        lineage
            .unborn()
            .is_none()
            .then(|| (partition, lineage.count()))
    }
}

impl Split {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn append(&self, state: &mut State, at: u8, client: u8) {
        let replica = &mut state.replicas[at as usize];
        let Some((partition, count)) = replica.route(self.roots, self.events[client as usize])
        else {
            replica.again.insert(client);
            return;
        };
        replica.pending.insert(client);
        state.under_way.insert(Record {
            partition,
            content: Content::Event { client, count },
            replica: at,
            life: replica.life,
        });
    }

    /// What a replica is to say about the log.
    fn steps(&self, state: &State, at: u8) -> Vec<(PartitionId, Content)> {
        let replica = &state.replicas[at as usize];
        let mut steps = Vec::new();
        for (partition, it) in &replica.partitions {
            if let Some(Birth { parent, offset }) = it.lineage.unborn() {
                steps.push((*partition, Content::Born { parent, offset }));
            }
        }
        let first = &replica.partitions[&0].lineage;
        let wanted = first.wanted().unwrap_or(first.count());
        for (partition, it) in &replica.partitions {
            if it.lineage.accepts(wanted) {
                steps.push((*partition, Content::Epoch(wanted)));
            }
        }
        let is_in_charge = !self.is(Flaw::OneCoordinator) || (at, replica.life) == (0, 0);
        steps.retain(|step| is_in_charge && !replica.said.contains(step));
        steps
    }

    fn advance(&self, state: &mut State, at: u8) {
        for (partition, content) in self.steps(state, at) {
            let replica = &mut state.replicas[at as usize];
            replica.said.insert((partition, content));
            state.under_way.insert(Record {
                partition,
                content,
                replica: at,
                life: replica.life,
            });
        }
    }

    fn apply(&self, state: &mut State, at: u8, partition: PartitionId) {
        let replica = &mut state.replicas[at as usize];
        let own = replica.partitions.get_mut(&partition).expect("it is read");
        let offset = own.next;
        own.next += 1;
        let record = state.logs[&partition][offset as usize];
        match record.content {
            Content::Wish(count) if self.is(Flaw::LastWishStands) => {
                // What stood is gone: the same lineage without a wish.
                if own.lineage.accepts(count) && own.lineage.unborn().is_none() {
                    own.lineage = Lineage::learned(own.lineage.counts().to_vec());
                    own.lineage.want(count);
                }
            }
            Content::Wish(count) => own.lineage.want(count),
            Content::Epoch(count) => self.split(replica, partition, offset, count),
            Content::Born { parent, offset } => {
                own.lineage.born(Birth { parent, offset });
            }
            Content::Event { client, count } => {
                let decision = self.decide(own, (partition, offset), &record, client, count);
                self.answer(state, at, &record, client, decision);
            }
        }
    }

    fn split(&self, replica: &mut Replica, partition: PartitionId, offset: u8, count: u32) {
        let parent = replica.partitions.get_mut(&partition).expect("it is read");
        let before = parent.lineage.count();
        let is_more = self.is(Flaw::EveryEpochCounts) && count > before;
        if !parent.lineage.accepts(count) && !is_more {
            return;
        }
        parent.lineage.split(count);
        let birth = Birth {
            parent: partition,
            offset: offset.into(),
        };
        let winners = if self.is(Flaw::ChildForgets) {
            BTreeMap::new()
        } else {
            parent.winners.clone()
        };
        let child = Partition {
            next: 0,
            lineage: parent.lineage.child(partition, birth, offset.into()),
            winners,
        };
        for id in children(partition, before, count) {
            replica
                .partitions
                .entry(id)
                .or_insert_with(|| child.clone());
        }
    }

    fn decide(
        &self,
        own: &mut Partition,
        (partition, offset): (PartitionId, u8),
        record: &Record,
        client: u8,
        count: u32,
    ) -> Decision {
        if own.lineage.unborn().is_some() {
            return Decision::Misplaced;
        }
        let id = self.events[client as usize];
        let place = Place {
            log: LOG,
            partitions: if self.is(Flaw::CountIgnored) {
                count
            } else {
                own.lineage.count()
            },
            partition,
        };
        let stamp = Stamp {
            log: LOG,
            partitions: count,
            incarnation: Incarnation((u64::from(record.replica) << 8) | u64::from(record.life)),
            sequence: client.into(),
        };
        let event = Event {
            id: &[id],
            outcome: Outcome::Joined,
            token: Token(client.into()),
            source: (LOG, 0, id.into()),
            later_ts: 0,
            body: b"",
        };
        let mut memory = Memory(partition, &mut own.winners);
        let Ok(decision) = apply(&place, &mut memory, offset.into(), &stamp, &event);
        decision
    }

    fn answer(&self, state: &mut State, at: u8, record: &Record, client: u8, decision: Decision) {
        let replica = &mut state.replicas[at as usize];
        let is_own = (record.replica, record.life) == (at, replica.life);
        if !is_own || !replica.pending.remove(&client) {
            return;
        }
        let is_winner = match decision {
            Decision::Won => true,
            Decision::Lost(winner) => winner.token == Some(Token(client.into())),
            Decision::Misplaced if self.is(Flaw::NotAppendedAgain) => return,
            Decision::Misplaced => {
                replica.again.insert(client);
                return;
            }
            Decision::TooOld => unreachable!("nothing is forgotten here"),
        };
        state.clients[client as usize] = Client::Told(is_winner);
    }

    fn die(&self, state: &mut State, at: u8) {
        state.deaths -= 1;
        let replica = &mut state.replicas[at as usize];
        *replica = Replica::new(replica.life + 1, self.roots);
        for client in &mut state.clients {
            if *client == Client::WaitsFor(at) {
                *client = Client::Idle;
            }
        }
    }

    /// The winners of an event, as any replica has them.
    fn winners(&self, state: &State, event: u8) -> BTreeSet<Won> {
        let partitions = state.replicas.iter().flat_map(|it| it.partitions.values());
        partitions
            .filter_map(|it| it.winners.get(&event).copied())
            .collect()
    }

    fn all_events(&self) -> BTreeSet<u8> {
        self.events.iter().copied().collect()
    }

    fn answers_are_true(&self, state: &State) -> bool {
        (0..).zip(&state.clients).all(|(number, client)| {
            let Client::Told(is_winner) = client else {
                return true;
            };
            let winners = self.winners(state, self.events[usize::from(number)]);
            winners
                .iter()
                .all(|(_, _, winner)| (*winner == number) == *is_winner)
        })
    }

    /// Of two replicas that have come differently far, one knows what the other does.
    fn shapes_agree(&self, state: &State) -> bool {
        let counts = |replica: &Replica, id: &PartitionId| {
            replica
                .partitions
                .get(id)
                .map(|it| it.lineage.counts().to_vec())
        };
        state.replicas.iter().all(|one| {
            one.partitions.keys().all(|id| {
                let one = counts(one, id).unwrap_or_default();
                state.replicas.iter().all(|other| {
                    let other = counts(other, id).unwrap_or_default();
                    one.starts_with(&other) || other.starts_with(&one)
                })
            })
        })
    }

    /// Everybody has an answer, and all partitions one count, which somebody wanted.
    fn is_done(&self, state: &State) -> bool {
        let partitions = || state.replicas.iter().flat_map(|it| it.partitions.values());
        let counts: BTreeSet<u32> = partitions().map(|it| it.lineage.count()).collect();
        let said = |count| self.wishes.contains(count) || self.strays.contains(count);
        let is_wanted = counts.len() == 1 && counts.iter().all(said);
        let told = |client: &Client| matches!(client, Client::Told(_));
        is_wanted
            && partitions().all(|it| it.lineage.unborn().is_none())
            && state.clients.iter().all(told)
    }
}

/// What a partition remembers, as `apply` sees it.
struct Memory<'a>(PartitionId, &'a mut BTreeMap<u8, Won>);

impl Ids for Memory<'_> {
    type Error = Infallible;

    fn find(&self, id: &[u8]) -> Result<Option<(PartitionId, Winner)>, Infallible> {
        Ok(self.1.get(&id[0]).map(|(home, offset, client)| {
            let winner = Winner {
                offset: (*offset).into(),
                token: Some(Token((*client).into())),
                outcome: Outcome::Joined,
            };
            (*home, winner)
        }))
    }

    fn insert(&mut self, id: &[u8], winner: Winner) {
        let small = |number: u64| u8::try_from(number).expect("all numbers are small here");
        let token = winner.token.expect("it was just registered").0;
        let won = (self.0, small(winner.offset), small(token));
        self.1.insert(id[0], won);
    }

    fn is_too_old(&self, _: SourceId, _: Offset) -> bool {
        false
    }

    fn won(&mut self, _: &[u8], _: &Winner, _: SourceId, _: Offset) {}
}

/// An epoch by a writer of whom nobody knows any more.
fn stray(count: u32) -> Record {
    Record {
        partition: 0,
        content: Content::Epoch(count),
        replica: u8::MAX,
        life: 0,
    }
}

/// An event that belongs to a partition among so many, and to another among others.
pub fn event_of(places: &[(PartitionId, u32)]) -> u8 {
    let fits = |id: &u8| {
        let mut places = places.iter();
        places.all(|(partition, count)| partition_of(&[*id], *count) == *partition)
    };
    (0..=u8::MAX).find(fits).expect("one of 256 ids fits")
}

impl Model for Split {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            logs: BTreeMap::new(),
            under_way: self.strays.iter().map(|count| stray(*count)).collect(),
            replicas: vec![Replica::new(0, self.roots); self.replicas.into()],
            clients: vec![Client::Idle; self.events.len()],
            wished: 0,
            deaths: self.deaths,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.wished < self.wishes.len() {
            actions.push(Action::Wish);
        }
        for (client, it) in (0..).zip(&state.clients) {
            if *it == Client::Idle {
                let all = 0..self.replicas;
                actions.extend(all.map(|replica| Action::Ask { client, replica }));
            }
        }
        actions.extend(state.under_way.iter().map(|record| Action::Land(*record)));
        for (replica, it) in (0..).zip(&state.replicas) {
            for (partition, own) in &it.partitions {
                let written = state.logs.get(partition).map_or(0, Vec::len);
                if usize::from(own.next) < written {
                    let partition = *partition;
                    actions.push(Action::Apply { replica, partition });
                }
            }
            let can_append = |client: &&u8| {
                it.route(self.roots, self.events[**client as usize])
                    .is_some()
            };
            let again = it.again.iter().filter(can_append);
            actions.extend(again.map(|client| Action::Again {
                replica,
                client: *client,
            }));
            if !self.steps(state, replica).is_empty() {
                actions.push(Action::Advance { replica });
            }
            if state.deaths > 0 {
                actions.push(Action::Die { replica });
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Wish => {
                let replica = u8::try_from(state.wished).expect("wishes are few") % self.replicas;
                state.under_way.insert(Record {
                    partition: 0,
                    content: Content::Wish(self.wishes[state.wished]),
                    replica,
                    life: state.replicas[replica as usize].life,
                });
                state.wished += 1;
            }
            Action::Ask { client, replica } => {
                state.clients[client as usize] = Client::WaitsFor(replica);
                self.append(&mut state, replica, client);
            }
            Action::Land(record) => {
                state.under_way.remove(&record);
                state.logs.entry(record.partition).or_default().push(record);
            }
            Action::Apply { replica, partition } => self.apply(&mut state, replica, partition),
            Action::Again { replica, client } => {
                state.replicas[replica as usize].again.remove(&client);
                self.append(&mut state, replica, client);
            }
            Action::Advance { replica } => self.advance(&mut state, replica),
            Action::Die { replica } => self.die(&mut state, replica),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "an id has one winner in all replicas and partitions",
                |model: &Self, state: &State| {
                    let events = model.all_events();
                    events
                        .into_iter()
                        .all(|event| model.winners(state, event).len() <= 1)
                },
            ),
            Property::always("what a client is told is so", Self::answers_are_true),
            Property::always("replicas agree on the counts", Self::shapes_agree),
            Property::always(
                "at rest everybody has an answer and all partitions one count that was wanted",
                |model: &Self, state: &State| model.is_done(state) || !model.is_at_rest(state),
            ),
            Property::sometimes(
                "a record comes too late for its partition and is appended again",
                |model: &Self, state: &State| {
                    state.replicas.iter().any(|it| !it.again.is_empty()) || model.events.is_empty()
                },
            ),
        ]
    }
}

impl Protocol for Split {
    const NAME: &'static str = "splitting";

    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::Die { .. })
    }

    fn bounds(&self) -> String {
        let Self {
            roots,
            wishes,
            strays,
            events,
            replicas,
            deaths,
            ..
        } = self;
        let (clients, events) = (events.len(), self.all_events().len());
        format!(
            "{roots} partitions, wishes for {wishes:?}, stray epochs {strays:?}, {replicas} replicas that all do the steps, {clients} clients, {events} events, {deaths} deaths"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::explore;

    /// One event that moves to the child, resolved by two clients of one replica.
    fn moving(flaw: Option<Flaw>) -> Split {
        let event = event_of(&[(1, 2)]);
        Split {
            roots: 1,
            wishes: vec![2],
            strays: Vec::new(),
            events: vec![event, event],
            replicas: 1,
            deaths: 0,
            flaw,
        }
    }

    /// Two operators who disagree.
    fn disagreeing(flaw: Option<Flaw>) -> Split {
        Split {
            roots: 2,
            wishes: vec![4, 6],
            strays: Vec::new(),
            events: Vec::new(),
            replicas: 1,
            deaths: 0,
            flaw,
        }
    }

    #[test]
    fn an_id_that_moves_has_one_winner() {
        explore(moving(None)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    #[test]
    fn two_replicas_that_both_do_the_steps_agree() {
        let model = Split {
            events: vec![event_of(&[(1, 2)])],
            replicas: 2,
            ..moving(None)
        };
        explore(model).unwrap_or_else(|violation| panic!("{violation}"));
    }

    #[test]
    fn operators_who_disagree_leave_one_shape() {
        explore(disagreeing(None)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn finds(model: Split, property: &str) {
        let violation = explore(model).expect_err("a deliberate mistake");
        assert!(violation.property.starts_with(property), "{violation}");
    }

    #[test]
    fn a_child_that_forgets_is_found() {
        finds(moving(Some(Flaw::ChildForgets)), "an id has one winner");
    }

    #[test]
    fn a_count_that_is_ignored_is_found() {
        finds(moving(Some(Flaw::CountIgnored)), "an id has one winner");
    }

    #[test]
    fn a_record_that_is_not_appended_again_is_found() {
        finds(moving(Some(Flaw::NotAppendedAgain)), "at rest");
    }

    #[test]
    fn a_last_wish_that_stands_is_found() {
        finds(disagreeing(Some(Flaw::LastWishStands)), "at rest");
    }

    #[test]
    fn a_coordinator_that_is_waited_for_is_found() {
        let model = Split {
            deaths: 1,
            replicas: 2,
            wishes: vec![4],
            ..disagreeing(Some(Flaw::OneCoordinator))
        };
        finds(model, "at rest");
    }

    /// The id belongs to a child by the one epoch, and stays where it was by the other.
    fn torn(flaw: Option<Flaw>) -> Split {
        let event = event_of(&[(1, 2), (0, 3)]);
        Split {
            strays: vec![3],
            events: vec![event, event],
            ..moving(flaw)
        }
    }

    #[test]
    fn of_two_epochs_the_first_counts() {
        explore(torn(None)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    #[test]
    fn an_epoch_that_counts_though_it_is_not_the_first_is_found() {
        finds(torn(Some(Flaw::EveryEpochCounts)), "an id has one winner");
    }
}
