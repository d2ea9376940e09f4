//! What a replica remembers of one partition: ids in buckets, how old they are, and which records were turned down.

use crate::age::{Age, BucketId};
use crate::apply::{Ids, Winner};
use crate::digest::Digest;
use crate::memory::Memory;
use crate::sealed::{Sealed, hash_of};
use crate::store::{Blocks, Loaded, PartitionCommit, State, Store, StoreError};
use roaring::RoaringTreemap;
use rtf_proto::control::Control;
use rtf_proto::{Offset, Outcome, PartitionId, RegistryBucket, SourceId};
use std::cell::LazyCell;
use std::collections::VecDeque;
use std::time::Instant;

/// One partition's memory. Changed by the tail's thread alone.
pub struct Remembered {
    partition: PartitionId,
    pub age: Age,
    pub digest: Digest,
    /// Oldest first, as in `age`.
    buckets: VecDeque<Bucket>,
    /// Offsets of events that did not win: the rest of the log's events did, for as long as the log has them.
    rejected: RoaringTreemap,
    uncommitted_rejected: Vec<Offset>,
    /// Buckets that the state on disk still names.
    saved: Vec<BucketId>,
    /// When a record was applied last, on this replica's clock: only for heartbeats.
    pub touched: Instant,
    /// When a checkpoint was met last, likewise.
    pub checkpointed: Option<Instant>,
}

struct Bucket {
    id: BucketId,
    ids: Known,
}

/// The ids of a bucket.
enum Known {
    /// May still grow, or waits to be sealed.
    Open(Memory),
    /// Rewritten for good.
    Sealed(Sealed),
}

impl Remembered {
    /// Reads what is on disk.
    ///
    /// # Errors
    /// Something is damaged or missing.
    pub fn load(partition: PartitionId, store: &Store) -> Result<(Self, State), StoreError> {
        let Loaded { state, rejected } = store.load(partition)?;
        let buckets = (state.age.buckets().iter())
            .map(|bucket| {
                let ids = match store.sealed(bucket.id) {
                    Some(sealed) => Known::Sealed(sealed),
                    None => Known::Open(Memory::load(partition, store.bucket(bucket.id)?)?),
                };
                // More may be on disk than the state knows of, never less: else somebody removed it.
                if ids.count(partition) < bucket.ids {
                    return Err(StoreError::Incomplete {
                        bucket: bucket.id,
                        partition,
                    });
                }
                Ok(Bucket { id: bucket.id, ids })
            })
            .collect::<Result<_, StoreError>>()?;
        let mut remembered = Self {
            partition,
            age: state.age.clone(),
            digest: Digest::resume(state.next, state.digest),
            buckets,
            rejected,
            uncommitted_rejected: Vec::new(),
            saved: state.age.buckets().iter().map(|bucket| bucket.id).collect(),
            touched: Instant::now(),
            checkpointed: None,
        };
        remembered.committed();
        Ok((remembered, state))
    }

    /// Ids remembered.
    pub fn ids(&self) -> u64 {
        let ids = |bucket: &Bucket| bucket.ids.count(self.partition);
        self.buckets.iter().map(ids).sum()
    }

    /// What each bucket holds, oldest first.
    pub fn report(&self) -> Vec<RegistryBucket> {
        let report = |bucket: &Bucket| bucket.report(self.partition);
        self.buckets.iter().map(report).collect()
    }

    /// Whether the id is certainly not remembered; never touches the disk.
    pub fn is_absent(&self, id: &[u8]) -> bool {
        let hash = LazyCell::new(|| hash_of(id));
        self.buckets.iter().all(|bucket| match &bucket.ids {
            Known::Open(memory) => memory.is_absent(id),
            Known::Sealed(sealed) => sealed.is_absent(self.partition, *hash),
        })
    }

