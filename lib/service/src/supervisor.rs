//! Several tasks that live and end together: the first that fails ends all, and its name is in the error.

use anyhow::Context;
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After a stop was asked for, tasks have so long.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Named tasks under one shutdown token.
pub struct Supervisor {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    shutdown: CancellationToken,
}

impl Supervisor {
    /// No tasks yet.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            shutdown,
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
        self.tasks.spawn(async move {
            let result = match task.await {
                Ok(()) if !shutdown.is_cancelled() => Err(anyhow::anyhow!("ended unexpectedly")),
                other => other.map_err(Into::into),
            };
            (name, result)
        });
    }

    /// Waits until all have ended, after the first failure or the stop within a bound.
    ///
    /// # Errors
    /// The first failure, with the task's name; or a task that did not stop in time.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let first = tokio::select! {
            first = self.next() => first,
            () = shutdown.cancelled() => Ok(()),
        };
        self.shutdown.cancel();
        let drained = tokio::time::timeout(STOP_WITHIN, async {
            let mut result = Ok(());
            while !self.tasks.is_empty() {
                let ended = self.next().await;
                result = result.and(ended);
            }
            result
        });
        let rest = drained.await.unwrap_or_else(|_| {
            Err(anyhow::anyhow!(
                "not everything stopped within {STOP_WITHIN:?}"
            ))
        });
        first.and(rest)
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        match self.tasks.join_next().await {
            Some(Ok((name, result))) => result.context(name),
            Some(Err(panic)) => Err(anyhow::Error::new(panic).context("a task panicked")),
            None => Ok(()),
        }
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
}
