//! What other roles hold of a replica: the [`Registry`] port over its shared state.

use crate::apply::Winner;
use crate::catch_up;
use crate::database;
use crate::error::RegistryFailure;
use crate::lanes::{Lane, Lanes};
use crate::lineage::{Birth, Lineage};
use crate::operator::Collected;
use crate::pending::{Batch, Slot};
use crate::reader::Reader;
use crate::store::{self, StoreError};
use crate::writer::Writer;
use async_trait::async_trait;
use parking_lot::Mutex;
use rtf_kafka::Settings;
use rtf_proto::control::Control;
use rtf_proto::{
    AcceptedStream, EventId, Known, LogId, LookupItem, Offset, Outcomes, PartitionId, Registration,
    Registry, RegistryError, RegistryPartition, RegistryStatus, Resolved, Source, SourceId,
    Verdict,
};
use rtf_service::{crash, mutant};
use rtf_traces::{Span, Spans, key};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};

/// Appends that may wait for their record at once; beyond it calls are shed before anything is appended.
const MAX_PENDING: usize = 65_536;
/// After so long without an answer from the log the outcome counts as unknown.
const REGISTER_WITHIN: Duration = Duration::from_secs(10);
/// Hits looked up on the caller's own thread; more go to a thread that may block.
const HITS_INLINE: usize = 16;

/// Why a paused replica registers nothing.
pub const PAUSED: &str = "paused by an operator";
/// Why a replica that no Kafka broker answers serves nothing.
pub const CUT_OFF: &str = "it is cut off from Kafka: no broker answers";

/// The state the halves of a replica share.
pub struct Shared {
    pub settings: Settings,
    pub topic: String,
    pub log: LogId,
    pub data: PathBuf,
    pub writer: Writer,
    pub lanes: Arc<Lanes>,
    /// Held while children take over their parent's buckets, and while buckets are sealed: a child must not take over a table that was just replaced.
    pub births: Mutex<()>,
    /// The keeper has something to do at once.
    pub hurry: AtomicBool,
    /// As last measured.
    pub disk_bytes: AtomicU64,
    /// Broken records that are passed over, as the configuration says.
    pub skip: BTreeSet<(PartitionId, Offset)>,
    /// Who waits for the next removal of what is forgotten.
    pub collecting: Mutex<Vec<oneshot::Sender<Collected>>>,
    ready: watch::Sender<bool>,
    /// Kafka does not answer this replica.
    pub(crate) cut_off: watch::Sender<bool>,
    /// Why the data directory cannot be read any more.
    failure: watch::Sender<Option<Arc<StoreError>>>,
    stopping: AtomicBool,
    paused: AtomicBool,
    room: Semaphore,
    pub(crate) catch_ups: Arc<Semaphore>,
}

impl Shared {
    pub fn new(
        settings: Settings,
        topic: String,
        log: LogId,
        data: PathBuf,
        writer: Writer,
        lanes: Arc<Lanes>,
    ) -> Self {
        Self {
            settings,
            topic,
            log,
            data,
            writer,
            lanes,
            births: Mutex::default(),
            hurry: AtomicBool::new(false),
            disk_bytes: AtomicU64::new(0),
            skip: BTreeSet::new(),
            collecting: Mutex::default(),
            ready: watch::Sender::new(false),
            cut_off: watch::Sender::new(false),
            failure: watch::Sender::new(None),
            stopping: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            room: Semaphore::new(MAX_PENDING),
            catch_ups: Arc::new(Semaphore::new(catch_up::AT_ONCE)),
        }
    }

    /// The log is not the one that was applied.
    pub fn truncated(
        &self,
        partition: PartitionId,
        offset: Offset,
        words: impl Into<String>,
    ) -> RegistryFailure {
        RegistryFailure::Truncated {
            topic: self.topic.clone(),
            partition,
            offset,
            words: words.into(),
            path: self.data.clone(),
        }
    }

    /// The data directory cannot be used. What is damaged is made anew by the next start.
    pub fn data_failed(&self, error: &StoreError) -> RegistryFailure {
        if error.is_damage() {
            store::condemn(&self.data, &error.to_string());
        }
        RegistryFailure::data(&self.data, error)
    }

    /// A question could not be answered from the data directory. A replica whose data is damaged stops.
    pub fn unanswered(&self, error: StoreError) -> RegistryError {
        let words = error.to_string();
        if error.is_damage() {
            self.failure.send_replace(Some(Arc::new(error)));
        }
        RegistryError::Unavailable(words)
    }

