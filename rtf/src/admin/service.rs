//! What operators ask over gRPC. Calls that change something want the token, and each leaves a line in the log.

use super::control::RegistryControl;
use super::token::Token;
use super::{Local, Reporter};
use rtf_dispatcher::{AGES, DispatcherHandle, OperatorError, Rewound, WaitingEvent, Which};
use rtf_proto::pb::admin_server::{Admin, AdminServer};
use rtf_proto::{EventId, JoinKey, MAX_ID_BYTES, RegistryError, TopicId, pb};
use rtf_registry::{PartitionDigest, Standing};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How long a drain waits unless it is told, and at the most.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);
const DRAIN_WITHIN_MAX: Duration = Duration::from_secs(600);

/// What an operator may do more to than look at it.
#[derive(Clone)]
pub enum Operated {
    /// A registry.
    Registry(Arc<RegistryControl>),
    /// A dispatcher.
    Dispatcher(DispatcherHandle),
    /// Any other role.
    Nothing,
}

/// The operator's calls to one role.
pub struct AdminService {
    local: Arc<Local>,
    token: Token,
    operated: Operated,
}

impl AdminService {
    /// The service for this role.
    pub fn serve(local: Arc<Local>, token: Token, operated: Operated) -> AdminServer<impl Admin> {
        AdminServer::new(Self {
            local,
            token,
            operated,
        })
    }

    /// Lets a call through that changes something, and notes it.
    fn admit<T>(&self, request: &Request<T>, call: &str, arguments: &str) -> Result<(), Status> {
        let role = self.local.role;
        let peer = request
            .remote_addr()
            .map_or_else(|| "unknown".into(), |peer| peer.to_string());
        let admitted = self.token.check(request.metadata());
        match &admitted {
            Ok(()) => tracing::info!(role, call, arguments, peer, "an operator calls"),
            Err(_) => tracing::warn!(
                role,
                call,
                peer,
                "an operator's call without the token is refused"
            ),
        }
        admitted
    }

    fn registry(&self, call: &str) -> Result<&Arc<RegistryControl>, Status> {
        match &self.operated {
            Operated::Registry(registry) => Ok(registry),
            _ => Err(self.not_for(call, "a registry")),
        }
    }

    fn dispatcher(&self, call: &str) -> Result<&DispatcherHandle, Status> {
        match &self.operated {
            Operated::Dispatcher(dispatcher) => Ok(dispatcher),
            _ => Err(self.not_for(call, "a dispatcher")),
        }
    }

    fn not_for(&self, call: &str, whom: &str) -> Status {
        let role = self.local.role;
        Status::unimplemented(format!("{call} is for {whom}, and this is a {role}"))
    }
}

const EITHER: &str = "a registry or a dispatcher";

fn dispatcher_status(dispatcher: &DispatcherHandle) -> pb::DispatcherStatus {
    let status = dispatcher.status();
    let ages = AGES.iter().map(|age| age.as_millis() as u64).chain([0]);
    let waiting = dispatcher.waiting_by_age().into_iter();
    let tally = status.tally;
    pb::DispatcherStatus {
        topic: dispatcher.topic().into(),
        group: dispatcher.group().into(),
        paused: dispatcher.is_paused(),
        full: status.paused,
        partitions: status.partitions.iter().map(partition).collect(),
        in_flight: status.in_flight as u64,
        waiting: status.waiting as u64,
        waiting_bytes: status.waiting_bytes as u64,
        waiting_by_age: (ages.zip(waiting))
            .map(|(below_ms, events)| pb::WaitingAge {
                below_ms,
                events: events as u64,
            })
            .collect(),
        tally: Some(pb::DispatcherTally {
            joined: tally.joined,
            unjoinable: tally.unjoinable,
            malformed: tally.malformed,
            already_resolved: tally.already_resolved,
            too_old: tally.too_old,
            retries: tally.retries,
            wakeups: tally.wakeups,
            parked: tally.parked,
            wasted: tally.wasted,
            row_too_large: tally.row_too_large,
        }),
        parked: (status.parked.into_iter())
            .map(|tier| pb::Parked {
                topic: tier.topic,
                records: tier.records,
            })
            .collect(),
    }
}

