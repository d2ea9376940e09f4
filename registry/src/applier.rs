//! Applying records of the log to what is remembered, and keeping that on disk. Knows no Kafka: whoever reads the log hands in its records.

use crate::apply::{Decision, Place, apply};
use crate::error::RegistryFailure;
use crate::fnv::fnv1a;
use crate::handle::Shared;
use crate::lanes::Lane;
use crate::lineage::{Birth, Lineage};
use crate::pending::Slot;
use crate::remembered::Remembered;
use crate::store::{PartitionCommit, State, Store, StoreError};
use bytes::BytesMut;
use rtf_proto::control::{Checkpoint, Control};
use rtf_proto::record::{Content, DecodeError, Event, Record as Decoded, Stamp, decode};
use rtf_proto::{Accepted, Offset, PartitionId, Verdict, partitioner};
use rtf_service::{crash, mutant};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// New ids that are committed at once, about; sled wants batches of a few thousand entries at the most (RULE 19).
const COMMIT_IDS: usize = 2048;
/// At the latest after this what was applied is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// Rows are copied into blocks of so much, which live as long as one of their rows does; the largest that [`BytesMut`] makes anew by itself.
const BLOCK_BYTES: usize = 64 << 10;

/// A record of the log, as it is read.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    pub partition: PartitionId,
    pub offset: Offset,
    /// The log's own time of it, ms since 1970.
    pub append_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// One partition as it is being applied.
struct Partition {
    lane: Arc<Lane>,
    /// The first offset not yet applied.
    next: Offset,
    last: Option<Last>,
    /// The log's first offset, when this replica lacks what stood before it and no checkpoint has told it yet.
    uninformed: Option<Offset>,
    /// The log's time where it was begun with; what was registered before is not known here.
    begins_ms: Option<i64>,
    /// It lacked the beginning, and takes over others' digests until it is ready.
    rebasing: bool,
    /// The last record applied in an earlier life; it must be met again before anything new is applied.
    anchor: Option<(Offset, u32)>,
    dirty: bool,
    /// Its barrier came back.
    ready: bool,
    accepted: Vec<Accepted>,
    moved: bool,
}

/// The last record applied. It is kept and not hashed: its hash is asked for once in a thousand records, and costs as much as all else that is done
/// with one.
#[derive(Default)]
struct Last {
    offset: Offset,
    value: Vec<u8>,
    /// Of a record of an earlier life, whose value is not known.
    hash: Option<u32>,
}

impl Last {
    fn known((offset, hash): (Offset, u32)) -> Self {
        Self {
            offset,
            hash: Some(hash),
            ..Self::default()
        }
    }

    fn set(&mut self, record: &LogRecord<'_>) {
        self.offset = record.offset;
        self.hash = None;
        self.value.clear();
        self.value
            .extend_from_slice(record.value.unwrap_or_default());
    }

    fn anchor(&self) -> (Offset, u32) {
        (
            self.offset,
            self.hash.unwrap_or_else(|| hash_of(&self.value)),
        )
    }
}

impl Partition {
    /// Nothing of its log was applied yet. It is written to disk with the next commit, so that the replica knows it again.
    fn unread(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            next: 0,
            last: None,
            uninformed: None,
            begins_ms: None,
            rebasing: false,
            anchor: None,
            dirty: true,
            ready: false,
            accepted: Vec::new(),
            moved: false,
        }
    }
}

/// The applying half of a replica.
pub struct Applier {
    shared: Arc<Shared>,
    store: Arc<Store>,
    partitions: BTreeMap<PartitionId, Partition>,
    /// Partitions that began and are not read yet.
    begun: Vec<PartitionId>,
    /// The block into which accepted rows are copied.
    block: BytesMut,
    uncommitted: usize,
    last_commit: Instant,
    /// Partitions whose barrier has not come back.
    barriers: HashSet<PartitionId>,
}

