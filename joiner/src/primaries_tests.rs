use super::*;
use crate::disk::{Age, Identity};
use crate::event::EventReader;
use crate::keeper::Keeper;
use crate::position::Position;
use crate::state::{Change, State};
use crate::testing::{Naive, Row, options, policy};
use crate::{Options, Policy};
use parking_lot::RwLock;
use proptest::prelude::*;
use rtf_proto::TopicId;
use std::path::Path;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);
const PARTITIONS: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    Upsert {
        id: u8,
        key: u8,
        fare: i32,
        lives_ms: Option<i64>,
    },
    Delete {
        id: u8,
    },
    Find {
        key: u8,
    },
    Sweep,
    /// Reads what is on disk of a key, ...
    Ask {
        key: u8,
    },
    /// ... and later takes it, if it still counts.
    Take,
    /// Begins a flush, ...
    Flush,
    /// Begins to merge some of the segments, ...
    Merge {
        which: u8,
    },
    /// ... and later takes over what was done.
    Settle,
    Reopen,
    Crash,
}

fn ops() -> impl Strategy<Value = Vec<(Op, u32, i64, i64)>> {
    let (id, key) = (0u8..12, 0u8..4);
    let lives_ms = prop::option::of(-50_000i64..300_000);
    let op = prop_oneof![
        24 => (id.clone(), key.clone(), -3i32..3, lives_ms)
            .prop_map(|(id, key, fare, lives_ms)| Op::Upsert { id, key, fare, lives_ms }),
        4 => id.prop_map(|id| Op::Delete { id }),
        12 => key.clone().prop_map(|key| Op::Find { key }),
        2 => Just(Op::Sweep),
        3 => key.prop_map(|key| Op::Ask { key }),
        3 => Just(Op::Take),
        4 => Just(Op::Flush),
        2 => any::<u8>().prop_map(|which| Op::Merge { which }),
        4 => Just(Op::Settle),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ];
    prop::collection::vec(
        (op, 0u32..PARTITIONS as u32, 0i64..30_000, -2i64..3),
        0..200,
    )
}

/// One change as it stands in the topic.
#[derive(Clone, Debug)]
enum Record {
    Upsert(Row),
    Delete(u8, Place),
}

impl Record {
    fn place(&self) -> Place {
        match self {
            Self::Upsert(row) => row.place,
            Self::Delete(_, place) => *place,
        }
    }
}

/// The store, and beside it the topic and the store by hand.
struct Both {
    policy: Policy,
    reader: EventReader,
    state: RwLock<State>,
    keeper: Option<Keeper>,
    naive: Naive,
    topic: Vec<Record>,
    positions: Vec<Position>,
    /// The store by hand as it was at these positions.
    then: Vec<(Vec<Position>, Naive)>,
    now: i64,
    asked: Option<(u8, Cold, Arc<KeyEvents>)>,
}

fn identity(policy: &Policy) -> Identity {
    Identity {
        topic: TopicId([3; 16]),
        settings: options(policy.clone()).decides_events(),
    }
}

impl Both {
    fn new(policy: Policy, dir: Option<&Path>) -> Self {
        let options = options(policy.clone());
        let positions = vec![Position::default(); PARTITIONS];
        let mut both = Self {
            policy,
            reader: EventReader::new(&options).unwrap(),
            state: RwLock::new(State::new(&options)),
            keeper: None,
            naive: Naive::default(),
            topic: Vec::new(),
            then: vec![(Vec::new(), Naive::default())],
            positions,
            now: 1_000_000,
            asked: None,
        };
        if let Some(dir) = dir {
            both.open(dir);
        }
        both
    }

    fn open(&mut self, dir: &Path) {
        self.asked = None;
        self.keeper = None;
        let opened = Keeper::open(dir, &identity(&self.policy), &self.policy, 1 << 20);
        let (keeper, store) = opened.unwrap();
        self.state.write().store = store;
        let positions = keeper.positions().to_vec();
        self.keeper = Some(keeper);
        let then = self.then.iter().rfind(|(then, _)| *then == positions);
        self.naive = then.expect("it was once so far").1.clone();
        // What came after is read again.
        let unread = |record: &&Record| {
            let place = record.place();
            positions
                .get(place.partition as usize)
                .is_none_or(|read| place.offset >= read.next)
        };
        let again: Vec<Record> = self.topic.iter().filter(unread).cloned().collect();
        again.into_iter().for_each(|record| self.apply(record));
    }

