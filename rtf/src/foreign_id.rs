//! The id a foreign record must have, found without asking any role.

use rtf_json::{Extractor, Parts};
use rtf_kafka::Record;
use rtf_proto::{EventId, Source, header};

/// The one it brings along, or its own, where it can be read; else its place.
pub fn id_of(extractor: &Extractor, record: &Record<'_>, source: &Source) -> EventId {
    named(extractor, record).unwrap_or_else(|| source.event_id())
}

fn named(extractor: &Extractor, record: &Record<'_>) -> Option<EventId> {
    let headers = record.headers();
    let parts = Parts {
        value: record.value()?,
        key: record.key(),
        headers: &headers,
    };
    let event = extractor.extract(&parts).ok()?;
    let own = event.id.map(|id| EventId::from(id.as_ref()));
    header::given_id(&headers).ok()?.or(own)
}
