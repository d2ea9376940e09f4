//! Several tasks that live and end together: the first that fails ends all, and its name is in the error.

use anyhow::Context;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// After a stop was asked for, tasks have so long unless told otherwise.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Named tasks under one shutdown token.
pub struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    /// Of those that run.
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
    stop_within: Duration,
}

impl Supervisor {
    /// No tasks yet.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            shutdown,
            stop_within: STOP_WITHIN,
        }
    }

    /// Bounds the time that tasks have to stop, instead of 20 seconds.
    #[must_use]
    pub fn stop_within(self, stop_within: Duration) -> Self {
        Self {
            stop_within,
            ..self
        }
    }

    /// The token the tasks listen to.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task. Ending without an error before a stop was asked for counts as a failure.
    pub fn spawn<E>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let handle = self.tasks.spawn(async move {
            match task.await {
                Ok(()) if !shutdown.is_cancelled() => Err(anyhow::anyhow!("ended unexpectedly")),
                other => other.map_err(Into::into),
            }
        });
        self.names.insert(handle.id(), name);
    }

    /// Waits until all have ended, after the first failure or the stop within a bound.
    ///
    /// # Errors
    /// The first failure or panic, with the task's name; or the tasks that did not stop in time, by name.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let first = tokio::select! {
            first = self.next() => first,
            () = shutdown.cancelled() => Ok(()),
        };
        self.shutdown.cancel();
        let mut result = first;
        let stopped = tokio::time::timeout(self.stop_within, self.drain(&mut result)).await;
        if stopped.is_err() {
            keep_first(&mut result, self.stuck());
        }
        result
    }

    async fn drain(&mut self, result: &mut anyhow::Result<()>) {
        while !self.tasks.is_empty() {
            if let Err(error) = self.next().await {
                keep_first(result, error);
            }
        }
    }

    fn stuck(&self) -> anyhow::Error {
        let mut names: Vec<_> = self.names.values().copied().collect();
        names.sort_unstable();
        anyhow::anyhow!(
            "did not stop within {:?}: {}",
            self.stop_within,
            names.join(", ")
        )
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return Ok(());
        };
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(panic) => (panic.id(), Err(anyhow::Error::new(panic))),
        };
        let name = self.names.remove(&id).unwrap_or("a task");
        result.context(name)
    }
}

/// What fails after the first failure is mostly its consequence: told here, not returned.
fn keep_first(result: &mut anyhow::Result<()>, error: anyhow::Error) {
    if result.is_ok() {
        *result = Err(error);
    } else {
        tracing::error!("while stopping: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_ends_all_and_is_named() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        let stop = supervisor.shutdown();
        supervisor.spawn("steady", async move {
            stop.cancelled().await;
            Ok::<(), anyhow::Error>(())
        });
        supervisor.spawn("weak", async { Err(anyhow::anyhow!("no disk")) });
        let error = format!("{:#}", supervisor.run().await.unwrap_err());
        assert_eq!(error, "weak: no disk");
    }

    #[tokio::test]
    async fn a_stop_that_was_asked_for_is_no_failure() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        let stop = shutdown.clone();
        supervisor.spawn("steady", async move {
            stop.cancelled().await;
            Ok::<(), anyhow::Error>(())
        });
        shutdown.cancel();
        supervisor.run().await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_named() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("shaky", async { no_way() });
        let error = format!("{:#}", supervisor.run().await.unwrap_err());
        assert!(
            error.starts_with("shaky: ") && error.contains("no way"),
            "{error}"
        );
    }

    fn no_way() -> anyhow::Result<()> {
        panic!("no way")
    }

    #[tokio::test]
    async fn an_early_end_is_a_failure() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("short", async { anyhow::Ok(()) });
        let error = format!("{:#}", supervisor.run().await.unwrap_err());
        assert_eq!(error, "short: ended unexpectedly");
    }

    #[tokio::test]
    async fn what_does_not_stop_is_named_and_not_waited_for_longer() {
        let mut supervisor =
            Supervisor::new(CancellationToken::new()).stop_within(Duration::from_millis(50));
        supervisor.spawn("stubborn", std::future::pending::<anyhow::Result<()>>());
        supervisor.spawn("deaf", std::future::pending::<anyhow::Result<()>>());
        supervisor.shutdown().cancel();
        let error = supervisor.run().await.unwrap_err().to_string();
        assert!(error.contains("deaf, stubborn"), "{error}");
    }

    #[tokio::test]
    async fn the_first_failure_is_not_hidden_by_what_does_not_stop() {
        let mut supervisor =
            Supervisor::new(CancellationToken::new()).stop_within(Duration::from_millis(50));
        supervisor.spawn("stubborn", std::future::pending::<anyhow::Result<()>>());
        supervisor.spawn("weak", async { Err(anyhow::anyhow!("no disk")) });
        let error = format!("{:#}", supervisor.run().await.unwrap_err());
        assert_eq!(error, "weak: no disk");
    }
}
