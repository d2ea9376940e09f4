//! The event store: primary events by id and by key, in memory and on disk. A view of the primary topic; time comes in as an argument.
//!
//! One event per primary id: a later record takes the place of the earlier, also under another key. "Later" is by
//! offset within a partition; between partitions, which are read in no certain order, the one with the higher Kafka
//! timestamp stays. (Records of one id should be in one partition, as they are when the id is the message key: a deletion
//! leaves no trace that would stop an older event from another partition.) What expired in a minute that is over is as if it had
//! never been.
//!
//! ```text
//! active   what was read since the last flush                     in memory
//! frozen   what is being flushed; does not grow, some of it may go in memory
//! segments the rest                                               on disk, the keys that were asked for last in the cache
//! ```
//!
//! A look-up finds a key's events in memory, or says which segments have to be read. They are read without any lock; what was read counts
//! if the key has not changed meanwhile, which its [`Stamp`] says. Without a disk everything stays in `active`, and there is an end to it.

use crate::Policy;
use crate::cache::Cache;
pub(crate) use crate::cache::{Events, KeyEvents};
use crate::disk::{DiskError, Seed, Segment, is_past};
use crate::event::{Event, Place};
use crate::store::EventStore;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// Keys share a version by their hash; a change of one makes what is being read of the others be read again.
const VERSIONS: usize = 4096;

/// Primary events.
pub(crate) struct Primaries {
    policy: Policy,
    limit_bytes: usize,
    active: EventStore,
    frozen: Option<Frozen>,
    disk: Option<Disk>,
}

struct Frozen {
    events: Arc<EventStore>,
    /// Numbers of those that were replaced or deleted since.
    gone: RoaringBitmap,
}

struct Disk {
    seed: Seed,
    segments: Vec<Arc<Segment>>,
    cache: Cache,
    /// Counts the flushes.
    flushes: u64,
    /// By key's hash: counts the removals from segments.
    versions: Vec<u32>,
}

/// What a key's events on disk depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    flushes: u64,
    version: u32,
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

/// There is no room and no disk; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full {
    pub events: u64,
    pub limit: usize,
}

/// The event of an id as it lies in a segment.
#[derive(Clone)]
pub(crate) struct Located {
    segment: Arc<Segment>,
    number: u32,
    key_hash: u64,
    event: Event,
}

/// What a look-up comes to.
pub(crate) enum Look {
    /// The partners, best first.
    Known(Events),
    /// Segments have to be read.
    Cold(Cold),
}

/// A key's look-up that needs the disk.
#[derive(Clone)]
pub(crate) struct Cold {
    hash: u64,
    stamp: Stamp,
    segments: Vec<Arc<Segment>>,
    limit: usize,
}

impl Cold {
    /// Reads what the segments hold under the key. Blocks; under no lock.
    ///
    /// # Errors
    /// The disk's: then nothing is known of the key.
    pub fn read(
        &self,
        key: &[u8],
        now_ms: i64,
        policy: &Policy,
    ) -> Result<Arc<KeyEvents>, DiskError> {
        let mut events = Events::new();
        let mut is_cut = false;
        for segment in &self.segments {
            let before = events.len();
            segment.find_key(self.hash, key, now_ms, self.limit, &mut events)?;
            is_cut |= events.len() - before == self.limit;
        }
        Ok(Arc::new(KeyEvents::of(events, is_cut, policy)))
    }
}

/// Where the event of an id is.
enum Held<'a> {
    Active(u32),
    Frozen(u32),
    Segment(&'a Located),
}

impl Primaries {
    /// All in memory, within so many bytes.
    pub fn in_memory(policy: Policy, limit_bytes: usize) -> Self {
        Self {
            active: EventStore::new(policy.clone()),
            policy,
            limit_bytes,
            frozen: None,
            disk: None,
        }
    }

    /// Above segments, with a cache of so many bytes.
    pub fn on_disk(
        policy: Policy,
        cache_bytes: usize,
        seed: Seed,
        segments: Vec<Arc<Segment>>,
    ) -> Self {
        let disk = Disk {
            seed,
            segments,
            cache: Cache::new(cache_bytes),
            flushes: 0,
            versions: vec![0; VERSIONS],
        };
        Self {
            disk: Some(disk),
            ..Self::in_memory(policy, usize::MAX)
        }
    }

