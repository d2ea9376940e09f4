//! A dead letter as it stands in the topic. Pure.

use rtf_kafka::Record;
use rtf_proto::{Offset, Original, PartitionId, header};
use serde_json::{Map, Value, json};

/// One record of the dead-letter topic that is ours.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Partition of the topic, and of the join log.
    pub partition: PartitionId,
    /// Offset in the topic.
    pub offset: Offset,
    /// When it was written, ms since 1970.
    pub written_ms: i64,
    /// Key, value and headers, ours among them.
    pub original: Original,
}

impl Letter {
    /// Copies a record; `None` when it is somebody else's.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        let letter = Self {
            partition: record.partition(),
            offset: record.offset(),
            written_ms: record.timestamp_ms(),
            original: record.original(),
        };
        letter.says(header::OUTCOME)?;
        Some(letter)
    }

    /// What one of its headers says.
    pub fn says(&self, name: &str) -> Option<&str> {
        header::text(&self.original.headers, name)
    }

    /// Whether its original did not fit into the log, so that nothing is left of it but its place.
    pub fn has_lost_original(&self) -> bool {
        self.original.value.is_none() && self.original.key.is_none()
    }

    /// All of it, for programs.
    pub fn as_json(&self) -> Value {
        let number = |name| self.says(name).and_then(|text| text.parse::<i64>().ok());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = self.original.headers.iter();
        let headers: Map<String, Value> = headers
            .filter(|(name, _)| !header::is_ours(name))
            .map(|(name, value)| (name.clone(), value.as_deref().map(text).into()))
            .collect();
        json!({
            "partition": self.partition, "offset": self.offset, "timestamp": self.written_ms,
            "outcome": self.says(header::OUTCOME), "reason": self.says(header::REASON),
            "attempts": number(header::ATTEMPTS), "first_seen": number(header::FIRST_SEEN),
            "source": self.says(header::SOURCE), "id": self.says(header::ID), "key": self.says(header::KEY),
            "log_offset": number(header::OFFSET),
            "record_key": self.original.key.as_deref().map(text),
            "value": self.original.value.as_deref().map(text),
            "headers": headers,
        })
    }
}
