//! One event's way through all roles, as one OpenTelemetry trace. Knows no role, no call and no record.
//!
//! # Theory
//!
//! Nothing is passed on. Whether an event is traced, its trace's id and the id of its root span follow from the event's id ([`Sampler`]), which every role
//! knows. So spans that different processes make of one event, hours apart, meet in one trace, and neither calls nor records carry anything for it
//! (docs/adr/0016).
//!
//! Off until [`install`] finds a collector: until then [`begin`] is one branch. From then on a span that has ended goes into a bounded queue; one that finds
//! it full, and one that the collector does not take, is dropped and counted. Nobody waits for a collector.

mod exporter;
mod sampler;
mod span;
mod spans;

pub use exporter::{Exporting, Options, TracesError, install};
pub use sampler::Sampler;
pub use span::{Span, key};
pub use spans::Spans;

/// Whether any events are traced.
#[inline]
pub fn is_on() -> bool {
    exporter::tracer().is_some()
}

/// A span of this event that begins now, if the event is traced.
#[inline]
pub fn begin(name: &'static str, id: &[u8]) -> Option<Span> {
    exporter::tracer()?.begin(name, id)
}

/// Spans of those of these events that are traced; they begin now.
pub fn begin_each<'a>(name: &'static str, ids: impl Iterator<Item = &'a [u8]>) -> Spans {
    match exporter::tracer() {
        None => Spans::default(),
        Some(tracer) => Spans::of(ids.map(|id| tracer.begin(name, id))),
    }
}
