//! The machine in a small world of its own: a foreign topic, a log, primaries that arrive when they like, groups that
//! rebalance, answers that come late, in part, or for epochs that are over.

use super::*;
use crate::testing::event;
use crate::{Done, Place};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PARTITIONS: u32 = 3;
const RECORDS: u64 = 40;
const KEYS: u64 = 6;
const WAIT_MAX_MS: Millis = 5_000;

const LIMITS: Limits = Limits {
    batch_events: 4,
    batch_bytes: 1 << 20,
    batches: 4,
    held_events: 24,
    held_bytes: 1 << 20,
    window_events: 12,
    wait_max: Duration::from_millis(WAIT_MAX_MS),
    collect: Duration::ZERO,
    backoff: Backoff {
        first: Duration::from_millis(100),
        max: Duration::from_millis(1_000),
    },
    park: None,
    site: None,
};

const PARK: Park = Park {
    after: Duration::from_millis(1_500),
    events: 7,
    bytes: 1 << 20,
};

/// Offsets have gaps: every third is missing.
fn is_there(offset: Offset) -> bool {
    offset % 3 != 1
}

struct World {
    core: Core,
    now: Millis,
    /// Next offset to read, of assigned partitions.
    reading: BTreeMap<PartitionId, Offset>,
    committed: BTreeMap<PartitionId, Offset>,
    /// What the registry took.
    log: BTreeMap<(PartitionId, Offset), Done>,
    arrived: BTreeSet<u64>,
    flying: Vec<Batch>,
    draining: bool,
    /// Events in the retry topic.
    parked: BTreeSet<(PartitionId, Offset)>,
    collect: Millis,
    /// Until when records collect.
    collecting: BTreeMap<(PartitionId, Offset), Millis>,
}

/// What look-up, joiner and registry say.
enum Said {
    Done(Done),
    NotFound,
    Collecting,
}

/// A record's key; keys 4 and 5 have no primary, ever.
fn key_of(partition: PartitionId, offset: Offset) -> u64 {
    (offset + u64::from(partition)) % KEYS
}

impl World {
    fn new(collect: Millis, park: Option<Park>) -> Self {
        let limits = Limits {
            collect: Duration::from_millis(collect),
            park,
            ..LIMITS
        };
        Self {
            core: Core::new(limits),
            now: 0,
            reading: BTreeMap::new(),
            committed: BTreeMap::new(),
            log: BTreeMap::new(),
            arrived: BTreeSet::new(),
            flying: Vec::new(),
            draining: false,
            parked: BTreeSet::new(),
            collect,
            collecting: BTreeMap::new(),
        }
    }

    fn on(&mut self, event: Event) {
        let batches = self.core.on(event, self.now);
        // What was parked was parked before those that are due were taken from what waits.
        let taken = batches.iter().filter(|batch| batch.kind == Kind::Retried);
        let taken: usize = taken.map(|batch| batch.flights.len()).sum();
        let waited_then = self.core.waiting().0 + taken;
        for batch in batches {
            assert!(!batch.flights.is_empty() && batch.flights.len() <= LIMITS.batch_events);
            for flight in &batch.flights {
                let elsewhere = self.flying.iter().flat_map(|b| &b.flights);
                assert!(
                    elsewhere
                        .into_iter()
                        .all(|other| other.place != flight.place),
                    "in flight twice: {:?}",
                    flight.place
                );
                let old = self.now >= flight.first_seen + WAIT_MAX_MS;
                let waited = self.now - flight.first_seen >= PARK.after.as_millis() as u64;
                if batch.kind == Kind::Parking {
                    assert!(waited || waited_then >= PARK.events, "{flight:?}");
                    continue;
                }
                assert_eq!(flight.last_try, old && batch.kind == Kind::Retried);
                let place = (flight.place.partition, flight.place.offset);
                let until = self.collecting.remove(&place);
                match until.filter(|_| batch.kind == Kind::Retried) {
                    Some(until) => {
                        assert!(flight.collected);
                        assert!(self.now >= until, "sent while it collects");
                    }
                    None => assert_eq!(flight.collected, self.collect == 0 || flight.last_try),
                }
            }
            self.flying.push(batch);
        }
        self.check();
    }

