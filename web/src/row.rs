//! A joined row as the web handles it: its place, what it is sorted and filtered by, and its untouched JSON text. It must
//! not know what the two sides say.

use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The log partition it came through.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// When it was joined, by the log's time, ms since 1970.
    pub joined_ts: i64,
    /// The key both sides share.
    pub key: String,
    /// The whole row, valid JSON.
    pub json: Bytes,
}

/// An entry of the store that is no row.
#[derive(Debug, thiserror::Error)]
#[error("entry {offset} of partition {partition} is no joined row")]
pub struct BadRow {
    partition: u32,
    offset: u64,
    source: serde_json::Error,
}

/// What is read of a row; reading it also proves that the rest is JSON.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    joined_ts: i64,
}

impl Row {
    /// Reads what is needed of `json`, which stands at this place.
    pub fn parse(partition: u32, offset: u64, json: Bytes) -> Result<Self, BadRow> {
        match serde_json::from_slice::<Head<'_>>(&json) {
            Ok(head) => {
                let (key, joined_ts) = (head.key.into_owned(), head.joined_ts);
                Ok(Self {
                    partition,
                    offset,
                    joined_ts,
                    key,
                    json,
                })
            }
            Err(source) => Err(BadRow {
                partition,
                offset,
                source,
            }),
        }
    }

    /// The order of display, oldest first. Within a partition the log's order rules, whatever its clock did.
    pub fn rank(&self) -> (i64, u32, u64) {
        (self.joined_ts, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_and_the_text_kept() {
        let json = Bytes::from_static(
            br#"{"id":"1","key":"Austin \"TX\"","foreign":{"a": 1.0},"joined_ts":7,"offset":2,"partition":0}"#,
        );
        let row = Row::parse(0, 2, json.clone()).unwrap();
        assert_eq!((row.key.as_str(), row.joined_ts), ("Austin \"TX\"", 7));
        assert_eq!(row.json, json);
    }

    #[test]
    fn what_is_no_row_names_its_place() {
        for text in [
            &b"not json"[..],
            b"{}",
            br#"{"key":"k","joined_ts":1,"foreign":{]}"#,
            b"",
        ] {
            let error = Row::parse(3, 4, Bytes::from_static(text)).unwrap_err();
            assert_eq!(error.to_string(), "entry 4 of partition 3 is no joined row");
        }
    }
}
