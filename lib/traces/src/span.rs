//! A span: what one role has to say of one event.

use crate::{exporter, sampler};
use opentelemetry::trace::{Event, SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// More than so much is not noted of one span: what waits for a day is tried again and again.
const NOTES_MAX: usize = 64;

/// What attributes are called.
pub mod key {
    /// The event's id; every span has it.
    pub const ID: &str = "rtf.event.id";
    /// How it ended, as far as this role knows.
    pub const OUTCOME: &str = "rtf.outcome";
    /// Why it was given up.
    pub const REASON: &str = "rtf.reason";
    /// How often a partner was looked for in vain.
    pub const ATTEMPTS: &str = "rtf.attempts";
    /// Partition of the join log.
    pub const LOG_PARTITION: &str = "rtf.log.partition";
    /// Offset in it.
    pub const LOG_OFFSET: &str = "rtf.log.offset";
    pub(crate) const TOPIC: &str = "messaging.destination.name";
    pub(crate) const PARTITION: &str = "messaging.destination.partition.id";
    pub(crate) const OFFSET: &str = "messaging.kafka.offset";
}

/// A span that has begun. It is sent when it [ends](Self::end), and not at all when it is dropped.
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    name: &'static str,
    trace: TraceId,
    id: SpanId,
    parent: SpanId,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    notes: Vec<Event>,
    unnoted: u32,
    status: Status,
}

impl Span {
    pub(crate) fn new(name: &'static str, trace: TraceId, id: &[u8]) -> Self {
        let id = String::from_utf8_lossy(id).into_owned();
        Self {
            name,
            trace,
            id: SpanId::from_bytes(rand::random::<u64>().max(1).to_be_bytes()),
            parent: sampler::root(trace),
            began: SystemTime::now(),
            attributes: vec![KeyValue::new(key::ID, id)],
            notes: Vec::new(),
            unnoted: 0,
            status: Status::Unset,
        }
    }

    /// Says something of it in words.
    pub fn text(&mut self, key: &'static str, value: impl Into<Cow<'static, str>>) {
        let value: Cow<'static, str> = value.into();
        self.set(key, value);
    }

    /// Says something of it in a number.
    pub fn number(&mut self, key: &'static str, value: u64) {
        // There are no others; no offset is that large.
        self.set(key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Where the event's record stands.
    pub fn source(&mut self, topic: &str, partition: u32, offset: u64) {
        self.text(key::TOPIC, topic.to_owned());
        self.text(key::PARTITION, partition.to_string());
        self.number(key::OFFSET, offset);
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    /// Something happens, now.
    pub fn note(&mut self, what: &'static str) {
        if self.notes.len() < NOTES_MAX {
            let now = SystemTime::now();
            self.notes.push(Event::new(what, now, Vec::new(), 0));
        } else {
            self.unnoted += 1;
        }
    }

    /// It comes to no good end.
    pub fn fail(&mut self, words: String) {
        self.status = Status::error(words);
    }

    /// The span that all of this trace are children of, with what was said of this one, from a moment on in ms since 1970.
    #[must_use]
    pub fn root(&self, name: &'static str, began_ms: i64) -> Self {
        let since_1970 = Duration::from_millis(began_ms.max(0).unsigned_abs());
        Self {
            name,
            id: self.parent,
            parent: SpanId::INVALID,
            began: self.began.min(UNIX_EPOCH + since_1970),
            attributes: self.attributes.clone(),
            notes: Vec::new(),
            unnoted: 0,
            status: self.status.clone(),
            trace: self.trace,
        }
    }

    /// It ends now, and is sent when there is time.
    pub fn end(self) {
        if let Some(tracer) = exporter::tracer() {
            tracer.send(self);
        }
    }

    pub(crate) fn into_data(self, scope: InstrumentationScope) -> SpanData {
        let mut events = SpanEvents::default();
        events.events = self.notes;
        events.dropped_count = self.unnoted;
        let (sampled, state) = (TraceFlags::SAMPLED, TraceState::NONE);
        SpanData {
            span_context: SpanContext::new(self.trace, self.id, sampled, false, state),
            parent_span_id: self.parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: self.name.into(),
            start_time: self.began,
            // A clock that was set back meanwhile must not make it end before it began.
            end_time: SystemTime::now().max(self.began),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: self.status,
            instrumentation_scope: scope,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sampler;

    fn span(id: &str) -> Span {
        let trace = Sampler::new("clicks", 1.0).trace(id.as_bytes());
        Span::new("join", trace.unwrap(), id.as_bytes())
    }

    #[test]
    fn spans_of_an_event_are_children_of_its_root() {
        let (one, two) = (span("7"), span("7"));
        let root = two.root("event", 5);
        assert_eq!(one.trace, two.trace);
        assert_ne!(one.id, two.id);
        assert_eq!((one.parent, two.parent), (root.id, root.id));
        assert_eq!((root.trace, root.parent), (one.trace, SpanId::INVALID));
        assert_eq!(root.began, UNIX_EPOCH + Duration::from_millis(5));
        assert_ne!(span("8").trace, one.trace);
    }

    #[test]
    fn a_root_begins_no_later_than_what_it_is_of() {
        let span = span("7");
        assert_eq!(span.root("event", i64::MAX).began, span.began);
        assert_eq!(span.root("event", -1).began, UNIX_EPOCH);
    }

    #[test]
    fn notes_are_bounded_and_counted() {
        let mut span = span("7");
        (0..NOTES_MAX + 3).for_each(|_| span.note("tried again"));
        let data = span.into_data(InstrumentationScope::default());
        assert_eq!(data.events.len(), NOTES_MAX);
        assert_eq!(data.events.dropped_count, 3);
        assert!(data.end_time >= data.start_time);
    }
}
