//! What traces show of rows on their way into the sink: from being read of the log to being visible. Decides nothing.

use crate::Content;
use crate::sink::{Place, Row};
use rtf_proto::{Accepted, Offset};
use rtf_traces::{Span, key};
use std::collections::BTreeMap;

/// Spans of a partition's rows that are not in the sink yet, by offset.
#[derive(Default)]
pub(crate) struct Spans(BTreeMap<Offset, Span>);

impl Spans {
    /// A record was read of the log. Read again, it begins anew.
    pub fn read(&mut self, content: &Content, place: Place, accepted: &Accepted) {
        if !rtf_traces::is_on() || !content.wants(accepted.outcome) {
            return;
        }
        let Some(id) = content.event_id(accepted) else {
            return;
        };
        if let Some(mut span) = rtf_traces::begin(content.step(), id.as_bytes()) {
            span.text(key::OUTCOME, accepted.outcome.as_str());
            span.number(key::LOG_PARTITION, place.partition.into());
            span.number(key::LOG_OFFSET, accepted.offset);
            self.0.insert(accepted.offset, span);
        }
    }

    /// These rows, at least one, are visible now.
    pub fn appended(&mut self, rows: &[Row]) {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return;
        };
        while let Some((offset, span)) = self.take_up_to(last.offset) {
            // What is below was brought there by somebody else.
            if offset >= first.offset {
                span.end();
            }
        }
    }

    /// The sink has what is up to here; somebody else brought it there.
    pub fn moved(&mut self, last: Option<Offset>) {
        let Some(last) = last else {
            return;
        };
        while self.take_up_to(last).is_some() {}
    }

    fn take_up_to(&mut self, last: Offset) -> Option<(Offset, Span)> {
        let first = self.0.first_entry()?;
        (*first.key() <= last).then(|| first.remove_entry())
    }
}
