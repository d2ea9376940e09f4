//! Between the ports' types and their gRPC messages. What comes from outside is checked here, once.

use crate::client::failure::words;
use crate::record::id_fits;
use crate::{
    Accepted, AcceptedBatch, EventId, ForeignEvent, JoinKey, JoinVerdict, JoinerError, JoinerShare,
    JoinerStatus, Known, LookupItem, MAX_ID_BYTES, Offset, Original, Outcome, Registration,
    RegistryBucket, RegistryError, RegistryPartition, RegistryStatus, Resolved, Source, SourceId,
    Token, TopicId, Verdict, pb,
};
use tonic::{Code, Status};

/// A message that does not say what it must.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has a value it cannot have.
    #[error("{field} is not valid: {value}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it was.
        value: String,
    },
}

impl From<BadMessage> for Status {
    fn from(bad: BadMessage) -> Self {
        Status::invalid_argument(bad.to_string())
    }
}

impl From<Source> for pb::Source {
    fn from(source: Source) -> Self {
        Self {
            topic: source.topic.to_string(),
            topic_id: source.topic_id.0.to_vec().into(),
            partition: source.partition,
            offset: source.offset,
        }
    }
}

fn source(source: Option<pb::Source>) -> Result<Source, BadMessage> {
    let source = source.ok_or(BadMessage::Missing("source"))?;
    Ok(Source {
        topic: source.topic.into(),
        topic_id: topic_id(&source.topic_id)?,
        partition: source.partition,
        offset: source.offset,
    })
}

fn topic_id(bytes: &[u8]) -> Result<TopicId, BadMessage> {
    let invalid = || BadMessage::Invalid {
        field: "topic id",
        value: format!("{} bytes", bytes.len()),
    };
    Ok(TopicId(bytes.try_into().map_err(|_| invalid())?))
}

fn outcome(code: u32) -> Result<Outcome, BadMessage> {
    u16::try_from(code)
        .ok()
        .and_then(Outcome::from_code)
        .ok_or_else(|| BadMessage::Invalid {
            field: "outcome",
            value: code.to_string(),
        })
}

fn event_id(bytes: bytes::Bytes) -> Result<EventId, BadMessage> {
    let id = EventId::new(bytes);
    if id_fits(&id) {
        return Ok(id);
    }
    let value = format!(
        "{} bytes, 1 to {MAX_ID_BYTES} are accepted",
        id.as_bytes().len()
    );
    Err(BadMessage::Invalid { field: "id", value })
}

impl From<Registration> for pb::Registration {
    fn from(item: Registration) -> Self {
        Self {
            id: item.id.bytes().clone(),
            outcome: item.outcome.code().into(),
            source: Some(item.source.into()),
            token: item.token.0,
            later_ts: item.later_ts,
            body: item.body,
        }
    }
}

impl TryFrom<pb::Registration> for Registration {
    type Error = BadMessage;
    fn try_from(item: pb::Registration) -> Result<Self, BadMessage> {
        Ok(Self {
            id: event_id(item.id)?,
            outcome: outcome(item.outcome)?,
            source: source(item.source)?,
            token: Token(item.token),
            later_ts: item.later_ts,
            body: item.body,
        })
    }
}

impl From<LookupItem> for pb::LookupItem {
    fn from(item: LookupItem) -> Self {
        Self {
            id: item.id.bytes().clone(),
            source: Some(item.source.into()),
        }
    }
}

impl TryFrom<pb::LookupItem> for LookupItem {
    type Error = BadMessage;
    fn try_from(item: pb::LookupItem) -> Result<Self, BadMessage> {
        Ok(Self {
            id: event_id(item.id)?,
            source: source(item.source)?,
        })
    }
}

impl From<Verdict> for pb::Verdict {
    fn from(verdict: Verdict) -> Self {
        use pb::verdict::Kind;
        let (kind, offset) = match verdict {
            Verdict::Registered(offset) => (Kind::Registered, offset),
            Verdict::AlreadyResolved(offset) => (Kind::AlreadyResolved, offset),
            Verdict::TooOld => (Kind::TooOld, 0),
            Verdict::TooLarge => (Kind::TooLarge, 0),
        };
        Self {
            kind: kind.into(),
            offset,
        }
    }
}

