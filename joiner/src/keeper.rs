//! Keeps the event store's disk: when memory is flushed, which segments are merged, what counts. The tail's thread owns it, and it alone
//! changes what lies where; the work itself is done by the [`Worker`].

use crate::Policy;
use crate::disk::{
    Age, Directory, DiskError, Done, Flushed, Identity, Job, Manifest, Merged, Opened, Segment,
    StartWorker, Worker,
};
use crate::position::Position;
use crate::primaries::{Located, Primaries};
use crate::state::{Change, State};
use parking_lot::RwLock;
use rtf_service::mutant;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory is flushed when it holds so large a part of what the store may take: each flush costs a segment, and segments cost merges.
const FLUSH_SHARE: usize = 8;
/// It is flushed that often in any case, so that a restart reads no more than that again.
const FLUSH_EVERY: Duration = Duration::from_secs(60);
/// While a job is under way memory may grow to so many times that; then the tail waits.
const OVERDUE: usize = 2;
/// So many segments of about one size are merged; sizes differ by this factor.
const FANOUT: usize = 4;
/// No merge makes a segment of more events, ...
const SEGMENT_EVENTS_MAX: u64 = 4_000_000;
/// ... or of more bytes.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// Keys brought into the cache under one lock.
const CACHED_AT_ONCE: usize = 128;
/// A joiner that ends flushes what it has within this time, or leaves it to the next.
const LAST_FLUSH_WITHIN: Duration = Duration::from_millis(1500);
/// How long one look at a worker that is waited for lasts.
const WAIT: Duration = Duration::from_millis(100);

/// Why the disk cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the thread that writes the event store panicked")]
    Panicked,
}

/// The owner of a store's disk.
pub(crate) struct Keeper {
    directory: Arc<Directory>,
    worker: Worker,
    /// What counts on disk.
    manifest: Manifest,
    /// As the manifest lists them.
    segments: Vec<Arc<Segment>>,
    next_number: u64,
    flush_bytes: usize,
    flushed: Instant,
    /// Whether the last job was a flush.
    has_flushed: bool,
}

impl Keeper {
    /// Opens what is there, and the store on top of it; `memory_bytes` bounds the latter.
    pub fn open(
        data: &Path,
        identity: &Identity,
        policy: &Policy,
        memory_bytes: usize,
    ) -> Result<(Self, Primaries), KeepError> {
        Self::open_with(Worker::start, data, identity, policy, memory_bytes)
    }

    /// The same with another worker.
    pub fn open_with(
        start: StartWorker,
        data: &Path,
        identity: &Identity,
        policy: &Policy,
        memory_bytes: usize,
    ) -> Result<(Self, Primaries), KeepError> {
        let Opened {
            directory,
            manifest,
            segments,
        } = Directory::open(data, identity)?;
        let directory = Arc::new(directory);
        let worker = start(directory.clone(), policy.clone());
        let worker = worker.map_err(|_| KeepError::Panicked)?;
        let flush_bytes = memory_bytes / FLUSH_SHARE;
        let last = manifest.segments.iter().map(|listed| listed.number).max();
        let keeper = Self {
            directory,
            worker,
            manifest,
            segments,
            next_number: last.map_or(0, |last| last + 1),
            flush_bytes,
            flushed: Instant::now(),
            has_flushed: false,
        };
        let primaries = keeper.primaries(policy, memory_bytes);
        Ok((keeper, primaries))
    }

    /// The store above what is on disk.
    fn primaries(&self, policy: &Policy, memory_bytes: usize) -> Primaries {
        // Active and frozen events at their largest take their part of the memory.
        let cache_bytes = memory_bytes.saturating_sub((OVERDUE + 1) * self.flush_bytes);
        let (seed, segments) = (self.manifest.seed, self.segments.clone());
        Primaries::on_disk(policy.clone(), cache_bytes, seed, segments)
    }

    /// How far each partition was read for what counts on disk.
    pub fn positions(&self) -> &[Position] {
        &self.manifest.positions
    }