    fn apply(&mut self, record: Record) {
        self.naive.age(self.now);
        let change = match &record {
            Record::Upsert(row) => Change::Upsert(row.read(&self.reader)),
            Record::Delete(id, place) => Change::Delete {
                id: format!("p{id}").into_bytes().into(),
                place: *place,
            },
        };
        match record {
            Record::Upsert(row) => self.naive.upsert(row, self.now),
            Record::Delete(id, place) => self.naive.delete(id, place),
        }
        let located = match &self.keeper {
            Some(keeper) => keeper
                .locate(std::slice::from_ref(&change))
                .unwrap()
                .remove(0),
            None => None,
        };
        let changes = std::iter::once((change, located));
        self.state
            .write()
            .apply(changes, self.now, &mut Vec::new())
            .unwrap();
    }

    fn change(&mut self, record: Record) {
        let place = record.place();
        self.positions[place.partition as usize].next = place.offset + 1;
        self.topic.push(record.clone());
        self.apply(record);
    }

    fn find(&self, key: u8) -> Vec<Place> {
        let key = format!("k{key}").into_bytes();
        let look = self.state.read().store.find(&key, self.now);
        let events = match look {
            Look::Known(events) => events,
            Look::Cold(cold) => {
                let read = cold.read(&key, self.now, &self.policy).unwrap();
                let settled = self.state.read().store.settle(&key, &cold, &read, self.now);
                settled.expect("nothing has changed meanwhile")
            }
        };
        events.iter().map(Event::place).collect()
    }

    fn age(&self) -> Age {
        Age {
            now_ms: self.now,
            floors: Vec::new(),
        }
    }

    fn keep(&mut self, op: &Op, dir: &Path) {
        let age = self.age();
        let keeper = self.keeper.as_mut().unwrap();
        match op {
            Op::Settle => keeper.settle(&self.state, LONG).unwrap(),
            Op::Flush if !keeper.is_busy() => {
                self.naive.age(self.now);
                keeper.flush(&self.state, &self.positions, &age);
                self.then.push((self.positions.clone(), self.naive.clone()));
            }
            Op::Merge { which } if !keeper.is_busy() => {
                let some = (0..keeper.segments()).filter(|at| which >> (at % 8) & 1 == 1);
                let some: Vec<usize> = some.collect();
                keeper.merge(&some, &age);
            }
            Op::Reopen => {
                keeper.settle(&self.state, LONG).unwrap();
                keeper.flush(&self.state, &self.positions, &age);
                self.then.push((self.positions.clone(), self.naive.clone()));
                keeper.settle(&self.state, LONG).unwrap();
                self.open(dir);
            }
            Op::Crash => self.open(dir),
            _ => {}
        }
    }
}

fn check(
    ops: Vec<(Op, u32, i64, i64)>,
    policy: Policy,
    dir: Option<&Path>,
) -> Result<(), TestCaseError> {
    let mut both = Both::new(policy, dir);
    for (offset, (op, partition, passes, kafka_ts)) in (0u64..).zip(ops) {
        both.now += passes;
        both.naive.age(both.now);
        let place = Place {
            kafka_ts,
            partition,
            offset,
        };
        match op {
            Op::Upsert {
                id,
                key,
                fare,
                lives_ms,
            } => {
                let gone = lives_ms.map(|ms| both.now + ms);
                both.change(Record::Upsert(Row {
                    id,
                    key,
                    fare,
                    gone,
                    place,
                }));
            }
            Op::Delete { id } => both.change(Record::Delete(id, place)),
            Op::Find { key } => {
                let wanted = both.naive.find(key, both.now, &both.policy);
                prop_assert_eq!(both.find(key), wanted);
            }
            Op::Sweep => {
                let now = both.now;
                while both.state.write().store.sweep(now, 3) {}
                if dir.is_none() {
                    prop_assert_eq!(both.state.read().store.len(), both.naive.0.len() as u64);
                }
            }
            Op::Ask { key } => {
                let text = format!("k{key}").into_bytes();
                if let Look::Cold(cold) = both.state.read().store.find(&text, both.now) {
                    let read = cold.read(&text, both.now, &both.policy).unwrap();
                    both.asked = Some((key, cold, read));
                }
            }
            Op::Take => {
                let Some((key, cold, read)) = both.asked.take() else {
                    continue;
                };
                let text = format!("k{key}").into_bytes();
                let settled = both
                    .state
                    .read()
                    .store
                    .settle(&text, &cold, &read, both.now);
                let wanted = both.naive.find(key, both.now, &both.policy);
                if let Some(events) = settled {
                    let places: Vec<Place> = events.iter().map(Event::place).collect();
                    prop_assert_eq!(places, wanted);
                }
            }
            other => {
                if let Some(dir) = dir {
                    both.keep(&other, dir);
                }
            }
        }
    }
    for key in 0..4 {
        both.naive.age(both.now);
        prop_assert_eq!(both.find(key), both.naive.find(key, both.now, &both.policy));
    }
    Ok(())
}

