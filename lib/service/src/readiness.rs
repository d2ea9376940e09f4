//! What is ready and what is not, and why. A process is ready when all its components are.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Every component of a process: `None` when it is ready, else why not. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    components: Mutex<BTreeMap<&'static str, Option<String>>>,
    ready: watch::Sender<bool>,
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
    /// A component, which begins as "starting".
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
        self.0.components.lock().clone()
    }

    fn set(&self, name: &'static str, state: Option<String>) {
        let mut components = self.0.components.lock();
        let before = components.insert(name, state.clone());
        match (&before, &state) {
            (Some(None), Some(reason)) => tracing::warn!(component = name, reason, "not ready any more"),
            (Some(Some(_)), None) => tracing::info!(component = name, "ready"),
            _ => {}
        }
        let all = components.values().all(Option::is_none);
        self.0
            .ready
            .send_if_modified(|ready| std::mem::replace(ready, all) != all);
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
        self.readiness.set(self.name, None);
    }

    /// It is not, for this reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.readiness.set(self.name, Some(reason.into()));
    }

    /// The reason why it is not ready.
    pub fn reason(&self) -> Option<String> {
        self.readiness
            .0
            .components
            .lock()
            .get(self.name)
            .cloned()
            .flatten()
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
}
