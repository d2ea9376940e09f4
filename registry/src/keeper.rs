//! What need not be done on the tail's own thread: syncing, asking for ends, records about the log itself, and suspicion.

use crate::age::BucketId;
use crate::error::RegistryFailure;
use crate::handle::Shared;
use crate::lanes::Lane;
use crate::log_topic::LogTopic;
use crate::operator::collected;
use crate::split;
use crate::store::{Store, StoreError};
use crate::watchdog::Watchdog;
use rtf_kafka::Cluster;
use rtf_proto::control::{Control, Settings};
use rtf_proto::{Offset, PartitionId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The disk is made to keep what was committed, and the log's end is asked for, this often.
pub const EVERY: Duration = Duration::from_secs(2);
/// A sleeping thread looks this often whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);
/// An idle partition gets a heartbeat after this, or after a quarter of a bucket.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);
/// A checkpoint is due after this, or after half a bucket.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// A bucket is sealed so long after nobody writes to it any more, or after the time it holds.
const SEAL_AFTER: Duration = Duration::from_secs(30);
/// The topic's settings are verified this often.
const VERIFY_EVERY: Duration = Duration::from_secs(180);
/// A broker that is well answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// After so many questions without an answer the rest can wait for the next round.
const UNANSWERED_MAX: u32 = 3;
/// Without any answer for so long a replica is cut off from Kafka.
const CUT_OFF_AFTER: Duration = Duration::from_secs(8);
/// A topic is not as it must be when so many looks in a row say so: a broker that has just started may not know it yet.
const DEVIATIONS: u32 = 3;
/// Between such looks.
const DOUBT_EVERY: Duration = Duration::from_secs(5);

/// The keeper of one replica.
pub struct Keeper {
    shared: Arc<Shared>,
    store: Arc<Store>,
    cluster: Cluster,
    topic: LogTopic,
    /// Whether a topic that is not as it must be stops the replica, or is only complained about.
    strict: bool,
    settings: Settings,
    verify_at: Instant,
    deviations: u32,
    heard_at: Instant,
    watchdog: Watchdog,
    /// When it was seen first that nobody writes to a bucket any more.
    left: HashMap<BucketId, Instant>,
}

impl Keeper {
    pub fn new(
        shared: Arc<Shared>,
        store: Arc<Store>,
        cluster: Cluster,
        topic: LogTopic,
        strict: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            watchdog: Watchdog::default(),
            left: HashMap::new(),
            settings: topic.settings(),
            // As soon as the log is applied: only then it is known how many partitions it speaks of.
            verify_at: now,
            deviations: 0,
            heard_at: now,
            shared,
            store,
            cluster,
            topic,
            strict,
        }
    }

    /// Keeps house until told to stop. Blocking.
    ///
    /// # Errors
    /// A log that was cut, stands still, or is not set up as it must be.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), RegistryFailure> {
        while !stop.is_cancelled() {
            self.round(stop)?;
            let next = Instant::now() + EVERY;
            while !stop.is_cancelled() && Instant::now() < next {
                if self.shared.hurry.swap(false, Ordering::Relaxed) {
                    split::advance(&self.shared, &self.cluster);
                }
                std::thread::sleep(STOP_POLL);
            }
        }
        Ok(())
    }

    /// Does what is due.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn round(&mut self, stop: &CancellationToken) -> Result<(), RegistryFailure> {
        self.sync();
        self.look_at_all(stop)?;
        self.verify()?;
        self.seal(stop)?;
        self.measure();
        split::advance(&self.shared, &self.cluster);
        Ok(())
    }

    fn measure(&self) {
        let bytes = self.store.bytes();
        self.shared.disk_bytes.store(bytes, Ordering::Relaxed);
        metrics::gauge!("rtf_registry_disk_bytes").set(bytes as f64);
        metrics::gauge!("rtf_registry_ids").set(self.shared.ids() as f64);
    }

    /// Syncs, then removes what neither memory nor the states on disk name any more.
    fn sync(&self) {
        // Taken before: who asks from now on gets what the next step removes.
        let asked = std::mem::take(&mut *self.shared.collecting.lock());
        let lanes = self.shared.lanes.all().into_iter();
        let oldest = lanes.map(|lane| lane.remembered.read().oldest_needed());
        let oldest = oldest.min();
        let synced = self.store.sync();
        let removed =
            synced.and_then(|()| oldest.map_or(Ok(Vec::new()), |id| self.store.remove_before(id)));
        if !asked.is_empty() {
            collected(asked, &removed, self.store.bytes());
        }
        match removed {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!(
                buckets = removed.len(),
                "forgotten buckets are removed from disk"
            ),
            Err(error) => {
                tracing::warn!(%error, "the registry's data could not be synced; it can be rebuilt from the log");
            }
        }
    }

    /// Rewrites the buckets that no partition writes to any more, nor may write to again after a crash.
    fn seal(&mut self, stop: &CancellationToken) -> Result<(), RegistryFailure> {
        let due = self.due_for_sealing();
        if due.is_empty() {
            return Ok(());
        }
        // The states that say so are on the disk before what they leave behind is removed.
        if let Err(error) = self.store.sync() {
            tracing::warn!(%error, "the registry's data could not be synced; nothing is sealed");
            return Ok(());
        }
        for id in due {
            let begun = Instant::now();
            match self.seal_one(id, stop) {
                Ok(None) => return Ok(()),
                Ok(Some(bytes)) => {
                    tracing::info!(bucket = id, bytes, took = ?begun.elapsed(), "a bucket is sealed");
                }
                Err(error) if error.is_damage() => return Err(self.shared.data_failed(&error)),
                Err(error) => {
                    tracing::warn!(%error, bucket = id, "a bucket could not be sealed; it stays as it is");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Buckets that were left long enough ago. A sealed one does not know its winners' tokens any more, and who did not hear that he won asks again.
    fn due_for_sealing(&mut self) -> Vec<BucketId> {
        let lanes = self.shared.lanes.all().into_iter();
        let settled = lanes.map(|lane| lane.remembered.read().settled_in()).min();
        let open = settled.map_or(Vec::new(), |id| self.store.open_before(id));
        let now = Instant::now();
        self.left.retain(|id, _| open.contains(id));
        for id in &open {
            self.left.entry(*id).or_insert(now);
        }
        let after = SEAL_AFTER.min(Duration::from_millis(self.settings.span_ms));
        let is_due = |id: &BucketId| now - self.left[id] >= after;
        open.into_iter().take_while(is_due).collect()
    }

    /// Its bytes on disk; `None` when stopped before it was done.
    fn seal_one(&self, id: BucketId, stop: &CancellationToken) -> Result<Option<u64>, StoreError> {
        let partitions = self.shared.lanes.partitions();
        let sealed = self.store.seal(id, partitions, || !stop.is_cancelled())?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let _births = self.shared.births.lock();
        for lane in self.shared.lanes.all() {
            lane.remembered.write().seal(id, sealed.clone());
        }
        self.store.close(id)?;
        Ok(Some(sealed.disk_bytes()))
    }

    /// Asks Kafka about each partition. A replica that gets no answer at all says that it is cut off, so that its callers go elsewhere.
    fn look_at_all(&mut self, stop: &CancellationToken) -> Result<(), RegistryFailure> {
        let mut unanswered = 0;
        for lane in self.shared.lanes.all() {
            if stop.is_cancelled() {
                break;
            }
            if unanswered >= UNANSWERED_MAX {
                self.watchdog.blind(lane.partition);
                continue;
            }
            match self
                .cluster
                .offsets_within(&self.shared.topic, lane.partition, ANSWER_WITHIN)
            {
                Ok((_, end)) => {
                    self.heard_at = Instant::now();
                    self.shared.set_cut_off(false);
                    self.look(&lane, end)?;
                }
                Err(_) => {
                    unanswered += 1;
                    self.watchdog.blind(lane.partition);
                }
            }
        }
        if self.heard_at.elapsed() > CUT_OFF_AFTER {
            self.shared.set_cut_off(true);
        }
        Ok(())
    }

    fn look(&mut self, lane: &Lane, end: Offset) -> Result<(), RegistryFailure> {
        lane.heard_end(end);
        let (partition, applied) = (lane.partition, lane.applied());
        let labels = [
            ("topic", self.shared.topic.clone()),
            ("partition", partition.to_string()),
        ];
        metrics::gauge!("rtf_consumer_lag_records", &labels)
            .set(end.saturating_sub(applied) as f64);
        self.suspect(partition, applied, end)?;
        if self.shared.is_ready() {
            self.tend(lane, applied);
        }
        Ok(())
    }

    /// Is the log shorter than what was applied, or does nothing of it arrive?
    fn suspect(
        &mut self,
        partition: PartitionId,
        applied: Offset,
        end: Offset,
    ) -> Result<(), RegistryFailure> {
        let Some(stalled) = self.watchdog.look(partition, applied, end, Instant::now()) else {
            return Ok(());
        };
        if end < applied {
            let words = format!("it ends at {end}, but was applied further");
            return Err(self.shared.truncated(partition, applied, words));
        }
        Err(RegistryFailure::Stalled {
            topic: self.shared.topic.clone(),
            partition,
            applied,
            end,
            stalled,
        })
    }

    /// Appends what the log should say about itself and does not.
    fn tend(&self, lane: &Lane, applied: Offset) {
        let remembered = lane.remembered.read();
        if remembered.lineage.unborn().is_some() {
            return;
        }
        let mut due = Vec::new();
        if remembered.age.settings() != Some(self.settings) {
            let before = remembered.age.settings();
            if let Some(before) = before.filter(|_| lane.partition == 0) {
                tracing::warn!(
                    horizon_ms = self.settings.horizon_ms,
                    before_ms = before.horizon_ms,
                    "the log remembers ids for another time than [registry].horizon says; it is changed for all replicas. If this comes again and again, they are configured differently"
                );
            }
            due.push(Control::Settings(self.settings));
        }
        let span = Duration::from_millis(self.settings.span_ms);
        let checkpoint_every = CHECKPOINT_EVERY.min(span / 2);
        // Replicas that start together do not all write it: each waits a little longer or shorter.
        let patience = 1.0 + rand::random::<f64>() / 4.0;
        if remembered
            .checkpointed
            .is_none_or(|at| at.elapsed() > checkpoint_every.mul_f64(patience))
        {
            let checkpoint = remembered.checkpoint(applied);
            due.push(Control::Checkpoint(checkpoint));
        }
        let heartbeat_every = HEARTBEAT_EVERY.min(span / 4);
        if due.is_empty() && remembered.touched.elapsed() > heartbeat_every.mul_f64(patience) {
            due.push(Control::Heartbeat);
        }
        drop(remembered);
        for control in due {
            self.shared.writer.append_control(lane.partition, control);
        }
    }

    fn verify(&mut self) -> Result<(), RegistryFailure> {
        if Instant::now() < self.verify_at || !self.shared.is_ready() {
            return Ok(());
        }
        self.verify_at = Instant::now() + VERIFY_EVERY;
        let lineage = self.shared.lineage();
        let verified = self.topic.verify(&self.cluster, self.shared.log, &lineage);
        let error = match verified {
            Ok(()) => {
                self.deviations = 0;
                return Ok(());
            }
            // Kafka is away: that is noticed elsewhere.
            Err(RegistryFailure::Kafka(_)) => return Ok(()),
            // Not the topic, but the configuration is another one than the log was made with.
            Err(error @ RegistryFailure::PartitionCount { .. }) => return Err(error),
            Err(error) => error,
        };
        tracing::error!(%error, "the join log's topic is not as it must be");
        metrics::counter!("rtf_registry_topic_deviations_total").increment(1);
        self.deviations += 1;
        if self.deviations < DEVIATIONS {
            self.verify_at = Instant::now() + DOUBT_EVERY;
        } else if self.strict {
            return Err(error);
        }
        Ok(())
    }
}