proptest! {
    #[test]
    fn finds_what_a_list_would(ops in ops(), policy in policy()) {
        check(ops, policy, None)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn finds_what_a_list_would_whatever_is_flushed_merged_reopened_and_lost(ops in ops(), policy in policy()) {
        let dir = tempfile::tempdir().unwrap();
        check(ops, policy, Some(dir.path()))?;
    }
}

fn row(id: u8, offset: u64) -> Row {
    let place = Place {
        kafka_ts: 0,
        partition: 0,
        offset,
    };
    Row {
        id,
        key: 0,
        fare: 0,
        gone: None,
        place,
    }
}

#[test]
fn a_full_store_without_a_disk_takes_no_more_and_forgets_nothing() {
    let reader = EventReader::new(&options(Policy::First)).unwrap();
    let mut store = Primaries::in_memory(Policy::First, 1000);
    let full = (0..).find_map(|id| store.upsert(row(id, 0).read(&reader), None, 0).err());
    let events = store.len();
    let limit = 1000;
    assert_eq!(full, Some(Full { events, limit }));
    assert!(events > 2 && store.bytes() <= limit);
    let again = store.upsert(row(0, 0).read(&reader), None, 0);
    assert!(
        matches!(again, Ok(Upserted::Arrived(_))),
        "a replacement needs no more room"
    );
    assert_eq!(store.len(), events);
}

#[test]
fn events_without_ids_are_all_kept_also_on_disk() {
    let without = Options {
        id: Vec::new(),
        ..options(Policy::All { limit: 9 })
    };
    let dir = tempfile::tempdir().unwrap();
    let mut both = Both::new(without.policy.clone(), Some(dir.path()));
    both.reader = EventReader::new(&without).unwrap();
    for offset in 0..3 {
        both.state
            .write()
            .store
            .upsert(row(1, offset).read(&both.reader), None, 0)
            .unwrap();
        both.keep(&Op::Flush, dir.path());
        both.keep(&Op::Settle, dir.path());
    }
    assert_eq!(both.find(0).len(), 3);
    assert_eq!(both.state.read().store.disk_events(), 3);
}

#[test]
fn a_key_that_is_wanted_is_woken_after_a_flush_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut both = Both::new(Policy::First, Some(dir.path()));
    both.change(Record::Upsert(Row {
        key: 1,
        ..row(1, 0)
    }));
    both.state.write().want(b"k0");
    both.keep(&Op::Flush, dir.path());
    both.keep(&Op::Settle, dir.path());
    let change = Change::Upsert(row(2, 1).read(&both.reader));
    let mut woken = Vec::new();
    let changes = std::iter::once((change, None));
    both.state
        .write()
        .apply(changes, both.now, &mut woken)
        .unwrap();
    assert_eq!(woken, [rtf_proto::JoinKey::from("k0")]);
}

