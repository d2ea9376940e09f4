//! The [`Joiner`] port over gRPC.

use super::{CALL_DEADLINE, Endpoints, MAX_MESSAGE_BYTES, calls};
use crate::pb::joiner_client::JoinerClient as Stub;
use crate::{
    ForeignEvent, JoinKey, JoinVerdict, Joiner, JoinerError, JoinerStatus, WakeupStream, convert,
    pb,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::future::Future;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A joiner in another process, or several that each hold everything.
#[derive(Debug)]
pub struct JoinerClient {
    endpoints: Endpoints,
}

impl JoinerClient {
    /// Asks these endpoints, one at a time.
    pub fn new(endpoints: Endpoints) -> Self {
        Self { endpoints }
    }

    async fn call<T, F>(&self, make: impl Fn(Stub<Channel>) -> F) -> Result<T, JoinerError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = JoinerError::Unavailable("no endpoint".into());
        for at in self.endpoints.in_order(self.endpoints.all()) {
            let (url, channel) = self.endpoints.at(at);
            match make(stub(channel)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => last = named(url, status.into()),
            }
            self.endpoints.failed(at);
        }
        Err(last)
    }
}

fn stub(channel: Channel) -> Stub<Channel> {
    Stub::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn named(url: &str, error: JoinerError) -> JoinerError {
    match error {
        JoinerError::Unavailable(words) => JoinerError::Unavailable(format!("{url}: {words}")),
        other => other,
    }
}

fn within_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    request
}

fn event_bytes(event: &ForeignEvent) -> usize {
    event.original.value.as_ref().map_or(0, |value| value.len())
}

#[async_trait]
impl Joiner for JoinerClient {
    async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for call in calls(batch, event_bytes) {
            let asked = call.len();
            let events: Vec<pb::ForeignEvent> = call.into_iter().map(Into::into).collect();
            let answer = self
                .call(|mut stub| {
                    let request = within_deadline(pb::JoinRequest {
                        events: events.clone(),
                    });
                    async move { stub.join(request).await }
                })
                .await?;
            let mut answers: Vec<JoinVerdict> = convert::all(answer.verdicts)
                .map_err(|bad| JoinerError::Unavailable(format!("unreadable answer: {bad}")))?;
            if answers.len() != asked {
                let words = format!("{} answers to {asked} questions", answers.len());
                return Err(JoinerError::Unavailable(words));
            }
            verdicts.append(&mut answers);
        }
        Ok(verdicts)
    }

    /// Listens to every joiner that answers: a key is wanted at whichever was asked. The stream ends when any of
    /// them ends, so that the caller subscribes anew to all.
    async fn wakeups(&self) -> Result<WakeupStream, JoinerError> {
        let mut streams: Vec<BoxStream<'static, Option<Vec<JoinKey>>>> = Vec::new();
        let mut last = JoinerError::Unavailable("no endpoint".into());
        for at in self.endpoints.all() {
            let (url, channel) = self.endpoints.at(at);
            match stub(channel).wakeups(pb::WakeupsRequest {}).await {
                Ok(stream) => {
                    let keys = stream
                        .into_inner()
                        .map(|item| Some(item.ok()?.keys.into_iter().map(JoinKey::new).collect()));
                    streams.push(keys.chain(stream::once(async { None })).boxed());
                }
                Err(status) => last = named(url, status.into()),
            }
        }
        if streams.is_empty() {
            return Err(last);
        }
        let merged = stream::select_all(streams);
        Ok(merged
            .take_while(|item| std::future::ready(item.is_some()))
            .filter_map(std::future::ready)
            .boxed())
    }

    async fn status(&self) -> Result<JoinerStatus, JoinerError> {
        let status = self
            .call(|mut stub| async move {
                stub.status(within_deadline(pb::JoinerStatusRequest {}))
                    .await
            })
            .await?;
        Ok(status.into())
    }
}
