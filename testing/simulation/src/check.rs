//! The oracle: one invariant per file. Each looks at what was sent, at the raw log and at Redis, and asks the code under test nothing but what its users may ask.

pub mod commits;
pub mod liveness;
pub mod outcomes;
pub mod partners;
pub mod poison;
pub mod readiness;
pub mod replicas;
pub mod rows;
pub mod verdicts;

/// Something that must never be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What was promised.
    pub invariant: &'static str,
    /// What is.
    pub words: String,
}