impl TryFrom<pb::Verdict> for Verdict {
    type Error = BadMessage;
    fn try_from(verdict: pb::Verdict) -> Result<Self, BadMessage> {
        use pb::verdict::Kind;
        match verdict.kind() {
            Kind::Registered => Ok(Self::Registered(verdict.offset)),
            Kind::AlreadyResolved => Ok(Self::AlreadyResolved(verdict.offset)),
            Kind::TooOld => Ok(Self::TooOld),
            Kind::TooLarge => Ok(Self::TooLarge),
            Kind::Unspecified => Err(BadMessage::Missing("verdict")),
        }
    }
}

impl From<Option<Resolved>> for pb::Found {
    fn from(found: Option<Resolved>) -> Self {
        match found {
            None => Self::default(),
            Some(found) => Self {
                resolved: true,
                partition: found.partition,
                offset: found.offset,
                outcome: found.outcome.code().into(),
                too_old: false,
            },
        }
    }
}

impl TryFrom<pb::Found> for Option<Resolved> {
    type Error = BadMessage;
    fn try_from(found: pb::Found) -> Result<Self, BadMessage> {
        if !found.resolved {
            return Ok(None);
        }
        let outcome = outcome(found.outcome)?;
        Ok(Some(Resolved {
            partition: found.partition,
            offset: found.offset,
            outcome,
        }))
    }
}

impl From<Option<Known>> for pb::Found {
    fn from(known: Option<Known>) -> Self {
        let too_old = known == Some(Known::TooOld);
        Self {
            too_old,
            ..known.and_then(Known::resolved).into()
        }
    }
}

impl TryFrom<pb::Found> for Option<Known> {
    type Error = BadMessage;
    fn try_from(found: pb::Found) -> Result<Self, BadMessage> {
        if found.too_old {
            return Ok(Some(Known::TooOld));
        }
        let resolved: Option<Resolved> = found.try_into()?;
        Ok(resolved.map(Known::Resolved))
    }
}

impl From<AcceptedBatch> for pb::TailResponse {
    fn from(batch: AcceptedBatch) -> Self {
        let accepted = |record: Accepted| pb::Accepted {
            offset: record.offset,
            log_ts: record.log_ts,
            later_ts: record.later_ts,
            outcome: record.outcome.code().into(),
            body: record.body,
            source: Some(record.source.into()),
        };
        Self {
            records: batch.records.into_iter().map(accepted).collect(),
            next: batch.next,
        }
    }
}

impl TryFrom<pb::TailResponse> for AcceptedBatch {
    type Error = BadMessage;
    fn try_from(batch: pb::TailResponse) -> Result<Self, BadMessage> {
        let accepted = |record: pb::Accepted| {
            Ok(Accepted {
                offset: record.offset,
                log_ts: record.log_ts,
                later_ts: record.later_ts,
                outcome: outcome(record.outcome)?,
                source: record
                    .source
                    .ok_or(BadMessage::Missing("source"))?
                    .try_into()?,
                body: record.body,
            })
        };
        let records = batch
            .records
            .into_iter()
            .map(accepted)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            records,
            next: batch.next,
        })
    }
}

impl From<RegistryStatus> for pb::RegistryStatusResponse {
    fn from(status: RegistryStatus) -> Self {
        let bucket = |b: RegistryBucket| pb::RegistryBucket {
            begin_ms: b.begin_ms,
            ids: b.ids,
            sealed: b.sealed,
        };
        let served = |p: RegistryPartition| pb::RegistryPartition {
            partition: p.partition,
            count: p.count,
            applied: p.applied,
            end: p.end,
            ids: p.ids,
            time_ms: p.time_ms,
            digest_offset: p.digest.0,
            digest: p.digest.1,
            buckets: p.buckets.into_iter().map(bucket).collect(),
            awaited: p.awaited.into_iter().map(Into::into).collect(),
        };
        Self {
            log: status.log.0.to_vec().into(),
            partitions: status.partitions,
            roots: status.roots,
            incarnation: status.incarnation,
            ready: status.ready,
            paused: status.paused,
            disk_bytes: status.disk_bytes,
            served: status.served.into_iter().map(served).collect(),
        }
    }
}

