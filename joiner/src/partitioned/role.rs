//! A partitioned joiner's life: made, run, stopped.

use super::crew::Crew;
use super::handle::PartitionedHandle;
use super::parts::Parts;
use crate::event::EventReader;
use crate::role::{OnReadiness, Readiness, STOP_WITHIN, thread};
use crate::{Group, JoinerFailure, Options, housekeeping};
use rtf_kafka::Settings;
use rtf_proto::Registry;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A joiner that is to hold a share of the primary topic's partitions, and is not yet running.
pub struct PartitionedRole {
    options: Options,
    group: Group,
    settings: Settings,
    parts: Arc<Parts>,
}

impl PartitionedRole {
    /// Checks the options; Kafka is not asked yet.
    ///
    /// # Errors
    /// A JSON pointer that is none.
    pub fn open(
        options: Options,
        group: Group,
        settings: &Settings,
        registry: Arc<dyn Registry>,
    ) -> Result<Self, JoinerFailure> {
        EventReader::new(&options)?;
        Ok(Self {
            parts: Arc::new(Parts::new(&options, registry)),
            settings: settings.clone(),
            group,
            options,
        })
    }

    /// What other roles call; it answers "not ready" for all keys whose partition it does not hold, or has not read to its end.
    pub fn handle(&self) -> PartitionedHandle {
        PartitionedHandle(self.parts.clone())
    }

    /// Holds what its group gives it until `shutdown`. A Kafka that does not answer is waited for; `on_readiness` hears what is going on.
    ///
    /// # Errors
    /// No such topic, a topic that was made anew or is not cut by its keys, more events than fit. Each says what to do.
    pub async fn run(
        self,
        on_readiness: impl Fn(Readiness) + Send + Sync + 'static,
        shutdown: CancellationToken,
    ) -> Result<(), JoinerFailure> {
        let Self {
            options,
            group,
            settings,
            parts,
        } = self;
        let on_readiness: OnReadiness = Arc::new(on_readiness);
        on_readiness(Readiness::NotReady(format!(
            "asking for topic `{}`",
            options.topic
        )));
        let (found, topic) = oneshot::channel();
        let crew = Crew::new(
            &options,
            &group,
            &settings,
            parts.clone(),
            on_readiness.clone(),
        );
        let mut crew = thread("joiner group", move || {
            // The housekeeper may be gone already.
            crew.run(|info| {
                let _ = found.send(info);
            })
        });
        let keeping = parts.clone();
        let mut keeper = thread("joiner housekeeping", move || match topic.blocking_recv() {
            Ok(info) => housekeeping::keep(
                &options.topic,
                &settings,
                info,
                &keeping.stop,
                || keeping.held(),
                |now| keeping.check_partitions(now),
            ),
            Err(_) => Ok(()),
        });
        let failed = tokio::select! {
            ended = &mut crew => match ended {
                // It ends well only when it was told to.
                Ok(()) => return Ok(()),
                Err(failure) => Some(failure),
            },
            Err(failure) = &mut keeper => Some(failure),
            () = shutdown.cancelled() => None,
        };
        parts.stop.cancel();
        if let Some(failure) = failed {
            on_readiness(Readiness::NotReady(failure.to_string()));
            return Err(failure);
        }
        on_readiness(Readiness::NotReady("stopping".into()));
        let both = async { tokio::join!(crew, keeper) };
        if tokio::time::timeout(STOP_WITHIN, both).await.is_err() {
            tracing::debug!("a thread of the joiner still waits for Kafka and is left behind");
        }
        Ok(())
    }
}
