//! What is to become of appends, and when. Knows no topic and no clock.

use rtf_kafka::simulated::Append;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What becomes of an append.
pub enum Step {
    /// It arrives.
    Arrives(Rc<Append>),
    /// Its producer is told: that it was taken, else that nobody knows.
    Told(Rc<Append>, bool),
}

/// What is to come, by the time at which it comes, ms.
#[derive(Default)]
pub struct Agenda(BTreeMap<u64, Vec<Step>>);

impl Agenda {
    /// It comes then, behind all that comes then already. Whether nothing comes before it.
    pub fn add(&mut self, at_ms: u64, step: Step) -> bool {
        let is_next = self.next().is_none_or(|next| at_ms < next);
        self.0.entry(at_ms).or_default().push(step);
        is_next
    }

    /// When the next comes.
    pub fn next(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    /// The next of what has come until now.
    pub fn take(&mut self, now_ms: u64) -> Option<Vec<Step>> {
        let first = self.0.first_entry()?;
        (*first.key() <= now_ms).then(|| first.remove())
    }

    /// Appends that are still to arrive.
    pub fn on_their_way(&self) -> usize {
        let steps = self.0.values().flatten();
        steps
            .filter(|step| matches!(step, Step::Arrives(_)))
            .count()
    }
}
