//! The role: one worker per partition, and an eye on the registry. Knows no particular sink.

use crate::Options;
use crate::back_off::BackOff;
use crate::board::{Board, PublisherHandle};
use crate::sink::Sink;
use crate::worker::Worker;
use rtf_proto::{Registry, RegistryStatus};
use rtf_service::Component;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The registry is asked how it is this often.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A registry that does not say how it is within this counts as away.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// What the workers have in common.
pub(crate) struct Shared {
    pub options: Options,
    pub registry: Arc<dyn Registry>,
    pub sink: Arc<dyn Sink>,
    pub board: Arc<Board>,
    /// What the registry last said of itself.
    pub status: watch::Receiver<RegistryStatus>,
    /// Somebody waits for what it says next.
    pub is_asked_for: Notify,
}

/// Carries accepted rows into a sink.
pub struct Publisher {
    options: Options,
    registry: Arc<dyn Registry>,
    sink: Arc<dyn Sink>,
    board: Arc<Board>,
}

impl Publisher {
    /// A publisher that has not begun; `readiness` is ready when every partition is carried.
    pub fn new(
        options: Options,
        registry: Arc<dyn Registry>,
        sink: Arc<dyn Sink>,
        readiness: Component,
    ) -> Self {
        Self {
            board: Arc::new(Board::new(readiness, &options.content)),
            options,
            registry,
            sink,
        }
    }

    /// A view of it.
    pub fn handle(&self) -> PublisherHandle {
        PublisherHandle(self.board.clone())
    }

    /// Publishes until told to stop. There is nothing that it gives up on: whatever is away may come back.
    pub async fn run(self, shutdown: CancellationToken) {
        let Some(status) = shutdown.run_until_cancelled(self.first_status()).await else {
            return;
        };
        let (watched, status) = watch::channel(status);
        let shared = Arc::new(Shared {
            options: self.options.clone(),
            registry: self.registry.clone(),
            sink: self.sink.clone(),
            board: self.board.clone(),
            status,
            is_asked_for: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let mut carried = 0;
        loop {
            // More after a split. A replica that lags behind may say fewer.
            let partitions = shared.status.borrow().partitions;
            self.board.open(partitions);
            for partition in carried..partitions {
                let worker = Worker::new(shared.clone(), partition);
                tasks.spawn(worker.run(shutdown.clone()));
            }
            carried = carried.max(partitions);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.look(&watched, carried, &shared.is_asked_for) => {}
                // A worker that panicked is a bug, and must not look like an orderly end.
                Some(Err(error)) = tasks.join_next() => std::panic::resume_unwind(error.into_panic()),
            }
        }
        tasks.join_all().await;
    }

    async fn first_status(&self) -> RegistryStatus {
        let mut back_off = BackOff::default();
        loop {
            match self.ask().await {
                Ok(status) => return status,
                Err(words) => self.board.no_log(&words),
            }
            tokio::time::sleep(back_off.next_wait()).await;
        }
    }

    /// After a moment, or when a worker wants to know, hears from the registry how it is, and tells the sink how many partitions there are.
    async fn look(
        &self,
        watched: &watch::Sender<RegistryStatus>,
        carried: u32,
        is_asked_for: &Notify,
    ) {
        let _ = tokio::time::timeout(STATUS_EVERY, is_asked_for.notified()).await;
        // As many as the log began with are configured.
        let is_split = carried > watched.borrow().roots;
        if is_split && let Err(error) = self.sink.announce(carried).await {
            tracing::debug!(%error, "the sink does not hear how many partitions there are");
        }
        match self.ask().await {
            Ok(status) => {
                self.board.registry_is(&status);
                watched.send_replace(status);
            }
            // The tails tell for themselves when rows cannot come.
            Err(words) => tracing::debug!(words, "the registry does not say how it is"),
        }
    }

    async fn ask(&self) -> Result<RegistryStatus, String> {
        match tokio::time::timeout(STATUS_WITHIN, self.registry.status()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no status within {STATUS_WITHIN:?}")),
        }
    }
}