impl Applier {
    /// Applies nothing yet.
    pub fn new(shared: Arc<Shared>, store: Arc<Store>) -> Self {
        Self {
            shared,
            store,
            partitions: BTreeMap::new(),
            begun: Vec::new(),
            block: BytesMut::with_capacity(BLOCK_BYTES),
            uncommitted: 0,
            last_commit: Instant::now(),
            barriers: HashSet::new(),
        }
    }

    /// Goes on with a partition where its state was left. `anchor` is the last record applied in an earlier life, if it is read again; `begins_late` is the
    /// log's first offset, if nothing of it was applied and its beginning is gone.
    pub fn resume(
        &mut self,
        lane: Arc<Lane>,
        state: &State,
        anchor: Option<(Offset, u32)>,
        begins_late: Option<Offset>,
    ) {
        let partition = lane.partition;
        let resumed = Partition {
            next: state.next,
            last: state.anchor.map(Last::known),
            uninformed: state.uninformed.or(begins_late),
            begins_ms: state.begins_ms,
            rebasing: state.rebasing,
            anchor,
            ..Partition::unread(lane)
        };
        self.partitions.insert(partition, resumed);
        self.barriers.insert(partition);
    }

    /// The next record of this partition must be the one that was applied last, which stands there; none if nothing was. librdkafka's own check after an
    /// election skips plain offsets (RULE 9).
    pub fn compare_again(&mut self, partition: PartitionId) -> Option<Offset> {
        let partition = self.partitions.get_mut(&partition)?;
        let anchor = partition.last.as_ref()?.anchor();
        partition.anchor = Some(anchor);
        Some(anchor.0)
    }

    /// Partitions that began since this was asked last: they are to be read from their beginning.
    pub fn take_begun(&mut self) -> Vec<PartitionId> {
        std::mem::take(&mut self.begun)
    }