/// With 100,000 events under one key, nine of ten of them gone, each step stays cheap.
#[test]
fn a_key_with_very_many_events_is_not_quadratic() {
    let dir = tempfile::tempdir().unwrap();
    let mut both = Both::new(Policy::First, Some(dir.path()));
    let of = |id: u64, offset: u64| {
        let json = format!(r#"{{"id":"p{id}","k":"k0","fare":1}}"#);
        let place = Place {
            kafka_ts: offset as i64,
            partition: 0,
            offset,
        };
        (json, place)
    };
    const MANY: u64 = 100_000;
    let began = std::time::Instant::now();
    for offset in 0..2 * MANY {
        // The second time each replaces its first, so the first of all moves on one by one.
        let (json, place) = of(offset % MANY, offset);
        let change = Change::Upsert(
            both.reader
                .read(&rtf_json::Parts::of(json.as_bytes()), place)
                .unwrap(),
        );
        let located = both
            .keeper
            .as_ref()
            .unwrap()
            .locate(std::slice::from_ref(&change))
            .unwrap();
        let changes = std::iter::once(change).zip(located);
        both.state
            .write()
            .apply(changes, both.now, &mut Vec::new())
            .unwrap();
        if (offset + 1) % (MANY / 2) == 0 {
            both.keep(&Op::Flush, dir.path());
            both.keep(&Op::Settle, dir.path());
        }
        if offset % 100 == 99 {
            let first = both.find(0);
            let wanted = offset.saturating_sub(MANY - 1);
            assert_eq!(first.first().map(|place| place.offset), Some(wanted));
        }
    }
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

/// Whatever is flipped or cut off in a file: what is found is right, or the damage is noticed.
#[test]
fn damage_is_noticed_and_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy::All { limit: 200 };
    let fill = |both: &mut Both| {
        for id in 0..200u8 {
            let row = Row {
                key: id % 4,
                ..row(id, id.into())
            };
            both.change(Record::Upsert(row));
            if id % 50 == 49 {
                both.keep(&Op::Flush, dir.path());
                both.keep(&Op::Settle, dir.path());
            }
        }
    };
    let mut both = Both::new(policy.clone(), Some(dir.path()));
    fill(&mut both);
    drop(both);
    let events = dir.path().join("events");
    let files: Vec<_> = std::fs::read_dir(&events)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let whole: Vec<Vec<u8>> = files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert_eq!(files.len(), 5, "a manifest and four segments");
    let (mut rebuilt, mut met, mut harmless) = (0, 0, 0);
    for round in 0..400usize {
        std::fs::remove_dir_all(&events).unwrap();
        std::fs::create_dir_all(&events).unwrap();
        for (path, bytes) in files.iter().zip(&whole) {
            std::fs::write(path, bytes).unwrap();
        }
        let file = round % files.len();
        let at = round.wrapping_mul(7919) % whole[file].len();
        let mut bytes = whole[file].clone();
        match round % 3 {
            0 => bytes.truncate(at),
            _ => bytes[at] ^= 1 << (round % 8),
        }
        std::fs::write(&files[file], bytes).unwrap();
        let (keeper, store) =
            Keeper::open(dir.path(), &identity(&policy), &policy, 1 << 20).unwrap();
        if keeper.positions().is_empty() {
            assert_eq!(store.len(), 0);
            rebuilt += 1;
            continue;
        }
        let mut noticed = false;
        for key in 0..4 {
            let text = format!("k{key}").into_bytes();
            let Look::Cold(cold) = store.find(&text, 0) else {
                panic!("all of it is on disk");
            };
            match cold.read(&text, 0, &policy) {
                Ok(read) => assert_eq!(read.events().len(), 50),
                Err(error) => noticed |= error.is_damage(),
            }
        }
        for id in 0..200 {
            let change = Change::Delete {
                id: format!("p{id}").into_bytes().into(),
                place: row(0, 0).place,
            };
            match keeper.locate(std::slice::from_ref(&change)) {
                Ok(located) => assert!(located[0].is_some()),
                Err(_) => noticed = true,
            }
        }
        match noticed {
            true => met += 1,
            false => harmless += 1,
        }
        drop((keeper, store));
    }
    assert!(rebuilt > 100 && met > 20, "{rebuilt} rebuilt, {met} met");
    assert_eq!(harmless, 0, "every byte is covered by a checksum");
}

#[test]
fn another_topic_or_other_settings_make_another_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut both = Both::new(Policy::First, Some(dir.path()));
    both.change(Record::Upsert(row(1, 0)));
    both.keep(&Op::Reopen, dir.path());
    assert_eq!(both.state.read().store.disk_events(), 1);
    drop(both);
    let of_first = identity(&Policy::First);
    let other_topic = Identity {
        topic: TopicId([4; 16]),
        ..of_first.clone()
    };
    for other in [identity(&Policy::Latest), other_topic] {
        let (keeper, store) = Keeper::open(dir.path(), &other, &Policy::First, 1 << 20).unwrap();
        assert!(keeper.positions().is_empty());
        assert_eq!(store.len(), 0);
    }
    // A directory is used by one at a time.
    let (_keeper, _) = Keeper::open(dir.path(), &of_first, &Policy::First, 1 << 20).unwrap();
    let second = Keeper::open(dir.path(), &of_first, &Policy::First, 1 << 20);
    let words = second.err().unwrap().to_string();
    assert!(
        words.contains("each joiner needs its own [joiner].data"),
        "{words}"
    );
}
