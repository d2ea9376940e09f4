//! A split: what an operator's wish sets off. Each step is repeated until the log shows that it was done, by whichever replica runs: whoever dies between two
//! of them is not missed (docs/adr/0008).
//!
//! ```text
//! Split(8) in partition 0 ─▶ the topic gets 8 partitions ─▶ Epoch(8) in each of 0..4 ─▶ Born in each of 4..8
//! ```

use crate::handle::{RegistryHandle, Shared};
use crate::lineage::Lineage;
use rtf_kafka::{Cluster, KafkaError, TopicInfo};
use rtf_proto::RegistryError;
use rtf_proto::control::Control;
use rtf_service::crash;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinError;

/// More than Kafka and memory bear well; a slip of a finger should not get there.
pub const MOST: u32 = 4096;
/// An operator's wish comes back through the log within this, or nothing is known of it.
const WISHED_WITHIN: Duration = Duration::from_secs(15);
/// All of it is done within this, or goes on by itself.
const DONE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An append may be lost: the wish is appended again after this.
const WISH_EVERY: Duration = Duration::from_secs(3);

/// Does the next steps of a split that stands in the log, if there is one. Blocking.
pub fn advance(shared: &Shared, cluster: &Cluster) {
    if !shared.is_ready() {
        return;
    }
    for lane in shared.lanes.all() {
        if lane.remembered.read().lineage.unborn().is_some() {
            shared.announce(lane.partition);
        }
    }
    let lineage = shared.lineage();
    // Partition 0 may be the first to get there.
    let wanted = lineage.wanted().unwrap_or(lineage.count());
    let lanes = shared.lanes.all().into_iter();
    let behind: Vec<_> = lanes
        .filter(|lane| lane.remembered.read().lineage.accepts(wanted))
        .collect();
    if behind.is_empty() {
        return;
    }
    if !shared.settings.topics_are_fixed()
        && let Err(error) = cluster.raise_partitions(&shared.topic, wanted)
    {
        tracing::warn!(%error, wanted, "the split of the join log waits for its partitions");
        return;
    }
    for lane in behind {
        crash::point("registry-between-epochs");
        let epoch = Control::Epoch { partitions: wanted };
        shared.writer.append_control(lane.partition, epoch);
    }
}

/// Whether every partition this replica follows has come that far.
fn is_done(shared: &Shared, partitions: u32) -> bool {
    let lanes = shared.lanes.all();
    lanes.iter().all(|lane| {
        let remembered = lane.remembered.read();
        let lineage = &remembered.lineage;
        lineage.count() >= partitions && lineage.unborn().is_none()
    })
}

/// Why a wish cannot be.
fn check(lineage: &Lineage, partitions: u32) -> Result<(), RegistryError> {
    let refused = |words: String| Err(RegistryError::Refused(words));
    let count = lineage.count();
    if partitions > MOST {
        return refused(format!("{partitions} partitions are more than {MOST}"));
    }
    if partitions < count {
        return refused(format!(
            "the log has {count} partitions already, and cannot have fewer"
        ));
    }
    if !partitions.is_multiple_of(count.max(1)) {
        let (below, above) = (
            count * (partitions / count),
            count * (partitions / count + 1),
        );
        return refused(format!(
            "{partitions} is not a multiple of the {count} partitions there are: {below} or {above} would be"
        ));
    }
    match lineage.wanted() {
        Some(wanted)
            if !partitions.is_multiple_of(wanted) && !wanted.is_multiple_of(partitions) =>
        {
            refused(format!(
                "a split to {wanted} partitions is under way; only a multiple of it can follow"
            ))
        }
        _ => Ok(()),
    }
}

/// The embedded broker's topics cannot grow: what is not there already never will be.
fn check_room(
    topic: Result<Result<Option<TopicInfo>, KafkaError>, JoinError>,
    partitions: u32,
) -> Result<(), RegistryError> {
    match topic {
        Ok(Ok(Some(topic))) if topic.partitions >= partitions => Ok(()),
        Ok(Ok(_)) => Err(RegistryError::Refused(
            "the embedded broker cannot give a topic more partitions: use a Kafka for that".into(),
        )),
        Ok(Err(error)) => Err(RegistryError::Unavailable(error.to_string())),
        Err(error) => Err(RegistryError::Unavailable(error.to_string())),
    }
}

impl RegistryHandle {
    /// Gives the log so many partitions, a multiple of what it has, and waits until that is so. Answers how many there were. With as many as there are already it
    /// finishes a split that was begun, and else does nothing.
    ///
    /// # Errors
    /// The number does not fit; another one is under way; or it is not done in time, and goes on by itself.
    pub async fn split(&self, partitions: u32) -> Result<u32, RegistryError> {
        self.has_applied()?;
        let before = self.check_split(partitions).await?;
        self.wish(partitions).await?;
        let deadline = Instant::now() + DONE_WITHIN;
        while !is_done(&self.0, partitions) {
            if Instant::now() >= deadline {
                let words =
                    "the split is not done yet; it goes on by itself, see `rtf registry status`";
                return Err(RegistryError::Unavailable(words.into()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(before)
    }

    /// Whether the log can be given so many partitions. Answers how many there are.
    ///
    /// # Errors
    /// The number does not fit, or another one is under way.
    pub async fn check_split(&self, partitions: u32) -> Result<u32, RegistryError> {
        let lineage = self.0.lineage();
        check(&lineage, partitions)?;
        if self.0.settings.topics_are_fixed() {
            let shared = self.0.clone();
            let room = tokio::task::spawn_blocking(move || {
                let cluster = Cluster::connect(&shared.settings)?;
                cluster.topic(&shared.topic)
            });
            check_room(room.await, partitions)?;
        }
        Ok(lineage.count())
    }

    /// Has it in the log what is wanted.
    async fn wish(&self, partitions: u32) -> Result<(), RegistryError> {
        let deadline = Instant::now() + WISHED_WITHIN;
        let mut again = Instant::now();
        loop {
            let lineage = self.0.lineage();
            let wanted = lineage.wanted().unwrap_or(lineage.count());
            if wanted.is_multiple_of(partitions) {
                crash::point("registry-split-wished");
                self.0.hurry.store(true, Ordering::Relaxed);
                return Ok(());
            }
            // Another operator's may have come first.
            check(&lineage, partitions)?;
            let now = Instant::now();
            if now >= deadline {
                let words =
                    "the log did not answer in time; the split may be in it or not, ask again";
                return Err(RegistryError::Unavailable(words.into()));
            }
            if now >= again {
                again = now + WISH_EVERY;
                let split = Control::Split { partitions };
                self.0.writer.append_control(0, split);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_must_fit_what_there_is_and_what_is_under_way() {
        let words = |lineage: &Lineage, partitions| match check(lineage, partitions) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        let mut lineage = Lineage::root(4);
        assert_eq!(
            (words(&lineage, 4), words(&lineage, 12)),
            Default::default()
        );
        assert!(words(&lineage, 2).contains("cannot have fewer"));
        assert!(words(&lineage, 6).contains("4 or 8 would be"));
        assert!(words(&lineage, 8192).contains("more than 4096"));
        lineage.want(8);
        assert!(words(&lineage, 12).contains("a split to 8 partitions is under way"));
        assert_eq!(
            (words(&lineage, 8), words(&lineage, 16)),
            Default::default()
        );
    }
}