    /// Waits until a question met damaged data.
    pub async fn failed(&self) -> RegistryFailure {
        let mut failure = self.failure.subscribe();
        let error = failure.wait_for(Option::is_some).await;
        let error = error.ok().and_then(|error| error.clone());
        self.data_failed(&error.expect("the sender is here"))
    }

    /// Every partition's barrier came back: what was in the log at the start is applied.
    pub fn barriers_are_back(&self) {
        self.ready
            .send_if_modified(|ready| !std::mem::replace(ready, true));
    }

    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub fn watch_ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub fn set_cut_off(&self, is_cut_off: bool) {
        let changed = self
            .cut_off
            .send_if_modified(|now| std::mem::replace(now, is_cut_off) != is_cut_off);
        match (changed, is_cut_off) {
            (true, true) => tracing::warn!(
                topic = self.topic,
                "Kafka does not answer: this replica sends its callers elsewhere"
            ),
            (true, false) => tracing::info!(topic = self.topic, "Kafka answers again"),
            (false, _) => {}
        }
    }

    /// An error while Kafka does not answer: what this replica knows grows old, and others may know more.
    pub(crate) fn is_connected(&self) -> Result<(), RegistryError> {
        if *self.cut_off.borrow() {
            return Err(RegistryError::Unavailable(CUT_OFF.into()));
        }
        Ok(())
    }

    /// Says in a new partition's log where it comes from, so that it begins to count; and asks there for what it holds already, if this replica has
    /// not caught up yet.
    pub fn announce(&self, partition: PartitionId) {
        let lane = self.lanes.get(partition);
        let birth = lane.and_then(|lane| lane.remembered.read().lineage.unborn());
        if let Some(Birth { parent, offset }) = birth {
            let born = Control::Born { parent, offset };
            self.writer.append_later(Slot::Control(partition, born));
        }
        if !self.is_ready() {
            self.writer.append_later(Slot::Barrier(partition));
        }
    }

    /// What splits did to partition 0, where they begin. Every replica follows it.
    pub fn lineage(&self) -> Lineage {
        let lane = self.lanes.get(0);
        lane.map_or_else(Lineage::default, |lane| {
            lane.remembered.read().lineage.clone()
        })
    }

    /// Takes no new work from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether a record may be passed over if it is broken.
    pub fn skips(&self, partition: PartitionId, offset: Offset) -> bool {
        self.skip.contains(&(partition, offset))
    }

    /// Refuses new registrations, or takes them again; says how it was before.
    pub fn set_paused(&self, paused: bool) -> bool {
        self.paused.swap(paused, Ordering::SeqCst)
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Registrations that were let in and are not over: neither answered, nor known to be in the log or not.
    pub fn under_way(&self) -> u64 {
        let calls = MAX_PENDING - self.room.available_permits();
        calls.max(self.writer.events_under_way()) as u64
    }

    pub fn ids(&self) -> u64 {
        let lanes = self.lanes.all();
        lanes.iter().map(|lane| lane.remembered.read().ids()).sum()
    }

    /// The lane an id belongs to.
    pub fn lane_of(&self, id: &EventId) -> Result<Arc<Lane>, RegistryError> {
        let mut lanes = self.lanes_of(std::iter::once(id))?;
        Ok(lanes.pop().expect("one was asked for"))
    }

    /// The lanes ids belong to.
    fn lanes_of<'a>(
        &self,
        ids: impl Iterator<Item = &'a EventId>,
    ) -> Result<Vec<Arc<Lane>>, RegistryError> {
        let lanes = self.lanes.of(ids.map(EventId::as_bytes));
        let missing = |partition| not_served(partition);
        lanes
            .into_iter()
            .map(|lane| lane.map_err(missing))
            .collect()
    }
}

/// Why a replica that serves a part of the log does not answer.
fn not_served(partition: PartitionId) -> RegistryError {
    RegistryError::Unavailable(format!(
        "partition {partition} is not served by this replica"
    ))
}

/// Whether an id that is not remembered is not to be registered either.
fn is_too_old(lane: &Lane, source: &Source) -> bool {
    let remembered = lane.remembered.read();
    remembered.is_below_floor((source.topic_id, source.partition), source.offset)
}

/// A replica, as its callers see it; cheap to clone.
#[derive(Clone)]
pub struct RegistryHandle(pub(crate) Arc<Shared>);

/// One id's winner, with its partition.
type Found = Option<(PartitionId, Winner)>;

impl RegistryHandle {
    /// Tells when no Kafka broker answers any more, and when one does again.
    pub fn watch_cut_off(&self) -> watch::Receiver<bool> {
        self.0.cut_off.subscribe()
    }