fn partition(partition: &rtf_dispatcher::PartitionStatus) -> pb::DispatcherPartition {
    pb::DispatcherPartition {
        partition: partition.partition,
        position: partition.position,
        mark: partition.committed,
        next: partition.next,
        end: partition.end,
        lag: partition.lag,
        pending: partition.pending as u64,
        in_flight: partition.in_flight as u64,
    }
}

fn replayed(rewound: Rewound) -> pb::Replayed {
    pb::Replayed {
        partition: rewound.partition,
        before: rewound.before,
        offset: rewound.offset,
        error: rewound.error.unwrap_or_default(),
    }
}

fn refused(error: OperatorError) -> Status {
    let words = error.to_string();
    match error {
        OperatorError::OtherTopic { .. } => Status::failed_precondition(words),
        OperatorError::Stopped | OperatorError::Busy | OperatorError::NotCommitted(_) => {
            Status::unavailable(words)
        }
    }
}

fn which(request: pb::RetryNowRequest) -> Result<Which, Status> {
    use pb::retry_now_request::Which as Asked;
    match request.which {
        Some(Asked::All(true)) => Ok(Which::All),
        Some(Asked::Key(key)) => Ok(Which::Key(JoinKey::new(key))),
        Some(Asked::Id(id)) => Ok(Which::Id(EventId::new(id))),
        Some(Asked::All(false)) | None => {
            Err(Status::invalid_argument("say which: all, a key or an id"))
        }
    }
}

fn found(standing: Option<Standing>) -> pb::AdminLookupResponse {
    pb::AdminLookupResponse {
        found: Some(standing.map(|standing| standing.resolved).into()),
        bucket: standing.map(|standing| pb::RegistryBucket {
            begin_ms: standing.bucket.begin_ms,
            ids: standing.bucket.ids,
            sealed: standing.bucket.sealed,
        }),
        waiting: None,
    }
}

fn waiting(event: Option<WaitingEvent>) -> pb::AdminLookupResponse {
    let waiting = event.map(|event| pb::WaitingEvent {
        key: event
            .key
            .map_or_else(Default::default, |key| key.as_bytes().to_vec().into()),
        attempts: event.attempts,
        first_seen_ms: event.first_seen_ms,
        due_ms: event.due_ms,
        topic: event.source.topic.to_string(),
        partition: event.source.partition,
        offset: event.source.offset,
        tier: event.tier.unwrap_or_default(),
    });
    pb::AdminLookupResponse {
        waiting,
        ..pb::AdminLookupResponse::default()
    }
}

fn digest(digest: PartitionDigest) -> pb::PartitionDigest {
    let mark = |(offset, digest)| pb::DigestMark { offset, digest };
    pb::PartitionDigest {
        partition: digest.partition,
        marks: digest.marks.into_iter().map(mark).collect(),
    }
}

/// The work belongs to the role: a caller that goes away does not leave half of it (RULE 24).
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::spawn(work).await;
    Ok(done.map_err(|e| Status::internal(e.to_string()))??)
}