    /// Events held; those that have expired are counted until they are cleared away.
    pub fn len(&self) -> u64 {
        let frozen = self
            .frozen
            .iter()
            .map(|frozen| frozen.events.len() - frozen.gone.len());
        let segments = self.segments().iter().map(|segment| segment.live());
        self.active.len() + frozen.chain(segments).sum::<u64>()
    }

    /// Lets what was asked for last take so much more memory than at first. Where all is in memory nothing is lent.
    pub fn lend(&self, bytes: usize) {
        if let Some(disk) = &self.disk {
            disk.cache.lend(bytes);
        }
    }

    /// Memory taken, about: events, cache and what is known of segments.
    pub fn bytes(&self) -> usize {
        let frozen = self.frozen.iter().map(|frozen| frozen.events.bytes());
        let segments = self.segments().iter().map(|segment| segment.memory_bytes());
        let cache = self.disk.as_ref().map_or(0, |disk| disk.cache.bytes());
        self.active.bytes() + cache + frozen.chain(segments).sum::<usize>()
    }

    pub fn disk_bytes(&self) -> u64 {
        self.segments()
            .iter()
            .map(|segment| segment.disk_bytes())
            .sum()
    }

    /// Events on disk.
    pub fn disk_events(&self) -> u64 {
        self.segments().iter().map(|segment| segment.live()).sum()
    }

    pub fn segments(&self) -> &[Arc<Segment>] {
        self.disk.as_ref().map_or(&[], |disk| &disk.segments)
    }

    /// What the events take that were read since the last flush.
    pub fn unflushed_bytes(&self) -> usize {
        self.active.bytes()
    }

    /// The hash a key goes by among the wanted ones.
    pub fn key_hash(&self, key: &[u8]) -> u64 {
        self.active.key_hash(key)
    }

    /// The partners of a key, or how to find them.
    pub fn find(&self, key: &[u8], now_ms: i64) -> Look {
        let Some(disk) = &self.disk else {
            return Look::Known(self.with_memory(key, &[], now_ms));
        };
        if disk.segments.is_empty() {
            return Look::Known(self.with_memory(key, &[], now_ms));
        }
        let hash = disk.seed.hash(key);
        if let Some(cached) = disk.cache.get(hash, key, now_ms, self.policy.limit()) {
            return Look::Known(self.with_memory(key, cached.events(), now_ms));
        }
        let may_hold = |segment: &&Arc<Segment>| segment.may_hold_key(hash);
        let segments: Vec<_> = disk.segments.iter().filter(may_hold).cloned().collect();
        if segments.is_empty() {
            return Look::Known(self.with_memory(key, &[], now_ms));
        }
        Look::Cold(Cold {
            hash,
            stamp: disk.stamp(hash),
            segments,
            limit: self.policy.limit(),
        })
    }

    /// The partners of a key whose segments were read; `None` when it has changed or too much has expired since, then it has to be looked for
    /// again.
    pub fn settle(
        &self,
        key: &[u8],
        cold: &Cold,
        read: &Arc<KeyEvents>,
        now_ms: i64,
    ) -> Option<Events> {
        let disk = self.disk.as_ref()?;
        let is_enough = read.is_enough(now_ms, self.policy.limit());
        if disk.stamp(cold.hash) != cold.stamp || !is_enough {
            return None;
        }
        disk.cache.insert(cold.hash, read.clone());
        Some(self.with_memory(key, read.events(), now_ms))
    }

    /// What memory holds of a key together with what the disk does.
    fn with_memory(&self, key: &[u8], disk: &[Event], now_ms: i64) -> Events {
        let limit = self.policy.limit();
        let is_live = |event: &&Event| !event.is_expired(now_ms);
        let active = self.active.find(key).map(|(_, event)| event);
        let mut events: Events = active.filter(is_live).take(limit).cloned().collect();
        let mut sources = usize::from(!events.is_empty());
        if let Some(Frozen {
            events: frozen,
            gone,
        }) = &self.frozen
        {
            let frozen = frozen
                .find(key)
                .filter(|(number, _)| !gone.contains(*number));
            let before = events.len();
            events.extend(
                frozen
                    .map(|(_, event)| event)
                    .filter(is_live)
                    .take(limit)
                    .cloned(),
            );
            sources += usize::from(events.len() > before);
        }
        let before = events.len();
        events.extend(disk.iter().filter(is_live).take(limit).cloned());
        sources += usize::from(events.len() > before);
        if sources > 1 {
            crate::cache::arrange(&mut events, &self.policy);
            events.truncate(limit);
        }
        events
    }

