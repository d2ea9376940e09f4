//! What other roles hold of a partitioned joiner, behind the [`Joiner`] port.

use super::parts::Parts;
use crate::handle::count;
use async_trait::async_trait;
use futures::StreamExt;
use rtf_proto::{ForeignEvent, JoinVerdict, Joiner, JoinerError, JoinerStatus, WakeupStream};
use std::sync::Arc;
use tokio_stream::wrappers::BroadcastStream;

/// A joiner that holds some of the primary topic's partitions, as its callers see it; cheap to clone.
#[derive(Clone)]
pub struct PartitionedHandle(pub(crate) Arc<Parts>);

#[async_trait]
impl Joiner for PartitionedHandle {
    /// The work goes on when the caller goes away (RULE 24).
    async fn join(&self, batch: Vec<ForeignEvent>) -> Result<Vec<JoinVerdict>, JoinerError> {
        let parts = self.0.clone();
        let room = parts.room.clone();
        let place = room.try_acquire_owned().map_err(|_| JoinerError::Busy)?;
        let work = async move {
            let _place = place;
            parts.join(batch).await.inspect(|verdicts| count(verdicts))
        };
        tokio::spawn(work)
            .await
            .unwrap_or_else(|cut| Err(JoinerError::Unavailable(cut.to_string())))
    }

    async fn wakeups(&self) -> Result<WakeupStream, JoinerError> {
        let stop = self.0.stop.clone();
        Ok(BroadcastStream::new(self.0.wakeups.subscribe())
            // A listener that was too slow has missed some, which is allowed.
            .filter_map(|keys| std::future::ready(keys.ok()))
            .map(|keys| Vec::clone(&keys))
            .take_until(stop.cancelled_owned())
            .boxed())
    }

    async fn status(&self) -> Result<JoinerStatus, JoinerError> {
        Ok(self.0.status())
    }
}
