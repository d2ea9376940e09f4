//! What an operator may ask of a running replica. Decides nothing: whatever changes what is remembered goes through the log.

use crate::age::BucketId;
use crate::database;
use crate::handle::RegistryHandle;
use crate::lanes::Lane;
use crate::store::StoreError;
use rtf_proto::control::Control;
use rtf_proto::{
    EventId, Offset, PartitionId, RegistryBucket, RegistryError, Resolved, SourceId, TopicId,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// While draining or retiring, how often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A retirement that is not applied is appended again after this: an append may be lost.
const RETIRE_EVERY: Duration = Duration::from_secs(5);
/// A retirement comes back through the log within this, or nothing is known of it.
const RETIRE_WITHIN: Duration = Duration::from_secs(20);
/// The keeper removes what is forgotten every few seconds; a disk may be slow.
const COLLECT_WITHIN: Duration = Duration::from_secs(30);
/// Digests of all partitions in one answer, so that it fits into one message.
const DIGESTS: usize = 65_536;
/// Digests of one partition: they reach a quarter of a million records back.
const DIGESTS_EACH: usize = 256;

/// Who won an id, and where it is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The winner.
    pub resolved: Resolved,
    /// The bucket it stands in: when it was registered, in the log's time.
    pub bucket: RegistryBucket,
}

/// What was removed from the disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Beginnings of the buckets that are gone, ms since 1970.
    pub removed: Vec<BucketId>,
    /// Bytes of the view afterwards.
    pub disk_bytes: u64,
}

/// Sums over a partition's winners below some offsets, oldest first: equal in all replicas that know them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionDigest {
    /// Partition of the log.
    pub partition: PartitionId,
    /// Offset and sum.
    pub marks: Vec<(Offset, u64)>,
}

/// Answers those who asked for a removal; when it failed they hear nothing, and it is in the log lines.
pub fn collected(
    asked: Vec<oneshot::Sender<Collected>>,
    removed: &Result<Vec<BucketId>, StoreError>,
    disk_bytes: u64,
) {
    let Ok(removed) = removed else { return };
    for waiter in asked {
        // Who asked may be gone.
        let _ = waiter.send(Collected {
            removed: removed.clone(),
            disk_bytes,
        });
    }
}

fn unavailable(words: impl Into<String>) -> RegistryError {
    RegistryError::Unavailable(words.into())
}

impl RegistryHandle {
    /// Refuses new registrations from now on. Everything else goes on. Says whether it did so already.
    pub fn pause(&self) -> bool {
        self.0.set_paused(true)
    }

    /// Takes registrations again. Says whether it was paused.
    pub fn resume(&self) -> bool {
        self.0.set_paused(false)
    }

    /// Whether an operator paused it.
    pub fn is_paused(&self) -> bool {
        self.0.is_paused()
    }

