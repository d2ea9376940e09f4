//! The loop that reads the join log and applies it, on a thread of its own (RULE 13).

use crate::apply::{Decision, Place, apply};
use crate::error::RegistryFailure;
use crate::handle::Shared;
use crate::leadership;
use crate::pending::Slot;
use crate::remembered::Remembered;
use crate::store::{PartitionCommit, State, Store, StoreError};
use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use rtf_kafka::{Isolation, Polled, Record, Start, Tail};
use rtf_proto::control::{Checkpoint, Control};
use rtf_proto::record::{Content, DecodeError, Event, Stamp, decode};
use rtf_proto::{Accepted, Offset, Verdict};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Records applied before what they changed is handed on.
const CYCLE_RECORDS: usize = 1024;
/// Nothing to read: look again after this.
const POLL: Duration = Duration::from_millis(20);
/// New ids that are committed at once, about; sled wants batches of a few thousand entries at the most (RULE 19).
const COMMIT_IDS: usize = 2048;
/// At the latest after this what was applied is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
const QUESTION: Duration = Duration::from_secs(10);

/// One partition as the tailer sees it.
struct Partition {
    place: Place,
    /// The first offset not yet applied.
    next: Offset,
    /// The last record applied: offset and hash.
    last: Option<(Offset, u32)>,
    /// The leader it was read from.
    epoch: Option<i32>,
    /// The log's first offset, when this replica lacks what stood before it and no checkpoint has told it yet.
    uninformed: Option<Offset>,
    /// It lacked the beginning, and takes over others' digests until it is ready.
    rebasing: bool,
    /// The last record applied in an earlier life; it must be met again before anything new is applied.
    anchor: Option<(Offset, u32)>,
    dirty: bool,
    /// Its barrier came back.
    ready: bool,
    accepted: Vec<(Accepted, Range<usize>)>,
    moved: bool,
}

/// The reading half of a replica.
pub struct Tailer {
    shared: Arc<Shared>,
    store: Arc<Store>,
    tail: Tail,
    partitions: Vec<Partition>,
    /// Bodies of this cycle's accepted records, one after the other.
    bodies: BytesMut,
    uncommitted: usize,
    last_commit: Instant,
    barriers: HashSet<u32>,
}

impl Tailer {
    /// Opens the tail where the store says that it was left, after checking that the log still has that place. Blocking.
    ///
    /// # Errors
    /// A log that forgot what was applied, or no answer.
    pub fn open(
        shared: Arc<Shared>,
        store: Arc<Store>,
        states: Vec<State>,
    ) -> Result<Self, RegistryFailure> {
        let tail = Tail::open(
            &shared.settings,
            &shared.topic,
            &[],
            Isolation::ReadUncommitted,
        )?;
        let mut partitions = Vec::with_capacity(states.len());
        let mut positions = Vec::with_capacity(states.len());
        for (partition, state) in (0u32..).zip(states) {
            let (first, end) = tail.offsets(partition, QUESTION)?;
            let (start, anchor) = entry_point(&shared, partition, &state, first, end)?;
            positions.push((partition, start));
            let place = Place {
                log: shared.log,
                partitions: shared.partitions,
                partition,
            };
            // The embedded broker forgets silently, and is for trying out.
            let begins_late = state.next == 0 && first > 0 && !shared.settings.embedded;
            partitions.push(Partition {
                place,
                next: state.next,
                last: state.anchor,
                epoch: None,
                uninformed: state.uninformed.or(begins_late.then_some(first)),
                rebasing: state.rebasing,
                anchor,
                dirty: false,
                ready: false,
                accepted: Vec::new(),
                moved: false,
            });
        }
        tail.assign(&positions)?;
        Ok(Self {
            barriers: (0..shared.partitions).collect(),
            shared,
            store,
            tail,
            partitions,
            bodies: BytesMut::new(),
            uncommitted: 0,
            last_commit: Instant::now(),
        })
    }