    fn check(&self) {
        let flying: usize = self.flying.iter().map(|batch| batch.flights.len()).sum();
        assert_eq!(self.core.flying(), flying);
        let working = self.flying.iter().filter(|b| b.kind != Kind::Parking);
        assert!(working.count() <= LIMITS.batches);
        let (waiting, ..) = self.core.waiting();
        assert!(flying + waiting < LIMITS.held_events + LIMITS.batch_events);
        for (partition, position) in self.core.positions(&self.core.assignment()) {
            self.check_position(partition, position);
        }
        // Every record of a living epoch is in flight, waiting, or done: none is forgotten.
        let pending: usize = self.core.windows().map(|window| window.pending).sum();
        let working: usize = self.core.windows().map(|window| window.working).sum();
        assert!(self.draining || pending == working + waiting);
    }

    /// Nothing before a position is unresolved.
    fn check_position(&self, partition: PartitionId, position: Offset) {
        let first = self.committed.get(&partition).copied().unwrap_or(0);
        for offset in (first..position).filter(|offset| is_there(*offset)) {
            assert!(
                self.log.contains_key(&(partition, offset))
                    || self.parked.contains(&(partition, offset)),
                "{partition}/{offset} is behind position {position}, not resolved and not parked"
            );
        }
    }

    fn assign(&mut self, partition: PartitionId) {
        if self.reading.contains_key(&partition) {
            return;
        }
        let from = self.committed.get(&partition).copied().unwrap_or(0);
        self.reading.insert(partition, from);
        self.on(Event::Assigned(vec![partition]));
    }

    fn commit(&mut self, partition: PartitionId) {
        for (partition, position) in self.core.positions(&[partition]) {
            self.check_position(partition, position);
            let before = self.committed.insert(partition, position);
            assert!(before <= Some(position), "a position went back");
        }
    }

    fn revoke(&mut self, partition: PartitionId, answers: usize) {
        if self.reading.remove(&partition).is_none() {
            return;
        }
        self.draining = true;
        self.on(Event::Draining(vec![partition]));
        for _ in 0..answers {
            self.answer(0, 2, true);
        }
        self.commit(partition);
        self.draining = false;
        self.on(Event::Gone(vec![partition]));
    }

    /// An operator wants it read again.
    fn rewind(&mut self, partition: PartitionId, back: Offset) {
        let position = self.core.positions(&[partition]);
        let Some((_, position)) = position.first().copied() else {
            return;
        };
        let offset = position.saturating_sub(back);
        self.on(Event::Rewound(partition));
        self.reading.insert(partition, offset);
        self.committed.insert(partition, offset);
    }

    fn rest(&mut self, resting: bool) {
        self.core.rest(resting);
        let before = self.core.waiting().0;
        let hurried = self.core.retry_now(&Which::All, self.now);
        // What collects is left alone.
        assert!(hurried <= before && before <= hurried + self.collecting.len());
        self.on(Event::Tick);
        assert!(!resting || self.core.waiting().0 == before, "it rests");
    }

    fn lose(&mut self, partition: PartitionId) {
        if self.reading.remove(&partition).is_some() {
            self.on(Event::Gone(vec![partition]));
        }
    }

    fn read(&mut self, partition: PartitionId, count: usize) -> bool {
        let crowded = self.core.crowded().any(|p| p == partition);
        if crowded || !self.core.room() {
            return false;
        }
        let (Some(epoch), Some(next)) =
            (self.core.epoch(partition), self.reading.get_mut(&partition))
        else {
            return false;
        };
        let offsets: Vec<Offset> = (*next..RECORDS)
            .filter(|o| is_there(*o))
            .take(count)
            .collect();
        let Some(last) = offsets.last() else {
            return false;
        };
        *next = last + 1;
        let flight = |offset: Offset| {
            let place = Place {
                partition,
                epoch,
                offset,
            };
            let key = key_of(partition, offset).to_string();
            Flight::new(place, Subject::Event(event(offset, &key)), self.now, 0)
        };
        let flights: Vec<Flight> = offsets.into_iter().map(flight).collect();
        self.on(Event::Read(flights));
        true
    }

