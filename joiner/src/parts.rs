//! The event store without Kafka, and a registry without a log, for benchmarks: what the tail does with records, from one thread.

use crate::disk::{Age, Identity};
use crate::event::{EventReader, Place};
use crate::handle::{JoinerHandle, Shared, now_ms};
use crate::keeper::{KeepError, Keeper};
use crate::position::{Anchor, Position};
use crate::state::Change;
use crate::{JoinerFailure, Options};
use async_trait::async_trait;
use rtf_json::Parts;
use rtf_proto::{
    AcceptedStream, Known, LookupItem, Offset, Outcomes, PartitionId, Registration, Registry,
    RegistryError, RegistryStatus, SourceId, TopicId, Verdict,
};
use std::sync::Arc;
use std::time::Duration;

/// Records taken at once, as the tail does.
const BATCH: usize = 256;
const JOB_WITHIN: Duration = Duration::from_secs(600);

/// An event store that is fed by hand.
pub struct Store {
    shared: Arc<Shared>,
    keeper: Keeper,
    reader: EventReader,
    pending: Vec<Change>,
    positions: Vec<Position>,
}

/// What a store holds and takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figures {
    /// Events.
    pub events: u64,
    /// Memory, by its own account, bytes.
    pub bytes: usize,
    /// On disk, bytes.
    pub disk_bytes: u64,
    /// Segments.
    pub segments: usize,
}

impl Store {
    /// Opens what is in the options' directory.
    ///
    /// # Errors
    /// A JSON pointer that is none, no directory, a disk that cannot.
    pub fn open(options: &Options, registry: Arc<dyn Registry>) -> Result<Self, JoinerFailure> {
        let identity = Identity {
            topic: TopicId([1; 16]),
            settings: options.decides_events(),
        };
        let data = options.data.clone().unwrap_or_default();
        let shared = Arc::new(Shared::new(options, registry));
        let opened = Keeper::open(&data, &identity, &options.policy, options.memory_bytes);
        let (keeper, store) = opened.map_err(failed)?;
        shared.state.write().store = store;
        Ok(Self {
            shared,
            positions: keeper.positions().to_vec(),
            keeper,
            reader: EventReader::new(options)?,
            pending: Vec::with_capacity(BATCH),
        })
    }

    /// The next offset to read, per partition.
    pub fn positions(&self) -> Vec<Offset> {
        self.positions.iter().map(|one| one.next).collect()
    }

    /// Takes a record.
    ///
    /// # Errors
    /// The disk's.
    ///
    /// # Panics
    /// A value that is no event.
    pub fn take(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        value: &[u8],
    ) -> Result<(), JoinerFailure> {
        let place = Place {
            kafka_ts: offset as i64,
            partition,
            offset,
        };
        let event = self
            .reader
            .read(&Parts::of(value), place)
            .expect("an event");
        self.pending.push(Change::Upsert(event));
        let at = partition as usize;
        let positions = self.positions.len().max(at + 1);
        self.positions.resize(positions, Position::default());
        self.positions[at] = Position {
            next: offset + 1,
            last: Some(Anchor::of(place, None, Some(value))),
        };
        match self.pending.len() < BATCH {
            true => Ok(()),
            false => self.apply().map_err(failed),
        }
    }

    /// Gets everything to the disk, and waits for merges.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(&mut self) -> Result<(), JoinerFailure> {
        self.apply().map_err(failed)?;
        let (state, age) = (&self.shared.state, age());
        self.keeper.settle(state, JOB_WITHIN).map_err(failed)?;
        self.keeper.flush(state, &self.positions, &age);
        loop {
            self.keeper.settle(state, JOB_WITHIN).map_err(failed)?;
            let kept = self.keeper.keep(state, &self.positions, &age);
            kept.map_err(failed)?;
            if !self.keeper.is_busy() {
                return Ok(());
            }
        }
    }

    fn apply(&mut self) -> Result<(), KeepError> {
        let located = self.keeper.locate(&self.pending)?;
        let changes = self.pending.drain(..).zip(located);
        let applied = (self.shared.state.write()).apply(changes, now_ms(), &mut Vec::new());
        assert!(applied.is_ok(), "a store with a disk is never full");
        self.keeper
            .keep(&self.shared.state, &self.positions, &age())
    }

    /// Joins against what it holds.
    pub fn joiner(&self) -> JoinerHandle {
        self.shared.caught_up();
        JoinerHandle(self.shared.clone())
    }

    /// What it holds and takes.
    pub fn figures(&self) -> Figures {
        let state = self.shared.state.read();
        Figures {
            events: state.store.len(),
            bytes: state.store.bytes(),
            disk_bytes: state.store.disk_bytes(),
            segments: state.store.segments().len(),
        }
    }
}

/// Registers everything at offset 0, and knows nothing.
pub struct RegistersAll;

#[async_trait]
impl Registry for RegistersAll {
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        Ok(vec![Verdict::Registered(0); batch.len()])
    }
    async fn lookup(&self, _: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        Err(RegistryError::Busy)
    }
    async fn progress(&self, _: Vec<(SourceId, u64)>) -> Result<(), RegistryError> {
        Ok(())
    }
    async fn tail(
        &self,
        _: PartitionId,
        _: Offset,
        _: Outcomes,
    ) -> Result<AcceptedStream, RegistryError> {
        Err(RegistryError::Busy)
    }
    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        Err(RegistryError::Busy)
    }
}

fn age() -> Age {
    Age {
        now_ms: now_ms(),
        floors: Vec::new(),
    }
}

fn failed(error: KeepError) -> JoinerFailure {
    JoinerFailure::Store {
        topic: String::new(),
        words: error.to_string(),
    }
}