    /// Forgets everything: it was made of what the topic does not hold any more.
    pub fn begin_anew(
        &mut self,
        policy: &Policy,
        memory_bytes: usize,
    ) -> Result<Primaries, KeepError> {
        metrics::counter!("rtf_joiner_rebuilds_total").increment(1);
        self.manifest = self.directory.empty(&self.manifest.identity)?;
        self.segments.clear();
        Ok(self.primaries(policy, memory_bytes))
    }

    /// Finds on disk what the changes replace or delete, one answer each. Blocks; under no lock.
    pub fn locate(&self, changes: &[Change]) -> Result<Vec<Option<Located>>, KeepError> {
        let locate = |change: &Change| match change.id() {
            Some(id) => Primaries::locate(&self.segments, self.manifest.seed, id),
            None => Ok(None),
        };
        Ok(changes.iter().map(locate).collect::<Result<_, _>>()?)
    }

    /// Does what is to be done now. All changes before `positions` have been applied, and none after.
    pub fn keep(
        &mut self,
        state: &RwLock<State>,
        positions: &[Position],
        age: &Age,
    ) -> Result<(), KeepError> {
        self.settle(state, Duration::ZERO)?;
        let unflushed = state.read().store.unflushed_bytes();
        while self.worker.is_busy() && unflushed >= OVERDUE * self.flush_bytes {
            self.settle(state, WAIT)?;
        }
        if self.worker.is_busy() {
            return Ok(());
        }
        let is_due = self.flushed.elapsed() >= FLUSH_EVERY && *positions != self.manifest.positions;
        let is_full = unflushed >= self.flush_bytes.max(1);
        let inputs = self.mergeable(age);
        match inputs {
            // In turns: while a topic is loaded there is always something to flush, and segments would pile up.
            Some(inputs) if self.has_flushed || !(is_full || is_due) => self.merge(&inputs, age),
            _ if is_full || is_due => self.flush(state, positions, age),
            _ => {}
        }
        Ok(())
    }

