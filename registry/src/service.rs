//! The registry over gRPC. The work belongs to the replica: a caller that goes away drops its answer only.

use futures::StreamExt;
use futures::stream::BoxStream;
use rtf_proto::client::{MAX_ITEMS, MAX_MESSAGE_BYTES};
use rtf_proto::pb::registry_server::{Registry as Service, RegistryServer};
use rtf_proto::{Outcomes, Registry, convert, pb};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The gRPC service over any [`Registry`].
pub fn service(registry: Arc<dyn Registry>) -> RegistryServer<impl Service> {
    RegistryServer::new(Grpc(registry))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

struct Grpc(Arc<dyn Registry>);

/// Items per call are bounded, so that a call's cost is.
fn bounded<T>(items: Vec<T>) -> Result<Vec<T>, Status> {
    if items.len() <= MAX_ITEMS {
        return Ok(items);
    }
    Err(Status::invalid_argument(format!(
        "{} items, at most {MAX_ITEMS} are accepted",
        items.len()
    )))
}

/// Runs to its end even when the caller goes away (RULE 24).
async fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(work)
        .await
        .map_err(|e| Status::internal(e.to_string()))
}

#[tonic::async_trait]
impl Service for Grpc {
    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let items = convert::all(bounded(request.into_inner().items)?)?;
        let registry = self.0.clone();
        let verdicts = detached(async move { registry.register(items).await }).await??;
        Ok(Response::new(pb::RegisterResponse {
            verdicts: verdicts.into_iter().map(Into::into).collect(),
        }))
    }

    async fn lookup(
        &self,
        request: Request<pb::LookupRequest>,
    ) -> Result<Response<pb::LookupResponse>, Status> {
        let items = convert::all(bounded(request.into_inner().items)?)?;
        let found = self.0.lookup(items).await?;
        Ok(Response::new(pb::LookupResponse {
            found: found.into_iter().map(Into::into).collect(),
        }))
    }

    async fn progress(
        &self,
        request: Request<pb::ProgressRequest>,
    ) -> Result<Response<pb::ProgressResponse>, Status> {
        let marks = convert::all(bounded(request.into_inner().marks)?)?;
        self.0.progress(marks).await?;
        Ok(Response::new(pb::ProgressResponse {}))
    }

    type TailStream = BoxStream<'static, Result<pb::TailResponse, Status>>;

    async fn tail(
        &self,
        request: Request<pb::TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let request = request.into_inner();
        let outcomes = match request.not_joined {
            true => Outcomes::NotJoined,
            false => Outcomes::All,
        };
        let stream = self.0.tail(request.partition, request.from, outcomes);
        let stream = stream.await?;
        Ok(Response::new(
            stream
                .map(|item| item.map(Into::into).map_err(Into::into))
                .boxed(),
        ))
    }

    async fn status(
        &self,
        _request: Request<pb::RegistryStatusRequest>,
    ) -> Result<Response<pb::RegistryStatusResponse>, Status> {
        Ok(Response::new(self.0.status().await?.into()))
    }
}