    fn is_serving(&self) -> Result<(), RegistryError> {
        if self.0.stopping.load(Ordering::Relaxed) {
            return Err(RegistryError::Unavailable("it is stopping".into()));
        }
        self.has_applied()?;
        self.0.is_connected()
    }

    /// An error before what was in the log at the start is applied: until then it does not know what it does not know.
    pub(crate) fn has_applied(&self) -> Result<(), RegistryError> {
        if self.0.is_ready() {
            return Ok(());
        }
        let words = "it has not applied the log yet".into();
        Err(RegistryError::Unavailable(words))
    }

    /// Looks ids up in their lanes: nearly all absent ones in memory alone, the others where blocking is allowed if they are many.
    async fn find_all(&self, ids: Vec<(Arc<Lane>, EventId)>) -> Result<Vec<Found>, RegistryError> {
        let mut found = vec![None; ids.len()];
        let mut hits: Vec<_> = ids.into_iter().enumerate().collect();
        hits.retain(|(_, (lane, id))| !lane.remembered.read().is_absent(id.as_bytes()));
        let is_inline = hits.len() <= HITS_INLINE;
        // No seed decides when a thread is done.
        #[cfg(feature = "simulation")]
        let is_inline = is_inline || self.0.settings.is_simulated();
        let read = move || -> Result<Vec<(usize, Found)>, StoreError> {
            let find = |(at, (lane, id)): (usize, (Arc<Lane>, EventId))| {
                Ok((at, lane.remembered.read().registered(id.as_bytes())?))
            };
            hits.into_iter().map(find).collect()
        };
        let read = move || database::guarded(read);
        let winners = if is_inline {
            read()
        } else {
            tokio::task::spawn_blocking(read)
                .await
                .map_err(|e| RegistryError::Unavailable(e.to_string()))?
        };
        for (i, winner) in winners.map_err(|error| self.0.unanswered(error))? {
            found[i] = winner;
        }
        Ok(found)
    }

    /// Looks up, appends, and waits until the log has decided.
    async fn decide(
        &self,
        items: Vec<Registration>,
        spans: &mut Spans,
    ) -> Result<Vec<Verdict>, RegistryError> {
        self.is_serving()?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let permits = u32::try_from(items.len()).map_err(|_| RegistryError::Busy)?;
        let _room = self
            .0
            .room
            .try_acquire_many(permits)
            .map_err(|_| RegistryError::Busy)?;
        // Asked after room was taken: who drains sees every call that still found it open.
        if self.0.is_paused() {
            return Err(RegistryError::Unavailable(PAUSED.into()));
        }
        let lanes = self.0.lanes_of(items.iter().map(|item| &item.id))?;
        spans.each(|at, span| span.number(key::LOG_PARTITION, lanes[at].partition.into()));
        let ids = items.iter().map(|item| item.id.clone());
        let known = self.find_all(lanes.iter().cloned().zip(ids).collect());
        let known = known.await?;
        let (batch, answers) = Batch::new(items.len());
        let mut unknown = Vec::with_capacity(items.len());
        for (index, ((item, known), lane)) in items.into_iter().zip(known).zip(lanes).enumerate() {
            match known {
                // A hit is final; only a miss needs the log.
                Some((_, winner)) => batch.give(index, known_verdict(&item, &winner)),
                // So is a floor.
                None if is_too_old(&lane, &item.source) => batch.give(index, Verdict::TooOld),
                None if mutant::is("miss-answered-locally") => {
                    batch.give(index, Verdict::Registered(lane.applied()));
                    unknown.push((lane.partition, index, item));
                }
                None => unknown.push((lane.partition, index, item)),
            }
        }
        // Those of one partition together: the producer sends what it is handed within a moment as one batch.
        unknown.sort_by_cached_key(|(partition, ..)| *partition);
        let unknown = unknown.into_iter().map(|(_, index, item)| (index, item));
        crash::point("registry-before-append");
        self.0.writer.append(unknown, &batch)?;
        crash::point("registry-after-append");
        let verdicts = match tokio::time::timeout(REGISTER_WITHIN, answers).await {
            Ok(Ok(verdicts)) => verdicts,
            Ok(Err(_)) => return Err(RegistryError::Unavailable("the replica stopped".into())),
            Err(_) => {
                return Err(RegistryError::Unavailable(
                    "the log did not answer in time; the outcome is unknown".into(),
                ));
            }
        };
        count(&verdicts);
        crash::point("registry-before-answer");
        Ok(verdicts)
    }
}

