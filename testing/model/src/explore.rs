//! Exploring a model: all of its states within its bounds, and the shortest way to one that should not be. Knows no model.

use stateright::{Checker, Expectation, Model};
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A part of the protocol, small enough for all of its states to be looked at.
pub trait Protocol: Model {
    /// What it is about.
    const NAME: &'static str;

    /// Whether somebody must fail for this to happen. Where nothing else can happen the model is at rest.
    fn is_fault(action: &Self::Action) -> bool;

    /// What is bounded, and by how much.
    fn bounds(&self) -> String;

    /// Whether nothing happens any more unless somebody fails.
    fn is_at_rest(&self, state: &Self::State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.iter().all(Self::is_fault)
    }
}

/// What was looked at.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Which model.
    pub name: &'static str,
    /// Within which bounds.
    pub bounds: String,
    /// Different states.
    pub states: usize,
    /// Steps that were followed.
    pub steps: usize,
    /// Steps of the longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
}

/// How a property was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which one.
    pub property: &'static str,
    /// The shortest way there; empty where something that should be possible is not.
    pub steps: Vec<String>,
}

/// Looks at all states of a model.
///
/// # Errors
/// A state that should not be was met, or one that should be possible was not.
pub fn explore<M>(model: M) -> Result<Coverage, Violation>
where
    M: Protocol + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let (bounds, begun) = (model.bounds(), Instant::now());
    // One thread: breadth first in earnest, hence the shortest way.
    let checker = model.checker().spawn_bfs().join();
    let mut found = checker.discoveries();
    for property in checker.model().properties() {
        let name = property.name;
        match (property.expectation, found.remove(name)) {
            (Expectation::Sometimes, Some(_)) | (Expectation::Always, None) => {}
            (_, way) => {
                let actions = way.map(stateright::Path::into_actions).unwrap_or_default();
                return Err(Violation {
                    property: name,
                    steps: actions.iter().map(|action| format!("{action:?}")).collect(),
                });
            }
        }
    }
    Ok(Coverage {
        name: M::NAME,
        bounds,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
    })
}

impl Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            bounds,
            states,
            steps,
            depth,
            took,
        } = self;
        let seconds = took.as_secs_f64();
        write!(
            f,
            "{name}: {states} states, {steps} steps, depth {depth}, {seconds:.1} s ({bounds})"
        )
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not so: {}", self.property)?;
        let mut steps = self.steps.iter().enumerate();
        steps.try_for_each(|(number, step)| writeln!(f, "{:>4}  {step}", number + 1))
    }
}
