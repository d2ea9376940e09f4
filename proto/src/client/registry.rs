//! The [`Registry`] port over gRPC.

use super::{CALL_DEADLINE, Endpoints, MAX_MESSAGE_BYTES, calls};
use crate::pb::registry_client::RegistryClient as Stub;
use crate::{
    AcceptedBatch, AcceptedStream, LookupItem, Offset, PartitionId, Registration, Registry,
    RegistryError, RegistryStatus, Resolved, SourceId, Verdict, convert, pb,
};
use async_trait::async_trait;
use futures::StreamExt;
use std::future::Future;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A registry in another process, or several of them.
#[derive(Debug)]
pub struct RegistryClient {
    endpoints: Endpoints,
}

impl RegistryClient {
    /// Asks these endpoints, one at a time.
    pub fn new(endpoints: Endpoints) -> Self {
        Self { endpoints }
    }

    /// Makes one call, on the next endpoint when one is unavailable.
    async fn call<T, F>(&self, make: impl Fn(Stub<Channel>) -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = RegistryError::Unavailable("no endpoint".into());
        for (at, url, channel) in self.endpoints.in_order() {
            let stub = Stub::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            match make(stub).await {
                Ok(response) => {
                    self.endpoints.prefer(at);
                    return Ok(response.into_inner());
                }
                Err(status) => last = named(url, status.into()),
            }
            if !last.is_retriable() {
                return Err(last);
            }
        }
        Err(last)
    }
}

fn named(url: &str, error: RegistryError) -> RegistryError {
    match error {
        RegistryError::Unavailable(words) => RegistryError::Unavailable(format!("{url}: {words}")),
        other => other,
    }
}

fn within_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    request
}

fn unreadable(bad: convert::BadMessage) -> RegistryError {
    RegistryError::Refused(format!("unreadable answer: {bad}"))
}

/// One answer per question, or the answer is no answer.
fn matching<T>(answers: Vec<T>, questions: usize) -> Result<Vec<T>, RegistryError> {
    if answers.len() == questions {
        return Ok(answers);
    }
    Err(RegistryError::Refused(format!(
        "{} answers to {questions} questions",
        answers.len()
    )))
}

#[async_trait]
impl Registry for RegistryClient {
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for call in calls(batch, |item| item.body.len()) {
            let asked = call.len();
            let items: Vec<pb::Registration> = call.into_iter().map(Into::into).collect();
            let answer = self
                .call(|mut stub| {
                    let request = within_deadline(pb::RegisterRequest {
                        items: items.clone(),
                    });
                    async move { stub.register(request).await }
                })
                .await?;
            let answers = convert::all(answer.verdicts).map_err(unreadable)?;
            verdicts.append(&mut matching(answers, asked)?);
        }
        Ok(verdicts)
    }

    async fn lookup(&self, batch: Vec<LookupItem>) -> Result<Vec<Option<Resolved>>, RegistryError> {
        let mut found = Vec::with_capacity(batch.len());
        for call in calls(batch, |item| item.id.as_bytes().len()) {
            let asked = call.len();
            let items: Vec<pb::LookupItem> = call.into_iter().map(Into::into).collect();
            let answer = self
                .call(|mut stub| {
                    let request = within_deadline(pb::LookupRequest {
                        items: items.clone(),
                    });
                    async move { stub.lookup(request).await }
                })
                .await?;
            let answers = convert::all(answer.found).map_err(unreadable)?;
            found.append(&mut matching(answers, asked)?);
        }
        Ok(found)
    }

    async fn progress(&self, marks: Vec<(SourceId, Offset)>) -> Result<(), RegistryError> {
        let marks: Vec<pb::Mark> = marks.into_iter().map(Into::into).collect();
        self.call(|mut stub| {
            let request = within_deadline(pb::ProgressRequest {
                marks: marks.clone(),
            });
            async move { stub.progress(request).await }
        })
        .await?;
        Ok(())
    }

    async fn tail(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Result<AcceptedStream, RegistryError> {
        // No deadline: the stream lives as long as its reader; HTTP/2 keep-alive notices a dead peer.
        let request = pb::TailRequest { partition, from };
        let stream = self
            .call(|mut stub| async move { stub.tail(request).await })
            .await?;
        Ok(stream
            .map(|item| match item {
                Ok(batch) => AcceptedBatch::try_from(batch).map_err(unreadable),
                Err(status) => Err(status.into()),
            })
            .boxed())
    }

    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        let status = self
            .call(|mut stub| async move {
                stub.status(within_deadline(pb::RegistryStatusRequest {}))
                    .await
            })
            .await?;
        RegistryStatus::try_from(status).map_err(unreadable)
    }
}
