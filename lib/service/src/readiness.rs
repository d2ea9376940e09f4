//! What is ready and what is not, and why. A process is ready when all its components are.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Every component of a process and how it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    components: Mutex<BTreeMap<&'static str, State>>,
    ready: watch::Sender<bool>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Ready,
    NotReady(String),
    /// For good: nothing follows it.
    Failed(String),
}

impl State {
    /// Why it is not ready.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Ready => None,
            Self::NotReady(reason) => Some(reason.clone()),
            Self::Failed(reason) => Some(format!("failed: {reason}")),
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Inner {
            components: Mutex::default(),
            ready: watch::Sender::new(false),
        }))
    }
}

impl Readiness {
    /// A component, which begins as "starting". Two of one name are one.
    pub fn component(&self, name: &'static str) -> Component {
        let component = Component {
            readiness: self.clone(),
            name,
        };
        component.not_ready("starting");
        component
    }

    /// Whether there is a component and all of them are ready.
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Tells of changes.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// Components with the reason why each is not ready.
    pub fn components(&self) -> BTreeMap<&'static str, Option<String>> {
        let components = self.0.components.lock();
        let reasons = components
            .iter()
            .map(|(name, state)| (*name, state.reason()));
        reasons.collect()
    }

    fn set(&self, name: &'static str, state: State) {
        let mut components = self.0.components.lock();
        if matches!(components.get(name), Some(State::Failed(_))) {
            return;
        }
        tell(name, components.get(name), &state);
        components.insert(name, state);
        let all = components.values().all(|state| *state == State::Ready);
        // Under the lock, so that the last change told is the last one made.
        self.0
            .ready
            .send_if_modified(|ready| std::mem::replace(ready, all) != all);
    }
}

fn tell(component: &'static str, before: Option<&State>, now: &State) {
    match (before, now) {
        (Some(State::Ready), State::NotReady(reason)) => {
            tracing::warn!(component, reason, "not ready any more");
        }
        (Some(State::NotReady(_)), State::Ready) => tracing::info!(component, "ready"),
        (Some(State::NotReady(before)), State::NotReady(reason)) if before != reason => {
            tracing::info!(component, reason, "not ready yet");
        }
        (_, State::Failed(reason)) => tracing::error!(component, reason, "failed"),
        _ => {}
    }
}

/// One thing that can be ready or not.
#[derive(Clone, Debug)]
pub struct Component {
    readiness: Readiness,
    name: &'static str,
}

impl Component {
    /// It is ready.
    pub fn ready(&self) {
        self.readiness.set(self.name, State::Ready);
    }

    /// It is not, for this reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.readiness
            .set(self.name, State::NotReady(reason.into()));
    }

    /// It failed and will not be ready again, whatever is said later.
    pub fn failed(&self, reason: impl Into<String>) {
        self.readiness.set(self.name, State::Failed(reason.into()));
    }

    /// The reason why it is not ready.
    pub fn reason(&self) -> Option<String> {
        self.readiness
            .0
            .components
            .lock()
            .get(self.name)
            .and_then(State::reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_components_are() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready(), "nothing has started");
        let (one, two) = (readiness.component("one"), readiness.component("two"));
        one.ready();
        assert!(!readiness.is_ready());
        two.ready();
        assert!(readiness.is_ready());
        one.not_ready("Redis is away");
        assert!(!readiness.is_ready());
        assert_eq!(
            readiness.components()["one"].as_deref(),
            Some("Redis is away")
        );
        assert_eq!(
            (one.reason().as_deref(), two.reason()),
            (Some("Redis is away"), None)
        );
    }

    #[test]
    fn a_failure_is_for_good() {
        let readiness = Readiness::default();
        let component = readiness.component("one");
        component.ready();
        component.failed("disk full");
        component.ready();
        readiness.component("one").ready();
        assert!(!readiness.is_ready());
        assert_eq!(component.reason().as_deref(), Some("failed: disk full"));
    }

    #[tokio::test]
    async fn only_changes_of_the_whole_are_told() {
        let readiness = Readiness::default();
        let mut changes = readiness.watch();
        let (one, two) = (readiness.component("one"), readiness.component("two"));
        one.ready();
        assert!(!changes.has_changed().unwrap(), "two is still starting");
        two.ready();
        changes.changed().await.unwrap();
        assert!(*changes.borrow_and_update());
        two.ready();
        assert!(!changes.has_changed().unwrap());
    }
}
