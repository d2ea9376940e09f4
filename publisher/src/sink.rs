//! Where rows go: a sink compares, appends all or nothing, and knows how far it is. Knows no registry.

mod embedded;
mod kafka;
mod redis;

pub use embedded::EmbeddedSink;
pub use kafka::{KafkaSink, KafkaSinkOptions};
pub use redis::{RedisOptions, RedisSink};

use async_trait::async_trait;
use bytes::Bytes;
use rtf_proto::{LogId, Offset, PartitionId};
use std::time::Duration;

/// A partition of one join log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The log; what was written from another one is not added to.
    pub log: LogId,
    /// Partition of the log, and so of the sink.
    pub partition: PartitionId,
}

/// A closed row on its way into a sink.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    /// Offset of its record in the join log; its entry id. Never 0: a log begins with a barrier.
    pub offset: Offset,
    /// Kafka timestamp of the later side, ms since 1970.
    pub later_ts: i64,
    /// What it is made of: the JSON of a row as the sink's readers see it, or an encoded letter.
    pub payload: Bytes,
}

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AppendOutcome {
    /// All rows are in.
    Appended {
        /// Where the sink ends now: the last row's offset.
        last: Offset,
    },
    /// The sink did not end where the caller believed; nothing was appended.
    Moved {
        /// Where it really ends; `None` when it is empty.
        last: Option<Offset>,
    },
}

/// Why a sink gave no outcome.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SinkError {
    /// Its rows are another log's. Nothing was appended, and nothing will be until somebody acts.
    #[error("{subject} was written from log {found}, this is log {expected}: {remedy}")]
    OtherLog {
        /// The stream, by name.
        subject: String,
        /// The log its rows are of, or words for "nobody knows".
        found: String,
        /// The log that is being published.
        expected: LogId,
        /// What to do.
        remedy: String,
    },
    /// It has rows that the log does not have.
    #[error("{subject} ends at {last}, but the log ends at {end}: {remedy}")]
    Ahead {
        /// The stream, by name.
        subject: String,
        /// Its last entry.
        last: Offset,
        /// One past the log's last record.
        end: Offset,
        /// What to do.
        remedy: String,
    },
    /// Something else stands in its place.
    #[error("{subject} is not ours ({words}): {remedy}")]
    NotOurs {
        /// The stream, by name.
        subject: String,
        /// What is wrong with it.
        words: String,
        /// What to do.
        remedy: String,
    },
    /// Down, slow, loading, read-only, full. The rows may or may not be in: ask where it ends.
    #[error("{0}")]
    Unavailable(String),
}

impl SinkError {
    /// Whether the same call may succeed without anybody's help.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// So long a partition of Redis is left to the publisher that was quicker: a look costs as little as an append of nothing, and who takes over has
/// seen two of them at the most.
pub const GIVE_WAY: Duration = Duration::from_millis(100);

/// A store of rows, one stream per partition.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Where the stream ends: the offset of the last row ever appended, `None` when it is empty.
    async fn last(&self, place: Place) -> Result<Option<Offset>, SinkError>;

    /// Tells the sink's readers that there are so many partitions, unless they know of more. Said again and again: a sink may forget it.
    async fn announce(&self, _partitions: u32) -> Result<(), SinkError> {
        Ok(())
    }

    /// Everything below `next` is carried, and nothing new came for a while. A sink whose cursor stands still while the log goes on may note it.
    async fn settled(&self, _place: Place, _next: Offset) -> Result<(), SinkError> {
        Ok(())
    }

    /// Appends `rows`, whose offsets rise from `expected_last` on and which are at least one, if the stream ends at
    /// `expected_last`: all of them or none.
    ///
    /// Not cancel-safe in its outcome: the rows of a dropped call may be in.
    async fn append(
        &self,
        place: Place,
        expected_last: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError>;

    /// Who is refused because another one appends leaves the partition to it, and looks this often whether the sink's end still moves by itself;
    /// at once where the sink sees to that.
    fn give_way(&self) -> Duration {
        Duration::ZERO
    }

    /// The stream's name, for people.
    fn subject(&self, partition: PartitionId) -> String;

    /// What a person has to do so that the stream can be written anew.
    fn remedy(&self, partition: PartitionId) -> String;
}