    /// Answers up to `count` records of a batch as registry and joiner would; or, `up` being false, has them resolved in the log
    /// without anybody being told.
    fn answer(&mut self, which: usize, count: usize, up: bool) {
        if self.flying.is_empty() {
            return;
        }
        let at = which % self.flying.len();
        if !up {
            let Batch { kind, flights } = &self.flying[at];
            let (kind, flights) = (*kind, flights.clone());
            for flight in flights.iter().take(count) {
                self.resolve(flight, kind);
            }
            return;
        }
        let mut batch = self.flying.remove(at);
        let rest = batch.flights.split_off(count.min(batch.flights.len()));
        let mut answers = Answers::default();
        for mut flight in batch.flights {
            match self.resolve(&flight, batch.kind) {
                Said::Done(done) => answers.done.push(flight.landed(done)),
                Said::Collecting => {
                    self.begins_to_collect(&flight);
                    answers.collecting.push(flight);
                }
                Said::NotFound => {
                    flight.attempts += 1;
                    answers.not_found.push(flight);
                }
            }
        }
        let ended = rest.is_empty();
        if !ended {
            self.flying.push(Batch {
                kind: batch.kind,
                flights: rest,
            });
        }
        self.on(Event::Answered(answers));
        if ended {
            self.on(Event::Ended(batch.kind));
        }
    }

    fn begins_to_collect(&mut self, flight: &Flight) {
        let place = flight.place;
        if self.core.epoch(place.partition) == Some(place.epoch) {
            let until = self.now + self.collect;
            let until = until.min((flight.first_seen + WAIT_MAX_MS).max(self.now));
            self.collecting
                .insert((place.partition, place.offset), until);
        }
    }

    /// What look-up, joiner and registry make of it.
    fn resolve(&mut self, flight: &Flight, kind: Kind) -> Said {
        let Place {
            partition, offset, ..
        } = flight.place;
        if kind == Kind::Parking {
            self.parked.insert((partition, offset));
            return Said::Done(Done::Parked);
        }
        if self.log.contains_key(&(partition, offset)) {
            return Said::Done(Done::AlreadyResolved);
        }
        let has_partner = self.arrived.contains(&key_of(partition, offset));
        let done = match (has_partner, flight.collected) {
            (true, false) => return Said::Collecting,
            (true, true) => Done::Joined,
            (false, _) if flight.last_try => Done::Unjoinable(Reason::TimedOut),
            (false, _) => return Said::NotFound,
        };
        self.log.insert((partition, offset), done);
        Said::Done(done)
    }

    fn arrive(&mut self, key: u64, told: bool) {
        if key < 4 {
            self.arrived.insert(key);
            if told {
                self.on(Event::Woken(vec![JoinKey::from(key.to_string())].into()));
            }
        }
    }

    fn pass(&mut self, ms: Millis) {
        self.now += ms;
        self.on(Event::Tick);
    }

