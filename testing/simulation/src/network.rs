//! What lies between processes: calls that are lost, answers that are, and both that take their time. Each process holds ports of its own, so that what a
//! dead or stalled one still has under way gets nowhere.

use crate::life::Life;
use crate::plan::Fault;
use crate::world::{World, world};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use rand::Rng;
use rtf_joiner::JoinerHandle;
use rtf_proto::{
    AcceptedStream, ForeignEvent, JoinVerdict, Joiner, JoinerError, JoinerStatus, Known,
    LookupItem, Offset, Outcomes, PartitionId, Registration, Registry, RegistryError,
    RegistryStatus, SourceId, Verdict, WakeupStream,
};
use rtf_registry::RegistryHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A call that gets no answer is given up after this.
const GIVEN_UP_MS: u64 = 1_000;
/// Between two looks for somebody who could be asked.
const NOBODY: Duration = Duration::from_millis(50);
/// A call or an answer that is slow takes so long at the most, ms.
const SLOW_MS: u64 = 3_000;

/// How one call goes.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    there: Duration,
    back: Duration,
    arrives: bool,
    is_answered: bool,
}

impl Passage {
    /// How the next call goes.
    pub fn draw(world: &World) -> Self {
        world.random(|random| {
            let mut hit = |fault, per_thousand| {
                world.suffers(fault) && random.random_range(0..1000) < per_thousand
            };
            let (arrives, is_answered) = (!hit(Fault::LostCall, 30), !hit(Fault::LostAnswer, 30));
            let (there, back) = (hit(Fault::Slow, 30), hit(Fault::Slow, 30));
            let mut takes = |is_slow| {
                let ms = if is_slow {
                    random.random_range(0..SLOW_MS)
                } else {
                    0
                };
                Duration::from_millis(ms)
            };
            Self {
                there: takes(there),
                back: takes(back),
                arrives,
                is_answered,
            }
        })
    }
}

async fn takes(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Somebody who can be called.
#[derive(Clone)]
pub struct Callee<H> {
    /// What is called.
    pub handle: H,
    /// Whose it is.
    pub life: Arc<Life>,
}

/// Calls somebody; the answer, and whose it is. Words when there is none.
async fn call<H, A>(
    owner: &Life,
    choose: impl Fn(&World) -> Option<Callee<H>>,
    ask: impl FnOnce(H) -> BoxFuture<'static, A>,
) -> Result<(A, Arc<Life>), &'static str> {
    owner.running().await;
    let drawn = world().map(|world| (Passage::draw(&world), choose(&world)));
    let Some((passage, Some(callee))) = drawn else {
        tokio::time::sleep(NOBODY).await;
        return Err("there is nobody");
    };
    takes(passage.there).await;
    if !passage.arrives {
        takes(Duration::from_millis(GIVEN_UP_MS)).await;
        owner.running().await;
        return Err("the call was lost");
    }
    let Callee { handle, life } = callee;
    let answer = life.live_on(ask(handle)).await;
    let answer = answer.map(|answer| (answer, life.clone()));
    let answer = answer.ok_or("the connection broke");
    takes(passage.back).await;
    owner.running().await;
    match passage.is_answered {
        true => answer,
        false => Err("the answer was lost"),
    }
}

/// The registry, as one process reaches it: one replica after the other.
pub struct Registries {
    owner: Arc<Life>,
    turn: Arc<AtomicUsize>,
}

impl Registries {
    /// Those of this process.
    pub fn of(owner: &Arc<Life>) -> Arc<Self> {
        Arc::new(Self {
            owner: owner.clone(),
            turn: Arc::default(),
        })
    }

    async fn ask<A>(
        &self,
        ask: impl FnOnce(RegistryHandle) -> BoxFuture<'static, Result<A, RegistryError>>,
    ) -> Result<A, RegistryError> {
        Ok(self.ask_one(ask).await?.0)
    }

