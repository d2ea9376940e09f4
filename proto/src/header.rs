//! The names of our headers: on dead letters, and on records that are sent again.

use crate::{EventId, Header, MAX_ID_BYTES};

/// How the event ended.
pub const OUTCOME: &str = "rtf.outcome";
/// Why.
pub const REASON: &str = "rtf.reason";
/// How often a partner was looked for.
pub const ATTEMPTS: &str = "rtf.attempts";
/// When it was read first, ms since 1970.
pub const FIRST_SEEN: &str = "rtf.first_seen";
/// Where it stood: topic/partition/offset.
pub const SOURCE: &str = "rtf.source";
/// The event's id. On a record of the foreign topic it takes the place of the one in the record: that is how a dead letter is joined again.
pub const ID: &str = "rtf.id";
/// The key it was looked for by.
pub const KEY: &str = "rtf.key";
/// The join log's id.
pub const LOG: &str = "rtf.log";
/// The offset in the join log that decided.
pub const OFFSET: &str = "rtf.offset";

/// When a parked event is to be tried again, ms since 1970.
pub const DUE: &str = "rtf.due";
/// Kafka's id of the topic that [`SOURCE`] names.
pub const SOURCE_TOPIC_ID: &str = "rtf.source_topic_id";
/// Kafka's timestamp of the record at [`SOURCE`], ms since 1970.
pub const TIMESTAMP: &str = "rtf.timestamp";
/// The attempt chain of a parked event.
pub const TOKEN: &str = "rtf.token";

/// Whether a header is one of ours.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("rtf.")
}

/// The text of the last header of this name, as Kafka's own clients read it; `None` where there is none, or none that is UTF-8.
pub fn text<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().rfind(|(found, _)| found == name)?;
    std::str::from_utf8(value.as_deref()?).ok()
}

/// A header that names an event, but cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the header `{ID}` is not an id: UTF-8 of 1 to {MAX_ID_BYTES} bytes")]
pub struct NoId;

/// The id that a foreign record brings along: its event was given up under the one that stands in it, and is sent again.
///
/// # Errors
/// The header is there, and no id.
pub fn given_id(headers: &[Header]) -> Result<Option<EventId>, NoId> {
    let Some((_, id)) = headers.iter().rfind(|(name, _)| name == ID) else {
        return Ok(None);
    };
    let id = id.clone().unwrap_or_default();
    match std::str::from_utf8(&id) {
        Ok(text) if (1..=MAX_ID_BYTES).contains(&text.len()) => Ok(Some(EventId::new(id))),
        _ => Err(NoId),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn the_last_header_counts_and_must_be_an_id() {
        let header = |id: &'static [u8]| (ID.to_owned(), Some(Bytes::from_static(id)));
        assert_eq!(given_id(&[]), Ok(None));
        assert_eq!(
            given_id(&[header(b"a"), header(b"b")]),
            Ok(Some("b".into()))
        );
        assert_eq!(given_id(&[header(b"a"), header(b"")]), Err(NoId));
        assert_eq!(given_id(&[(ID.to_owned(), None)]), Err(NoId));
        assert_eq!(given_id(&[header(b"\xff")]), Err(NoId));
        let long = vec![b'x'; MAX_ID_BYTES + 1];
        assert_eq!(given_id(&[(ID.to_owned(), Some(long.into()))]), Err(NoId));
    }
}
