//! Events in memory: by id, and by key in the policy's order. Pure; decides nothing about them.

use crate::Policy;
use crate::disk::EXPIRY_SPAN_MS;
use crate::event::Event;
use crate::ranked::Ranked;
use crate::slab::{MAX_NUMBER, Slab};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// What an event costs beside its block: its place in the slab, the allocator's and the indices' share.
const EVENT_BYTES: usize = size_of::<Option<Event>>() + 64;
/// What a key costs: its share of the index.
const KEY_BYTES: usize = 16;
/// Expiry entries that no longer count are cleared away when they outnumber the events, and these.
const STALE_MIN: usize = 1024;

/// Hashes under a secret of their own, which is drawn: hashbrown's usual one follows from where things lie in memory, and differs between two runs of one
/// simulation.
pub(crate) fn hasher() -> FixedState {
    FixedState::with_seed(rand::random())
}

/// Events, and what they take.
pub(crate) struct EventStore {
    policy: Policy,
    bytes: usize,
    hasher: FixedState,
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

impl EventStore {
    pub fn new(policy: Policy) -> Self {
        Self::with_hasher(policy, hasher())
    }

    /// An empty one in which keys have the same hashes: who waits for a key goes by its hash.
    pub fn successor(&self) -> Self {
        Self::with_hasher(self.policy.clone(), self.hasher.clone())
    }

    fn with_hasher(policy: Policy, hasher: FixedState) -> Self {
        Self {
            policy,
            bytes: 0,
            hasher,
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

    /// The events of a key with their numbers, best first.
    pub fn find(&self, key: &[u8]) -> impl Iterator<Item = (u32, &Event)> {
        let holds = self.held(key, short(self.key_hash(key)));
        holds.into_iter().flat_map(|holds| self.listed(holds))
    }

    /// All events, key by key, best first.
    pub fn keys(&self) -> impl Iterator<Item = Vec<(u32, &Event)>> {
        let entries = self.keys.iter();
        entries.map(|entry| self.listed(Holds::of(*entry)).collect())
    }

    /// All events with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Event)> {
        self.events.iter()
    }

    pub fn get(&self, number: u32) -> Option<&Event> {
        self.events.get(number)
    }

    fn listed(&self, holds: Holds) -> impl Iterator<Item = (u32, &Event)> {
        let (one, list) = match holds {
            Holds::Event(number) => (Some(number), None),
            Holds::List(list) => (None, self.lists.get(list)),
        };
        let listed = list.into_iter().flat_map(Ranked::iter);
        one.into_iter()
            .chain(listed.map(|item| item.number))
            .filter_map(|number| Some((number, self.events.get(number)?)))
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

    /// The number of the event with this id.
    pub fn identified(&self, id: &[u8]) -> Option<u32> {
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

    /// What the store would take with this event, and without the one that it replaces.
    pub fn bytes_with(&self, event: &Event, replaced: Option<u32>) -> usize {
        let new_key = match self.held(event.key(), short(self.key_hash(event.key()))) {
            None => KEY_BYTES,
            Some(_) => 0,
        };
        let freed = replaced
            .and_then(|number| self.events.get(number))
            .map_or(0, cost);
        self.bytes - freed + cost(event) + new_key
    }

    /// Takes an event; another of its id is not there. The hash of its key.
    pub fn insert(&mut self, event: Event) -> u64 {
        let hash = self.key_hash(event.key());
        self.insert_under(event, short(hash));
        hash
    }

    fn insert_under(&mut self, event: Event, key_hash: u32) {
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

    /// Removes an event, if it is there.
    pub fn remove(&mut self, number: u32) {
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

/// What an event takes in memory, about.
pub(crate) fn cost(event: &Event) -> usize {
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
    use crate::event::{EventReader, Place};
    use crate::testing::{Row, options};

    #[test]
    fn expiries_of_replaced_events_do_not_pile_up() {
        let reader = EventReader::new(&options(Policy::First)).unwrap();
        let mut store = EventStore::new(Policy::First);
        let place = Place {
            kafka_ts: 0,
            partition: 0,
            offset: 0,
        };
        for round in 0..10_000 {
            let row = Row {
                id: 1,
                key: 0,
                fare: 0,
                gone: Some(1_000_000 + round * EXPIRY_SPAN_MS),
                place,
            };
            let old = store.identified(b"p1");
            old.into_iter().for_each(|old| store.remove(old));
            store.insert(row.read(&reader));
            assert!(store.expiring_len <= STALE_MIN + 2);
        }
        assert_eq!(store.len(), 1);
        store.remove(store.identified(b"p1").unwrap());
        assert_eq!((store.len(), store.bytes()), (0, 0));
        assert_eq!(store.ids.len() + store.keys.len() + store.lists.len(), 0);
    }
}
