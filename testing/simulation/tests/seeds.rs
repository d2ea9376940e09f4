//! New seeds with each run.

#![cfg(feature = "proof")]

use rtf_simulation::plan::Plan;
use rtf_simulation::run::run;
use std::time::UNIX_EPOCH;

/// New ones a run.
const SEEDS: u64 = 300;
/// Where they begin, if not with the clock.
const FROM: &str = "RTF_SEED";
/// How many, if not so many.
const COUNT: &str = "RTF_SEEDS";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn new_seeds_violate_nothing() {
    let clock = || UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs() << 20);
    let from = number(FROM).unwrap_or_else(clock);
    let count = number(COUNT).unwrap_or(SEEDS);
    println!("{count} seeds from {from} on");
    for seed in from..from + count {
        let report = run(&Plan::of(seed), false);
        assert_eq!(
            report.violation, None,
            "cargo run -p rtf-simulation --release -- --seed {seed}"
        );
    }
}