    /// Where the event of an id lies on disk. Blocks. What it says holds until the segments change, which only who applies changes does.
    ///
    /// # Errors
    /// The disk's.
    pub fn locate(
        segments: &[Arc<Segment>],
        seed: Seed,
        id: &[u8],
    ) -> Result<Option<Located>, DiskError> {
        let hash = seed.hash(id);
        // The newest are the likeliest.
        for segment in segments
            .iter()
            .rev()
            .filter(|segment| segment.may_hold_id(hash))
        {
            if let Some(found) = segment.find_id(hash, id)? {
                return Ok(Some(Located {
                    segment: segment.clone(),
                    number: found.number,
                    key_hash: found.key_hash,
                    event: found.event,
                }));
            }
        }
        Ok(None)
    }

    /// Takes an event, instead of the earlier one of its id, which may have been located on disk.
    pub fn upsert(
        &mut self,
        event: Event,
        located: Option<&Located>,
        now_ms: i64,
    ) -> Result<Upserted, Full> {
        let old = event.id().and_then(|id| self.held(id, located));
        if old
            .as_ref()
            .is_some_and(|old| self.is_later(old, event.place(), now_ms))
        {
            return Ok(Upserted::Older);
        }
        if event.is_expired(now_ms) {
            old.into_iter().for_each(|old| self.remove(old));
            return Ok(Upserted::Expired);
        }
        if self.disk.is_none() {
            self.has_room(&event, old.as_ref())?;
        }
        old.into_iter().for_each(|old| self.remove(old));
        Ok(Upserted::Arrived(self.active.insert(event)))
    }

    /// Deletes the event of this id, unless it is a later record than the deletion.
    pub fn delete(&mut self, id: &[u8], place: Place, located: Option<&Located>, now_ms: i64) {
        if let Some(old) = self.held(id, located)
            && !self.is_later(&old, place, now_ms)
        {
            self.remove(old);
        }
    }

    /// Removes what has expired from memory, at the most so many events; whether there may be more.
    pub fn sweep(&mut self, now_ms: i64, max: usize) -> bool {
        self.active.sweep(now_ms, max)
    }

    fn has_room(&self, event: &Event, old: Option<&Held<'_>>) -> Result<(), Full> {
        let replaced = old.and_then(|old| match old {
            Held::Active(number) => Some(*number),
            _ => None,
        });
        if self.active.bytes_with(event, replaced) <= self.limit_bytes {
            return Ok(());
        }
        Err(Full {
            events: self.len(),
            limit: self.limit_bytes,
        })
    }

