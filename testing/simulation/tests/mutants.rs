//! The tests of the tests (RULE 38): each deliberate bug is caught.

use rtf_simulation::mutants::{ALL, Mutant, SEEDS_MAX, hunt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[test]
fn every_mutant_is_caught() {
    let program = Path::new(env!("CARGO_BIN_EXE_rtf-simulation"));
    let next = AtomicUsize::new(0);
    let hunts = || {
        let turns = std::iter::from_fn(|| ALL.get(next.fetch_add(1, Ordering::Relaxed)));
        let survives = |mutant: &&Mutant| hunt(program, mutant).unwrap().is_none();
        turns.filter(survives).collect::<Vec<_>>()
    };
    let cores = thread::available_parallelism().map_or(1, Into::into);
    let survivors: Vec<&Mutant> = thread::scope(|scope| {
        let hunters: Vec<_> = (0..cores).map(|_| scope.spawn(hunts)).collect();
        let found = hunters.into_iter().map(|hunter| hunter.join().unwrap());
        found.flatten().collect()
    });
    assert!(
        survivors.is_empty(),
        "alive after {SEEDS_MAX} seeds: {survivors:?}"
    );
}
