//! Event store and wanted keys together: under one lock, so that no wake-up is lost between them. Pure.

use crate::Options;
use crate::event::{Event, Place};
use crate::primaries::{Full, Located, Primaries, Upserted};
use crate::wanted::Wanted;
use bytes::Bytes;
use rtf_proto::JoinKey;

/// Expired events removed under one lock.
const SWEEP_AT_ONCE: usize = 4096;

/// What a record of the primary topic says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    Upsert(Event),
    Delete { id: Box<[u8]>, place: Place },
}

impl Change {
    /// The id it is about, if primaries have one.
    pub fn id(&self) -> Option<&[u8]> {
        match self {
            Self::Upsert(event) => event.id(),
            Self::Delete { id, .. } => Some(id),
        }
    }
}

/// What joins look into and the tail changes.
pub(crate) struct State {
    pub store: Primaries,
    pub wanted: Wanted,
}

impl State {
    /// All in memory; what is on disk comes with the first look at the topic.
    pub fn new(options: &Options) -> Self {
        Self {
            store: Primaries::in_memory(options.policy.clone(), options.memory_bytes),
            wanted: Wanted::new(options.wanted_keys),
        }
    }

    /// Takes changes in their order, each with what it replaces on disk; the keys that were wanted and have arrived go to
    /// `woken`.
    pub fn apply(
        &mut self,
        changes: impl Iterator<Item = (Change, Option<Located>)>,
        now_ms: i64,
        woken: &mut Vec<JoinKey>,
    ) -> Result<(), Full> {
        for (change, located) in changes {
            let located = located.as_ref();
            match change {
                Change::Delete { id, place } => self.store.delete(&id, place, located, now_ms),
                Change::Upsert(event) => woken.extend(self.upsert(event, located, now_ms)?),
            }
        }
        Ok(())
    }

    /// Remembers a key that has no partner; the caller has looked since it took the lock.
    pub fn want(&mut self, key: &[u8]) {
        self.wanted.insert(self.store.key_hash(key));
    }

    /// Removes some of what has expired; whether there may be more.
    pub fn sweep(&mut self, now_ms: i64) -> bool {
        self.store.sweep(now_ms, SWEEP_AT_ONCE)
    }

    fn upsert(
        &mut self,
        event: Event,
        located: Option<&Located>,
        now_ms: i64,
    ) -> Result<Option<JoinKey>, Full> {
        // Nobody waits while the store is loaded: then no text is copied.
        let key = (self.wanted.len() > 0).then(|| Bytes::copy_from_slice(event.key()));
        match self.store.upsert(event, located, now_ms)? {
            Upserted::Arrived(hash) if self.wanted.take(hash) => Ok(key.map(JoinKey::new)),
            _ => Ok(None),
        }
    }
}
