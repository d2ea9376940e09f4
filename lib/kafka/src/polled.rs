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
        Some(Ok(message)) => Polled::Record(Record(Memory::Native(message))),
        Some(Err(error)) => match sort(topic, error) {
            PollError::Passing => Polled::Idle,
            PollError::EndOfPartition(partition) => Polled::EndOfPartition(partition),
            PollError::Real(error) => Polled::Failed(error),
        },
    }
}

/// A record, in librdkafka's memory.
pub struct Record<'a>(Memory<'a>);

enum Memory<'a> {
    Native(BorrowedMessage<'a>),
    #[cfg(feature = "simulation")]
    Simulated(crate::simulated::SimulatedRecord),
}

impl Record<'_> {
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(record: crate::simulated::SimulatedRecord) -> Self {
        Self(Memory::Simulated(record))
    }
}

impl Record<'_> {
    /// Its partition.
    pub fn partition(&self) -> PartitionId {
        match &self.0 {
            Memory::Native(message) => {
                u32::try_from(message.partition()).expect("Kafka's partitions are not negative")
            }
            #[cfg(feature = "simulation")]
            Memory::Simulated(record) => record.partition,
        }
    }
    /// Its offset.
    pub fn offset(&self) -> Offset {
        match &self.0 {
            Memory::Native(message) => {
                u64::try_from(message.offset()).expect("Kafka's offsets are not negative")
            }
            #[cfg(feature = "simulation")]
            Memory::Simulated(record) => record.offset,
        }
    }
    /// The broker's or the producer's time of it, ms since 1970; 0 where there is none.
    pub fn timestamp_ms(&self) -> i64 {
        match &self.0 {
            Memory::Native(message) => message.timestamp().to_millis().unwrap_or(0),
            #[cfg(feature = "simulation")]
            Memory::Simulated(record) => record.timestamp_ms,
        }
    }
    /// The epoch of the leader it was read from: it grows with every election. `None` where the broker does not say (KIP-320).
    pub fn leader_epoch(&self) -> Option<i32> {
        match &self.0 {
            Memory::Native(message) => leader_epoch(message),
            #[cfg(feature = "simulation")]
            Memory::Simulated(record) => Some(record.leader_epoch),
        }
    }
    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        match &self.0 {
            Memory::Native(message) => message.key(),
            #[cfg(feature = "simulation")]
            Memory::Simulated(record) => record.original.key.as_deref(),
        }
    }
    /// Its value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        match &self.0 {
            Memory::Native(message) => message.payload(),
            #[cfg(feature = "simulation")]
            Memory::Simulated(record) => record.original.value.as_deref(),
        }
    }
    /// Its headers in order, copied.
    pub fn headers(&self) -> Vec<Header> {
        match &self.0 {
            Memory::Native(message) => headers(message),
            #[cfg(feature = "simulation")]
            Memory::Simulated(record) => record.original.headers.clone(),
        }
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

fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    #[expect(unsafe_code, reason = "rdkafka 0.39 has no safe call for it")]
    // SAFETY: the message lives as long as the borrow, and is only read.
    let epoch = unsafe { rdkafka_sys::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let Some(headers) = message.headers() else {
        return Vec::new();
    };
    let copied = |h: rdkafka::message::Header<'_, &[u8]>| {
        (h.key.to_owned(), h.value.map(Bytes::copy_from_slice))
    };
    headers.iter().map(copied).collect()
}
