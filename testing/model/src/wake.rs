//! Waking: a joiner is asked for a key while its tail reads the key's primary, moves it to disk and merges segments there. Which locks are held when is as in
//! `joiner/src/partners.rs`: a look-up under a shared lock, a read from disk under none, another look under the exclusive lock that also remembers the key as
//! wanted. The steps between two locks are the model's, all of it is abstracted.

use crate::explore::Protocol;
use stateright::{Model, Property};

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// A key that was not found is remembered as wanted without another look.
    NotLookedAtAgain,
    /// What was read from disk counts, whatever happened to the key meanwhile.
    StampIgnored,
    /// A key that was not found is not remembered as wanted.
    NotWanted,
}

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Wake {
    /// Those who ask.
    pub askers: usize,
    /// Primaries of the key that come.
    pub primaries: u8,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// Where somebody who asks is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Asker {
    Begins,
    /// It found nothing under the shared lock.
    Missed,
    /// Some of the key's primaries are on disk; this was its stamp then, and so many were in memory.
    Cold {
        stamp: u8,
        hot: u8,
    },
    /// It read from disk what is there: so many.
    Read {
        stamp: u8,
        hot: u8,
        cold: u8,
    },
    /// It was told how many primaries there are.
    Found(u8),
    /// It was told that there are none, and waits to be woken.
    Waits,
    /// It was woken, and asks again.
    Woken,
}

/// All there is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    askers: Vec<Asker>,
    /// Primaries in memory, and on disk.
    hot: u8,
    cold: u8,
    /// Changes whenever what is on disk of the key does.
    stamp: u8,
    to_come: u8,
    wanted: bool,
    /// Somebody was told a number that was not true at that moment.
    lied: bool,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Somebody looks under the shared lock.
    Look(usize),
    /// Somebody looks again under the exclusive lock.
    LookAgain(usize),
    /// Somebody reads from disk, under no lock.
    ReadDisk(usize),
    /// Somebody takes what was read, under the exclusive lock.
    Settle(usize),
    /// The tail reads a primary, and wakes who wants it.
    Come,
    /// The tail moves what is in memory to disk.
    Flush,
}

impl Wake {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The answer where the whole key is in memory or nowhere.
    fn known(&self, state: &mut State, asker: usize) {
        state.askers[asker] = match state.hot {
            0 => {
                state.wanted |= !self.is(Flaw::NotWanted);
                Asker::Waits
            }
            hot => Asker::Found(hot),
        };
    }

    fn look(&self, state: &mut State, asker: usize) {
        let State { hot, stamp, .. } = *state;
        state.askers[asker] = match (state.cold, hot) {
            (0, 0) => Asker::Missed,
            (0, hot) => Asker::Found(hot),
            _ => Asker::Cold { stamp, hot },
        };
    }

    fn look_again(&self, state: &mut State, asker: usize) {
        let State { hot, stamp, .. } = *state;
        if self.is(Flaw::NotLookedAtAgain) {
            state.wanted = true;
            state.askers[asker] = Asker::Waits;
        } else if state.cold > 0 {
            state.askers[asker] = Asker::Cold { stamp, hot };
        } else {
            self.known(state, asker);
        }
    }

    fn settle(&self, state: &mut State, asker: usize) {
        let Asker::Read { stamp, hot, cold } = state.askers[asker] else {
            return;
        };
        if stamp != state.stamp && !self.is(Flaw::StampIgnored) {
            state.askers[asker] = Asker::Begins;
            return;
        }
        // What is in memory is looked at now, what was read from disk holds still.
        let hot = if self.is(Flaw::StampIgnored) {
            hot
        } else {
            state.hot
        };
        state.lied |= hot + cold != state.hot + state.cold;
        state.askers[asker] = Asker::Found(hot + cold);
    }

    fn come(&self, state: &mut State) {
        state.to_come -= 1;
        state.hot += 1;
        if std::mem::take(&mut state.wanted) {
            for asker in &mut state.askers {
                if *asker == Asker::Waits {
                    *asker = Asker::Woken;
                }
            }
        }
    }
}

impl Model for Wake {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            askers: vec![Asker::Begins; self.askers],
            hot: 0,
            cold: 0,
            stamp: 0,
            to_come: self.primaries,
            wanted: false,
            lied: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, asker) in state.askers.iter().enumerate() {
            match asker {
                Asker::Begins | Asker::Woken => actions.push(Action::Look(number)),
                Asker::Missed => actions.push(Action::LookAgain(number)),
                Asker::Cold { .. } => actions.push(Action::ReadDisk(number)),
                Asker::Read { .. } => actions.push(Action::Settle(number)),
                Asker::Found(_) | Asker::Waits => {}
            }
        }
        if state.to_come > 0 {
            actions.push(Action::Come);
        }
        if state.hot > 0 {
            actions.push(Action::Flush);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Look(asker) => self.look(&mut state, asker),
            Action::LookAgain(asker) => self.look_again(&mut state, asker),
            Action::ReadDisk(asker) => {
                if let Asker::Cold { stamp, hot } = state.askers[asker] {
                    let cold = state.cold;
                    state.askers[asker] = Asker::Read { stamp, hot, cold };
                }
            }
            Action::Settle(asker) => self.settle(&mut state, asker),
            Action::Come => self.come(&mut state),
            Action::Flush => {
                state.cold += std::mem::take(&mut state.hot);
                state.stamp += 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "nobody waits for what is there",
                |_: &Self, state: &State| {
                    let is_there = state.hot + state.cold > 0;
                    !is_there || !state.askers.contains(&Asker::Waits)
                },
            ),
            Property::always("whoever waits will be woken", |_: &Self, state: &State| {
                state.wanted || !state.askers.contains(&Asker::Waits)
            }),
            Property::always(
                "what is told was so at that moment",
                |_: &Self, state: &State| !state.lied,
            ),
            Property::sometimes(
                "somebody waited, was woken and found all from disk",
                |model: &Self, state: &State| {
                    let all = Asker::Found(model.primaries);
                    state.cold == model.primaries && state.askers.contains(&all)
                },
            ),
        ]
    }
}

impl Protocol for Wake {
    const NAME: &'static str = "waking";

    fn is_fault(_: &Action) -> bool {
        false
    }

    fn bounds(&self) -> String {
        let Self {
            askers, primaries, ..
        } = self;
        format!("{askers} askers, {primaries} primaries of one key, flushed at any moment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::explore;

    fn small(flaw: Option<Flaw>) -> Wake {
        Wake {
            askers: 2,
            primaries: 2,
            flaw,
        }
    }

    #[test]
    fn nobody_waits_for_what_is_there() {
        explore(small(None)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn finds(flaw: Flaw, property: &str) {
        let violation = explore(small(Some(flaw))).expect_err("a deliberate mistake");
        assert!(violation.property.starts_with(property), "{violation}");
    }

    #[test]
    fn a_key_that_is_not_looked_at_again_is_found() {
        finds(Flaw::NotLookedAtAgain, "nobody waits");
    }

    #[test]
    fn a_stamp_that_is_ignored_is_found() {
        finds(Flaw::StampIgnored, "what is told");
    }

    #[test]
    fn a_key_that_nobody_wants_is_found() {
        finds(Flaw::NotWanted, "nobody waits");
    }
}
