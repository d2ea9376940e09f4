//! The [`Joiner`] port over gRPC.

use super::joiners::{Joiners, follow};
use super::{CALL_DEADLINE, Endpoints, Group, calls};
use crate::pb::joiner_client::JoinerClient as Stub;
use crate::{
    ForeignEvent, JoinKey, JoinVerdict, Joiner, JoinerError, JoinerStatus, WakeupStream, convert,
    pb,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A joiner in another process, or several, which hold everything or a part of the primary topic's partitions each.
#[derive(Debug)]
pub struct JoinerClient {
    joiners: Arc<Joiners>,
    following: OnceLock<()>,
}

impl JoinerClient {
    /// Asks these endpoints: one at a time for the same thing.
    pub fn new(endpoints: Endpoints) -> Self {
        Self {
            joiners: Arc::new(Joiners::new(endpoints)),
            following: OnceLock::new(),
        }
    }

    /// The only endpoint there is: it answers for itself what it holds.
    fn alone(&self) -> Option<Group> {
        (self.joiners.endpoints.count() == 1).then(|| vec![0])
    }

    /// The joiners, which are asked from now on what they hold.
    fn joiners(&self) -> &Joiners {
        self.following.get_or_init(|| {
            tokio::spawn(follow(Arc::downgrade(&self.joiners)));
        });
        &self.joiners
    }

    async fn call<T, F>(
        &self,
        group: Group,
        make: impl Fn(Stub<Channel>) -> F,
    ) -> Result<T, JoinerError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = JoinerError::Unavailable("no endpoint".into());
        for at in self.joiners.endpoints.in_order(group) {
            let (url, stub) = self.joiners.stub(at);
            match make(stub).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => last = named(url, status.into()),
            }
            self.joiners.endpoints.failed(at);
        }
        Err(last)
    }

    async fn join_with(
        &self,
        group: Group,
        batch: Vec<ForeignEvent>,
    ) -> Result<Vec<JoinVerdict>, JoinerError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for call in calls(batch, event_bytes) {
            let asked = call.len();
            let events: Vec<pb::ForeignEvent> = call.into_iter().map(Into::into).collect();
            let answer = self
                .call(group.clone(), |mut stub| {
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
}

pub(super) fn named(url: &str, error: JoinerError) -> JoinerError {
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
    /// Each event goes to who holds its key. Where nobody does, or who does gave no answer, the verdict is "not ready"; an error only when nobody
    /// answered at all.
    async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError> {
        if let Some(alone) = self.alone() {
            return self.join_with(alone, batch).await;
        }
        let routes = self.joiners().routes().await;
        let keys = batch.iter().map(|event| event.key.as_bytes());
        let mut parts = routes.cut(self.joiners.endpoints.all(), keys);
        if parts.len() == 1 && parts[0].1.len() == batch.len() {
            let (group, _) = parts.remove(0);
            return self.join_with(group, batch).await;
        }
        let nobody = |event: &ForeignEvent| routes.nobody(event.key.as_bytes());
        let mut last = JoinerError::Unavailable(batch.first().map(nobody).unwrap_or_default());
        let mut verdicts = vec![JoinVerdict::NotReady; batch.len()];
        let mut events: Vec<Option<ForeignEvent>> = batch.into_iter().map(Some).collect();
        let asked = parts.into_iter().map(|(group, places)| {
            let part = places.iter().filter_map(|at| events[*at].take()).collect();
            async { (places, self.join_with(group, part).await) }
        });
        // What it borrows is given back before the answers are placed.
        let asked: Vec<_> = asked.collect();
        let mut is_answered = verdicts.is_empty();
        for (places, answer) in join_all(asked).await {
            match answer {
                Ok(answers) => {
                    is_answered = true;
                    for (at, verdict) in places.into_iter().zip(answers) {
                        verdicts[at] = verdict;
                    }
                }
                Err(error) => last = error,
            }
        }
        if is_answered { Ok(verdicts) } else { Err(last) }
    }

    /// Listens to every joiner that answers: a key is wanted at whichever was asked. The stream ends when any of them ends, when one that did not
    /// answer does, or when somebody comes to hold a partition, who does not know what is wanted: so that the caller subscribes anew to all.
    async fn wakeups(&self) -> Result<WakeupStream, JoinerError> {
        let mut known = self.joiners().known();
        let gains = known.borrow().gains;
        let all = self.joiners.endpoints.all();
        let listened = join_all(all.iter().map(|at| self.joiners.listen(*at))).await;
        let mut streams: Vec<BoxStream<'static, Option<Vec<JoinKey>>>> = Vec::new();
        let mut absent = Vec::new();
        let mut last = JoinerError::Unavailable("no endpoint".into());
        for (at, stream) in all.into_iter().zip(listened) {
            match stream {
                Ok(stream) => {
                    let keys = stream
                        .map(|item| Some(item.ok()?.keys.into_iter().map(JoinKey::new).collect()));
                    streams.push(keys.chain(stream::once(async { None })).boxed());
                }
                Err(error) => {
                    absent.push(at);
                    last = error;
                }
            }
        }
        if streams.is_empty() {
            return Err(last);
        }
        let gained = async move {
            // The client that would say so may be gone: then nothing changes any more.
            if known.wait_for(|known| known.gains != gains).await.is_err() {
                std::future::pending().await
            }
        };
        let back = self.joiners.clone().one_of(absent);
        let merged = stream::select_all(streams);
        Ok(merged
            .take_while(|item| std::future::ready(item.is_some()))
            .filter_map(std::future::ready)
            .take_until(gained)
            .take_until(Box::pin(back))
            .boxed())
    }

    async fn status(&self) -> Result<JoinerStatus, JoinerError> {
        let status = self
            .call(self.joiners.endpoints.all(), |mut stub| async move {
                stub.status(within_deadline(pb::JoinerStatusRequest {}))
                    .await
            })
            .await?;
        Ok(status.into())
    }
}