    /// The answer, and whose it is.
    async fn ask_one<A>(
        &self,
        ask: impl FnOnce(RegistryHandle) -> BoxFuture<'static, Result<A, RegistryError>>,
    ) -> Result<(A, Arc<Life>), RegistryError> {
        let turn = self.turn.load(Ordering::Relaxed);
        let answer = call(&self.owner, |world| world.registry(turn), ask).await;
        let answer = match answer {
            Ok((answer, life)) => answer.map(|answer| (answer, life)),
            Err(words) => Err(RegistryError::Unavailable(words.into())),
        };
        if answer.is_err() {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

#[async_trait]
impl Registry for Registries {
    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<Verdict>, RegistryError> {
        let asked = batch.clone();
        let verdicts = self
            .ask(|registry| Box::pin(async move { registry.register(batch).await }))
            .await?;
        if let Some(world) = world() {
            world.judged(&asked, &verdicts);
        }
        Ok(verdicts)
    }

    async fn lookup(&self, batch: Vec<LookupItem>) -> Result<Vec<Option<Known>>, RegistryError> {
        let asked = batch.clone();
        let known = self
            .ask(|registry| Box::pin(async move { registry.lookup(batch).await }))
            .await?;
        if let Some(world) = world() {
            world.looked_up(&asked, &known);
        }
        Ok(known)
    }

    async fn progress(&self, marks: Vec<(SourceId, Offset)>) -> Result<(), RegistryError> {
        self.ask(|registry| Box::pin(async move { registry.progress(marks).await }))
            .await
    }

    async fn tail(
        &self,
        partition: PartitionId,
        from: Offset,
        outcomes: Outcomes,
    ) -> Result<AcceptedStream, RegistryError> {
        let (stream, life) = self
            .ask_one(move |registry| {
                Box::pin(async move { registry.tail(partition, from, outcomes).await })
            })
            .await?;
        let owner = self.owner.clone();
        Ok(stream::unfold(Some((stream, life, owner)), |open| async {
            let (mut stream, life, owner) = open?;
            let batch = life.live_on(stream.next()).await.flatten();
            owner.running().await;
            match batch {
                Some(batch) => Some((batch, Some((stream, life, owner)))),
                None => {
                    let words = "the connection broke".into();
                    Some((Err(RegistryError::Unavailable(words)), None))
                }
            }
        })
        .boxed())
    }

    async fn status(&self) -> Result<RegistryStatus, RegistryError> {
        self.ask(|registry| Box::pin(async move { registry.status().await }))
            .await
    }
}

/// The joiners, as one process reaches them: any of them.
pub struct Joiners {
    owner: Arc<Life>,
    turn: AtomicUsize,
}

impl Joiners {
    /// Those of this process.
    pub fn of(owner: &Arc<Life>) -> Arc<Self> {
        Arc::new(Self {
            owner: owner.clone(),
            turn: AtomicUsize::default(),
        })
    }

    async fn ask<A>(
        &self,
        ask: impl FnOnce(JoinerHandle) -> BoxFuture<'static, Result<A, JoinerError>>,
    ) -> Result<(A, Arc<Life>), JoinerError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let answer = call(&self.owner, |world| world.joiner(turn), ask).await;
        match answer {
            Ok((answer, life)) => answer.map(|answer| (answer, life)),
            Err(words) => Err(JoinerError::Unavailable(words.into())),
        }
    }
}

#[async_trait]
impl Joiner for Joiners {
    async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError> {
        let asked = batch.clone();
        let (verdicts, life) = self
            .ask(|joiner| Box::pin(async move { joiner.join(batch).await }))
            .await?;
        if let Some(world) = world() {
            world.joined(life.began_ms, &asked, &verdicts);
        }
        Ok(verdicts)
    }

    /// Those of all joiners, until one of them is gone.
    async fn wakeups(&self) -> Result<WakeupStream, JoinerError> {
        self.owner.running().await;
        let callees = world().map_or_else(Vec::new, |world| world.joiners());
        if callees.is_empty() {
            tokio::time::sleep(NOBODY).await;
            return Err(JoinerError::Unavailable("there is nobody".into()));
        }
        let mut streams = Vec::new();
        for Callee { handle, life } in callees {
            let keys = handle.wakeups().await?;
            let ended = async move { life.ended().await };
            streams.push(
                keys.take_until(Box::pin(ended))
                    .map(Some)
                    .chain(stream::iter([None])),
            );
        }
        let owner = self.owner.clone();
        let arrives = move |_: &Vec<_>| {
            let is_lost = world().is_some_and(|world| {
                world.suffers(Fault::LostWakeUp) && world.random(|random| random.random())
            });
            let owner = owner.clone();
            async move {
                owner.running().await;
                !is_lost
            }
        };
        let all = stream::select_all(streams.into_iter().map(StreamExt::boxed));
        let until_one_ends = all.take_while(|keys| std::future::ready(keys.is_some()));
        let keys = until_one_ends.filter_map(std::future::ready);
        Ok(keys.filter(arrives).boxed())
    }

    async fn status(&self) -> Result<JoinerStatus, JoinerError> {
        let asked = self.ask(|joiner| Box::pin(async move { joiner.status().await }));
        Ok(asked.await?.0)
    }
}
