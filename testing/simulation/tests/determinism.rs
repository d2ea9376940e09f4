//! The same seed gives the same trace (RULE 37): in another process, and whatever ran before it in this one.

use rtf_simulation::plan::Plan;
use rtf_simulation::run::{Keep, run};
use std::process::Command;

const FROM: u64 = 1_000_000;
const SEEDS: u64 = 30;

fn hash(seed: u64) -> String {
    let report = run(&Plan::of(seed), Keep::Sum);
    format!("{seed} {:016x}", report.hash)
}

/// Of another process that begins with this seed.
fn of_another(from: u64) -> Vec<String> {
    let mut simulation = Command::new(env!("CARGO_BIN_EXE_rtf-simulation"));
    let (first, count) = (from.to_string(), (FROM + SEEDS - from).to_string());
    simulation.args(["--hash", "--from", &first, "--seeds", &count]);
    let said = simulation.output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let is_hash = |line: &&str| line.split(' ').count() == 2;
    said.lines().filter(is_hash).map(str::to_owned).collect()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let upwards: Vec<String> = (FROM..FROM + SEEDS).map(hash).collect();
    let mut downwards: Vec<String> = (FROM..FROM + SEEDS).rev().map(hash).collect();
    downwards.reverse();
    assert_eq!(upwards, downwards);
    assert_eq!(upwards, of_another(FROM));
    let half = SEEDS as usize / 2;
    assert_eq!(upwards[half..], of_another(FROM + SEEDS / 2));
}

#[test]
fn other_seeds_give_other_traces() {
    assert_ne!(
        run(&Plan::of(FROM), Keep::Sum).hash,
        run(&Plan::of(FROM + 1), Keep::Sum).hash
    );
}
