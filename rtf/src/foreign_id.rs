//! The id a foreign record must have, found without asking any role.

use rtf_json::Extractor;
use rtf_kafka::Record;
use rtf_proto::{EventId, Source, header};

/// The one it brings along, or its own, where it can be read; else its place.
pub fn id_of(extractor: &Extractor, record: &Record<'_>, source: &Source) -> EventId {
    let extracted = record
        .value()
        .and_then(|value| extractor.extract(value).ok());
    let (Some(event), Ok(given)) = (extracted, header::given_id(&record.headers())) else {
        return source.event_id();
    };
    let own = event.id.map(|id| EventId::from(id.as_ref()));
    given.or(own).unwrap_or_else(|| source.event_id())
}
