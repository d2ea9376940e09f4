//! The event store: primary events by key, in the policy's order. Pure; a view of the primary topic.
//!
//! One event per primary id: a later record takes the place of the earlier, also under another key. "Later" is by
//! offset within a partition; between partitions, which are read in no certain order, the one with the higher Kafka
//! timestamp stays. (Records of one id should be in one partition, as they are when the id is the message key: a deletion
//! leaves no trace that would stop an older event from another partition.)

use crate::Policy;
use crate::event::{Event, Place};
use crate::ranked::Ranked;
use crate::slab::{MAX_NUMBER, Slab};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// What an event costs beside its block: its place in the slab, the allocator's and the indices' share.
const EVENT_BYTES: usize = size_of::<Option<Event>>() + 64;
/// What a key costs: its share of the index.
const KEY_BYTES: usize = 16;
/// Events whose expiry lies in the same minute stand together.
const EXPIRY_SPAN_MS: i64 = 60_000;
/// Expiry entries that no longer count are cleared away when they outnumber the events, and these.
const STALE_MIN: usize = 1024;

/// Primary events, bounded by the memory they take.
pub(crate) struct EventStore {
    policy: Policy,
    limit_bytes: usize,
    bytes: usize,
    hasher: DefaultHashBuilder,
    events: Slab<Event>,
    /// Numbers of events by id.
    ids: HashTable<Entry>,
    /// Numbers of events by key, or of lists; the key's text stands in the events.
    keys: HashTable<Entry>,
    lists: Slab<Ranked<Item>>,
    /// By the number of the time span in which they expire; entries of removed events stay until their time comes.
    expiring: BTreeMap<i64, Vec<u32>>,
    expiring_len: usize,
}

/// A place in an index. With the hash in it the index grows without a look at the events.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u32,
    number: u32,
}

/// An event in its key's list, with [`Policy::rank`] of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Item {
    rank: u32,
    number: u32,
}

/// What a key's entry leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Event(u32),
    List(u32),
}

impl Holds {
    const LIST: u32 = MAX_NUMBER + 1;

    fn of(entry: Entry) -> Self {
        match entry.number & Self::LIST {
            0 => Self::Event(entry.number),
            _ => Self::List(entry.number & MAX_NUMBER),
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Event(number) => number,
            Self::List(number) => number | Self::LIST,
        }
    }
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Upserted {
    /// It is there, under the key with this hash.
    Arrived(u64),
    /// It had expired; what it replaced is gone.
    Expired,
    /// A later record of its id is there already.
    Older,
}

/// There is no room; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full {
    pub events: u64,
    pub limit: usize,
}

impl EventStore {
    pub fn new(policy: Policy, limit_bytes: usize) -> Self {
        Self {
            policy,
            limit_bytes,
            bytes: 0,
            hasher: DefaultHashBuilder::default(),
            events: Slab::new(),
            ids: HashTable::new(),
            keys: HashTable::new(),
            lists: Slab::new(),
            expiring: BTreeMap::new(),
            expiring_len: 0,
        }
    }

    /// Events held.
    pub fn len(&self) -> u64 {
        self.events.len() as u64
    }

    /// What they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The hash a key goes by.
    pub fn key_hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The partners of a key, best first.
    pub fn find(&self, key: &[u8], now_ms: i64) -> impl Iterator<Item = &Event> {
        let (one, list) = match self.held(key, short(self.key_hash(key))) {
            None => (None, None),
            Some(Holds::Event(number)) => (Some(number), None),
            Some(Holds::List(list)) => (None, self.lists.get(list)),
        };
        one.into_iter()
            .chain(
                list.into_iter()
                    .flat_map(Ranked::iter)
                    .map(|item| item.number),
            )
            .filter_map(|number| self.events.get(number))
            .filter(move |event| !event.is_expired(now_ms))
            .take(self.policy.limit())
    }

