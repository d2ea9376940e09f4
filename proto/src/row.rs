//! The joined row: built once by splicing original JSON bytes, closed with its log position when it is published.
//!
//! In the log a row is *open*, it ends before `"joined_ts"`: the log's own time, offset and partition are known only
//! after it was appended, so whoever carries it on adds them ([`close`]). Nothing is ever parsed and written again.

use crate::{EventId, JoinKey, Offset, Outcome, PartitionId};
use bytes::Bytes;

/// What a row is made of. `foreign` and `primary` are valid JSON values.
#[derive(Clone, Copy, Debug)]
pub struct RowParts<'a> {
    /// The foreign event's id.
    pub id: &'a EventId,
    /// The key both sides share.
    pub key: &'a JoinKey,
    /// Joined or unjoinable.
    pub outcome: Outcome,
    /// The foreign event's original JSON.
    pub foreign: &'a [u8],
    /// The partners' original JSON, best first.
    pub primary: &'a [&'a [u8]],
    /// Event time of the foreign side, ms since 1970.
    pub foreign_ts: i64,
    /// Event time of the first partner, ms since 1970.
    pub primary_ts: Option<i64>,
    /// How often a partner was looked for, the last time included.
    pub attempts: u32,
}

/// Bytes of a row beside its originals, about: names, ids, three times, offset.
const FRAME_BYTES: usize = 192;

/// Builds the open row.
pub fn open(parts: &RowParts<'_>) -> Bytes {
    let originals: usize =
        parts.foreign.len() + parts.primary.iter().map(|p| p.len() + 1).sum::<usize>();
    let texts = parts.id.as_bytes().len() + parts.key.as_bytes().len();
    let mut row = Vec::with_capacity(FRAME_BYTES + originals + texts);
    row.extend_from_slice(b"{\"id\":");
    put_string(&mut row, parts.id.as_bytes());
    row.extend_from_slice(b",\"key\":");
    put_string(&mut row, parts.key.as_bytes());
    row.extend_from_slice(b",\"outcome\":\"");
    row.extend_from_slice(parts.outcome.as_str().as_bytes());
    row.push(b'"');
    if let Outcome::Unjoinable(reason) = parts.outcome {
        row.extend_from_slice(b",\"reason\":\"");
        row.extend_from_slice(reason.as_str().as_bytes());
        row.push(b'"');
    }
    row.extend_from_slice(b",\"foreign\":");
    row.extend_from_slice(parts.foreign);
    row.extend_from_slice(b",\"primary\":[");
    for (i, primary) in parts.primary.iter().enumerate() {
        if i > 0 {
            row.push(b',');
        }
        row.extend_from_slice(primary);
    }
    row.push(b']');
    put_field(&mut row, "foreign_ts", &parts.foreign_ts);
    put_field(&mut row, "primary_ts", &parts.primary_ts);
    put_field(&mut row, "attempts", &parts.attempts);
    row.into()
}

/// Completes an open row with the log's time (ms), its offset and its partition.
pub fn close(open: &[u8], joined_ts: i64, offset: Offset, partition: PartitionId) -> Vec<u8> {
    let mut row = Vec::with_capacity(open.len() + 80);
    row.extend_from_slice(open);
    put_field(&mut row, "joined_ts", &joined_ts);
    put_field(&mut row, "offset", &offset);
    put_field(&mut row, "partition", &partition);
    row.push(b'}');
    row
}

/// The id a row begins with; `None` when it is none.
pub fn id(row: &[u8]) -> Option<EventId> {
    Some(take_id(row)?.0.into())
}

/// The id and the key a row begins with; `None` when it is none.
pub fn id_and_key(row: &[u8]) -> Option<(String, String)> {
    let (id, rest) = take_id(row)?;
    let (key, _) = take_string(rest.strip_prefix(b",\"key\":")?)?;
    Some((id, key))
}

fn take_id(row: &[u8]) -> Option<(String, &[u8])> {
    take_string(row.strip_prefix(b"{\"id\":")?)
}

/// The JSON string some bytes begin with, and what follows.
fn take_string(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter();
    let text = values.next()?.ok()?;
    Some((text, &bytes[values.byte_offset()..]))
}

/// A further field, with a name that needs no escapes.
fn put_field(row: &mut Vec<u8>, name: &str, value: &impl serde::Serialize) {
    row.extend_from_slice(b",\"");
    row.extend_from_slice(name.as_bytes());
    row.extend_from_slice(b"\":");
    serde_json::to_writer(row, value).expect("writing into memory cannot fail");
}

/// A JSON string; ids and keys are UTF-8 by construction, and should they not be, their text is shown with marks.
fn put_string(row: &mut Vec<u8>, text: &[u8]) {
    let lossy;
    let text = match str::from_utf8(text) {
        Ok(text) => text,
        Err(_) => {
            lossy = String::from_utf8_lossy(text);
            &lossy
        }
    };
    serde_json::to_writer(row, text).expect("writing into memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;
    use serde_json::{Value, json};

    #[test]
    fn rows_are_json_with_the_contracts_fields() {
        let (id, key) = (EventId::from("a\"b"), JoinKey::from("Austin, TX ✈"));
        let parts = RowParts {
            id: &id,
            key: &key,
            outcome: Outcome::Joined,
            foreign: b"{\"x\": 1.0}",
            primary: &[b"{\"y\":2}", b"{}"],
            foreign_ts: 5,
            primary_ts: Some(6),
            attempts: 2,
        };
        let open = open(&parts);
        assert_eq!(
            id_and_key(&open),
            Some(("a\"b".into(), "Austin, TX ✈".into()))
        );
        assert_eq!(id_and_key(&open[1..]), None);
        assert_eq!((super::id(&open), super::id(b"{}")), (Some(id), None));
        let row = close(&open, 7, 8, 9);
        let value: Value = serde_json::from_slice(&row).unwrap();
        assert_eq!(
            value,
            json!({"id":"a\"b","key":"Austin, TX ✈","outcome":"joined","foreign":{"x":1.0},"primary":[{"y":2},{}],
            "foreign_ts":5,"primary_ts":6,"attempts":2,"joined_ts":7,"offset":8,"partition":9})
        );
        assert!(
            String::from_utf8(row).unwrap().contains("{\"x\": 1.0}"),
            "original bytes are kept"
        );
    }

    #[test]
    fn unjoinable_rows_say_why() {
        let (id, key) = (EventId::from("1"), JoinKey::from("k"));
        let parts = RowParts {
            id: &id,
            key: &key,
            outcome: Outcome::Unjoinable(Reason::TimedOut),
            foreign: b"{}",
            primary: &[],
            foreign_ts: 5,
            primary_ts: None,
            attempts: 3,
        };
        let value: Value = serde_json::from_slice(&close(&open(&parts), 7, 8, 9)).unwrap();
        assert_eq!(value["reason"], "timed_out");
        assert_eq!(value["primary"], json!([]));
        assert_eq!(value["primary_ts"], Value::Null);
    }
}