    /// Whether it has applied the log up to its own barriers.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    /// Pauses, and waits until no registration is under way. Says how many still are: 0 unless the time was over first.
    pub async fn drain(&self, within: Duration) -> u64 {
        self.pause();
        let deadline = Instant::now() + within;
        loop {
            let pending = self.0.under_way();
            if pending == 0 || Instant::now() >= deadline {
                return pending;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Who won an id, and the bucket it stands in; `None` when it is not remembered.
    ///
    /// # Errors
    /// The database could not.
    pub async fn standing(&self, id: EventId) -> Result<Option<Standing>, RegistryError> {
        self.has_applied()?;
        let lane = self.0.lane_of(&id)?;
        let read = move || {
            let standing = lane.remembered.read().standing(id.as_bytes());
            Ok::<_, StoreError>(standing?.map(|(partition, bucket, winner)| Standing {
                resolved: Resolved {
                    partition,
                    offset: winner.offset,
                    outcome: winner.outcome,
                },
                bucket,
            }))
        };
        let looked_up = tokio::task::spawn_blocking(move || database::guarded(read));
        let standing = looked_up.await.map_err(|e| unavailable(e.to_string()))?;
        standing.map_err(|error| self.0.unanswered(error))
    }

    /// The newest digests of each partition.
    ///
    /// # Errors
    /// It has not applied the log yet.
    pub fn digests(&self) -> Result<Vec<PartitionDigest>, RegistryError> {
        self.has_applied()?;
        let lanes = self.0.lanes.all_served();
        let each = (DIGESTS / lanes.len().max(1)).clamp(1, DIGESTS_EACH);
        let digest = |lane: &std::sync::Arc<Lane>| PartitionDigest {
            partition: lane.partition,
            marks: marks(lane, each),
        };
        Ok(lanes.iter().map(digest).collect())
    }

    /// Waits until what is forgotten was removed from the disk once more, and says what that was.
    ///
    /// # Errors
    /// It could not, or not in time.
    pub async fn collect(&self) -> Result<Collected, RegistryError> {
        let (waiter, collected) = oneshot::channel();
        self.0.collecting.lock().push(waiter);
        match tokio::time::timeout(COLLECT_WITHIN, collected).await {
            Ok(Ok(collected)) => Ok(collected),
            Ok(Err(_)) => Err(unavailable(
                "the disk could not; the registry's log lines say why",
            )),
            Err(_) => Err(unavailable("the disk did not answer in time")),
        }
    }

    /// Says in the log that nobody reads a topic any more, and waits until that is applied. Answers how many of its partitions held ids back;
    /// with none nothing is appended.
    ///
    /// # Errors
    /// The log did not answer in time: the retirement may or may not be in it.
    pub async fn retire(&self, topic: TopicId) -> Result<u32, RegistryError> {
        self.has_applied()?;
        let held: BTreeSet<SourceId> = (self.holding(topic).into_iter())
            .flat_map(|(_, sources)| sources)
            .collect();
        let deadline = Instant::now() + RETIRE_WITHIN;
        while Instant::now() < deadline {
            let holding = self.holding(topic);
            if holding.is_empty() {
                return Ok(u32::try_from(held.len()).expect("partitions fit into 32 bits"));
            }
            for (partition, _) in holding {
                let retire = Control::Retire(topic);
                self.0.writer.append_control(partition, retire);
            }
            self.wait_for_release(topic).await;
        }
        Err(unavailable(
            "the log did not answer in time; it may be retired or not, ask again",
        ))
    }

    async fn wait_for_release(&self, topic: TopicId) {
        let again = Instant::now() + RETIRE_EVERY;
        while Instant::now() < again && !self.holding(topic).is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Partitions of the log in which ids wait for this topic's marks, with its sources.
    fn holding(&self, topic: TopicId) -> Vec<(PartitionId, Vec<SourceId>)> {
        let of_topic = |(partition, remembered): (PartitionId, Vec<(SourceId, Offset)>)| {
            let sources = remembered.into_iter().map(|(source, _)| source);
            let sources: Vec<_> = sources.filter(|(id, _)| *id == topic).collect();
            (!sources.is_empty()).then_some((partition, sources))
        };
        let lanes = self.0.lanes.all_served().into_iter();
        lanes
            .map(|lane| (lane.partition, lane.remembered.read().age.awaited()))
            .filter_map(of_topic)
            .collect()
    }
}

/// The newest marks, and the sum of now if it is that of a moment between two records.
fn marks(lane: &Lane, count: usize) -> Vec<(Offset, u64)> {
    // Asked first: if nothing was reached since, every record below is wholly applied.
    let applied = lane.applied();
    let remembered = lane.remembered.read();
    let mut marks: Vec<_> = remembered.digest.newest(count).collect();
    let (next, sum) = remembered.digest.now();
    if next == applied && marks.last().is_none_or(|(offset, _)| *offset < next) {
        marks.push((next, sum));
    }
    marks
}
