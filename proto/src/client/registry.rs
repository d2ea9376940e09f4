//! The [`Registry`] port over gRPC.

use super::directory::merged;
use super::registries::Registries;
use super::{CALL_DEADLINE, Directory, Endpoints, Group, calls};
use crate::pb::registry_client::RegistryClient as Stub;
use crate::{
    AcceptedBatch, AcceptedStream, Known, LookupItem, Offset, Outcomes, PartitionId, Registration,
    Registry, RegistryError, RegistryStatus, SourceId, Verdict, convert, pb,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join_all;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// How several registries are is said within this.
const STATUS_WITHIN: Duration = Duration::from_secs(2);
/// When each partition's registry has said how it is, the others are given this.
const STRAGGLERS_WITHIN: Duration = Duration::from_millis(200);

/// A registry in another process, or several of them, which serve all of the log or a part each.
#[derive(Debug)]
pub struct RegistryClient {
    registries: Arc<Registries>,
}

/// A part of a batch, for those who serve it.
struct Part<Q> {
    who: Result<Group, RegistryError>,
    /// Where each question stood in the batch.
    places: Vec<usize>,
    questions: Vec<Q>,
}

impl RegistryClient {
    /// Asks these endpoints: one at a time for the same thing.
    pub fn new(endpoints: Endpoints) -> Self {
        Self {
            registries: Arc::new(Registries::new(endpoints)),
        }
    }

    /// Asks all endpoints whether every partition of the log is served by one of them.
    ///
    /// # Errors
    /// A partition is not, or no endpoint has ever answered; says who serves what.
    pub async fn check_served(&self) -> Result<(), RegistryError> {
        self.registries.fresh_directory().await.check()
    }

    /// The only endpoint there is: it answers for itself what it serves.
    fn alone(&self) -> Option<Group> {
        (self.registries.endpoints().count() == 1).then(|| vec![0])
    }

    /// Makes one call, on the next endpoint of the group when one is unavailable. Also says which one answered.
    async fn call<T, F>(
        &self,
        group: Group,
        make: impl Fn(Stub<Channel>) -> F,
    ) -> Result<(usize, T), RegistryError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = RegistryError::Unavailable("no endpoint".into());
        for at in self.registries.endpoints().in_order(group) {
            let (url, stub) = self.registries.stub(at);
            match make(stub).await {
                Ok(response) => return Ok((at, response.into_inner())),
                Err(status) => last = named(url, status.into()),
            }
            if !last.is_retriable() {
                return Err(last);
            }
            self.registries.failed(at);
        }
        Err(last)
    }

    /// Those who serve a partition.
    async fn who(&self, partition: PartitionId) -> Result<Group, RegistryError> {
        if let Some(alone) = self.alone() {
            return Ok(alone);
        }
        let enough = |known: &Directory| known.who(partition).is_ok();
        let directory = self.registries.directory(enough).await;
        directory.who(partition)
    }

    /// Cuts a batch by who serves its ids: into one part when all serve everything.
    async fn parts<Q>(&self, batch: Vec<Q>, id: fn(&Q) -> &[u8]) -> Vec<Part<Q>> {
        let whole = |group, questions| {
            vec![Part {
                who: Ok(group),
                places: Vec::new(),
                questions,
            }]
        };
        if let Some(alone) = self.alone() {
            return whole(alone, batch);
        }
        let is_served = |known: &Directory, question| {
            let partition = known.partition_of(id(question));
            known.who(partition).is_ok()
        };
        let enough = |known: &Directory| {
            known.is_complete() || batch.iter().all(|question| is_served(known, question))
        };
        let directory = self.registries.directory(enough).await;
        if let Some(group) = directory.only_group() {
            return whole(group.clone(), batch);
        }
        let mut questions: Vec<Option<Q>> = Vec::with_capacity(batch.len());
        let parts = directory.split(batch.iter().map(id));
        questions.extend(batch.into_iter().map(Some));
        let part = |(partition, places): (PartitionId, Vec<usize>)| Part {
            who: directory.who(partition),
            questions: places
                .iter()
                .filter_map(|at| questions[*at].take())
                .collect(),
            places,
        };
        parts.into_iter().map(part).collect()
    }

    async fn register_with(
        &self,
        group: Group,
        batch: Vec<Registration>,
    ) -> Result<Vec<Verdict>, RegistryError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for call in calls(batch, |item| item.body.len()) {
            let asked = call.len();
            let items: Vec<pb::Registration> = call.into_iter().map(Into::into).collect();
            let (_, answer) = self
                .call(group.clone(), |mut stub| {
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

    async fn lookup_with(
        &self,
        group: Group,
        batch: Vec<LookupItem>,
    ) -> Result<Vec<Option<Known>>, RegistryError> {
        let mut found = Vec::with_capacity(batch.len());
        for call in calls(batch, |item| item.id.as_bytes().len()) {
            let asked = call.len();
            let items: Vec<pb::LookupItem> = call.into_iter().map(Into::into).collect();
            let (_, answer) = self
                .call(group.clone(), |mut stub| {
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

    /// Hands marks to one of the group; says which one took them.
    async fn progress_with(
        &self,
        group: Group,
        marks: &[pb::Mark],
    ) -> Result<usize, RegistryError> {
        let taken = self.call(group, |mut stub| {
            let request = within_deadline(pb::ProgressRequest {
                marks: marks.to_vec(),
            });
            async move { stub.progress(request).await }
        });
        Ok(taken.await?.0)
    }

    async fn status_of(&self, group: Group) -> Result<RegistryStatus, RegistryError> {
        let (_, status) = self
            .call(group, |mut stub| async move {
                stub.status(within_deadline(pb::RegistryStatusRequest {}))
                    .await
            })
            .await?;
        RegistryStatus::try_from(status).map_err(unreadable)
    }

    /// What registries that serve a part each say together. One that is frozen is not waited for when others serve what it does.
    async fn merged_status(&self, directory: &Directory) -> Result<RegistryStatus, RegistryError> {
        let mut questions = self.registries.questions();
        let mut missing: Vec<PartitionId> = directory.roots().collect();
        let mut heard = Vec::new();
        let mut deadline = Instant::now() + STATUS_WITHIN;
        while let Ok(Some((at, answer))) = tokio::time::timeout_at(deadline, questions.next()).await
        {
            self.registries.learn(at, &answer);
            let Ok(status) = answer else { continue };
            missing.retain(|partition| !directory.serves(at, *partition));
            heard.push(status);
            if missing.is_empty() {
                deadline = deadline.min(Instant::now() + STRAGGLERS_WITHIN);
            }
        }
        let nobody = || RegistryError::Unavailable("no registry answers".into());
        merged(heard).ok_or_else(nobody)
    }
}

/// What came of a part: where its questions stood, and the answers.
type Answered<A> = (Vec<usize>, Result<Vec<A>, RegistryError>);

/// Asks for each part those who serve it, all at once.
async fn together<Q, A, F>(
    parts: Vec<Part<Q>>,
    ask: impl Fn(Group, Vec<Q>) -> F,
) -> Vec<Answered<A>>
where
    F: Future<Output = Result<Vec<A>, RegistryError>>,
{
    let asked = parts.into_iter().map(|part| {
        let answers = part.who.map(|group| ask(group, part.questions));
        let answers = async move { answers?.await };
        async move { (part.places, answers.await) }
    });
    join_all(asked).await
}

/// Puts the answers where the questions were. An error for all if there is one for a part.
fn placed<A>(answered: Vec<Answered<A>>) -> Result<Vec<A>, RegistryError> {
    let mut parts = Vec::with_capacity(answered.len());
    for (places, answers) in answered {
        parts.push((places, answers?));
    }
    if let [(places, answers)] = parts.as_mut_slice()
        && places.is_empty()
    {
        return Ok(std::mem::take(answers));
    }
    let mut placed: Vec<(usize, A)> = (parts.into_iter())
        .flat_map(|(places, answers)| places.into_iter().zip(answers))
        .collect();
    placed.sort_unstable_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, answer)| answer).collect())
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

pub(super) fn unreadable(bad: convert::BadMessage) -> RegistryError {
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
    /// An error for all if there is one for a part: what the others did is known to the log, and found there by the next try.
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        let parts = self.parts(batch, |item| item.id.as_bytes()).await;
        placed(together(parts, |group, part| self.register_with(group, part)).await)
    }

    /// Of a part that nobody serves nothing is known, as long as there is an answer for another: a miss proves nothing, and the others need not wait for it.
    async fn lookup(&self, batch: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        let parts = self.parts(batch, |item| item.id.as_bytes()).await;
        let mut answered = together(parts, |group, part| self.lookup_with(group, part)).await;
        if answered.iter().any(|(_, answers)| answers.is_ok()) {
            for (places, answers) in &mut answered {
                if let Err(RegistryError::Unavailable(_)) = answers {
                    *answers = Ok(vec![None; places.len()]);
                }
            }
        }
        placed(answered)
    }

    async fn progress(&self, marks: Vec<(SourceId, Offset)>) -> Result<(), RegistryError> {
        let marks: Vec<pb::Mark> = marks.into_iter().map(Into::into).collect();
        if let Some(alone) = self.alone() {
            self.progress_with(alone, &marks).await?;
            return Ok(());
        }
        let directory = self.registries.directory(Directory::is_complete).await;
        let mut result = directory.check();
        let mut reached: Vec<usize> = Vec::new();
        for partition in directory.roots() {
            if reached.iter().any(|at| directory.serves(*at, partition)) {
                continue;
            }
            // Those that can be told are, though another partition's cannot.
            let Ok(group) = directory.who(partition) else {
                continue;
            };
            match self.progress_with(group, &marks).await {
                Ok(at) => reached.push(at),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    async fn tail(
        &self,
        partition: PartitionId,
        from: Offset,
        outcomes: Outcomes,
    ) -> Result<AcceptedStream, RegistryError> {
        // No deadline: the stream lives as long as its reader; HTTP/2 keep-alive notices a dead peer.
        let request = pb::TailRequest {
            partition,
            from,
            not_joined: outcomes == Outcomes::NotJoined,
        };
        let group = self.who(partition).await?;
        let (_, stream) = self
            .call(group, |mut stub| async move { stub.tail(request).await })
            .await?;
        Ok(stream
            .map(|item| match item {
                Ok(batch) => AcceptedBatch::try_from(batch).map_err(unreadable),
                Err(status) => Err(status.into()),
            })
            .boxed())
    }

    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        if let Some(alone) = self.alone() {
            return self.status_of(alone).await;
        }
        let directory = self.registries.directory(Directory::is_complete).await;
        match directory.only_group() {
            Some(group) => self.status_of(group.clone()).await,
            None => self.merged_status(&directory).await,
        }
    }
}
