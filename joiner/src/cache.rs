//! Keys whose events on disk are known in memory: the ones that were flushed or asked for last, bounded in bytes.

use crate::Policy;
use crate::event::Event;
use crate::store::{cost, hasher};
use foldhash::fast::FixedState;
use quick_cache::Weighter;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a key takes beside its events.
const KEY_BYTES: usize = 96;
/// About what an event and its key take; the cache is laid out for so many.
const TYPICAL_BYTES: usize = 512;

/// Events of a key. Most keys have one, which needs no memory of its own here.
pub(crate) type Events = SmallVec<[Event; 1]>;

/// The first events of a key on disk.
pub(crate) struct KeyEvents {
    events: Box<[Event]>,
    /// Whether there may be more.
    is_cut: bool,
}

impl KeyEvents {
    /// Of what was found, in any order.
    pub fn of(mut events: Events, mut is_cut: bool, policy: &Policy) -> Self {
        arrange(&mut events, policy);
        is_cut |= events.len() > policy.limit();
        events.truncate(policy.limit());
        Self {
            events: events.into_boxed_slice(),
            is_cut,
        }
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether it says enough: where it was cut, those that have expired are missed.
    pub fn is_enough(&self, now_ms: i64, limit: usize) -> bool {
        let live = || {
            self.events
                .iter()
                .filter(|event| !event.is_expired(now_ms))
                .count()
        };
        !self.is_cut || live() >= limit
    }
}

/// Brings events into the policy's order, each record once.
pub(crate) fn arrange(events: &mut Events, policy: &Policy) {
    events.sort_unstable_by(|a, b| policy.compare(&a.candidate(), &b.candidate()));
    events.dedup_by(|a, b| a.place() == b.place());
}

#[derive(Clone)]
struct Weight;

impl Weighter<u64, Arc<KeyEvents>> for Weight {
    fn weight(&self, _: &u64, value: &Arc<KeyEvents>) -> u64 {
        (KEY_BYTES + value.events.iter().map(cost).sum::<usize>()) as u64
    }
}

/// The cache, by the hash of the key. The key itself stands in the events, so keys without events are not kept.
pub(crate) struct Cache {
    keys: quick_cache::sync::Cache<u64, Arc<KeyEvents>, Weight, FixedState>,
    /// What it may take for itself, ...
    own_bytes: usize,
    /// ... and what it was lent.
    lent_bytes: AtomicUsize,
}

impl Cache {
    pub fn new(own_bytes: usize) -> Self {
        Self {
            keys: quick_cache::sync::Cache::with(
                own_bytes / TYPICAL_BYTES,
                own_bytes as u64,
                Weight,
                hasher(),
                Default::default(),
            ),
            own_bytes,
            lent_bytes: AtomicUsize::new(0),
        }
    }

    /// From now on it may take so much more than its own, instead of what it was lent before.
    pub fn lend(&self, bytes: usize) {
        if self.lent_bytes.swap(bytes, Ordering::Relaxed) != bytes {
            self.keys.set_capacity((self.own_bytes + bytes) as u64);
        }
    }

    pub fn bytes(&self) -> usize {
        usize::try_from(self.keys.weight()).unwrap_or(usize::MAX)
    }

    /// What is known of a key, if it is enough. Counts as asked for.
    pub fn get(&self, hash: u64, key: &[u8], now_ms: i64, limit: usize) -> Option<Arc<KeyEvents>> {
        let cached = self.keys.get(&hash).filter(|cached| is_of(cached, key))?;
        cached.is_enough(now_ms, limit).then_some(cached)
    }

    /// As [`get`](Self::get), but it counts for nothing, and what is not enough is given too.
    pub fn peek(&self, hash: u64, key: &[u8]) -> Option<Arc<KeyEvents>> {
        self.keys.peek(&hash).filter(|cached| is_of(cached, key))
    }

    pub fn insert(&self, hash: u64, events: Arc<KeyEvents>) {
        match events.events.is_empty() {
            true => drop(self.keys.remove(&hash)),
            false => self.keys.insert(hash, events),
        }
    }

    /// An event is gone from the disk. Where nothing was cut the rest is still known.
    pub fn remove(&self, hash: u64, gone: &Event) {
        let Some(cached) = self.keys.peek(&hash) else {
            return;
        };
        if cached.is_cut || !is_of(&cached, gone.key()) {
            self.keys.remove(&hash);
            return;
        }
        let rest = cached
            .events
            .iter()
            .filter(|event| event.place() != gone.place());
        let rest = KeyEvents {
            events: rest.cloned().collect(),
            is_cut: false,
        };
        self.insert(hash, Arc::new(rest));
    }
}

/// A hash is no key.
fn is_of(cached: &KeyEvents, key: &[u8]) -> bool {
    cached
        .events
        .first()
        .is_some_and(|event| event.key() == key)
}