    fn held<'a>(&self, id: &[u8], located: Option<&'a Located>) -> Option<Held<'a>> {
        if let Some(number) = self.active.identified(id) {
            return Some(Held::Active(number));
        }
        if let Some(frozen) = &self.frozen
            && let Some(number) = frozen.events.identified(id)
            && !frozen.gone.contains(number)
        {
            return Some(Held::Frozen(number));
        }
        let located = located.filter(|located| !located.segment.is_gone(located.number));
        located.map(Held::Segment)
    }

    fn event<'a>(&'a self, held: &Held<'a>) -> Option<&'a Event> {
        match held {
            Held::Active(number) => self.active.get(*number),
            Held::Frozen(number) => self.frozen.as_ref()?.events.get(*number),
            Held::Segment(located) => Some(&located.event),
        }
    }

    fn is_later(&self, held: &Held<'_>, place: Place, now_ms: i64) -> bool {
        let held = self.event(held).filter(|event| !is_past(event, now_ms));
        held.map(Event::place).is_some_and(|held| {
            held.partition != place.partition
                && (held.kafka_ts, held.partition) > (place.kafka_ts, place.partition)
        })
    }

    fn remove(&mut self, held: Held<'_>) {
        match held {
            Held::Active(number) => self.active.remove(number),
            Held::Frozen(number) => {
                if let Some(frozen) = &mut self.frozen {
                    frozen.gone.insert(number);
                }
            }
            Held::Segment(located) => {
                located.segment.remove(located.number);
                if let Some(disk) = &mut self.disk {
                    disk.removed(located);
                }
            }
        }
    }

    /// What was read since the last flush stands still from now on; the caller has it flushed.
    pub fn freeze(&mut self) -> Arc<EventStore> {
        assert!(self.frozen.is_none(), "one flush at a time");
        let successor = self.active.successor();
        let active = std::mem::replace(&mut self.active, successor);
        let events = Arc::new(active);
        self.frozen = Some(Frozen {
            events: events.clone(),
            gone: RoaringBitmap::new(),
        });
        events
    }

    /// What is being flushed, or is on disk and in memory still.
    pub fn frozen(&self) -> Option<Arc<EventStore>> {
        self.frozen.as_ref().map(|frozen| frozen.events.clone())
    }

    /// Which of the frozen events have gone since.
    pub fn frozen_gone(&self) -> RoaringBitmap {
        self.frozen
            .as_ref()
            .map_or_else(RoaringBitmap::new, |frozen| frozen.gone.clone())
    }

    /// The frozen events lie in this segment too from now on, if they lie anywhere.
    pub fn flushed(&mut self, segment: Option<Arc<Segment>>) {
        if let Some(disk) = &mut self.disk {
            disk.segments.extend(segment);
            disk.flushes += 1;
        }
    }

    /// Brings frozen events of one key into the cache, once they lie in the newest segment. Their numbers are those of the frozen.
    pub fn cache_frozen(&self, events: &[(u32, &Event)]) {
        let (Some(disk), Some(frozen)) = (&self.disk, &self.frozen) else {
            return;
        };
        let Some((_, first)) = events.first() else {
            return;
        };
        let hash = disk.seed.hash(first.key());
        let live = events
            .iter()
            .filter(|(number, _)| !frozen.gone.contains(*number));
        let mut live: Events = live.map(|(_, event)| (*event).clone()).collect();
        let mut is_cut = false;
        match disk.cache.peek(hash, first.key()) {
            Some(cached) => {
                live.extend(cached.events().iter().cloned());
                is_cut = cached.is_cut();
            }
            None => {
                let older = disk
                    .segments
                    .split_last()
                    .map_or(&[][..], |(_, older)| older);
                if older.iter().any(|segment| segment.may_hold_key(hash)) {
                    return;
                }
            }
        }
        let limit = self.policy.limit();
        crate::cache::arrange(&mut live, &self.policy);
        is_cut |= live.len() > limit;
        live.truncate(limit);
        disk.cache
            .insert(hash, Arc::new(KeyEvents::of(live, is_cut, &self.policy)));
    }

    /// The frozen events are on disk; the caller drops them, under no lock, since it takes long.
    pub fn thaw(&mut self) -> Option<Arc<EventStore>> {
        Some(self.frozen.take()?.events)
    }

    /// One segment, or none, stands for these from now on.
    pub fn merged(&mut self, inputs: &[Arc<Segment>], output: Option<Arc<Segment>>) {
        let Some(disk) = &mut self.disk else {
            return;
        };
        let is_input =
            |segment: &Arc<Segment>| inputs.iter().any(|input| Arc::ptr_eq(input, segment));
        disk.segments.retain(|segment| !is_input(segment));
        // Among the newest are those with the most look-ups by id; a merged one is none of them.
        disk.segments.splice(0..0, output);
    }
}

impl Disk {
    fn stamp(&self, hash: u64) -> Stamp {
        Stamp {
            flushes: self.flushes,
            version: self.versions[slot(hash)],
        }
    }

    fn removed(&mut self, located: &Located) {
        let version = &mut self.versions[slot(located.key_hash)];
        *version = version.wrapping_add(1);
        self.cache.remove(located.key_hash, &located.event);
    }
}

fn slot(hash: u64) -> usize {
    hash as usize % VERSIONS
}

#[cfg(test)]
#[path = "primaries_tests.rs"]
mod tests;
