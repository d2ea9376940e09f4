//! Whether those the dispatcher depends on answer; tells it on, once per change.

use parking_lot::Mutex;
use rtf_service::Component;
use std::collections::BTreeMap;

/// Whom the dispatcher depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Part {
    /// The foreign topic.
    Kafka,
    /// Look-ups and registrations.
    Registry,
    /// Joins.
    Joiner,
    /// The joiner's wake-ups.
    Wakeups,
    /// The retry topics.
    Retry,
    /// Whoever may pause it.
    Operator,
}

/// The troubles there are. The component reports and logs each change.
#[derive(Debug)]
pub(crate) struct Health {
    component: Component,
    troubles: Mutex<BTreeMap<Part, String>>,
}

impl Health {
    /// Not ready until it is said that Kafka is well.
    pub fn new(component: Component) -> Self {
        let starting = BTreeMap::from([(Part::Kafka, "joining the consumer group".into())]);
        Self {
            component,
            troubles: Mutex::new(starting),
        }
    }

    /// Something does not answer. Further words about the same trouble are not repeated.
    pub fn trouble(&self, part: Part, words: impl Into<String>) {
        let mut troubles = self.troubles.lock();
        troubles.entry(part).or_insert_with(|| words.into());
        self.tell(&troubles);
    }

    /// A trouble goes on for too long: these words say more than the first did.
    pub fn worse(&self, part: Part, words: impl Into<String>) {
        let mut troubles = self.troubles.lock();
        troubles.insert(part, words.into());
        self.tell(&troubles);
    }

    /// It answers.
    pub fn well(&self, part: Part) {
        let mut troubles = self.troubles.lock();
        if troubles.remove(&part).is_some() {
            self.tell(&troubles);
        }
    }

    fn tell(&self, troubles: &BTreeMap<Part, String>) {
        match troubles.values().next() {
            None => self.component.ready(),
            Some(words) => self.component.not_ready(words.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_service::Readiness;

    #[test]
    fn ready_when_nobody_is_in_trouble() {
        let readiness = Readiness::default();
        let health = Health::new(readiness.component("dispatcher"));
        assert!(!readiness.is_ready());
        health.worse(Part::Kafka, "still joining");
        assert_eq!(
            readiness.components()["dispatcher"].as_deref(),
            Some("still joining")
        );
        health.well(Part::Kafka);
        assert!(readiness.is_ready());
        health.trouble(Part::Registry, "away");
        health.trouble(Part::Registry, "still away");
        health.trouble(Part::Joiner, "away too");
        assert_eq!(
            readiness.components()["dispatcher"].as_deref(),
            Some("away")
        );
        health.well(Part::Registry);
        health.well(Part::Joiner);
        assert!(readiness.is_ready());
    }
}
