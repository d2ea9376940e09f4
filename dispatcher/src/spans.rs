//! What a trace shows of a record: its time with this dispatcher, from being read to its end here, and around it the whole event's. Decides nothing.

use crate::{Done, Flight, Subject};
use rtf_traces::{Span, key};

/// Of the root span.
const EVENT: &str = "event";
/// Of this dispatcher's.
const DISPATCH: &str = "dispatch";

/// It was read; `None` unless it is traced.
pub(crate) fn begin(subject: &Subject) -> Option<Box<Span>> {
    rtf_traces::begin(DISPATCH, subject.id().as_bytes()).map(Box::new)
}

/// Something happened to it.
pub(crate) fn note(flight: &mut Flight, what: &'static str) {
    if let Some(span) = &mut flight.span {
        span.note(what);
    }
}

/// It is done here. Who has brought about its outcome tells of the whole event: nobody else does, whoever reads it again later.
pub(crate) fn end(flight: &mut Flight, done: Done) {
    let Some(mut span) = flight.span.take() else {
        return;
    };
    let source = (flight.origin.as_ref()).unwrap_or_else(|| flight.subject.source());
    span.source(&source.topic, source.partition, source.offset);
    span.number(key::ATTEMPTS, flight.attempts.into());
    span.text(key::OUTCOME, outcome(done));
    if let Done::Unjoinable(reason) = done {
        span.text(key::REASON, reason.as_str());
    }
    if matches!(done, Done::Joined | Done::Unjoinable(_) | Done::Malformed) {
        span.root(EVENT, flight.first_seen_ms).end();
    }
    span.end();
}

fn outcome(done: Done) -> &'static str {
    match done {
        Done::Joined => "joined",
        Done::Unjoinable(_) => "unjoinable",
        Done::Malformed => "malformed",
        Done::AlreadyResolved => "already_resolved",
        Done::TooOld => "too_old",
        Done::Wasted => "wasted",
        Done::Parked => "parked",
    }
}
