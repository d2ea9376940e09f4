//! The id a foreign record must have, found without asking any role.

use rtf_json::{Extractor, Parts};
use rtf_kafka::Record;
use rtf_proto::{EventId, Source};

/// Its own where it can be read, else its place.
pub fn id_of(extractor: &Extractor, record: &Record<'_>, source: &Source) -> EventId {
    own_id(extractor, record).unwrap_or_else(|| source.event_id())
}

fn own_id(extractor: &Extractor, record: &Record<'_>) -> Option<EventId> {
    let headers = match extractor.reads_headers() {
        true => record.headers(),
        false => Vec::new(),
    };
    let parts = Parts {
        value: record.value()?,
        key: record.key(),
        headers: &headers,
    };
    let id = extractor.extract(&parts).ok()?.id?;
    Some(EventId::from(id.as_ref()))
}
