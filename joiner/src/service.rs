//! The joiner over gRPC. The work belongs to the joiner: a caller that goes away drops its answer only.

use futures::StreamExt;
use futures::stream::BoxStream;
use rtf_proto::client::{MAX_ITEMS, MAX_MESSAGE_BYTES};
use rtf_proto::pb::joiner_server::{Joiner as Service, JoinerServer};
use rtf_proto::{JoinKey, Joiner, convert, pb};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The gRPC service over any [`Joiner`].
pub fn service(joiner: Arc<dyn Joiner>) -> JoinerServer<impl Service> {
    JoinerServer::new(Grpc(joiner))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

struct Grpc(Arc<dyn Joiner>);

/// Items per call are bounded, so that a call's cost is.
fn bounded<T>(items: Vec<T>) -> Result<Vec<T>, Status> {
    if items.len() <= MAX_ITEMS {
        return Ok(items);
    }
    Err(Status::invalid_argument(format!(
        "{} events, at most {MAX_ITEMS} are accepted",
        items.len()
    )))
}

fn keys(keys: Vec<JoinKey>) -> pb::WakeupsResponse {
    pb::WakeupsResponse {
        keys: keys.into_iter().map(|key| key.bytes().clone()).collect(),
    }
}

#[tonic::async_trait]
impl Service for Grpc {
    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        let events = convert::all(bounded(request.into_inner().events)?)?;
        let verdicts = self.0.join(events).await?;
        Ok(Response::new(pb::JoinResponse {
            verdicts: verdicts.into_iter().map(Into::into).collect(),
        }))
    }

    type WakeupsStream = BoxStream<'static, Result<pb::WakeupsResponse, Status>>;

    async fn wakeups(
        &self,
        _request: Request<pb::WakeupsRequest>,
    ) -> Result<Response<Self::WakeupsStream>, Status> {
        let wakeups = self.0.wakeups().await?;
        Ok(Response::new(wakeups.map(|batch| Ok(keys(batch))).boxed()))
    }

    async fn status(
        &self,
        _request: Request<pb::JoinerStatusRequest>,
    ) -> Result<Response<pb::JoinerStatusResponse>, Status> {
        Ok(Response::new(self.0.status().await?.into()))
    }
}
