//! One look into a consumer's queue.

use crate::KafkaError;
use crate::error::{PollError, sort};
use bytes::Bytes;
use rdkafka::Message;
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Headers};
use rtf_proto::{Header, Offset, Original, PartitionId};
use std::time::Duration;

/// A poll never takes longer (RULE 13): whoever polls also has to stop, to commit and to answer its group.
pub(crate) const LONGEST_POLL: Duration = Duration::from_millis(100);

/// What one poll brought. Closed: a caller answers all of it.
pub enum Polled<'a> {
    /// A record.
    Record(Record<'a>),
    /// Everything there was in this partition has been read; more may come.
    EndOfPartition(PartitionId),
    /// Nothing in time.
    Idle,
    /// The caller must act; passing troubles of the client are not reported.
    Failed(KafkaError),
}

/// What a consumer of `topic` gave.
pub(crate) fn polled<'a>(
    topic: &str,
    polled: Option<KafkaResult<BorrowedMessage<'a>>>,
) -> Polled<'a> {
    match polled {
        None => Polled::Idle,
        Some(Ok(message)) => Polled::Record(Record(message)),
        Some(Err(error)) => match sort(topic, error) {
            PollError::Passing => Polled::Idle,
            PollError::EndOfPartition(partition) => Polled::EndOfPartition(partition),
            PollError::Real(error) => Polled::Failed(error),
        },
    }
}

/// A record in librdkafka's memory.
pub struct Record<'a>(pub(crate) BorrowedMessage<'a>);

impl Record<'_> {
    /// Its partition.
    pub fn partition(&self) -> PartitionId {
        u32::try_from(self.0.partition()).expect("Kafka's partitions are not negative")
    }
    /// Its offset.
    pub fn offset(&self) -> Offset {
        u64::try_from(self.0.offset()).expect("Kafka's offsets are not negative")
    }
    /// The broker's or the producer's time of it, ms since 1970; 0 where there is none.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp().to_millis().unwrap_or(0)
    }
    /// The epoch of the leader it was read from: it grows with every election. `None` where the broker does not say (KIP-320).
    pub fn leader_epoch(&self) -> Option<i32> {
        #[expect(unsafe_code, reason = "rdkafka 0.39 has no safe call for it")]
        // SAFETY: the message lives as long as the borrow, and is only read.
        let epoch = unsafe { rdkafka_sys::rd_kafka_message_leader_epoch(self.0.ptr()) };
        (epoch >= 0).then_some(epoch)
    }
    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }
    /// Its value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }
    /// Its headers in order, copied.
    pub fn headers(&self) -> Vec<Header> {
        let Some(headers) = self.0.headers() else {
            return Vec::new();
        };
        let copied = |h: rdkafka::message::Header<'_, &[u8]>| {
            (h.key.to_owned(), h.value.map(Bytes::copy_from_slice))
        };
        headers.iter().map(copied).collect()
    }
    /// All of it, copied.
    pub fn original(&self) -> Original {
        Original {
            key: self.key().map(Bytes::copy_from_slice),
            value: self.value().map(Bytes::copy_from_slice),
            headers: self.headers(),
        }
    }
}
