//! Spans of a batch of events, few of which are traced.

use crate::Span;
use std::fmt::Display;

/// Each traced event's span, with its place in the batch.
#[derive(Default, Debug)]
pub struct Spans(Vec<(usize, Span)>);

impl Spans {
    pub(crate) fn of(spans: impl Iterator<Item = Option<Span>>) -> Self {
        let placed = spans.enumerate();
        Self(placed.filter_map(|(at, span)| Some((at, span?))).collect())
    }

    /// Says something of each, given its event's place in the batch.
    pub fn each(&mut self, mut say: impl FnMut(usize, &mut Span)) {
        for (at, span) in &mut self.0 {
            say(*at, span);
        }
    }

    /// They end now, each with what became of its event, or all with the same failure.
    pub fn end<V: Copy>(
        mut self,
        verdicts: &Result<Vec<V>, impl Display>,
        tell: impl Fn(&mut Span, V),
    ) {
        self.each(|at, span| match verdicts {
            Ok(verdicts) => tell(span, verdicts[at]),
            Err(error) => span.fail(error.to_string()),
        });
        self.0.into_iter().for_each(|(_, span)| span.end());
    }
}