    /// Flushes what there is, if that can be done soon. Nothing is kept after it.
    pub fn end(
        &mut self,
        state: &RwLock<State>,
        positions: &[Position],
        age: &Age,
    ) -> Result<(), KeepError> {
        if !self.worker.is_busy() && *positions != self.manifest.positions {
            self.flush(state, positions, age);
            self.settle(state, LAST_FLUSH_WITHIN)?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether a job is under way.
    pub fn is_busy(&self) -> bool {
        self.worker.is_busy()
    }

    /// The next start shall not trust what is there.
    pub fn condemn(&self, error: &KeepError) {
        self.directory.condemn(&error.to_string());
    }

    /// Begins a flush; no job is under way.
    pub fn flush(&mut self, state: &RwLock<State>, positions: &[Position], age: &Age) {
        let events = state.write().store.freeze();
        let mut manifest = self.manifest.clone();
        let ahead = u64::from(mutant::is("positions-ahead-of-segments"));
        let position = |one: &Position| Position {
            next: one.next + ahead,
            ..*one
        };
        manifest.positions = positions.iter().map(position).collect();
        for (listed, segment) in manifest.segments.iter_mut().zip(&self.segments) {
            listed.gone = segment.gone();
        }
        let number = self.number();
        self.flushed = Instant::now();
        self.has_flushed = true;
        self.worker.begin(Job::Flush {
            events,
            manifest,
            number,
            age: age.clone(),
        });
    }

    /// Begins to merge these segments, by their places in the manifest; no job is under way.
    pub fn merge(&mut self, inputs: &[usize], age: &Age) {
        let mut manifest = self.manifest.clone();
        let is_input = |at: &usize| inputs.contains(at);
        let kept = (0..manifest.segments.len()).filter(|at| !is_input(at));
        manifest.segments = kept.map(|at| manifest.segments[at].clone()).collect();
        let input = |at: &usize| {
            let gone = self.manifest.segments[*at].gone.clone();
            (self.segments[*at].clone(), gone)
        };
        let inputs = inputs.iter().map(input).collect();
        let number = self.number();
        self.has_flushed = false;
        self.worker.begin(Job::Merge {
            inputs,
            manifest,
            number,
            age: age.clone(),
        });
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Takes over what the worker has done, if it ends within this time.
    pub fn settle(&mut self, state: &RwLock<State>, within: Duration) -> Result<(), KeepError> {
        match self.worker.wait(within) {
            Ok(None) => {}
            Ok(Some(Done::Flushed(flushed))) => self.flushed(state, flushed),
            Ok(Some(Done::Merged(merged))) => self.merged(state, merged),
            Err(Some(error)) => return Err(error.into()),
            Err(None) => return Err(KeepError::Panicked),
        }
        Ok(())
    }

    fn flushed(&mut self, state: &RwLock<State>, flushed: Flushed) {
        let Flushed {
            segment,
            moved,
            manifest,
        } = flushed;
        if let Some(segment) = &segment {
            let gone = state.read().store.frozen_gone();
            for number in gone.iter().filter_map(|number| moved.number(number)) {
                segment.remove(number);
            }
            self.segments.push(segment.clone());
        }
        self.manifest = manifest;
        let has_segment = segment.is_some();
        state.write().store.flushed(segment);
        if has_segment {
            cache_frozen(state);
        }
        let thawed = state.write().store.thaw();
        drop(thawed);
    }

    fn merged(&mut self, state: &RwLock<State>, merged: Merged) {
        let Merged {
            inputs,
            moved,
            segment,
            manifest,
        } = merged;
        if let Some(segment) = &segment {
            for ((input, gone_then), moved) in inputs.iter().zip(&moved) {
                let since = input.gone() - gone_then;
                for number in since.iter().filter_map(|number| moved.number(number)) {
                    segment.remove(number);
                }
            }
        }
        let inputs: Vec<Arc<Segment>> = inputs.into_iter().map(|(segment, _)| segment).collect();
        let is_input =
            |segment: &Arc<Segment>| inputs.iter().any(|input| Arc::ptr_eq(input, segment));
        for (listed, segment) in self.manifest.segments.iter().zip(&self.segments) {
            if is_input(segment) {
                self.directory.remove(listed.number);
            }
        }
        self.segments.retain(|segment| !is_input(segment));
        self.segments.extend(segment.clone());
        self.manifest = manifest;
        state.write().store.merged(&inputs, segment);
    }

    /// Segments to be merged next, by their places: one that is waste for the most part, or some of about one size.
    fn mergeable(&self, age: &Age) -> Option<Vec<usize>> {
        let waste = |at: usize| self.segments[at].waste(age, &self.manifest.segments[at].gone);
        let is_waste = |at: &usize| waste(*at) * 2 > self.segments[*at].written();
        let all = 0..self.segments.len();
        if let Some(wasted) = all.clone().find(is_waste) {
            return Some(vec![wasted]);
        }
        let mut sizes: Vec<Vec<usize>> = Vec::new();
        for at in all {
            let size = self.segments[at].disk_bytes().max(1).ilog(FANOUT as u64) as usize;
            if sizes.len() <= size {
                sizes.resize(size + 1, Vec::new());
            }
            sizes[size].push(at);
        }
        let fits = |same: &&[usize]| {
            let events: u64 = same.iter().map(|at| self.segments[*at].written()).sum();
            let bytes: u64 = same.iter().map(|at| self.segments[*at].disk_bytes()).sum();
            events <= SEGMENT_EVENTS_MAX && bytes <= SEGMENT_BYTES_MAX
        };
        let some = sizes.iter().filter_map(|same| same.get(..FANOUT));
        some.filter(fits).map(<[usize]>::to_vec).next()
    }
}

/// What was flushed is the newest there is, so it is what is asked for next.
fn cache_frozen(state: &RwLock<State>) {
    let Some(frozen) = state.read().store.frozen() else {
        return;
    };
    let mut keys = frozen.keys().peekable();
    while keys.peek().is_some() {
        // Not one lock for all: whoever has to write gets its turn.
        let state = state.read();
        for events in keys.by_ref().take(CACHED_AT_ONCE) {
            state.store.cache_frozen(&events);
        }
    }
}
