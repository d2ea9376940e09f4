//! The id a foreign record must have, found without asking any role.

use rtf_json::Extractor;
use rtf_proto::{EventId, Source};

/// Its own where it can be read, else its place.
pub fn id_of(extractor: &Extractor, value: Option<&[u8]>, source: &Source) -> EventId {
    let extracted = value.and_then(|value| extractor.extract(value).ok());
    match extracted.and_then(|event| event.id) {
        Some(id) => EventId::from(id.as_ref()),
        None => source.event_id(),
    }
}
