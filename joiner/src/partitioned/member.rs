//! Membership in the group of joiners: which partitions it gives, and at once which it takes away. Reads nothing.

use super::parts::Parts;
use parking_lot::Mutex;
use rtf_kafka::GroupEvents;
use rtf_proto::{Offset, PartitionId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One membership of the group.
pub(crate) struct Member {
    topic: String,
    parts: Arc<Parts>,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    /// Whether the group has given its assignment, be it an empty one.
    joined: bool,
    partitions: BTreeSet<PartitionId>,
}

impl Member {
    pub fn new(topic: &str, parts: Arc<Parts>) -> Self {
        Self {
            topic: topic.into(),
            parts,
            given: Mutex::default(),
        }
    }

    /// What the group wants this member to hold; `None` until it has said so.
    pub fn given(&self) -> Option<BTreeSet<PartitionId>> {
        let given = self.given.lock();
        given.joined.then(|| given.partitions.clone())
    }

    fn let_go(&self, partitions: &[PartitionId]) {
        let mut given = self.given.lock();
        for partition in partitions {
            given.partitions.remove(partition);
            self.parts.let_go(*partition);
        }
    }
}

impl GroupEvents for Member {
    fn assigned(&self, partitions: &[PartitionId]) {
        tracing::info!(
            topic = self.topic,
            ?partitions,
            "primary partitions assigned"
        );
        let mut given = self.given.lock();
        given.joined = true;
        given.partitions.extend(partitions);
    }

    /// What is being joined there goes on; nothing is committed.
    fn revoked(&self, partitions: &[PartitionId]) -> Vec<(PartitionId, Offset)> {
        tracing::info!(
            topic = self.topic,
            ?partitions,
            "primary partitions revoked"
        );
        self.let_go(partitions);
        Vec::new()
    }

    fn lost(&self, partitions: &[PartitionId]) {
        tracing::warn!(
            topic = self.topic,
            ?partitions,
            "primary partitions lost: another joiner holds them"
        );
        self.let_go(partitions);
    }
}