    /// After all faults have healed everything is resolved within a bound of rounds.
    fn heal(&mut self) {
        self.core.rest(false);
        for _ in 0..2_000 {
            for partition in 0..PARTITIONS {
                self.assign(partition);
                self.read(partition, 4);
            }
            while !self.flying.is_empty() {
                self.answer(0, usize::MAX, true);
            }
            self.pass(50);
            let ends: BTreeMap<_, _> = self
                .core
                .positions(&self.core.assignment())
                .into_iter()
                .collect();
            // Of one that was committed to its end there is nothing left to read.
            let is_done = |p| ends.get(&p).or(self.committed.get(&p)) == Some(&RECORDS);
            if (0..PARTITIONS).all(is_done) {
                return;
            }
        }
        panic!("not everything was resolved: {:?}", self.core);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Assign(PartitionId),
    Revoke(PartitionId, usize),
    Lose(PartitionId),
    Rewind(PartitionId, Offset),
    Rest(bool),
    Read(PartitionId, usize),
    Answer {
        which: usize,
        count: usize,
        up: bool,
    },
    Arrive {
        key: u64,
        told: bool,
    },
    /// A primary is deleted, or expires.
    Leave(u64),
    Pass(Millis),
    Commit(PartitionId),
}

fn op() -> impl Strategy<Value = Op> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        3 => partition.clone().prop_map(Op::Assign),
        1 => (partition.clone(), 0usize..4).prop_map(|(p, n)| Op::Revoke(p, n)),
        1 => partition.clone().prop_map(Op::Lose),
        1 => (partition.clone(), 0..RECORDS).prop_map(|(p, back)| Op::Rewind(p, back)),
        1 => any::<bool>().prop_map(Op::Rest),
        12 => (partition.clone(), 1usize..5).prop_map(|(p, n)| Op::Read(p, n)),
        14 => (any::<usize>(), 1usize..6, prop::bool::weighted(0.9)).prop_map(|(which, count, up)| Op::Answer { which, count, up }),
        1 => (0..KEYS, any::<bool>()).prop_map(|(key, told)| Op::Arrive { key, told }),
        1 => (0..KEYS).prop_map(Op::Leave),
        5 => (0u64..400).prop_map(Op::Pass),
        3 => partition.prop_map(Op::Commit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_event_is_resolved_and_no_position_passes_one_that_is_not(ops in prop::collection::vec(op(), 0..250), collect in prop_oneof![Just(0), Just(300), Just(2 * WAIT_MAX_MS)], parks: bool) {
        let mut world = World::new(collect, parks.then_some(PARK));
        for op in ops {
            match op {
                Op::Assign(partition) => world.assign(partition),
                Op::Revoke(partition, answers) => world.revoke(partition, answers),
                Op::Lose(partition) => world.lose(partition),
                Op::Rewind(partition, back) => world.rewind(partition, back),
                Op::Rest(resting) => world.rest(resting),
                Op::Read(partition, count) => { world.read(partition, count); }
                Op::Answer { which, count, up } => world.answer(which, count, up),
                Op::Arrive { key, told } => world.arrive(key, told),
                Op::Leave(key) => { world.arrived.remove(&key); }
                Op::Pass(ms) => world.pass(ms),
                Op::Commit(partition) => world.commit(partition),
            }
        }
        world.heal();
        let all: Vec<_> = (0..PARTITIONS).flat_map(|p| (0..RECORDS).filter(|o| is_there(*o)).map(move |o| (p, o))).collect();
        let resolved: BTreeSet<_> = world.log.keys().chain(&world.parked).copied().collect();
        prop_assert_eq!(resolved.into_iter().collect::<Vec<_>>(), all);
        prop_assert!(parks || world.parked.is_empty());
        for ((partition, offset), done) in &world.log {
            let hopeless = key_of(*partition, *offset) >= 4;
            prop_assert!(!hopeless || *done == Done::Unjoinable(Reason::TimedOut));
        }
        prop_assert_eq!(world.core.waiting(), (0, 0, None));
        prop_assert_eq!(world.core.held_bytes(), 0);
    }
}

fn read_one(world: &mut World) -> Flight {
    world.assign(0);
    assert!(world.read(0, 1));
    world.flying[0].flights[0].clone()
}

#[test]
fn a_wake_up_that_overtakes_its_answer_is_not_lost() {
    let mut world = World::new(0, None);
    let flight = read_one(&mut world);
    // The joiner looked in vain; then the primary arrives, and the news is here first.
    let batch = world.flying.remove(0);
    world.arrived.insert(0);
    world
        .core
        .on(Event::Woken(vec![JoinKey::from("0")].into()), world.now);
    let answers = Answers {
        not_found: batch.flights,
        ..Answers::default()
    };
    let again = world.core.on(Event::Answered(answers), world.now);
    assert_eq!(again.len(), 1, "due at once");
    assert_eq!(again[0].flights[0].place, flight.place);
    // In vain again, for another reason: that wake-up is spent, the back-off rules.
    let Batch { kind, flights } = { again }.remove(0);
    let answers = Answers {
        not_found: flights,
        ..Answers::default()
    };
    assert!(
        world
            .core
            .on(Event::Answered(answers), world.now)
            .is_empty()
    );
    assert!(world.core.on(Event::Ended(kind), world.now).is_empty());
}

#[test]
fn what_waits_is_woken_by_its_key_only() {
    let mut world = World::new(0, None);
    read_one(&mut world);
    world.answer(0, 1, true);
    world.on(Event::Woken(vec![JoinKey::from("other")].into()));
    assert!(world.flying.is_empty());
    world.on(Event::Woken(
        vec![JoinKey::from("0"), JoinKey::from("0")].into(),
    ));
    assert_eq!(world.flying.len(), 1);
    assert_eq!(world.core.tally().wakeups, 1);
}

#[test]
fn who_waits_is_found_with_when_it_is_tried_again() {
    let mut world = World::new(0, None);
    let flight = read_one(&mut world);
    let id = flight.subject.id().clone();
    assert_eq!(world.core.find(&id), None, "in flight is not waiting");
    world.answer(0, 1, true);
    let (found, due) = world.core.find(&id).expect("it waits");
    assert_eq!((found.subject.id(), found.attempts), (&id, 1));
    assert!(due > world.now);
    assert_eq!(world.core.find(&EventId::from("nobody")), None);
}

#[test]
fn who_collects_is_sent_again_after_exactly_that_long() {
    let mut world = World::new(300, None);
    let key = || vec![JoinKey::from("0")];
    world.arrived.insert(0);
    read_one(&mut world);
    world.answer(0, 1, true);
    world.pass(299);
    world.on(Event::Woken(key().into()));
    assert!(world.flying.is_empty(), "nothing wakes it");
    world.pass(1);
    assert_eq!(world.flying.len(), 1);
    assert_eq!(
        world.flying[0].flights[0].attempts, 0,
        "nothing was in vain"
    );

    // Meanwhile its partner has gone: it waits on, and collects anew when another one comes.
    world.arrived.clear();
    world.answer(0, 1, true);
    world.arrived.insert(0);
    world.on(Event::Woken(key().into()));
    world.answer(0, 1, true);
    assert_eq!(world.core.waiting().0, 1);
    world.pass(300);
    world.answer(0, 1, true);
    assert_eq!(world.core.tally().joined, 1);
}

#[test]
fn the_longest_wait_ends_collecting() {
    let mut world = World::new(2 * WAIT_MAX_MS, None);
    read_one(&mut world);
    world.answer(0, 1, true);
    world.pass(WAIT_MAX_MS - 100);
    world.arrived.insert(0);
    world.answer(0, 1, true);
    world.pass(100);
    assert!(world.flying[0].flights[0].last_try);
    world.answer(0, 1, true);
    assert_eq!(world.core.tally().joined, 1);
}

#[test]
fn an_operator_picks_what_is_tried_now() {
    let mut world = World::new(0, None);
    world.assign(0);
    world.read(0, 4);
    world.answer(0, 4, true);
    assert!(world.flying.is_empty() && world.core.waiting().0 == 4);
    let mut picks = |which| {
        let picked = world.core.retry_now(&which, world.now);
        world.on(Event::Tick);
        (picked, world.flying.iter().map(|b| b.flights.len()).sum())
    };
    assert_eq!(picks(Which::Key("nobody".into())), (0, 0));
    assert_eq!(picks(Which::Key("2".into())), (1, 1));
    assert_eq!(picks(Which::Id("e3".into())), (1, 2));
    assert_eq!(picks(Which::All), (2, 2), "both places are taken");
}

#[test]
fn a_drain_does_not_wait_for_partners() {
    let mut world = World::new(0, None);
    read_one(&mut world);
    world.answer(0, 1, true);
    assert_eq!(world.core.waiting().0, 1);
    world.draining = true;
    world.on(Event::Draining(vec![0]));
    assert!(world.core.is_drained(&[0]));
    assert_eq!(world.core.positions(&[0]), [(0, 0)], "it is read again");
    world.on(Event::Gone(vec![0]));
    assert_eq!(world.core.positions(&[0]), []);
}

#[test]
fn a_rewound_partition_begins_anew() {
    let mut world = World::new(0, None);
    read_one(&mut world);
    world.on(Event::Rewound(0));
    world.reading.insert(0, 0);
    assert!(world.read(0, 1), "the same offset, in another epoch");
    world.arrived.insert(0);
    // The answer for the old epoch moves nothing.
    world.answer(0, 1, true);
    assert_eq!(world.core.positions(&[0]), [(0, 0)]);
    world.answer(0, 1, true);
    assert_eq!(world.core.positions(&[0]), [(0, 1)]);
}

#[test]
fn retried_batches_leave_room_for_fresh_ones() {
    let mut world = World::new(0, None);
    world.assign(0);
    world.assign(1);
    for partition in [0, 1, 0, 1] {
        world.read(partition, 4);
    }
    assert!(!world.core.room());
    while !world.flying.is_empty() {
        world.answer(0, 4, true);
    }
    world.pass(WAIT_MAX_MS);
    assert_eq!(world.core.batches(), 2, "half of the places");
    assert!(world.core.room());
}