    /// The log of a partition that has just begun lacks its own beginning: it is read from `first` on.
    pub fn begins_late(&mut self, partition: PartitionId, first: Offset) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.uninformed.get_or_insert(first);
        }
    }

    /// Applies a record of a partition that was [resumed](Self::resume) or has [begun](Self::take_begun). One that was applied before is passed over.
    ///
    /// # Errors
    /// A log that cannot be gone on with, or a disk that could not.
    pub fn apply(&mut self, record: &LogRecord<'_>) -> Result<(), RegistryFailure> {
        let partition = self.partitions.get_mut(&record.partition);
        let next = Applying {
            shared: &self.shared,
            store: &self.store,
            partition: partition.expect("only these are read"),
            block: &mut self.block,
            uncommitted: &mut self.uncommitted,
            barriers: &mut self.barriers,
        }
        .record(record)?;
        match next {
            Next::Record => Ok(()),
            Next::Split(partitions) => self.split(record, partitions),
            Next::Learned { parent, before } => self.begin_learned(parent, before),
        }
    }

    /// Gives the accepted records to their readers.
    pub fn hand_on(&mut self) {
        for partition in self.partitions.values_mut() {
            if !std::mem::take(&mut partition.moved) {
                continue;
            }
            let records = partition.accepted.drain(..);
            partition.lane.recent.push(records, partition.next);
        }
        if self.barriers.is_empty() || mutant::is("barrier-skipped") {
            self.shared.barriers_are_back();
        }
    }

    /// Commits when there is enough, or after a while.
    ///
    /// # Errors
    /// The disk could not.
    pub fn commit_in_time(&mut self) -> Result<(), RegistryFailure> {
        if self.uncommitted >= COMMIT_IDS || self.last_commit.elapsed() >= COMMIT_EVERY {
            self.commit()?;
        }
        Ok(())
    }

    /// Commits what was applied.
    ///
    /// # Errors
    /// The disk could not.
    pub fn commit(&mut self) -> Result<(), RegistryFailure> {
        self.last_commit = Instant::now();
        self.uncommitted = 0;
        let mut dirty: Vec<_> = self.partitions.values_mut().filter(|p| p.dirty).collect();
        if dirty.is_empty() {
            return Ok(());
        }
        {
            // Only this thread changes a memory, so what is read here is what is marked below.
            let all: Vec<_> = dirty.iter().map(|p| p.lane.remembered.read()).collect();
            let commits: Vec<_> = (dirty.iter().zip(&all))
                .map(|(partition, remembered)| commit_of(partition, remembered))
                .collect();
            crash::point("registry-before-commit");
            self.store
                .commit(&commits)
                .map_err(|e| self.shared.data_failed(&e))?;
            crash::point("registry-after-commit");
        }
        for partition in &mut dirty {
            partition.dirty = false;
            partition.lane.remembered.write().committed();
        }
        Ok(())
    }

    /// A partition is split here: its children take over what it knows, at this offset, in every replica alike.
    fn split(&mut self, record: &LogRecord<'_>, partitions: u32) -> Result<(), RegistryFailure> {
        // What the children share must be whole on disk, and is never written to again.
        self.commit()?;
        crash::point("registry-before-split");
        let shared = self.shared.clone();
        let births = shared.births.lock();
        let (partition, offset) = (record.partition, record.offset);
        let parent = self.partitions.get_mut(&partition);
        let parent = parent.expect("it was just read");
        let failed = |e: StoreError| shared.data_failed(&e);
        let before = shared.lanes.count(partition);
        let mut children = Vec::new();
        {
            let mut remembered = parent.lane.remembered.write();
            let append_ms = record.append_ms;
            reach(&shared, &self.store, &mut remembered, offset, append_ms)?;
            remembered.split(partitions);
            let bucket = remembered.age.current();
            let blocks = || self.store.bucket(bucket).map_err(failed);
            remembered.begin(blocks()?);
            let birth = Birth {
                parent: partition,
                offset,
            };
            for child in partitioner::children(partition, before, partitions) {
                if shared.lanes.follows(child) {
                    children.push((child, remembered.child(child, birth, blocks()?)));
                }
            }
            bury(&mut remembered);
        }
        parent.applied(record);
        tracing::info!(
            partition,
            offset,
            before,
            after = partitions,
            "a partition is split"
        );
        let unknown = (parent.uninformed, parent.begins_ms, parent.rebasing);
        let parent = parent.lane.clone();
        for (child, remembered) in children {
            self.begin(child, remembered);
            // What the parent does not know, the child did not take over.
            let begun = self.partitions.get_mut(&child).expect("just begun");
            let (uninformed, begins_ms, rebasing) = unknown;
            begun.uninformed = uninformed.map(|_| 0);
            (begun.begins_ms, begun.rebasing) = (begins_ms, rebasing);
        }
        // Only now: ids that belong to a child find it.
        shared.lanes.changed(&parent);
        drop(births);
        // Parent and children go on in the same bucket, so that they get to the disk together or not at all.
        self.commit()?;
        crash::point("registry-after-split");
        Ok(())
    }

    /// A checkpoint told of a split that is not in the log any more: its children are read like partitions that lost their beginning.
    fn begin_learned(&mut self, parent: PartitionId, before: u32) -> Result<(), RegistryFailure> {
        let shared = self.shared.clone();
        let Some(lane) = shared.lanes.get(parent) else {
            return Ok(());
        };
        let counts = lane.remembered.read().lineage.counts().to_vec();
        let count = counts.last().copied().unwrap_or(before);
        for child in partitioner::children(parent, before, count) {
            if self.partitions.contains_key(&child) || !shared.lanes.follows(child) {
                continue;
            }
            let lineage = Lineage::learned(counts.clone());
            let remembered = Remembered::fresh(child, lineage, &self.store);
            self.begin(child, remembered.map_err(|e| shared.data_failed(&e))?);
            let begun = self.partitions.get_mut(&child).expect("just begun");
            begun.uninformed = Some(0);
        }
        shared.lanes.changed(&lane);
        Ok(())
    }

    fn begin(&mut self, child: PartitionId, remembered: Remembered) {
        let lane = self.shared.lanes.add(child, remembered, 0);
        self.partitions.insert(child, Partition::unread(lane));
        self.begun.push(child);
        // What the child's log holds already must be applied before anything is answered.
        if !self.shared.is_ready() {
            self.barriers.insert(child);
        }
        self.shared.announce(child);
    }
}

