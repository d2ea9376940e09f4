//! Where a foreign record was read: the position that never changes.

use crate::{EventId, Offset, PartitionId, TopicId};
use std::fmt;
use std::sync::Arc;

/// A record's position in its source topic.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Source {
    /// Name of the topic, for people.
    pub topic: Arc<str>,
    /// Kafka's UUID of the topic: a topic made anew starts at offset 0 again, under another id.
    pub topic_id: TopicId,
    /// Partition of the source topic.
    pub partition: PartitionId,
    /// Offset in that partition.
    pub offset: Offset,
}

impl Source {
    /// The id of an event that has none of its own (no id field, or malformed): its position, as
    /// `topic.<topic id>/partition/offset`.
    pub fn event_id(&self) -> EventId {
        EventId::from(format!(
            "{}.{}/{}/{}",
            self.topic, self.topic_id, self.partition, self.offset
        ))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}
