//! Why a joiner cannot go on. Each says what to do about it.

use rtf_json::PointerError;
use rtf_kafka::KafkaError;
use rtf_proto::{Offset, PartitionId};

/// A role that failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinerFailure {
    /// A JSON pointer of the configuration.
    #[error("[join.primary]: {0}")]
    Pointer(#[from] PointerError),
    /// Kafka refused, or its client broke.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// There is nothing to read.
    #[error(
        "topic `{topic}` does not exist on {bootstrap}; create it or correct [join.primary].topic"
    )]
    TopicMissing {
        /// The primary topic.
        topic: String,
        /// Where it was looked for.
        bootstrap: String,
    },
    /// What was read belongs to a topic that is no more.
    #[error(
        "topic `{topic}` was deleted or made anew while it was being read; start the joiner again"
    )]
    TopicRemade {
        /// The primary topic.
        topic: String,
    },
    /// The partition ends before what was already read.
    #[error(
        "partition {partition} of topic `{topic}` ends at offset {end}, but was read up to {read}: records were lost \
         or the topic was made anew; start the joiner again"
    )]
    Truncated {
        /// The primary topic.
        topic: String,
        /// Which partition.
        partition: PartitionId,
        /// The next offset to read.
        read: Offset,
        /// The partition's end.
        end: Offset,
    },
    /// A key's primaries are not where the partitioned layout looks for them.
    #[error(
        "topic `{topic}` is not partitioned by its join keys: the record at offset {offset} of partition {partition} has the key `{key}`, which \
         Kafka's default partitioner (murmur2) puts into partition {belongs} of {partitions}; set [joiner].layout = \"all\", or write the topic \
         anew with the join key as message key and that partitioner, as it must be when partitions were added"
    )]
    Misplaced {
        /// The primary topic.
        topic: String,
        /// Where the record stands.
        partition: PartitionId,
        /// Where the record stands.
        offset: Offset,
        /// Its join key.
        key: String,
        /// Where it should stand.
        belongs: PartitionId,
        /// Partitions of the topic.
        partitions: u32,
    },
    /// The topic was given more partitions while the partitioned layout relied on their number.
    #[error(
        "topic `{topic}` has {now} partitions now, not {known}: its keys belong elsewhere than before; write it anew, or set \
         [joiner].layout = \"all\", then start all joiners again, which proves how it is partitioned"
    )]
    Repartitioned {
        /// The primary topic.
        topic: String,
        /// Partitions it had.
        known: u32,
        /// Partitions it has.
        now: u32,
    },
    /// Primary events beyond the memory allowed, and no disk to take them; dropping some would lose joins.
    #[error(
        "the event store is full: {events} events of topic `{topic}` take all of its {} MiB, and there are more; raise \
         [joiner].memory",
        limit >> 20
    )]
    StoreFull {
        /// The primary topic.
        topic: String,
        /// Events held.
        events: u64,
        /// The memory allowed, bytes.
        limit: usize,
    },
    /// What is on disk cannot be read or written.
    #[error(
        "the event store of topic `{topic}` cannot be kept: {words}; start the joiner again (what is damaged is made anew from the \
         topic)"
    )]
    Store {
        /// The primary topic.
        topic: String,
        /// Which file, and what is wrong with it.
        words: String,
    },
    /// A thread of the role panicked.
    #[error("the joiner's {thread} thread ended: {words}")]
    Thread {
        /// Which one.
        thread: &'static str,
        /// What it said.
        words: String,
    },
}

impl JoinerFailure {
    /// Whether the primary topic is not cut as the partitioned layout needs it: no joiner may say of a key that it has no primary.
    pub(crate) fn breaks_layout(&self) -> bool {
        matches!(self, Self::Misplaced { .. } | Self::Repartitioned { .. })
    }
}
