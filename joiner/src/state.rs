//! Event store and wanted keys together: under one lock, so that no wake-up is lost between them. Pure.

use crate::Options;
use crate::event::{Event, Place};
use crate::store::{EventStore, Full, Upserted};
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

/// What joins look into and the tail changes.
pub(crate) struct State {
    pub store: EventStore,
    pub wanted: Wanted,
}

impl State {
    pub fn new(options: &Options) -> Self {
        Self {
            store: EventStore::new(options.policy.clone(), options.memory_bytes),
            wanted: Wanted::new(options.wanted_keys),
        }
    }

    /// Takes changes in their order; the keys that were wanted and have arrived go to `woken`.
    pub fn apply(
        &mut self,
        changes: impl Iterator<Item = Change>,
        now_ms: i64,
        woken: &mut Vec<JoinKey>,
    ) -> Result<(), Full> {
        for change in changes {
            match change {
                Change::Delete { id, place } => self.store.delete(&id, place),
                Change::Upsert(event) => woken.extend(self.upsert(event, now_ms)?),
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

    fn upsert(&mut self, event: Event, now_ms: i64) -> Result<Option<JoinKey>, Full> {
        // Nobody waits while the store is loaded: then no text is copied.
        let key = (self.wanted.len() > 0).then(|| Bytes::copy_from_slice(event.key()));
        match self.store.upsert(event, now_ms)? {
            Upserted::Arrived(hash) if self.wanted.take(hash) => Ok(key.map(JoinKey::new)),
            _ => Ok(None),
        }
    }
}