    /// Takes an event, instead of the earlier one of its id.
    pub fn upsert(&mut self, event: Event, now_ms: i64) -> Result<Upserted, Full> {
        let old = event.id().and_then(|id| self.identified(id));
        if old.is_some_and(|old| self.is_older(event.place(), old)) {
            return Ok(Upserted::Older);
        }
        if event.is_expired(now_ms) {
            old.into_iter().for_each(|old| self.remove(old));
            return Ok(Upserted::Expired);
        }
        let hash = self.key_hash(event.key());
        self.has_room(&event, hash, old)?;
        old.into_iter().for_each(|old| self.remove(old));
        self.insert(event, short(hash));
        Ok(Upserted::Arrived(hash))
    }

    /// Deletes the event of this id, unless it is a later record than the deletion.
    pub fn delete(&mut self, id: &[u8], place: Place) {
        if let Some(old) = self.identified(id)
            && !self.is_older(place, old)
        {
            self.remove(old);
        }
    }

    /// Removes what has expired, at the most so many events; whether there may be more.
    pub fn sweep(&mut self, now_ms: i64, max: usize) -> bool {
        for _ in 0..max {
            let Some(mut span) = self.expiring.first_entry() else {
                return false;
            };
            // A span is swept when all of it has passed.
            let at = *span.key();
            if at >= expiry_span(now_ms) {
                return false;
            }
            match span.get_mut().pop() {
                None => drop(span.remove()),
                Some(number) => {
                    self.expiring_len -= 1;
                    self.remove_expired(number, at);
                }
            }
        }
        true
    }

    /// The entry may be of an event that is gone, and its number in use by another.
    fn remove_expired(&mut self, number: u32, span: i64) {
        let expires = self.events.get(number).and_then(Event::expires);
        if expires.map(expiry_span) == Some(span) {
            self.remove(number);
        }
    }

    fn identified(&self, id: &[u8]) -> Option<u32> {
        let hash = short(self.hasher.hash_one(id));
        let same = |entry: &Entry| {
            let event = || self.events.get(entry.number);
            entry.hash == hash && event().is_some_and(|event| event.id() == Some(id))
        };
        Some(self.ids.find(wide(hash), same)?.number)
    }

    fn held(&self, key: &[u8], hash: u32) -> Option<Holds> {
        let same = |entry: &Entry| {
            let event = || self.any(Holds::of(*entry));
            entry.hash == hash && event().is_some_and(|event| event.key() == key)
        };
        self.keys.find(wide(hash), same).copied().map(Holds::of)
    }

    /// Any of the events of a key.
    fn any(&self, holds: Holds) -> Option<&Event> {
        match holds {
            Holds::Event(number) => self.events.get(number),
            Holds::List(list) => self.events.get(self.lists.get(list)?.any().number),
        }
    }

    fn is_older(&self, place: Place, number: u32) -> bool {
        let held = self.events.get(number).map(Event::place);
        held.is_some_and(|held| {
            held.partition != place.partition
                && (held.kafka_ts, held.partition) > (place.kafka_ts, place.partition)
        })
    }

    fn has_room(&self, event: &Event, key_hash: u64, old: Option<u32>) -> Result<(), Full> {
        let new_key = match self.held(event.key(), short(key_hash)) {
            None => KEY_BYTES,
            Some(_) => 0,
        };
        let freed = old.and_then(|old| self.events.get(old)).map_or(0, cost);
        if self.bytes - freed + cost(event) + new_key <= self.limit_bytes {
            return Ok(());
        }
        Err(Full {
            events: self.len(),
            limit: self.limit_bytes,
        })
    }

    fn insert(&mut self, event: Event, key_hash: u32) {
        self.bytes += cost(&event);
        let id_hash = event.id().map(|id| short(self.hasher.hash_one(id)));
        let expires = event.expires();
        let holds = self.held(event.key(), key_hash);
        let number = self.events.insert(event);
        match holds {
            None => {
                self.bytes += KEY_BYTES;
                put(&mut self.keys, key_hash, Holds::Event(number).number());
            }
            Some(Holds::Event(other)) => {
                let (one, other_one) = (self.item(number), self.item(other));
                let compare = compare(&self.events, &self.policy);
                let list = Ranked::pair(one, other_one, compare);
                let list = self.lists.insert(list);
                self.lead(key_hash, Holds::Event(other), Holds::List(list));
            }
            Some(Holds::List(list)) => {
                let item = self.item(number);
                let compare = compare(&self.events, &self.policy);
                if let Some(list) = self.lists.get_mut(list) {
                    list.insert(item, compare);
                }
            }
        }
        if let Some(hash) = id_hash {
            put(&mut self.ids, hash, number);
        }
        if let Some(expires) = expires {
            self.expire_later(number, expires);
        }
    }

