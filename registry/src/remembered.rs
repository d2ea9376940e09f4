//! What a replica remembers of one partition: ids in buckets, how old they are, and which records were turned down.
//!
//! A partition that was born of a split looks into its parent's buckets too, as they were then: what is in them does not change any more, so
//! they are shared and nothing is copied. It forgets them by its own log.

use crate::age::{Age, BucketId};
use crate::apply::{Ids, Winner};
use crate::digest::Digest;
use crate::lineage::{Birth, Lineage};
use crate::memory::Memory;
use crate::sealed::{Sealed, hash_of};
use crate::store::{Blocks, Loaded, PartitionCommit, State, Store, StoreError};
use roaring::RoaringTreemap;
use rtf_proto::control::{Checkpoint, Control};
use rtf_proto::{Offset, Outcome, PartitionId, RegistryBucket, SourceId};
use rtf_service::mutant;
use std::cell::LazyCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// One partition's memory. Changed by the tail's thread alone.
pub struct Remembered {
    partition: PartitionId,
    pub age: Age,
    pub lineage: Lineage,
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

#[derive(Clone)]
struct Bucket {
    id: BucketId,
    /// Partition that registered its ids: this one, or one it was split from.
    home: PartitionId,
    ids: Known,
}

/// The ids of a bucket.
#[derive(Clone)]
enum Known {
    /// May still grow while nobody shares it, or waits to be sealed.
    Open(Arc<Memory>),
    /// Rewritten for good.
    Sealed(Sealed),
}

/// Tables that were read from disk, for partitions that share them.
pub type Shelf = HashMap<(PartitionId, BucketId), Arc<Memory>>;

impl Remembered {
    /// Reads what is on disk.
    ///
    /// # Errors
    /// Something is damaged or missing.
    pub fn load(partition: PartitionId, store: &Store) -> Result<(Self, State), StoreError> {
        Self::load_sharing(partition, store, &mut Shelf::new())
    }

    /// Reads what is on disk, but for what other partitions read before.
    ///
    /// # Errors
    /// Something is damaged or missing.
    pub fn load_sharing(
        partition: PartitionId,
        store: &Store,
        shelf: &mut Shelf,
    ) -> Result<(Self, State), StoreError> {
        let Loaded { state, rejected } = store.load(partition)?;
        let buckets = (state.age.buckets().iter())
            .map(|bucket| {
                let id = bucket.id;
                let home = state.lineage.home(id, partition);
                let ids = Known::load(home, id, store, shelf)?;
                // More may be on disk than the state knows of, never less: else somebody removed it.
                if ids.count(home) < bucket.ids {
                    return Err(StoreError::Incomplete {
                        bucket: id,
                        partition: home,
                    });
                }
                Ok(Bucket { id, home, ids })
            })
            .collect::<Result<_, StoreError>>()?;
        let mut remembered = Self {
            partition,
            age: state.age.clone(),
            lineage: state.lineage.clone(),
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

    /// A partition of which nothing is known but its counts: its log is read from the first record there is.
    pub fn fresh(
        partition: PartitionId,
        lineage: Lineage,
        store: &Store,
    ) -> Result<Self, StoreError> {
        let age = Age::default();
        let blocks = store.bucket(age.current())?;
        Ok(Self::begun(
            partition,
            age,
            lineage,
            VecDeque::new(),
            blocks,
        ))
    }

    /// Has remembered nothing of its own yet.
    fn begun(
        partition: PartitionId,
        age: Age,
        lineage: Lineage,
        buckets: VecDeque<Bucket>,
        blocks: Blocks,
    ) -> Self {
        let mut begun = Self {
            partition,
            age,
            lineage,
            digest: Digest::default(),
            buckets,
            rejected: RoaringTreemap::new(),
            uncommitted_rejected: Vec::new(),
            saved: Vec::new(),
            touched: Instant::now(),
            checkpointed: None,
        };
        begun.begin(blocks);
        begun
    }

    /// Splits it: from now on it keeps the ids that hash to it among so many. All it remembers must be on disk, and does not change any more.
    pub fn split(&mut self, partitions: u32) {
        self.lineage.split(partitions);
        self.age.cut();
    }

    /// A child of it, which was just [split](Self::split) and has [begun](Self::begin) its new bucket. The child begins the same bucket.
    pub fn child(&self, partition: PartitionId, birth: Birth, blocks: Blocks) -> Self {
        let until = self.age.current();
        let lineage = self.lineage.child(self.partition, birth, until);
        let mut inherited = self.buckets.clone();
        inherited.retain(|bucket| bucket.id < until && !mutant::is("child-inherits-nothing"));
        Self::begun(partition, self.age.clone(), lineage, inherited, blocks)
    }

    /// Which partition it is.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Ids remembered that it registered itself.
    pub fn ids(&self) -> u64 {
        self.buckets.iter().map(|bucket| self.own(bucket)).sum()
    }

    /// Ids of a bucket, unless another partition counts them.
    fn own(&self, bucket: &Bucket) -> u64 {
        if bucket.home == self.partition {
            bucket.ids.count(bucket.home)
        } else {
            0
        }
    }

    /// What each bucket holds, oldest first.
    pub fn report(&self) -> Vec<RegistryBucket> {
        let report = |bucket| self.report_of(bucket);
        self.buckets.iter().map(report).collect()
    }

    fn report_of(&self, bucket: &Bucket) -> RegistryBucket {
        RegistryBucket {
            begin_ms: bucket.id,
            ids: self.own(bucket),
            sealed: matches!(bucket.ids, Known::Sealed(_)),
        }
    }

    /// Whether the id is certainly not remembered; never touches the disk.
    pub fn is_absent(&self, id: &[u8]) -> bool {
        let hash = LazyCell::new(|| hash_of(id));
        self.buckets.iter().all(|bucket| match &bucket.ids {
            Known::Open(memory) => memory.is_absent(id),
            Known::Sealed(sealed) => sealed.is_absent(bucket.home, *hash),
        })
    }

    /// The partition that registered an id, the bucket it stands in, and who won it.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub fn standing(
        &self,
        id: &[u8],
    ) -> Result<Option<(PartitionId, RegistryBucket, Winner)>, StoreError> {
        let found = self.find_in(id)?;
        Ok(found.map(|(bucket, winner)| (bucket.home, self.report_of(bucket), winner)))
    }

    /// The partition that registered an id, with who won it.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub fn registered(&self, id: &[u8]) -> Result<Option<(PartitionId, Winner)>, StoreError> {
        let found = self.find_in(id)?;
        Ok(found.map(|(bucket, winner)| (bucket.home, winner)))
    }