    /// Applies the log until told to stop; what was applied is then on disk.
    ///
    /// # Errors
    /// A log or a database that cannot be gone on with.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), RegistryFailure> {
        while !stop.is_cancelled() {
            self.cycle()?;
            self.hand_on();
            if self.uncommitted >= COMMIT_IDS || self.last_commit.elapsed() >= COMMIT_EVERY {
                self.commit()?;
            }
        }
        self.commit()?;
        self.store.sync().map_err(|e| self.data_error(&e))
    }

    fn cycle(&mut self) -> Result<(), RegistryFailure> {
        let mut wait = POLL;
        for _ in 0..CYCLE_RECORDS {
            // The tail is borrowed by the record: taken out for the moment, so that `self` can change.
            let polled = self.tail.poll(wait);
            match polled {
                Polled::Record(record) => {
                    let shared = self.shared.clone();
                    Applying {
                        shared: &shared,
                        store: &self.store,
                        partition: &mut self.partitions[record.partition() as usize],
                        bodies: &mut self.bodies,
                        uncommitted: &mut self.uncommitted,
                        barriers: &mut self.barriers,
                    }
                    .record(&record)?;
                }
                Polled::EndOfPartition(_) => {}
                Polled::Idle => break,
                Polled::Failed(error) => return Err(error.into()),
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Gives this cycle's accepted records to their readers.
    fn hand_on(&mut self) {
        let bodies: Bytes = self.bodies.split().freeze();
        for partition in &mut self.partitions {
            if !std::mem::take(&mut partition.moved) {
                continue;
            }
            let records = partition.accepted.drain(..).map(|(mut record, range)| {
                record.body = bodies.slice(range);
                record
            });
            self.shared
                .recent
                .push(partition.place.partition, records, partition.next);
        }
        if self.barriers.is_empty() {
            self.shared.barriers_are_back();
        }
    }

    fn commit(&mut self) -> Result<(), RegistryFailure> {
        self.last_commit = Instant::now();
        self.uncommitted = 0;
        if !self.partitions.iter().any(|partition| partition.dirty) {
            return Ok(());
        }
        {
            // Only this thread changes a memory, so what is read here is what is marked below.
            let dirty = || self.partitions.iter().filter(|partition| partition.dirty);
            let all: Vec<_> = dirty()
                .map(|p| self.shared.partition(p.place.partition).read())
                .collect();
            let commits: Vec<_> = dirty()
                .zip(&all)
                .map(|(partition, remembered)| commit_of(partition, remembered))
                .collect();
            self.store
                .commit(&commits)
                .map_err(|e| self.data_error(&e))?;
        }
        for partition in self
            .partitions
            .iter_mut()
            .filter(|partition| partition.dirty)
        {
            partition.dirty = false;
            self.shared
                .partition(partition.place.partition)
                .write()
                .committed();
        }
        Ok(())
    }

    fn data_error(&self, error: &StoreError) -> RegistryFailure {
        RegistryFailure::Data {
            path: self.shared.data.clone(),
            words: error.to_string(),
        }
    }
}

fn commit_of<'a>(partition: &Partition, remembered: &'a Remembered) -> PartitionCommit<'a> {
    let mut commit = remembered.uncommitted(partition.next, partition.last);
    commit.state.uninformed = partition.uninformed;
    commit.state.rebasing = partition.rebasing && !partition.ready;
    commit
}

/// Where reading begins: at the anchor if the log still has it, so that it is compared.
fn entry_point(
    shared: &Shared,
    partition: u32,
    state: &State,
    first: Offset,
    end: Offset,
) -> Result<(Start, Option<(Offset, u32)>), RegistryFailure> {
    let truncated = |words: String| RegistryFailure::Truncated {
        topic: shared.topic.clone(),
        partition,
        offset: state.next,
        words,
        path: shared.data.clone(),
    };
    if state.next == 0 {
        return Ok((Start::Beginning, None));
    }
    if state.next > end {
        return Err(truncated(format!(
            "it ends at {end}, but was applied further"
        )));
    }
    if state.next < first {
        return Err(truncated(format!(
            "it begins at {first}, behind what was applied"
        )));
    }
    match state.anchor {
        Some(anchor) if anchor.0 >= first => Ok((Start::Offset(anchor.0), Some(anchor))),
        _ => Ok((Start::Offset(state.next), None)),
    }
}

/// One record being applied.
struct Applying<'a> {
    shared: &'a Shared,
    store: &'a Store,
    partition: &'a mut Partition,
    bodies: &'a mut BytesMut,
    uncommitted: &'a mut usize,
    barriers: &'a mut HashSet<u32>,
}

impl<'a> Applying<'a> {
    fn record(mut self, record: &Record<'_>) -> Result<(), RegistryFailure> {
        let offset = record.offset();
        let hash = crc32fast::hash(record.value().unwrap_or_default());
        if let Some(anchor) = self.partition.anchor.take() {
            self.check_anchor(anchor, offset, hash)?;
        }
        if offset < self.partition.next {
            return Ok(());
        }
        self.check_leader(record)?;
        self.reach(record)?;
        match decode(record.key(), record.value()) {
            Ok(decoded) => match decoded.content {
                Content::Event(event) => self.event(record, &decoded.stamp, &event)?,
                Content::Barrier => self.barrier(&decoded.stamp)?,
                Content::Control(control) => self.control(&decoded.stamp, &control)?,
            },
            Err(DecodeError::Foreign) => {
                metrics::counter!("rtf_registry_foreign_records_total").increment(1)
            }
            Err(source) if self.shared.skips(self.partition.place.partition, offset) => {
                self.skip(offset, &source);
            }
            Err(source) => {
                let (topic, partition) =
                    (self.shared.topic.clone(), self.partition.place.partition);
                return Err(RegistryFailure::Poison {
                    topic,
                    partition,
                    offset,
                    source,
                });
            }
        }
        let forgotten = self.remembered().write().bury();
        if forgotten > 0 {
            metrics::counter!("rtf_registry_forgotten_total").increment(forgotten);
        }
        self.partition.next = offset + 1;
        self.partition.last = Some((offset, hash));
        self.partition.dirty = true;
        self.partition.moved = true;
        Ok(())
    }