impl Partition {
    /// A record was applied.
    fn applied(&mut self, record: &LogRecord<'_>) {
        self.next = record.offset + 1;
        self.last.get_or_insert_default().set(record);
        self.dirty = true;
        self.moved = true;
    }
}

fn commit_of<'a>(partition: &Partition, remembered: &'a Remembered) -> PartitionCommit<'a> {
    let ahead = u64::from(mutant::is("position-ahead-of-blocks"));
    let anchor = partition.last.as_ref().map(Last::anchor);
    let mut commit = remembered.uncommitted(partition.next + ahead, anchor);
    commit.state.uninformed = partition.uninformed;
    commit.state.begins_ms = partition.begins_ms;
    commit.state.rebasing = partition.rebasing && !partition.ready;
    commit
}

/// Time passes with a record; a new bucket may begin.
fn reach(
    shared: &Shared,
    store: &Store,
    remembered: &mut Remembered,
    offset: Offset,
    append_ms: i64,
) -> Result<(), RegistryFailure> {
    let append_ms = match mutant::is("clock-in-apply") {
        true => std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |time| time.as_millis() as i64),
        false => append_ms,
    };
    if remembered.reach(offset, append_ms) {
        let blocks = store.bucket(remembered.age.current());
        remembered.begin(blocks.map_err(|e| shared.data_failed(&e))?);
    }
    Ok(())
}

fn bury(remembered: &mut Remembered) {
    let forgotten = remembered.bury();
    if forgotten > 0 {
        metrics::counter!("rtf_registry_forgotten_total").increment(forgotten);
    }
}

/// What a record is known by. No CRC: a barrier ends in its own, and the CRC of that is the same for all of them.
pub(crate) fn hash_of(value: &[u8]) -> u32 {
    let hash = fnv1a(value);
    (hash ^ (hash >> 32)) as u32
}

/// What is to be done after a record.
enum Next {
    /// The next one.
    Record,
    /// It splits its partition, so that there are so many, and is not applied yet.
    Split(u32),
    /// It told of a split of its partition that is not in the log any more.
    Learned { parent: PartitionId, before: u32 },
}

/// One record being applied.
struct Applying<'a> {
    shared: &'a Shared,
    store: &'a Store,
    partition: &'a mut Partition,
    block: &'a mut BytesMut,
    uncommitted: &'a mut usize,
    barriers: &'a mut HashSet<PartitionId>,
}