fn known_verdict(item: &Registration, winner: &Winner) -> Verdict {
    if winner.token == Some(item.token) {
        Verdict::Registered(winner.offset)
    } else {
        Verdict::AlreadyResolved(winner.offset)
    }
}

/// What becomes of a registration, as metrics and traces call it.
const OUTCOMES: [&str; 4] = ["registered", "already_resolved", "too_old", "too_large"];

/// Its place among the outcomes.
fn outcome(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Registered(_) => 0,
        Verdict::AlreadyResolved(_) => 1,
        Verdict::TooOld => 2,
        Verdict::TooLarge => 3,
    }
}

/// What a trace shows of it.
fn tell(span: &mut Span, verdict: Verdict) {
    span.text(key::OUTCOME, OUTCOMES[outcome(verdict)]);
    if let Verdict::Registered(offset) | Verdict::AlreadyResolved(offset) = verdict {
        span.number(key::LOG_OFFSET, offset);
    }
}

fn count(verdicts: &[Verdict]) {
    let mut counts = [0u64; OUTCOMES.len()];
    for verdict in verdicts {
        counts[outcome(*verdict)] += 1;
    }
    let counted = OUTCOMES.into_iter().zip(counts);
    for (name, count) in counted.filter(|(_, count)| *count > 0) {
        metrics::counter!("rtf_registry_registered_total", "verdict" => name).increment(count);
    }
}

#[async_trait]
impl Registry for RegistryHandle {
    async fn register(&self, items: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        let ids = items.iter().map(|item| item.id.as_bytes());
        let mut spans = rtf_traces::begin_each("register", ids);
        let verdicts = self.decide(items, &mut spans).await;
        spans.end(&verdicts, tell);
        verdicts
    }

    async fn lookup(&self, items: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        self.is_serving()?;
        let lanes = self.0.lanes_of(items.iter().map(|item| &item.id))?;
        let ids = items.iter().map(|item| item.id.clone());
        let found = self.find_all(lanes.iter().cloned().zip(ids).collect());
        let found = found.await?.into_iter().zip(items.iter().zip(&lanes));
        let known = |(found, (item, lane)): (Found, (&LookupItem, &Arc<Lane>))| match found {
            Some((partition, winner)) => Some(Known::Resolved(Resolved {
                partition,
                offset: winner.offset,
                outcome: winner.outcome,
            })),
            // Else an event without a partner would wait for one in vain, though nothing could come of it.
            None => is_too_old(lane, &item.source).then_some(Known::TooOld),
        };
        Ok(found.map(known).collect())
    }

    async fn progress(&self, marks: Vec<(SourceId, Offset)>) -> Result<(), RegistryError> {
        self.is_serving()?;
        for lane in self.0.lanes.all_served() {
            let control = Control::Progress(marks.clone());
            self.0.writer.append_control(lane.partition, control);
        }
        Ok(())
    }

    async fn tail(
        &self,
        partition: PartitionId,
        from: Offset,
        outcomes: Outcomes,
    ) -> Result<AcceptedStream, RegistryError> {
        // It may be there in a moment, or with another replica.
        let lane = self.0.lanes.served(partition);
        let lane = lane.ok_or_else(|| not_served(partition))?;
        self.0.is_connected()?;
        if from > lane.applied() {
            // Not an error: a reader may be ahead of a replica that is still catching up.
            tracing::debug!(partition, from, "a reader is ahead of what is applied here");
        }
        Ok(Reader::new(self.0.clone(), lane, from, outcomes).stream())
    }

    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        let served = |lane: Arc<Lane>| {
            let (applied, end) = (lane.applied(), lane.end());
            let remembered = lane.remembered.read();
            let is_born = remembered.lineage.unborn().is_none();
            RegistryPartition {
                partition: lane.partition,
                count: if is_born {
                    remembered.lineage.count()
                } else {
                    0
                },
                applied,
                end,
                ids: remembered.ids(),
                time_ms: remembered.age.time_ms(),
                digest: remembered.digest.latest(),
                buckets: remembered.report(),
                awaited: remembered.age.awaited(),
            }
        };
        let layout = self.0.lanes.layout();
        Ok(RegistryStatus {
            log: self.0.log,
            partitions: layout.partitions(),
            roots: layout.roots(),
            incarnation: self.0.writer.incarnation().0,
            ready: self.0.is_ready() && !*self.0.cut_off.borrow(),
            paused: self.0.is_paused(),
            disk_bytes: self.0.disk_bytes.load(Ordering::Relaxed),
            served: self.0.lanes.all_served().into_iter().map(served).collect(),
        })
    }
}
