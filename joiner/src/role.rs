//! A joiner's life: made, run, stopped.

use crate::event::EventReader;
use crate::handle::{JoinerHandle, Shared};
use crate::tail::Loader;
use crate::{JoinerFailure, Options, housekeeping};
use futures::FutureExt;
use futures::future::BoxFuture;
use rtf_kafka::Settings;
use rtf_proto::Registry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A stopping joiner waits so long for its threads; one that waits for Kafka's answer is left behind.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Whether a joiner answers, and if not, why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Its event store has caught up.
    Ready,
    /// In words.
    NotReady(String),
}

/// Hears of every change, on any thread.
pub(crate) type OnReadiness = Arc<dyn Fn(Readiness) + Send + Sync>;

/// A joiner that is not yet running.
pub struct JoinerRole {
    options: Options,
    settings: Settings,
    reader: EventReader,
    shared: Arc<Shared>,
}

impl JoinerRole {
    /// Checks the options; Kafka is not asked yet.
    ///
    /// # Errors
    /// A JSON pointer that is none.
    pub fn open(
        options: Options,
        settings: &Settings,
        registry: Arc<dyn Registry>,
    ) -> Result<Self, JoinerFailure> {
        Ok(Self {
            reader: EventReader::new(&options)?,
            shared: Arc::new(Shared::new(&options, registry)),
            settings: settings.clone(),
            options,
        })
    }

    /// What other roles call; until the joiner runs and has caught up it answers "not ready".
    pub fn handle(&self) -> JoinerHandle {
        JoinerHandle(self.shared.clone())
    }

    /// Reads the primary topic until `shutdown`. A Kafka that does not answer is waited for; `on_readiness` hears what is
    /// going on.
    ///
    /// Joins under way go on when it stops; their callers wait for them, or not.
    ///
    /// # Errors
    /// No such topic, a topic that was made anew, an event store that is full. Each says what to do.
    pub async fn run(
        self,
        on_readiness: impl Fn(Readiness) + Send + Sync + 'static,
        shutdown: CancellationToken,
    ) -> Result<(), JoinerFailure> {
        let Self {
            options,
            settings,
            reader,
            shared,
        } = self;
        let on_readiness: OnReadiness = Arc::new(on_readiness);
        on_readiness(Readiness::NotReady(format!(
            "asking for topic `{}`",
            options.topic
        )));
        let (found, topic) = oneshot::channel();
        let loader = Loader::new(
            &options,
            &settings,
            reader,
            shared.clone(),
            on_readiness.clone(),
        );
        let mut tail = thread("primary tail", move || {
            // The housekeeper may be gone already.
            loader.run(|info| {
                let _ = found.send(info);
            })
        });
        let keeping = shared.clone();
        let mut keeper = thread("joiner housekeeping", move || match topic.blocking_recv() {
            Ok(info) => housekeeping::keep(
                &options.topic,
                &settings,
                info,
                &keeping.stop,
                || vec![keeping.clone()],
                |now| {
                    keeping.partitions.fetch_max(now, Ordering::Relaxed);
                },
            ),
            Err(_) => Ok(()),
        });
        let failed = tokio::select! {
            ended = &mut tail => match ended {
                // It ends well only when it was told to.
                Ok(()) => return Ok(()),
                Err(failure) => Some(failure),
            },
            Err(failure) = &mut keeper => Some(failure),
            () = shutdown.cancelled() => None,
        };
        shared.stop.cancel();
        if let Some(failure) = failed {
            on_readiness(Readiness::NotReady(failure.to_string()));
            return Err(failure);
        }
        on_readiness(Readiness::NotReady("stopping".into()));
        let both = async { tokio::join!(tail, keeper) };
        if tokio::time::timeout(STOP_WITHIN, both).await.is_err() {
            tracing::debug!("a thread of the joiner still waits for Kafka and is left behind");
        }
        Ok(())
    }
}

#[cfg(feature = "simulation")]
impl JoinerRole {
    /// As [`run`](Self::run), in one task. What it is dropped with is as lost as after `kill -9`.
    ///
    /// # Errors
    /// As there.
    pub async fn run_simulated(self) -> Result<(), JoinerFailure> {
        let on_readiness: OnReadiness = Arc::new(|_| {});
        let shared = self.shared.clone();
        let _stops = shared.stop.clone().drop_guard();
        let loader = Loader::new(
            &self.options,
            &self.settings,
            self.reader,
            shared,
            on_readiness,
        );
        loader.run_simulated().await
    }
}

/// An OS thread of its own, awaitable. Nobody is kept waiting for one that does not end.
pub(crate) fn thread(
    name: &'static str,
    work: impl FnOnce() -> Result<(), JoinerFailure> + Send + 'static,
) -> BoxFuture<'static, Result<(), JoinerFailure>> {
    let (done, ended) = oneshot::channel();
    let failed = move |words: String| JoinerFailure::Thread {
        thread: name,
        words,
    };
    let started = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || drop(done.send(work())));
    async move {
        started.map_err(|error| failed(error.to_string()))?;
        ended
            .await
            .unwrap_or_else(|_| Err(failed("it panicked".into())))
    }
    .boxed()
}
