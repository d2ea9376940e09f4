//! The names of our headers: on dead letters, and on records that are sent again.

use crate::Header;

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

/// Whether a header is one of ours.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("rtf.")
}

/// The text of the last header of this name, as Kafka's own clients read it; `None` where there is none, or none that is UTF-8.
pub fn text<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().rfind(|(found, _)| found == name)?;
    std::str::from_utf8(value.as_deref()?).ok()
}