impl TryFrom<pb::RegistryStatusResponse> for RegistryStatus {
    type Error = BadMessage;
    fn try_from(status: pb::RegistryStatusResponse) -> Result<Self, BadMessage> {
        let bucket = |b: pb::RegistryBucket| RegistryBucket {
            begin_ms: b.begin_ms,
            ids: b.ids,
            sealed: b.sealed,
        };
        let served = |p: pb::RegistryPartition| {
            Ok::<_, BadMessage>(RegistryPartition {
                partition: p.partition,
                count: p.count,
                applied: p.applied,
                end: p.end,
                ids: p.ids,
                time_ms: p.time_ms,
                digest: (p.digest_offset, p.digest),
                buckets: p.buckets.into_iter().map(bucket).collect(),
                awaited: all(p.awaited)?,
            })
        };
        Ok(Self {
            log: topic_id(&status.log)?,
            partitions: status.partitions,
            roots: status.roots,
            incarnation: status.incarnation,
            ready: status.ready,
            paused: status.paused,
            disk_bytes: status.disk_bytes,
            served: status
                .served
                .into_iter()
                .map(served)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<(SourceId, Offset)> for pb::Mark {
    fn from(((topic, partition), offset): (SourceId, Offset)) -> Self {
        Self {
            topic_id: topic.0.to_vec().into(),
            partition,
            offset,
        }
    }
}

impl TryFrom<pb::Mark> for (SourceId, Offset) {
    type Error = BadMessage;
    fn try_from(mark: pb::Mark) -> Result<Self, BadMessage> {
        Ok(((topic_id(&mark.topic_id)?, mark.partition), mark.offset))
    }
}

impl From<Original> for pb::Original {
    fn from(original: Original) -> Self {
        let headers = original.headers.into_iter();
        Self {
            key: original.key,
            value: original.value,
            headers: headers
                .map(|(name, value)| pb::Header { name, value })
                .collect(),
        }
    }
}

impl From<pb::Original> for Original {
    fn from(original: pb::Original) -> Self {
        let headers = original.headers.into_iter();
        Self {
            key: original.key,
            value: original.value,
            headers: headers.map(|header| (header.name, header.value)).collect(),
        }
    }
}

impl From<ForeignEvent> for pb::ForeignEvent {
    fn from(event: ForeignEvent) -> Self {
        Self {
            id: event.id.bytes().clone(),
            key: event.key.bytes().clone(),
            source: Some(event.source.into()),
            foreign_ts: event.foreign_ts,
            kafka_ts: event.kafka_ts,
            token: event.token.0,
            attempts: event.attempts,
            original: Some(event.original.into()),
            collect: event.collect,
        }
    }
}

impl TryFrom<pb::ForeignEvent> for ForeignEvent {
    type Error = BadMessage;
    fn try_from(event: pb::ForeignEvent) -> Result<Self, BadMessage> {
        Ok(Self {
            id: event_id(event.id)?,
            key: JoinKey::new(event.key),
            source: source(event.source)?,
            foreign_ts: event.foreign_ts,
            kafka_ts: event.kafka_ts,
            token: Token(event.token),
            attempts: event.attempts,
            original: event
                .original
                .ok_or(BadMessage::Missing("original"))?
                .into(),
            collect: event.collect,
        })
    }
}

impl From<JoinVerdict> for pb::JoinVerdict {
    fn from(verdict: JoinVerdict) -> Self {
        use pb::join_verdict::Kind;
        let (kind, offset) = match verdict {
            JoinVerdict::Joined(offset) => (Kind::Joined, offset),
            JoinVerdict::AlreadyResolved(offset) => (Kind::AlreadyResolved, offset),
            JoinVerdict::NotFound => (Kind::NotFound, 0),
            JoinVerdict::Collecting => (Kind::Collecting, 0),
            JoinVerdict::NotReady => (Kind::NotReady, 0),
            JoinVerdict::TooOld => (Kind::TooOld, 0),
            JoinVerdict::RowTooLarge => (Kind::RowTooLarge, 0),
        };
        Self {
            kind: kind.into(),
            offset,
        }
    }
}

impl TryFrom<pb::JoinVerdict> for JoinVerdict {
    type Error = BadMessage;
    fn try_from(verdict: pb::JoinVerdict) -> Result<Self, BadMessage> {
        use pb::join_verdict::Kind;
        match verdict.kind() {
            Kind::Joined => Ok(Self::Joined(verdict.offset)),
            Kind::AlreadyResolved => Ok(Self::AlreadyResolved(verdict.offset)),
            Kind::NotFound => Ok(Self::NotFound),
            Kind::Collecting => Ok(Self::Collecting),
            Kind::NotReady => Ok(Self::NotReady),
            Kind::TooOld => Ok(Self::TooOld),
            Kind::RowTooLarge => Ok(Self::RowTooLarge),
            Kind::Unspecified => Err(BadMessage::Missing("verdict")),
        }
    }
}

impl From<JoinerStatus> for pb::JoinerStatusResponse {
    fn from(status: JoinerStatus) -> Self {
        Self {
            ready: status.ready,
            events: status.events,
            bytes: status.bytes,
            wanted: status.wanted,
            malformed: status.malformed,
            disk_bytes: status.disk_bytes,
            share: status.share.map(Into::into),
        }
    }
}

impl From<pb::JoinerStatusResponse> for JoinerStatus {
    fn from(status: pb::JoinerStatusResponse) -> Self {
        Self {
            ready: status.ready,
            events: status.events,
            bytes: status.bytes,
            wanted: status.wanted,
            malformed: status.malformed,
            disk_bytes: status.disk_bytes,
            share: status.share.map(Into::into),
        }
    }
}

impl From<JoinerShare> for pb::JoinerShare {
    fn from(share: JoinerShare) -> Self {
        Self {
            partitions: share.partitions,
            held: share.held.into_iter().collect(),
            ready: share.ready.into_iter().collect(),
            broken: share.broken.unwrap_or_default(),
        }
    }
}

impl From<pb::JoinerShare> for JoinerShare {
    fn from(share: pb::JoinerShare) -> Self {
        Self {
            partitions: share.partitions,
            held: share.held.into_iter().collect(),
            ready: share.ready.into_iter().collect(),
            broken: Some(share.broken).filter(|words| !words.is_empty()),
        }
    }
}

/// Words of [`RegistryError::OutOfRange`] on the wire, in the status' metadata.
const FIRST: &str = "rtf-first-offset";
const PARTITION: &str = "rtf-partition";
const ASKED: &str = "rtf-asked-offset";

impl From<RegistryError> for Status {
    fn from(error: RegistryError) -> Self {
        let words = error.to_string();
        match error {
            RegistryError::Unavailable(_) => Status::unavailable(words),
            RegistryError::Busy => Status::resource_exhausted(words),
            RegistryError::Refused(_) => Status::failed_precondition(words),
            RegistryError::OutOfRange {
                partition,
                asked,
                first,
            } => {
                let mut status = Status::out_of_range(words);
                for (name, number) in [
                    (PARTITION, u64::from(partition)),
                    (ASKED, asked),
                    (FIRST, first),
                ] {
                    status.metadata_mut().insert(name, number.into());
                }
                status
            }
        }
    }
}

impl From<Status> for RegistryError {
    fn from(status: Status) -> Self {
        let number = |name: &str| {
            status
                .metadata()
                .get(name)?
                .to_str()
                .ok()?
                .parse::<u64>()
                .ok()
        };
        match status.code() {
            Code::ResourceExhausted => Self::Busy,
            Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
                Self::Refused(status.message().to_owned())
            }
            Code::OutOfRange => match (number(PARTITION), number(ASKED), number(FIRST)) {
                (Some(partition), Some(asked), Some(first)) => Self::OutOfRange {
                    partition: partition as u32,
                    asked,
                    first,
                },
                _ => Self::Refused(status.message().to_owned()),
            },
            _ => Self::Unavailable(words(&status)),
        }
    }
}

impl From<JoinerError> for Status {
    fn from(error: JoinerError) -> Self {
        match error {
            JoinerError::Unavailable(_) => Status::unavailable(error.to_string()),
            JoinerError::Busy => Status::resource_exhausted(error.to_string()),
        }
    }
}

impl From<Status> for JoinerError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::ResourceExhausted => Self::Busy,
            _ => Self::Unavailable(words(&status)),
        }
    }
}

/// Converts a list, or says which of its items is wrong.
pub fn all<A, B, E>(items: Vec<A>) -> Result<Vec<B>, E>
where
    B: TryFrom<A, Error = E>,
{
    items.into_iter().map(B::try_from).collect()
}
