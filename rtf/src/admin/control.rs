//! A registry in this process, as an operator handles it: what it is told, and that its readiness says so.

use rtf_registry::{CUT_OFF, PAUSED, RegistryHandle};
use rtf_service::Component;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A registry with its readiness.
pub struct RegistryControl {
    handle: RegistryHandle,
    component: Component,
    /// One tells at a time, so that the last one told is how it is.
    telling: Mutex<()>,
}

impl RegistryControl {
    /// Of this registry.
    pub fn new(handle: RegistryHandle, component: Component) -> Arc<Self> {
        Arc::new(Self {
            handle,
            component,
            telling: Mutex::default(),
        })
    }

    /// The registry itself, for what changes nothing of its readiness.
    pub fn handle(&self) -> &RegistryHandle {
        &self.handle
    }

    /// Keeps the readiness at what it is, from when the registry has become ready until `shutdown`.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut cut_off = self.handle.watch_cut_off();
        loop {
            self.tell();
            tokio::select! {
                changed = cut_off.changed() => if changed.is_err() { return },
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Sets the readiness to what it is now. To be called whenever that may have changed.
    pub fn tell(&self) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.handle.is_ready() {
            return;
        }
        if *self.handle.watch_cut_off().borrow() {
            self.component.not_ready(CUT_OFF);
        } else if self.handle.is_paused() {
            self.component.not_ready(PAUSED);
        } else {
            self.component.ready();
        }
    }

    /// Refuses new registrations; says whether it did before.
    pub fn pause(&self) -> bool {
        let was_paused = self.handle.pause();
        self.tell();
        was_paused
    }

    /// Takes registrations again; says whether it was paused.
    pub fn resume(&self) -> bool {
        let was_paused = self.handle.resume();
        self.tell();
        was_paused
    }

    /// Pauses, and waits until nothing is under way; says how much still is.
    pub async fn drain(&self, within: Duration) -> u64 {
        self.pause();
        self.handle.drain(within).await
    }
}
