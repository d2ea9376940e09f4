//! The ports: what one role asks of another, whether it lives in the same process or behind gRPC.

use crate::{
    EventId, JoinKey, LogId, Offset, Original, Outcome, Outcomes, PartitionId, Source, SourceId,
    Token,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::collections::BTreeSet;

/// One event's resolution, as a writer wants it registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The event.
    pub id: EventId,
    /// How it ended.
    pub outcome: Outcome,
    /// Where its foreign record stands.
    pub source: Source,
    /// The attempt chain: the same for every retry.
    pub token: Token,
    /// Kafka timestamp of the later side, ms since 1970; latency is measured from it.
    pub later_ts: i64,
    /// An encoded [`crate::record::Body`].
    pub body: Bytes,
}

/// The registry's answer to one [`Registration`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// This attempt chain's record is the first of its id, at this offset.
    Registered(Offset),
    /// Another record was first, at this offset.
    AlreadyResolved(Offset),
    /// The source lies below the floor: it was resolved once and is forgotten.
    TooOld,
    /// The record does not fit into the log; nothing was appended.
    TooLarge,
}

/// A question about one id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LookupItem {
    /// The event.
    pub id: EventId,
    /// Where its foreign record stands.
    pub source: Source,
}

/// The record that decided an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// Partition of the join log.
    pub partition: PartitionId,
    /// Offset of the winner.
    pub offset: Offset,
    /// How the event ended.
    pub outcome: Outcome,
}

/// What a registry knows of an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// It is remembered.
    Resolved(Resolved),
    /// Its place lies below the floor: it was resolved once, and is forgotten. Registering it would say the same.
    TooOld,
}

impl Known {
    /// The record that decided it, if it is remembered.
    pub fn resolved(self) -> Option<Resolved> {
        match self {
            Self::Resolved(resolved) => Some(resolved),
            Self::TooOld => None,
        }
    }
}

/// A record that won its id, on its way to a sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Its offset in the join log.
    pub offset: Offset,
    /// The log's time of it, ms since 1970.
    pub log_ts: i64,
    /// Kafka timestamp of the later side, ms since 1970.
    pub later_ts: i64,
    /// How the event ended.
    pub outcome: Outcome,
    /// Where its foreign record stands.
    pub source: (SourceId, Offset),
    /// An encoded [`crate::record::Body`].
    pub body: Bytes,
}

/// Accepted records of one partition, in log order, without gaps up to `next`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptedBatch {
    /// In offset order; may be empty when only `next` moved on.
    pub records: Vec<Accepted>,
    /// Every accepted record below this offset has been delivered, if it was wanted.
    pub next: Offset,
}

/// A stream of [`AcceptedBatch`]es that ends with its first error.
pub type AcceptedStream = BoxStream<'static, Result<AcceptedBatch, RegistryError>>;

/// What a registry knows of one partition of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegistryPartition {
    /// Partition of the join log.
    pub partition: PartitionId,
    /// It keeps the ids that hash to it among so many; 0 while it is not born.
    pub count: u32,
    /// First offset not yet applied.
    pub applied: Offset,
    /// The log's end as last heard.
    pub end: Offset,
    /// Ids remembered.
    pub ids: u64,
    /// The log's running time, ms since 1970; 0 before the first record.
    pub time_ms: i64,
    /// An offset, and the digest of all winners below it: equal in all replicas.
    pub digest: (Offset, u64),
    /// What is remembered, oldest first; the last one is being written.
    pub buckets: Vec<RegistryBucket>,
    /// Sources whose low-water mark has not passed what was registered of them, with what it must reach: until then it is not forgotten.
    pub awaited: Vec<(SourceId, Offset)>,
}

/// A stretch of the log's time, and what was registered in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RegistryBucket {
    /// Its beginning, ms since 1970; 0 before the log had settings.
    pub begin_ms: i64,
    /// Ids remembered of it.
    pub ids: u64,
    /// Whether it was rewritten for good.
    pub sealed: bool,
}

/// What a registry says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegistryStatus {
    /// The join log it follows.
    pub log: LogId,
    /// Partitions of the log, as far as it is applied. Grows when the log is split.
    pub partitions: u32,
    /// Partitions the log began with, as far as is known.
    pub roots: u32,
    /// Its producer's present life.
    pub incarnation: u64,
    /// Whether its barrier came back.
    pub ready: bool,
    /// Whether an operator made it refuse new registrations.
    pub paused: bool,
    /// Bytes of its view of the log on disk.
    pub disk_bytes: u64,
    /// One entry per partition it serves.
    pub served: Vec<RegistryPartition>,
}

