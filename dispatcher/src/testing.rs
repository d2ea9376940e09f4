//! Records for the tests of this crate.

use crate::inflight::{Inflight, Place};
use crate::{Epoch, Flight, Subject};
use bytes::Bytes;
use rtf_proto::{EventId, ForeignEvent, JoinKey, Original, Source, Token, TopicId};

/// A position in partition 0.
pub(crate) fn source(offset: u64) -> Source {
    Source {
        topic: "tweets".into(),
        topic_id: TopicId([7; 16]),
        partition: 0,
        offset,
    }
}

/// An event `e<n>` at offset `n` with value `{"n":n}`.
pub(crate) fn event(n: u64, key: &str) -> ForeignEvent {
    ForeignEvent {
        id: EventId::from(format!("e{n}")),
        key: JoinKey::from(key),
        source: source(n),
        foreign_ts: 1,
        kafka_ts: 2,
        token: Token(n),
        attempts: 0,
        original: Original {
            value: Some(Bytes::from(format!("{{\"n\":{n}}}"))),
            ..Original::default()
        },
        collect: false,
    }
}

/// The first epoch there is.
pub(crate) fn first_epoch() -> Epoch {
    Inflight::new(1).assign(0)
}

/// A flight of [`event`] in the first epoch.
pub(crate) fn flight(partition: u32, offset: u64, key: &str) -> Flight {
    let place = Place {
        partition,
        epoch: first_epoch(),
        offset,
    };
    Flight::new(place, Subject::Event(event(offset, key)), 0, 0)
}