    /// An operator gave this record up.
    fn skip(&self, offset: Offset, error: &DecodeError) {
        let partition = self.partition.place.partition;
        tracing::warn!(
            topic = self.shared.topic, partition, offset, %error,
            "a broken record of ours is skipped, as [registry].skip_records says; what it decided is lost, and all replicas must skip it"
        );
        metrics::counter!("rtf_registry_skipped_records_total").increment(1);
    }

    fn remembered(&self) -> &'a RwLock<Remembered> {
        self.shared.partition(self.partition.place.partition)
    }

    /// Behind a new leader the log may be another one: what was applied last must still stand there (RULE 9).
    fn check_leader(&mut self, record: &Record<'_>) -> Result<(), RegistryFailure> {
        let epoch = record.leader_epoch();
        let before = std::mem::replace(&mut self.partition.epoch, epoch);
        match self.partition.last {
            Some(last) if before.is_some() && before != epoch => {
                leadership::check(self.shared, self.partition.place.partition, last)
            }
            _ => Ok(()),
        }
    }

    /// Time passes; a new bucket may begin.
    fn reach(&mut self, record: &Record<'_>) -> Result<(), RegistryFailure> {
        let mut remembered = self.remembered().write();
        if remembered.reach(record.offset(), record.timestamp_ms()) {
            let blocks = self.store.bucket(remembered.age.current());
            remembered.begin(blocks.map_err(|e| self.data_error(&e))?);
        }
        Ok(())
    }

    fn data_error(&self, error: &StoreError) -> RegistryFailure {
        RegistryFailure::Data {
            path: self.shared.data.clone(),
            words: error.to_string(),
        }
    }

    fn check_anchor(
        &self,
        anchor: (Offset, u32),
        offset: Offset,
        hash: u32,
    ) -> Result<(), RegistryFailure> {
        if (offset, hash) == anchor {
            return Ok(());
        }
        Err(RegistryFailure::Truncated {
            topic: self.shared.topic.clone(),
            partition: self.partition.place.partition,
            offset: anchor.0,
            words: "another record stands where the last applied one stood".into(),
            path: self.shared.data.clone(),
        })
    }

    fn event(
        &mut self,
        record: &Record<'_>,
        stamp: &Stamp,
        event: &Event<'_>,
    ) -> Result<(), RegistryFailure> {
        let offset = record.offset();
        let decision = {
            let mut remembered = self.remembered().write();
            let decision = apply(
                &self.partition.place,
                &mut *remembered,
                offset,
                stamp,
                event,
            );
            if !matches!(decision, Ok(Decision::Won)) {
                remembered.reject(offset);
            }
            decision
        };
        let decision = decision.map_err(|e| self.data_error(&e))?;
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
        if let Some(Slot::Event { item, batch, index }) = self
            .shared
            .writer
            .came_back(stamp.incarnation, stamp.sequence)
        {
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
                // Our own record in the wrong place: the caller's deadline answers, as nothing is known.
                Decision::Misplaced => {
                    tracing::error!(id = ?item.id, offset, "a record of ours is misplaced")
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, record: &Record<'_>, event: &Event<'_>) {
        *self.uncommitted += 1;
        let begin = self.bodies.len();
        self.bodies.extend_from_slice(event.body);
        let accepted = Accepted {
            offset: record.offset(),
            log_ts: record.timestamp_ms(),
            later_ts: event.later_ts,
            outcome: event.outcome,
            body: Bytes::new(),
        };
        self.partition
            .accepted
            .push((accepted, begin..self.bodies.len()));
    }

    fn barrier(&mut self, stamp: &Stamp) -> Result<(), RegistryFailure> {
        if let Some(Slot::Barrier(partition)) = self
            .shared
            .writer
            .came_back(stamp.incarnation, stamp.sequence)
        {
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

    fn control(&mut self, stamp: &Stamp, control: &Control) -> Result<(), RegistryFailure> {
        // Nobody waits for it, but its slot is to be freed.
        self.shared
            .writer
            .came_back(stamp.incarnation, stamp.sequence);
        if stamp.log != self.partition.place.log {
            metrics::counter!("rtf_registry_misplaced_records_total").increment(1);
            return Ok(());
        }
        if let Control::Checkpoint(checkpoint) = control {
            self.compare(checkpoint)?;
        }
        self.remembered().write().control(control);
        Ok(())
    }

    /// Whether the writer of a checkpoint decided as we did. A replica that lacks the beginning of the log takes over the sum instead, until
    /// it is ready.
    fn compare(&mut self, checkpoint: &Checkpoint) -> Result<(), RegistryFailure> {
        let (offset, theirs) = checkpoint.digest;
        let began_late = self.partition.uninformed.take().is_some() || self.partition.rebasing;
        let mut remembered = self.remembered().write();
        if began_late && !self.partition.ready {
            self.partition.rebasing = true;
            remembered.digest.rebase(offset, theirs);
            return Ok(());
        }
        match remembered.digest.at(offset) {
            Some(ours) if ours != theirs => Err(RegistryFailure::Diverged {
                topic: self.shared.topic.clone(),
                partition: self.partition.place.partition,
                offset,
                ours,
                theirs,
            }),
            _ => Ok(()),
        }
    }
}