/// Why a registry gave no verdict. None of these says anything about an id: ask again with the same token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// Not reachable, not ready, cut off from Kafka, or no answer in time. The records may or may not be in the log.
    #[error("registry unavailable: {0}")]
    Unavailable(String),
    /// Shed before anything was appended.
    #[error("registry is busy")]
    Busy,
    /// The log no longer has the offset that was asked for.
    #[error("the join log starts at offset {first} of partition {partition}, not at {asked}")]
    OutOfRange {
        /// Partition of the join log.
        partition: PartitionId,
        /// What was asked for.
        asked: Offset,
        /// The first offset it has.
        first: Offset,
    },
    /// The question itself is wrong: it will not get better by asking again.
    #[error("registry refused: {0}")]
    Refused(String),
}

impl RegistryError {
    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy)
    }
}

/// Who won: appends to the join log and remembers it (DESIGN §4, Photon §2).
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Appends each record and answers once each came back through the tail. One verdict per item, in order.
    ///
    /// Not cancel-safe in its outcome: a dropped call goes on, and its records may be in the log.
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError>;

    /// What is known of each id, in order. A hit is final, and so is a floor; a miss proves nothing.
    async fn lookup(&self, batch: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError>;

    /// Tells the log that everything of these sources below these offsets has an outcome in it. Now and then: what was registered beyond
    /// the marks is never forgotten.
    async fn progress(&self, marks: Vec<(SourceId, Offset)>) -> Result<(), RegistryError>;

    /// Accepted records of a partition from an offset on, as far as they are wanted, for ever. An offset below the log's first is
    /// [`RegistryError::OutOfRange`], except 0, which means "from the first there is".
    async fn tail(
        &self,
        partition: PartitionId,
        from: Offset,
        outcomes: Outcomes,
    ) -> Result<AcceptedStream, RegistryError>;

    /// What it says of itself.
    async fn status(&self) -> Result<RegistryStatus, RegistryError>;
}

/// A foreign event on its way to be joined.
#[derive(Clone, PartialEq, Debug)]
pub struct ForeignEvent {
    /// The event.
    pub id: EventId,
    /// What its partner must have in common with it.
    pub key: JoinKey,
    /// Where it stands.
    pub source: Source,
    /// Event time, ms since 1970.
    pub foreign_ts: i64,
    /// Kafka's timestamp of its record, ms since 1970.
    pub kafka_ts: i64,
    /// Attempt chain.
    pub token: Token,
    /// How often a partner was looked for in vain.
    pub attempts: u32,
    /// The original record; its value is valid JSON.
    pub original: Original,
    /// If it has partners it is not joined yet, but the answer is [`JoinVerdict::Collecting`]: more may come.
    pub collect: bool,
}

/// A joiner's answer for one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinVerdict {
    /// Its row is in the log, first of its id.
    Joined(Offset),
    /// It had been resolved before, or somebody else was quicker.
    AlreadyResolved(Offset),
    /// No partner yet; its key is remembered, and a wake-up follows when one comes.
    NotFound,
    /// It has partners, and was not joined because it was to [`collect`](ForeignEvent::collect).
    Collecting,
    /// The event store has not caught up, or nobody holds the key's partition: not an answer about the partner.
    NotReady,
    /// Below the registry's floor.
    TooOld,
    /// The row does not fit into the log.
    RowTooLarge,
}

/// What a joiner says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JoinerStatus {
    /// Whether its event store caught up to the end seen at its start.
    pub ready: bool,
    /// Primary events held.
    pub events: u64,
    /// What they take in memory, bytes.
    pub bytes: u64,
    /// What they take on disk, bytes.
    pub disk_bytes: u64,
    /// Keys that somebody waits for.
    pub wanted: u64,
    /// Records of the primary topic that could not be read.
    pub malformed: u64,
    /// What it holds of the primary topic; `None`: all of it.
    pub share: Option<JoinerShare>,
}

/// The part of the primary topic that a joiner holds where partitions are spread over several (docs/adr/0014).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JoinerShare {
    /// Partitions of the primary topic; a key's primaries are in the one that Kafka's default partitioner names.
    pub partitions: u32,
    /// Those it was given.
    pub held: BTreeSet<PartitionId>,
    /// Those of them it answers for: read to their end.
    pub ready: BTreeSet<PartitionId>,
    /// Why no joiner may say that a key has no primary, if so: the topic is not cut by its keys.
    pub broken: Option<String>,
}

/// Why a joiner gave no verdict; nothing is known of any event of the batch.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JoinerError {
    /// Not reachable, or its registry is not.
    #[error("joiner unavailable: {0}")]
    Unavailable(String),
    /// Shed.
    #[error("joiner is busy")]
    Busy,
}

/// Keys whose primary has just arrived, batched. Best effort: a lost one is made good by the retry.
pub type WakeupStream = BoxStream<'static, Vec<JoinKey>>;

/// The join itself (DESIGN §6, Photon §3.2).
#[async_trait]
pub trait Joiner: Send + Sync + 'static {
    /// Looks for partners, builds the rows and registers them. One verdict per event, in order.
    async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError>;

    /// Keys that were asked for in vain and have arrived since.
    async fn wakeups(&self) -> Result<WakeupStream, JoinerError>;

    /// What it says of itself.
    async fn status(&self) -> Result<JoinerStatus, JoinerError>;
}
