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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rtf_fuzz::fuzz;

    /// Headers of anybody's making, `name=value` a line: all of it can be said, and what is not ours is among it.
    #[test]
    fn fuzz_letters() {
        let seeds: [&[u8]; 2] = [
            b"trace=7\nrtf.outcome=unjoinable\nrtf.reason=timed_out\nrtf.attempts=9\nrtf.first_seen=-1\nrtf.source=a/b/1/2\nrtf.id=x\nrtf.key=k",
            b"rtf.outcome=malformed\nrtf.offset=18446744073709551615\n\xff=\xff",
        ];
        fuzz("letter", &seeds, |input| {
            let lines = input.split(|byte| *byte == b'\n');
            let of_line = |line: &[u8]| {
                let at = line.iter().position(|byte| *byte == b'=');
                let (name, value) = line.split_at(at.unwrap_or(line.len()));
                let value = value.get(1..).map(Bytes::copy_from_slice);
                (String::from_utf8_lossy(name).into_owned(), value)
            };
            let letter = Letter {
                partition: 1,
                offset: 2,
                written_ms: 3,
                original: Original {
                    key: None,
                    value: Some(Bytes::copy_from_slice(input)),
                    headers: lines.map(of_line).collect(),
                },
            };
            let said = letter.as_json();
            let headers = letter.original.headers.iter();
            for (name, _) in headers.filter(|(name, _)| !header::is_ours(name)) {
                assert!(said["headers"].get(name).is_some(), "{name} is missing");
            }
            let outcome = letter.says(header::OUTCOME);
            assert_eq!(said["outcome"].as_str(), outcome);
        });
    }
}