    /// The bucket an id stands in, with who won it.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub fn standing(&self, id: &[u8]) -> Result<Option<(RegistryBucket, Winner)>, StoreError> {
        let found = self.find_in(id)?;
        Ok(found.map(|(bucket, winner)| (bucket.report(self.partition), winner)))
    }

    /// Whether an event's record was accepted. It must have been applied.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub fn is_accepted(&self, offset: Offset, id: &[u8]) -> Result<bool, StoreError> {
        if self.rejected.contains(offset) {
            return Ok(false);
        }
        // A winner that came later is of a time when this one was forgotten.
        Ok(self.find(id)?.is_none_or(|winner| winner.offset >= offset))
    }

    /// A record is next, with this append time. True when a bucket has to be [begun](Self::begin) for it.
    pub fn reach(&mut self, offset: Offset, append_ms: i64) -> bool {
        self.touched = Instant::now();
        self.digest.reach(offset);
        self.age.advance(append_ms)
    }

    /// Begins the bucket that is now the current one.
    pub fn begin(&mut self, blocks: Blocks) {
        let id = self.age.current();
        let ids = Known::Open(Memory::empty(self.partition, blocks));
        self.buckets.push_back(Bucket { id, ids });
    }

    /// Takes in what the log says about itself.
    pub fn control(&mut self, control: &Control) {
        if matches!(control, Control::Checkpoint(_)) {
            self.checkpointed = Some(Instant::now());
        }
        self.age.control(control);
    }

    /// Forgets what is old enough; says how many ids that were.
    pub fn bury(&mut self) -> u64 {
        let before = self.buckets.len();
        let dead = self.age.bury();
        if dead.is_empty() {
            return 0;
        }
        let gone: Vec<Bucket> = self.buckets.drain(..dead.len().min(before)).collect();
        let ids = |bucket: &Bucket| bucket.ids.count(self.partition);
        gone.iter().map(ids).sum()
    }

    /// A record that did not win.
    pub fn reject(&mut self, offset: Offset) {
        if self.rejected.insert(offset) {
            self.uncommitted_rejected.push(offset);
        }
    }

    /// What is not on disk as it is here.
    pub fn uncommitted(&self, next: Offset, anchor: Option<(Offset, u32)>) -> PartitionCommit<'_> {
        let blocks = self.buckets.iter().flat_map(|bucket| {
            let blocks = bucket.ids.open().into_iter().flat_map(Memory::uncommitted);
            blocks.map(|(number, entries)| (bucket.id, number, entries))
        });
        PartitionCommit {
            partition: self.partition,
            blocks: blocks.collect(),
            rejected: &self.uncommitted_rejected,
            state: State {
                next,
                anchor,
                age: self.age.clone(),
                digest: self.digest.sum(),
                ..State::default()
            },
        }
    }

    /// All of [`uncommitted`](Self::uncommitted) is on disk now.
    pub fn committed(&mut self) {
        self.uncommitted_rejected.clear();
        self.saved = self.buckets.iter().map(|bucket| bucket.id).collect();
        let current = self.buckets.len() - 1;
        for (at, bucket) in self.buckets.iter_mut().enumerate() {
            if let Known::Open(memory) = &mut bucket.ids {
                memory.committed(at < current);
            }
        }
    }

    /// A bucket was rewritten; its table is not needed any more.
    pub fn seal(&mut self, id: BucketId, sealed: Sealed) {
        if let Some(bucket) = self.buckets.iter_mut().find(|bucket| bucket.id == id) {
            bucket.ids = Known::Sealed(sealed);
        }
    }

    /// The bucket that the state on disk was written into: those before it do not change any more.
    pub fn settled_in(&self) -> BucketId {
        self.saved.last().copied().unwrap_or(BucketId::MIN)
    }

    /// The oldest bucket that is needed, here or by the state on disk.
    pub fn oldest_needed(&self) -> BucketId {
        let saved = self.saved.first().copied().unwrap_or(BucketId::MAX);
        self.buckets
            .front()
            .map_or(saved, |bucket| bucket.id.min(saved))
    }

    fn find_in(&self, id: &[u8]) -> Result<Option<(&Bucket, Winner)>, StoreError> {
        // The newest first: most questions are about what has just happened.
        let hash = LazyCell::new(|| hash_of(id));
        for bucket in self.buckets.iter().rev() {
            let found = match &bucket.ids {
                Known::Open(memory) => memory.find(id)?,
                Known::Sealed(sealed) => sealed.find(self.partition, *hash, id)?.map(sealed_winner),
            };
            if let Some(winner) = found {
                return Ok(Some((bucket, winner)));
            }
        }
        Ok(None)
    }

    /// Whether a place is below its source's floor.
    pub fn is_below_floor(&self, source: SourceId, offset: Offset) -> bool {
        self.age.is_below_floor(source, offset)
    }
}

impl Bucket {
    fn report(&self, partition: PartitionId) -> RegistryBucket {
        RegistryBucket {
            begin_ms: self.id,
            ids: self.ids.count(partition),
            sealed: matches!(self.ids, Known::Sealed(_)),
        }
    }
}

impl Known {
    fn count(&self, partition: PartitionId) -> u64 {
        match self {
            Self::Open(memory) => memory.ids(),
            Self::Sealed(sealed) => sealed.ids(partition),
        }
    }

    fn open(&self) -> Option<&Memory> {
        match self {
            Self::Open(memory) => Some(memory),
            Self::Sealed(_) => None,
        }
    }
}

/// A chain of attempts is over long before its bucket is sealed, so its token is not kept.
fn sealed_winner((offset, outcome): (Offset, Outcome)) -> Winner {
    Winner {
        offset,
        token: None,
        outcome,
    }
}

impl Ids for Remembered {
    type Error = StoreError;

    fn find(&self, id: &[u8]) -> Result<Option<Winner>, StoreError> {
        Ok(self.find_in(id)?.map(|(_, winner)| winner))
    }

    fn insert(&mut self, id: &[u8], winner: Winner) {
        let Some(Bucket {
            ids: Known::Open(memory),
            ..
        }) = self.buckets.back_mut()
        else {
            unreachable!("the newest bucket is being written")
        };
        memory.insert(id, winner);
    }

    fn is_too_old(&self, source: SourceId, offset: Offset) -> bool {
        self.age.is_below_floor(source, offset)
    }

    fn won(&mut self, id: &[u8], winner: &Winner, source: SourceId, offset: Offset) {
        self.age.registered(source, offset);
        self.digest.add(id, winner);
    }
}
