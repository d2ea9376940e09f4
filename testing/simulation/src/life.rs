//! A process's life: it runs, it is stalled, it is dead. A dead one does nothing more to anybody, whatever of it is still in memory.

use crate::machine::now_ms;
use std::pin::pin;
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    Stalled,
    Dead,
}

/// One life of one process.
#[derive(Debug)]
pub struct Life {
    state: watch::Sender<State>,
    /// When it began, ms.
    pub began_ms: u64,
}

impl Life {
    /// Begins now.
    pub fn begin() -> Self {
        Self {
            state: watch::Sender::new(State::Running),
            began_ms: now_ms(),
        }
    }

    /// Returns when it runs; never, when it is dead.
    pub async fn running(&self) {
        let mut state = self.state.subscribe();
        // The sender is here.
        let _ = state.wait_for(|state| *state == State::Running).await;
    }

    /// Returns when it is dead.
    pub async fn ended(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| *state == State::Dead).await;
    }

    /// Returns when it does not run.
    async fn interrupted(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| *state != State::Running).await;
    }

    /// Stops it for now, or lets it go on.
    pub fn stall(&self, stalled: bool) {
        let wanted = if stalled {
            State::Stalled
        } else {
            State::Running
        };
        self.state.send_if_modified(|state| {
            *state != State::Dead && std::mem::replace(state, wanted) != wanted
        });
    }

    /// Ends it.
    pub fn kill(&self) {
        self.state.send_replace(State::Dead);
    }

    /// Works on while it runs.
    pub async fn live<A>(&self, work: impl Future<Output = A>) -> A {
        let mut work = pin!(work);
        loop {
            self.running().await;
            tokio::select! {
                biased;
                () = self.interrupted() => {}
                done = &mut work => return done,
            }
        }
    }
}
