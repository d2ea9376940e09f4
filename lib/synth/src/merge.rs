//! Merge: several iterators of events as one, in the order in which they are to be sent.

use std::iter::Peekable;

use crate::event::Event;

/// An iterator of events that may move to another thread.
type Events = Box<dyn Iterator<Item = Event> + Send>;

/// Events of all sources by [`Event::at_ms`]; of those due at once the earlier source goes first.
pub(crate) struct Merge {
    sources: Vec<Peekable<Events>>,
}

impl Merge {
    /// Each source must be in order itself.
    pub(crate) fn new(sources: impl IntoIterator<Item = Events>) -> Self {
        Self {
            sources: sources.into_iter().map(Iterator::peekable).collect(),
        }
    }
}

impl Iterator for Merge {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let due = |source: &mut Peekable<Events>| source.peek().map(|event| event.at_ms);
        let first = (0..self.sources.len())
            .filter_map(|n| due(&mut self.sources[n]).map(|at_ms| (at_ms, n)))
            .min()?;
        self.sources[first.1].next()
    }
}