impl Applying<'_> {
    fn record(mut self, record: &LogRecord<'_>) -> Result<Next, RegistryFailure> {
        let (offset, value) = (record.offset, record.value.unwrap_or_default());
        if let Some(anchor) = self.partition.anchor.take()
            && (offset, hash_of(value)) != anchor
        {
            return Err(self.shared.truncated(
                self.id(),
                anchor.0,
                "another record stands where the last applied one stood",
            ));
        }
        if offset < self.partition.next {
            return Ok(Next::Record);
        }
        let decoded = self.decode(record)?;
        // Whatever this replica appended and reads again gives its slot back.
        let own = decoded.as_ref().and_then(|decoded| {
            let Stamp {
                incarnation,
                sequence,
                ..
            } = decoded.stamp;
            self.shared.writer.came_back(incarnation, sequence)
        });
        // One lock a record: readers see it wholly applied or not at all.
        let lane = self.partition.lane.clone();
        let mut remembered = lane.remembered.write();
        if let Some(partitions) = self.epoch(&remembered, decoded.as_ref()) {
            return Ok(Next::Split(partitions));
        }
        if self.partition.uninformed.is_some() {
            self.partition.begins_ms.get_or_insert(record.append_ms);
        }
        let append_ms = record.append_ms;
        reach(self.shared, self.store, &mut remembered, offset, append_ms)?;
        let before = remembered.lineage.count();
        if let Some(decoded) = &decoded {
            match &decoded.content {
                Content::Event(event) => {
                    self.event(&mut remembered, record, &decoded.stamp, event, own)?
                }
                Content::Barrier => self.barrier(own)?,
                Content::Control(control) => {
                    self.control(&mut remembered, offset, &decoded.stamp, control)?
                }
            }
        }
        bury(&mut remembered);
        let after = remembered.lineage.count();
        drop(remembered);
        self.partition.applied(record);
        if matches!(
            decoded,
            Some(Decoded {
                content: Content::Control(Control::Born { .. }),
                ..
            })
        ) {
            self.shared.lanes.changed(&lane);
        }
        Ok(if before == after {
            Next::Record
        } else {
            let parent = lane.partition;
            Next::Learned { parent, before }
        })
    }

    fn id(&self) -> PartitionId {
        self.partition.lane.partition
    }

    /// The record, if it is one of ours that can be applied.
    fn decode<'r>(&self, record: &LogRecord<'r>) -> Result<Option<Decoded<'r>>, RegistryFailure> {
        match decode(record.key, record.value) {
            Ok(decoded) => Ok(Some(decoded)),
            Err(DecodeError::Foreign) => {
                metrics::counter!("rtf_registry_foreign_records_total").increment(1);
                Ok(None)
            }
            Err(_) if mutant::is("poison-passed-over") => Ok(None),
            Err(source) if self.shared.skips(self.id(), record.offset) => {
                self.skip(record.offset, &source);
                Ok(None)
            }
            Err(source) => Err(RegistryFailure::Poison {
                topic: self.shared.topic.clone(),
                partition: self.id(),
                offset: record.offset,
                source,
            }),
        }
    }

    /// The count of an epoch that takes effect.
    fn epoch(&self, remembered: &Remembered, decoded: Option<&Decoded<'_>>) -> Option<u32> {
        let decoded = decoded.filter(|decoded| decoded.stamp.log == self.shared.log)?;
        match decoded.content {
            Content::Control(Control::Epoch { partitions })
                if remembered.lineage.accepts(partitions) =>
            {
                Some(partitions)
            }
            _ => None,
        }
    }

    /// An operator gave this record up.
    fn skip(&self, offset: Offset, error: &DecodeError) {
        let partition = self.id();
        tracing::warn!(
            topic = self.shared.topic, partition, offset, %error,
            "a broken record of ours is skipped, as [registry].skip_records says; what it decided is lost, and all replicas must skip it"
        );
        metrics::counter!("rtf_registry_skipped_records_total").increment(1);
    }

    fn event(
        &mut self,
        remembered: &mut Remembered,
        record: &LogRecord<'_>,
        stamp: &Stamp,
        event: &Event<'_>,
        own: Option<Slot>,
    ) -> Result<(), RegistryFailure> {
        let offset = record.offset;
        let decision = self.decide(remembered, offset, stamp, event);
        if !matches!(decision, Ok(Decision::Won)) {
            remembered.reject(offset);
        }
        let decision = decision.map_err(|e| self.shared.data_failed(&e))?;
        match decision {
            Decision::Won => self.accept(record, event),
            Decision::Lost(_) => {}
            Decision::TooOld => {
                metrics::counter!("rtf_registry_too_old_records_total").increment(1)
            }
            Decision::Misplaced => {
                metrics::counter!("rtf_registry_misplaced_records_total").increment(1)
            }
        }
        if let Some(Slot::Event { item, batch, index }) = own {
            match decision {
                Decision::Won => batch.give(index, Verdict::Registered(offset)),
                // The chain's own earlier record was first: that is success.
                Decision::Lost(winner) if winner.token == Some(item.token) => {
                    batch.give(index, Verdict::Registered(winner.offset));
                }
                Decision::Lost(winner) => {
                    batch.give(index, Verdict::AlreadyResolved(winner.offset))
                }
                Decision::TooOld => batch.give(index, Verdict::TooOld),
                // Its partition was split while it was under way: it belongs elsewhere now.
                Decision::Misplaced => {
                    let slot = Slot::Event { item, batch, index };
                    self.shared.writer.append_later(slot);
                }
            }
        }
        Ok(())
    }

    fn decide(
        &self,
        remembered: &mut Remembered,
        offset: Offset,
        stamp: &Stamp,
        event: &Event<'_>,
    ) -> Result<Decision, StoreError> {
        if remembered.lineage.unborn().is_some() {
            return Ok(Decision::Misplaced);
        }
        let place = Place {
            log: self.shared.log,
            // Who does not know yet which count held believes the writer: what it decides so is forgotten when it is told.
            partitions: if self.partition.uninformed.is_some() || mutant::is("old-count-accepted") {
                stamp.partitions.max(1)
            } else {
                remembered.lineage.count()
            },
            partition: self.id(),
        };
        apply(&place, remembered, offset, stamp, event)
    }

    fn accept(&mut self, record: &LogRecord<'_>, event: &Event<'_>) {
        *self.uncommitted += 1;
        self.block.extend_from_slice(event.body);
        self.partition.accepted.push(Accepted {
            offset: record.offset,
            log_ts: record.append_ms,
            later_ts: event.later_ts,
            outcome: event.outcome,
            source: event.place(),
            body: self.block.split().freeze(),
        });
    }

    fn barrier(&mut self, own: Option<Slot>) -> Result<(), RegistryFailure> {
        if let Some(Slot::Barrier(partition)) = own {
            if let Some(first) = self.partition.uninformed {
                return Err(RegistryFailure::Uninformed {
                    topic: self.shared.topic.clone(),
                    partition,
                    first,
                });
            }
            self.partition.ready = true;
            self.barriers.remove(&partition);
        }
        Ok(())
    }

    fn control(
        &mut self,
        remembered: &mut Remembered,
        offset: Offset,
        stamp: &Stamp,
        control: &Control,
    ) -> Result<(), RegistryFailure> {
        if stamp.log != self.shared.log {
            metrics::counter!("rtf_registry_misplaced_records_total").increment(1);
            return Ok(());
        }
        match control {
            Control::Checkpoint(checkpoint) => self.compare(remembered, checkpoint)?,
            // It took over ids from a parent that has forgotten the split: what it took over must be told.
            Control::Born { .. } if self.partition.last.is_none() && !is_child(remembered) => {
                self.partition.uninformed.get_or_insert(offset);
            }
            _ => {}
        }
        remembered.control(control);
        Ok(())
    }

    /// Whether all ids that the writer of a checkpoint remembers were registered in what is read here. Ids that are held for a source that nobody reads may
    /// outlive their records; who does not know them must not answer.
    fn tells_enough(&self, checkpoint: &Checkpoint) -> bool {
        let begins_ms = self.partition.begins_ms.unwrap_or(i64::MAX);
        checkpoint
            .oldest_ms
            .is_none_or(|oldest_ms| begins_ms <= oldest_ms)
    }

    /// Whether the writer of a checkpoint decided as we did. A replica that lacks the beginning of the log takes over the sum instead, until
    /// it is ready.
    fn compare(
        &mut self,
        remembered: &mut Remembered,
        checkpoint: &Checkpoint,
    ) -> Result<(), RegistryFailure> {
        let (offset, theirs) = checkpoint.digest;
        let is_told = self.partition.uninformed.is_some() && self.tells_enough(checkpoint);
        if is_told {
            self.partition.uninformed = None;
            let Checkpoint { counts, wanted, .. } = checkpoint;
            remembered.lineage.learn(counts, *wanted);
        }
        if (is_told || self.partition.rebasing) && !self.partition.ready {
            self.partition.rebasing = true;
            remembered.digest.rebase(offset, theirs);
            return Ok(());
        }
        match remembered.digest.at(offset) {
            Some(ours) if ours != theirs => Err(RegistryFailure::Diverged {
                topic: self.shared.topic.clone(),
                partition: self.id(),
                offset,
                ours,
                theirs,
            }),
            _ => Ok(()),
        }
    }
}

/// Whether it took over its parent's ids.
fn is_child(remembered: &Remembered) -> bool {
    remembered.lineage.has_ancestors()
}

#[cfg(test)]
#[path = "applier_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;
