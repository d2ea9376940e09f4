//! The same seed gives the same trace (RULE 37), in another process too.

#![cfg(feature = "proof")]

use rtf_simulation::plan::Plan;
use rtf_simulation::run::run;
use std::process::Command;

const FROM: u64 = 1_000_000;
const SEEDS: u64 = 25;

fn hashes() -> String {
    let mut simulation = Command::new(env!("CARGO_BIN_EXE_rtf-simulation"));
    simulation.args([
        "--hash",
        "--from",
        &FROM.to_string(),
        "--seeds",
        &SEEDS.to_string(),
    ]);
    let said = simulation.output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let is_hash = |line: &&str| line.split(' ').count() == 2;
    let hashes: Vec<&str> = said.lines().filter(is_hash).collect();
    assert_eq!(hashes.len(), usize::try_from(SEEDS).unwrap(), "{said}");
    hashes.join("\n")
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let here = (FROM..FROM + SEEDS).map(|seed| {
        let report = run(&Plan::of(seed), false);
        format!("{seed} {:016x}", report.hash)
    });
    let here = here.collect::<Vec<_>>().join("\n");
    assert_eq!(here, hashes());
    assert_eq!(here, hashes());
}

#[test]
fn other_seeds_give_other_traces() {
    let hash = |seed| run(&Plan::of(seed), false).hash;
    assert_ne!(hash(FROM), hash(FROM + 1));
}