fn drain_within(asked_ms: u64) -> Duration {
    match asked_ms {
        0 => DRAIN_WITHIN,
        asked_ms => Duration::from_millis(asked_ms).min(DRAIN_WITHIN_MAX),
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(
        &self,
        _: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let report = self.local.report().await;
        Ok(Response::new(pb::StatusResponse {
            role: report.role,
            version: report.version,
            uptime_ms: u64::try_from(report.uptime.as_millis()).unwrap_or(u64::MAX),
            ready: report.ready,
            reason: report.reason,
            json: report.figures.to_string(),
            memory_bytes: report.memory.unwrap_or_default(),
            dispatcher: match &self.operated {
                Operated::Dispatcher(dispatcher) => Some(dispatcher_status(dispatcher)),
                Operated::Registry(_) | Operated::Nothing => None,
            },
        }))
    }

    async fn set_log_level(
        &self,
        request: Request<pb::SetLogLevelRequest>,
    ) -> Result<Response<pb::SetLogLevelResponse>, Status> {
        let filter = &request.get_ref().filter;
        self.admit(&request, "SetLogLevel", filter)?;
        let before = rtf_service::logging::set_filter(filter)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(pb::SetLogLevelResponse { before }))
    }

    async fn pause(
        &self,
        request: Request<pb::PauseRequest>,
    ) -> Result<Response<pb::PauseResponse>, Status> {
        self.admit(&request, "Pause", "")?;
        let was_paused = match &self.operated {
            Operated::Registry(registry) => registry.pause(),
            Operated::Dispatcher(dispatcher) => dispatcher.pause(),
            Operated::Nothing => return Err(self.not_for("Pause", EITHER)),
        };
        Ok(Response::new(pb::PauseResponse { was_paused }))
    }

    async fn resume(
        &self,
        request: Request<pb::ResumeRequest>,
    ) -> Result<Response<pb::ResumeResponse>, Status> {
        self.admit(&request, "Resume", "")?;
        let was_paused = match &self.operated {
            Operated::Registry(registry) => registry.resume(),
            Operated::Dispatcher(dispatcher) => dispatcher.resume(),
            Operated::Nothing => return Err(self.not_for("Resume", EITHER)),
        };
        Ok(Response::new(pb::ResumeResponse { was_paused }))
    }

    async fn drain(
        &self,
        request: Request<pb::DrainRequest>,
    ) -> Result<Response<pb::DrainResponse>, Status> {
        let within = drain_within(request.get_ref().timeout_ms);
        self.admit(&request, "Drain", &format!("within {within:?}"))?;
        let drained = match &self.operated {
            Operated::Registry(registry) => pb::DrainResponse {
                pending: registry.drain(within).await,
                waiting: 0,
            },
            Operated::Dispatcher(dispatcher) => {
                let left = dispatcher.drain(within).await.map_err(refused)?;
                pb::DrainResponse {
                    pending: left.in_flight as u64,
                    waiting: left.waiting as u64,
                }
            }
            Operated::Nothing => return Err(self.not_for("Drain", EITHER)),
        };
        Ok(Response::new(drained))
    }

    async fn retry_now(
        &self,
        request: Request<pb::RetryNowRequest>,
    ) -> Result<Response<pb::RetryNowResponse>, Status> {
        let asked = which(request.get_ref().clone())?;
        self.admit(&request, "RetryNow", &format!("{asked:?}"))?;
        let events = self.dispatcher("RetryNow")?.retry_now(&asked) as u64;
        Ok(Response::new(pb::RetryNowResponse { events }))
    }

    async fn replay(
        &self,
        request: Request<pb::ReplayRequest>,
    ) -> Result<Response<pb::ReplayResponse>, Status> {
        let pb::ReplayRequest { topic, positions } = request.get_ref().clone();
        let positions: Vec<_> = (positions.iter())
            .map(|position| (position.partition, position.offset))
            .collect();
        self.admit(&request, "Replay", &format!("{topic} {positions:?}"))?;
        let dispatcher = self.dispatcher("Replay")?;
        let rewound = dispatcher
            .replay(&topic, positions)
            .await
            .map_err(refused)?;
        let replayed = rewound.into_iter().map(replayed).collect();
        Ok(Response::new(pb::ReplayResponse { replayed }))
    }

    async fn lookup(
        &self,
        request: Request<pb::AdminLookupRequest>,
    ) -> Result<Response<pb::AdminLookupResponse>, Status> {
        let id = request.into_inner().id;
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            let words = format!("an id has 1 to {MAX_ID_BYTES} bytes, not {}", id.len());
            return Err(Status::invalid_argument(words));
        }
        let id = EventId::new(id);
        let answer = match &self.operated {
            Operated::Registry(registry) => found(registry.handle().standing(id).await?),
            Operated::Dispatcher(dispatcher) => waiting(dispatcher.find(&id)),
            Operated::Nothing => return Err(self.not_for("Lookup", EITHER)),
        };
        Ok(Response::new(answer))
    }

    async fn digest(
        &self,
        _: Request<pb::DigestRequest>,
    ) -> Result<Response<pb::DigestResponse>, Status> {
        let digests = self.registry("Digest")?.handle().digests()?;
        let partitions = digests.into_iter().map(digest).collect();
        Ok(Response::new(pb::DigestResponse { partitions }))
    }

    async fn gc(
        &self,
        request: Request<pb::GcRequest>,
    ) -> Result<Response<pb::GcResponse>, Status> {
        self.admit(&request, "Gc", "")?;
        let collected = self.registry("Gc")?.handle().collect().await?;
        Ok(Response::new(pb::GcResponse {
            removed_ms: collected.removed,
            disk_bytes: collected.disk_bytes,
        }))
    }

    async fn retire(
        &self,
        request: Request<pb::RetireRequest>,
    ) -> Result<Response<pb::RetireResponse>, Status> {
        let topic = request.get_ref().topic_id.as_ref().try_into().map(TopicId);
        let topic = topic.map_err(|_| Status::invalid_argument("a topic id has 16 bytes"))?;
        self.admit(&request, "Retire", &topic.to_string())?;
        let registry = self.registry("Retire")?.clone();
        let released = detached(async move { registry.handle().retire(topic).await }).await?;
        Ok(Response::new(pb::RetireResponse { released }))
    }

    async fn split(
        &self,
        request: Request<pb::SplitRequest>,
    ) -> Result<Response<pb::SplitResponse>, Status> {
        let pb::SplitRequest {
            partitions,
            dry_run,
        } = *request.get_ref();
        if dry_run {
            let registry = self.registry("Split")?;
            let before = registry.handle().check_split(partitions).await?;
            return Ok(Response::new(pb::SplitResponse { before }));
        }
        self.admit(&request, "Split", &format!("to {partitions} partitions"))?;
        let registry = self.registry("Split")?.clone();
        let before = detached(async move { registry.handle().split(partitions).await }).await?;
        Ok(Response::new(pb::SplitResponse { before }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Figures;
    use rtf_service::Readiness;
    use serde_json::{Value, json};

    struct NoFigures;

    #[async_trait::async_trait]
    impl Figures for NoFigures {
        async fn figures(&self) -> Value {
            json!({})
        }
    }

    fn joiner(token: &str) -> AdminService {
        let component = Readiness::default().component("joiner");
        AdminService {
            local: Local::new("joiner", component, Arc::new(NoFigures)),
            token: Token::new(token),
            operated: Operated::Nothing,
        }
    }

    #[tokio::test]
    async fn a_role_says_which_calls_are_not_for_it() {
        let joiner = joiner("");
        let paused = joiner.pause(Request::new(pb::PauseRequest {})).await;
        let status = paused.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        assert_eq!(
            status.message(),
            "Pause is for a registry or a dispatcher, and this is a joiner"
        );
        assert!(
            joiner
                .digest(Request::new(pb::DigestRequest {}))
                .await
                .is_err()
        );
        assert!(
            joiner
                .status(Request::new(pb::StatusRequest {}))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn the_token_is_asked_for_first() {
        let joiner = joiner("s3cret");
        let pause = joiner.pause(Request::new(pb::PauseRequest {})).await;
        assert_eq!(pause.unwrap_err().code(), tonic::Code::Unauthenticated);
        let mut request = Request::new(pb::PauseRequest {});
        joiner.token.put(request.metadata_mut());
        let pause = joiner.pause(request).await;
        assert_eq!(pause.unwrap_err().code(), tonic::Code::Unimplemented);
        assert!(
            joiner
                .status(Request::new(pb::StatusRequest {}))
                .await
                .is_ok()
        );
    }

    #[test]
    fn a_drain_is_bounded() {
        assert_eq!(drain_within(0), DRAIN_WITHIN);
        assert_eq!(drain_within(1500), Duration::from_millis(1500));
        assert_eq!(drain_within(u64::MAX), DRAIN_WITHIN_MAX);
    }
}