    /// Whether an event's record was accepted. It must have been applied.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub fn is_accepted(&self, offset: Offset, id: &[u8]) -> Result<bool, StoreError> {
        if mutant::is("losers-carried") {
            return Ok(true);
        }
        if self.rejected.contains(offset) {
            return Ok(false);
        }
        // A winner that came later is of a time when this one was forgotten. One that a parent registered was there before all of this log.
        let is_newer = |(home, winner): (PartitionId, Winner)| {
            home == self.partition && winner.offset >= offset
        };
        Ok(self.registered(id)?.is_none_or(is_newer))
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
        let home = self.partition;
        let ids = Known::Open(Arc::new(Memory::empty(home, blocks)));
        self.buckets.push_back(Bucket { id, home, ids });
    }

    /// Takes in what the log says about itself.
    pub fn control(&mut self, control: &Control) {
        if matches!(control, Control::Checkpoint(_)) {
            self.checkpointed = Some(Instant::now());
        }
        self.age.control(control);
        match control {
            Control::Split { partitions } if self.partition == 0 => self.lineage.want(*partitions),
            Control::Born { parent, offset } => {
                self.lineage.born(Birth {
                    parent: *parent,
                    offset: *offset,
                });
            }
            _ => {}
        }
    }

    /// What it knows at this offset, for those who cannot read it from the log.
    pub fn checkpoint(&self, applied: Offset) -> Checkpoint {
        Checkpoint {
            counts: self.lineage.counts().into(),
            wanted: self.lineage.wanted(),
            ..self.age.checkpoint(applied, self.digest.latest())
        }
    }

    /// Forgets what is old enough; says how many ids that were.
    pub fn bury(&mut self) -> u64 {
        let before = self.buckets.len();
        let dead = self.age.bury();
        if dead.is_empty() {
            return 0;
        }
        let gone: Vec<Bucket> = self.buckets.drain(..dead.len().min(before)).collect();
        gone.iter().map(|bucket| self.own(bucket)).sum()
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
            let growing = bucket.ids.growing().into_iter();
            let blocks = growing.flat_map(Memory::uncommitted);
            blocks.map(|(number, entries)| (bucket.id, number, entries))
        });
        PartitionCommit {
            partition: self.partition,
            blocks: blocks.collect(),
            rejected: &self.uncommitted_rejected,
            left: self.saved.last().copied(),
            state: State {
                next,
                anchor,
                age: self.age.clone(),
                lineage: self.lineage.clone(),
                digest: self.digest.sum(),
                rejected: self.rejected.len(),
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
            // What is shared was whole on disk before.
            if let Known::Open(memory) = &mut bucket.ids
                && let Some(memory) = Arc::get_mut(memory)
            {
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
                Known::Sealed(sealed) => sealed.find(bucket.home, *hash, id)?.map(sealed_winner),
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

impl Known {
    fn load(
        home: PartitionId,
        id: BucketId,
        store: &Store,
        shelf: &mut Shelf,
    ) -> Result<Self, StoreError> {
        if let Some(sealed) = store.sealed(id) {
            return Ok(Self::Sealed(sealed));
        }
        if let Some(memory) = shelf.get(&(home, id)) {
            return Ok(Self::Open(memory.clone()));
        }
        let memory = Arc::new(Memory::load(home, store.bucket(id)?)?);
        shelf.insert((home, id), memory.clone());
        Ok(Self::Open(memory))
    }

    fn count(&self, partition: PartitionId) -> u64 {
        match self {
            Self::Open(memory) => memory.ids(),
            Self::Sealed(sealed) => sealed.ids(partition),
        }
    }

    /// What is neither sealed nor shared.
    fn growing(&self) -> Option<&Memory> {
        match self {
            Self::Open(memory) if Arc::strong_count(memory) == 1 => Some(memory),
            _ => None,
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

    fn find(&self, id: &[u8]) -> Result<Option<(PartitionId, Winner)>, StoreError> {
        self.registered(id)
    }

    fn insert(&mut self, id: &[u8], winner: Winner) {
        let newest = self.buckets.back_mut().map(|bucket| &mut bucket.ids);
        let Some(Known::Open(memory)) = newest else {
            unreachable!("the newest bucket is being written")
        };
        let memory = Arc::get_mut(memory).expect("only older buckets are shared");
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
