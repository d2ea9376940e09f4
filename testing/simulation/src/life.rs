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
        if *self.state.borrow() == State::Running {
            return;
        }
        let mut state = self.state.subscribe();
        // The sender is here.
        let _ = state.wait_for(|state| *state == State::Running).await;
    }

    /// Returns when it is dead.
    pub async fn ended(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| *state == State::Dead).await;
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

    /// Works on while it runs; never comes back when it is dead.
    pub async fn live<A>(&self, work: impl Future<Output = A>) -> A {
        match self.live_on(work).await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Works on while it runs; none when it is dead before the work is done.
    pub async fn live_on<A>(&self, work: impl Future<Output = A>) -> Option<A> {
        let mut state = self.state.subscribe();
        let mut work = pin!(work);
        loop {
            let now = *state.borrow_and_update();
            // The sender is here.
            match now {
                State::Dead => return None,
                State::Stalled => drop(state.changed().await),
                State::Running => {
                    tokio::select! {
                        biased;
                        _ = state.changed() => {}
                        done = &mut work => return Some(done),
                    }
                }
            }
        }
    }
}
