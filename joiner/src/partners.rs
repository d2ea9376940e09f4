//! Finds the partners of a batch: in memory, or on disk. Keys that have none are remembered as wanted.
//!
//! What lies on disk is read under no lock, on threads of its own, and counts only if its key has not changed meanwhile. Whether a key has no
//! partner is looked up under the lock that remembers it as wanted, so no wake-up is lost between the two. Where the disk does not
//! answer in time nothing is known, and nothing is claimed.

use crate::disk::DiskError;
use crate::handle::Shared;
use crate::primaries::{Cold, Events, KeyEvents, Look};
use crate::state::State;
use rtf_proto::JoinKey;
use std::sync::Arc;
#[cfg(feature = "simulation")]
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The disk must answer within this time.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Keys read one after the other; a batch that needs more is read in parallel.
const READ_AT_ONCE: usize = 32;
/// Such reads on their way at once, of all batches; more wait, within the same time.
pub(crate) const READS_IN_FLIGHT: usize = 16;
/// A key that changes all the time is looked for so often; then it has to be asked for again.
const ROUNDS: usize = 8;
/// Simulated, others go on so long while it is read.
#[cfg(feature = "simulation")]
const SIMULATED_READ: Duration = Duration::from_millis(2);

/// What is known of a key.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Partners {
    /// The best first; there is one at the least.
    Some(Events),
    /// The key is wanted from now on.
    None,
    /// Nothing yet.
    Unknown,
}

/// A key by its place in the batch, its look-up, and what was read.
type Settling = (usize, Cold, Arc<KeyEvents>);

/// The partners of each key.
pub(crate) async fn partners(
    shared: &Arc<Shared>,
    keys: &[&JoinKey],
    now_ms: i64,
) -> Vec<Partners> {
    let mut found = vec![Partners::Unknown; keys.len()];
    let mut open: Vec<usize> = (0..keys.len()).collect();
    for _ in 0..ROUNDS {
        let cold = look(shared, keys, now_ms, &mut open, &mut found);
        if cold.is_empty() {
            break;
        }
        let Some(read) = read(shared, keys, cold, now_ms).await else {
            break;
        };
        settle(shared, keys, now_ms, read, &mut open, &mut found);
        if open.is_empty() {
            break;
        }
    }
    found
}

/// Looks into memory. What is left needs the disk; nothing is open then.
fn look(
    shared: &Shared,
    keys: &[&JoinKey],
    now_ms: i64,
    open: &mut Vec<usize>,
    found: &mut [Partners],
) -> Vec<(usize, Cold)> {
    let (mut misses, mut cold) = (Vec::new(), Vec::new());
    let asked = open.len();
    for at in open.drain(..) {
        // Not one lock for all: the tail gets its turn.
        match shared.state.read().store.find(keys[at].as_bytes(), now_ms) {
            Look::Cold(one) => cold.push((at, one)),
            Look::Known(events) if events.is_empty() => misses.push(at),
            Look::Known(events) => found[at] = Partners::Some(events),
        }
    }
    if !misses.is_empty() {
        let mut state = shared.state.write();
        for at in misses {
            // Its primary may have come in between.
            match state.store.find(keys[at].as_bytes(), now_ms) {
                Look::Cold(one) => cold.push((at, one)),
                Look::Known(events) => found[at] = known(&mut state, keys[at], events),
            }
        }
    }
    metrics::counter!("rtf_joiner_cache_hits_total").increment((asked - cold.len()) as u64);
    metrics::counter!("rtf_joiner_cache_misses_total").increment(cold.len() as u64);
    cold
}

/// Under the lock that remembers what is wanted.
fn known(state: &mut State, key: &JoinKey, events: Events) -> Partners {
    if events.is_empty() {
        state.want(key.as_bytes());
        return Partners::None;
    }
    Partners::Some(events)
}

/// Reads from disk; `None` when there is no answer.
async fn read(
    shared: &Arc<Shared>,
    keys: &[&JoinKey],
    mut cold: Vec<(usize, Cold)>,
    now_ms: i64,
) -> Option<Vec<Settling>> {
    let began = Instant::now();
    let mut parts = Vec::new();
    while !cold.is_empty() {
        let rest = cold.split_off(cold.len().min(READ_AT_ONCE));
        let part = std::mem::replace(&mut cold, rest);
        let part = part
            .into_iter()
            .map(|(at, one)| (at, JoinKey::clone(keys[at]), one));
        parts.push(read_part(shared, part.collect(), now_ms));
    }
    let answer = tokio::time::timeout(READ_WITHIN, futures::future::join_all(parts)).await;
    metrics::histogram!("rtf_joiner_disk_read_seconds").record(began.elapsed().as_secs_f64());
    let Ok(parts) = answer else {
        metrics::counter!("rtf_joiner_disk_timeouts_total").increment(1);
        return None;
    };
    let mut read = Vec::new();
    for part in parts {
        match part? {
            Ok(part) => read.extend(part),
            Err(error) => {
                shared.disk_failed(error);
                return None;
            }
        }
    }
    Some(read)
}

/// Reads some keys one after the other, on a thread that may block. `None` when that thread did not come back.
async fn read_part(
    shared: &Arc<Shared>,
    part: Vec<(usize, JoinKey, Cold)>,
    now_ms: i64,
) -> Option<Result<Vec<Settling>, DiskError>> {
    let policy = shared.policy.clone();
    let place = shared.reads.clone().acquire_owned().await.ok()?;
    let work = move || {
        // Also when nobody waits for it any more.
        let _place = place;
        let read = |(at, key, cold): (usize, JoinKey, Cold)| {
            let read = cold.read(key.as_bytes(), now_ms, &policy);
            read.map(|events| (at, cold, events))
        };
        part.into_iter().map(read).collect()
    };
    #[cfg(feature = "simulation")]
    if shared.is_simulated.load(Ordering::Relaxed) {
        tokio::time::sleep(SIMULATED_READ).await;
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

/// What was read counts where its key has not changed; the others are open again.
fn settle(
    shared: &Shared,
    keys: &[&JoinKey],
    now_ms: i64,
    read: Vec<Settling>,
    open: &mut Vec<usize>,
    found: &mut [Partners],
) {
    let mut misses = Vec::new();
    for (at, cold, events) in read {
        let settled = shared
            .state
            .read()
            .store
            .settle(keys[at].as_bytes(), &cold, &events, now_ms);
        match settled {
            None => open.push(at),
            Some(partners) if partners.is_empty() => misses.push((at, cold, events)),
            Some(partners) => found[at] = Partners::Some(partners),
        }
    }
    if misses.is_empty() {
        return;
    }
    let mut state = shared.state.write();
    for (at, cold, events) in misses {
        match state
            .store
            .settle(keys[at].as_bytes(), &cold, &events, now_ms)
        {
            None => open.push(at),
            Some(partners) => found[at] = known(&mut state, keys[at], partners),
        }
    }
}