    fn remove(&mut self, number: u32) {
        let Some(event) = self.events.get(number) else {
            return;
        };
        self.bytes -= cost(event);
        if let Some(id) = event.id() {
            let hash = short(self.hasher.hash_one(id));
            drop_entry(&mut self.ids, Entry { hash, number });
        }
        let hash = short(self.key_hash(event.key()));
        match self.held(event.key(), hash) {
            None => {}
            Some(Holds::Event(_)) => {
                self.bytes -= KEY_BYTES;
                drop_entry(&mut self.keys, Entry { hash, number });
            }
            Some(Holds::List(list)) => self.remove_listed(list, number, hash),
        }
        self.events.remove(number);
    }

    fn remove_listed(&mut self, list: u32, number: u32, hash: u32) {
        let item = self.item(number);
        let compare = compare(&self.events, &self.policy);
        let ranked = self.lists.get_mut(list);
        if let Some(last) = ranked.and_then(|ranked| ranked.remove(item, compare)) {
            self.lead(hash, Holds::List(list), Holds::Event(last.number));
            self.lists.remove(list);
        }
    }

    fn item(&self, number: u32) -> Item {
        let event = self.events.get(number);
        let rank = event.map_or(0, |event| self.policy.rank(&event.candidate()));
        Item { rank, number }
    }

    /// Lets a key lead elsewhere.
    fn lead(&mut self, hash: u32, from: Holds, to: Holds) {
        let from = Entry {
            hash,
            number: from.number(),
        };
        if let Some(entry) = self.keys.find_mut(wide(hash), |entry| *entry == from) {
            entry.number = to.number();
        }
    }

    fn expire_later(&mut self, number: u32, expires: i64) {
        self.expiring
            .entry(expiry_span(expires))
            .or_default()
            .push(number);
        self.expiring_len += 1;
        if self.expiring_len > 2 * self.events.len() + STALE_MIN {
            self.count_expiring_anew();
        }
    }

    fn count_expiring_anew(&mut self) {
        self.expiring.clear();
        self.expiring_len = 0;
        for (number, event) in self.events.iter() {
            if let Some(expires) = event.expires() {
                let span = self.expiring.entry(expiry_span(expires));
                span.or_default().push(number);
                self.expiring_len += 1;
            }
        }
    }
}

fn put(index: &mut HashTable<Entry>, hash: u32, number: u32) {
    index.insert_unique(wide(hash), Entry { hash, number }, |entry| wide(entry.hash));
}

fn drop_entry(index: &mut HashTable<Entry>, entry: Entry) {
    if let Ok(found) = index.find_entry(wide(entry.hash), |other| *other == entry) {
        found.remove();
    }
}

