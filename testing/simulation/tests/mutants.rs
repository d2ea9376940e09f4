//! The tests of the tests (RULE 38): each deliberate bug is caught.

#![cfg(feature = "proof")]

use rtf_simulation::mutants::{ALL, SEEDS_MAX, hunt};
use std::path::Path;

#[test]
fn every_mutant_is_caught() {
    let program = Path::new(env!("CARGO_BIN_EXE_rtf-simulation"));
    let survives = |mutant| hunt(program, mutant).unwrap().is_none();
    let survivors: Vec<_> = ALL.iter().filter(|mutant| survives(mutant)).collect();
    assert!(
        survivors.is_empty(),
        "alive after {SEEDS_MAX} seeds: {survivors:?}"
    );
}