fn compare(events: &Slab<Event>, policy: &Policy) -> impl Fn(Item, Item) -> Ordering {
    let whole = |a: u32, b: u32| match (events.get(a), events.get(b)) {
        (Some(a), Some(b)) => policy.compare(&a.candidate(), &b.candidate()),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    move |a, b| {
        a.rank
            .cmp(&b.rank)
            .then_with(|| whole(a.number, b.number))
            .then(a.number.cmp(&b.number))
    }
}

fn expiry_span(time_ms: i64) -> i64 {
    time_ms.div_euclid(EXPIRY_SPAN_MS)
}

fn cost(event: &Event) -> usize {
    event.block_bytes() + EVENT_BYTES
}

/// Half of a hash: 4 bytes an entry are enough to find it again.
fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Spreads half a hash, since the tables look at both ends of a whole one.
fn wide(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventReader;
    use crate::{Direction, Options};
    use proptest::prelude::*;
    use rtf_json::{Folding, Parts};

    fn options(policy: Policy) -> Options {
        Options {
            topic: "deals".into(),
            id: vec!["/id".into()],
            key: vec!["/k".into()],
            time: None,
            expires: Some("/gone".into()),
            folding: Folding::default(),
            policy,
            memory_bytes: 1 << 20,
            wanted_keys: 10,
            batches_in_flight: 1,
        }
    }

    #[derive(Clone, Debug)]
    struct Row {
        id: u8,
        key: u8,
        fare: i32,
        gone: Option<i64>,
        place: Place,
    }

    impl Row {
        fn read(&self, reader: &EventReader) -> Event {
            let Self {
                id,
                key,
                fare,
                gone,
                ..
            } = self;
            let gone = gone.map_or("null".into(), |at| at.to_string());
            let json = format!(r#"{{"id":"p{id}","k":"k{key}","fare":{fare},"gone":{gone}}}"#);
            reader
                .read(&Parts::of(json.as_bytes()), self.place)
                .unwrap()
        }
    }

    /// The store by hand: a list of rows.
    #[derive(Default)]
    struct Naive(Vec<Row>);

    impl Naive {
        fn is_older(&self, id: u8, place: Place) -> bool {
            self.0.iter().any(|row| {
                row.id == id
                    && row.place.partition != place.partition
                    && (row.place.kafka_ts, row.place.partition) > (place.kafka_ts, place.partition)
            })
        }
        fn upsert(&mut self, row: Row, now_ms: i64) {
            if !self.is_older(row.id, row.place) {
                self.0.retain(|other| other.id != row.id);
                if row.gone.is_none_or(|at| at > now_ms) {
                    self.0.push(row);
                }
            }
        }
        fn delete(&mut self, id: u8, place: Place) {
            if !self.is_older(id, place) {
                self.0.retain(|other| other.id != id);
            }
        }
        fn find(&self, key: u8, now_ms: i64, policy: &Policy) -> Vec<Place> {
            let live = |row: &&Row| row.key == key && row.gone.is_none_or(|at| at > now_ms);
            let mut rows: Vec<&Row> = self.0.iter().filter(live).collect();
            let place = |row: &&Row| (row.place.kafka_ts, row.place.partition, row.place.offset);
            rows.sort_by_key(place);
            match policy {
                Policy::First => rows.truncate(1),
                Policy::Latest => {
                    rows.reverse();
                    rows.truncate(1);
                }
                Policy::All { limit } => rows.truncate(*limit),
                Policy::Best {
                    direction, limit, ..
                } => {
                    match direction {
                        Direction::Ascending => rows.sort_by_key(|row| row.fare),
                        Direction::Descending => rows.sort_by_key(|row| -row.fare),
                    }
                    rows.truncate(*limit);
                }
            }
            rows.iter().map(|row| row.place).collect()
        }
    }

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
    }

    fn ops() -> impl Strategy<Value = Vec<(Op, u32, i64, i64)>> {
        let (id, key) = (0u8..12, 0u8..4);
        let lives_ms = prop::option::of(-50_000i64..300_000);
        let op = prop_oneof![
            6 => (id.clone(), key.clone(), -3i32..3, lives_ms)
                .prop_map(|(id, key, fare, lives_ms)| Op::Upsert { id, key, fare, lives_ms }),
            1 => id.prop_map(|id| Op::Delete { id }),
            3 => key.prop_map(|key| Op::Find { key }),
            1 => Just(Op::Sweep),
        ];
        prop::collection::vec((op, 0u32..2, 0i64..30_000, -2i64..3), 0..200)
    }

    fn policy() -> impl Strategy<Value = Policy> {
        let direction = prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)];
        prop_oneof![
            Just(Policy::First),
            Just(Policy::Latest),
            (1usize..5).prop_map(|limit| Policy::All { limit }),
            (1usize..5, direction).prop_map(|(limit, direction)| Policy::Best {
                order_by: "/fare".into(),
                direction,
                limit
            }),
        ]
    }

    fn empty_costs_nothing(mut store: EventStore) -> Result<(), TestCaseError> {
        let place = Place {
            kafka_ts: i64::MAX,
            partition: 9,
            offset: 0,
        };
        (0..12).for_each(|id| store.delete(format!("p{id}").as_bytes(), place));
        prop_assert_eq!((store.len(), store.bytes()), (0, 0));
        prop_assert_eq!(store.ids.len() + store.keys.len() + store.lists.len(), 0);
        Ok(())
    }

    proptest! {
        #[test]
        fn finds_what_a_list_would(ops in ops(), policy in policy()) {
            let reader = EventReader::new(&options(policy.clone())).unwrap();
            let mut store = EventStore::new(policy.clone(), 1 << 20);
            let mut naive = Naive::default();
            let mut now = 1_000_000;
            for (offset, (op, partition, passes, kafka_ts)) in (0u64..).zip(ops) {
                now += passes;
                let place = Place { kafka_ts, partition, offset };
                match op {
                    Op::Upsert { id, key, fare, lives_ms } => {
                        let row = Row { id, key, fare, gone: lives_ms.map(|ms| now + ms), place };
                        store.upsert(row.read(&reader), now).unwrap();
                        naive.upsert(row, now);
                    }
                    Op::Delete { id } => {
                        store.delete(format!("p{id}").as_bytes(), place);
                        naive.delete(id, place);
                    }
                    Op::Find { key } => {
                        let found: Vec<Place> = store
                            .find(format!("k{key}").as_bytes(), now)
                            .map(Event::place)
                            .collect();
                        prop_assert_eq!(found, naive.find(key, now, &policy));
                    }
                    Op::Sweep => {
                        while store.sweep(now, 3) {}
                        let minute = now.div_euclid(EXPIRY_SPAN_MS) * EXPIRY_SPAN_MS;
                        naive.0.retain(|row| row.gone.is_none_or(|at| at >= minute));
                        prop_assert_eq!(store.len(), naive.0.len() as u64);
                    }
                }
                prop_assert_eq!(store.len() as usize, store.ids.len());
            }
            empty_costs_nothing(store)?;
        }
    }

    fn row(id: u8, gone: Option<i64>) -> Row {
        let place = Place {
            kafka_ts: 0,
            partition: 0,
            offset: 0,
        };
        Row {
            id,
            key: 0,
            fare: 0,
            gone,
            place,
        }
    }

    #[test]
    fn a_full_store_takes_no_more_and_forgets_nothing() {
        let reader = EventReader::new(&options(Policy::First)).unwrap();
        let mut store = EventStore::new(Policy::First, 1000);
        let full = (0..).find_map(|id| store.upsert(row(id, None).read(&reader), 0).err());
        let events = store.len();
        assert_eq!(
            full,
            Some(Full {
                events,
                limit: 1000
            })
        );
        assert!(events > 2 && store.bytes() <= 1000);
        let again = store.upsert(row(0, None).read(&reader), 0);
        assert!(
            matches!(again, Ok(Upserted::Arrived(_))),
            "a replacement needs no more room"
        );
        assert_eq!(store.len(), events);
    }

    #[test]
    fn expiries_of_replaced_events_do_not_pile_up() {
        let reader = EventReader::new(&options(Policy::First)).unwrap();
        let mut store = EventStore::new(Policy::First, 1 << 20);
        for round in 0..10_000 {
            let row = row(1, Some(1_000_000 + round * EXPIRY_SPAN_MS));
            store.upsert(row.read(&reader), 0).unwrap();
            assert!(store.expiring_len <= STALE_MIN + 2);
        }
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn events_without_ids_are_all_kept() {
        let without = Options {
            id: Vec::new(),
            ..options(Policy::All { limit: 9 })
        };
        let reader = EventReader::new(&without).unwrap();
        let mut store = EventStore::new(without.policy, 1 << 20);
        for _ in 0..3 {
            store.upsert(row(1, None).read(&reader), 0).unwrap();
        }
        assert_eq!(store.find(b"k0", 0).count(), 3);
        store.delete(b"p1", row(1, None).place);
        assert_eq!(store.len(), 3);
    }
}
