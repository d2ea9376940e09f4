//! The deliberate bugs (RULE 38), and how many seeds it takes to catch each. They stand in the product's code as `mutant::is("…")`, in builds of this
//! crate only, and which one a process has is said once in its environment: each is tried in processes of its own.

use crate::plan::Plan;
use crate::run::{Keep, run_all};
use std::process::Command;

/// Whoever is not caught within so many seeds has found a hole in the tests.
pub const SEEDS_MAX: u64 = 500;
/// Names the bug a process has.
pub const VARIABLE: &str = "RTF_MUTANT";

/// A deliberate bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// As the product's code names it.
    pub name: &'static str,
    /// What is wrong.
    pub words: &'static str,
}

macro_rules! mutants {
    ($($name:literal: $words:literal,)*) => {
        /// All of them.
        pub const ALL: &[Mutant] = &[$(Mutant { name: $name, words: $words },)*];
    };
}

mutants! {
    "ack-on-delivery-report": "a writer answers when the producer's report comes",
    "ack-on-time-out": "a writer takes an append that timed out for one that stands in the log",
    "miss-answered-locally": "a replica that does not know an id says that it is the first",
    "losers-carried": "who reads the log again from further up gets the records that lost, too",
    "clock-in-apply": "what is forgotten when is decided by a replica's own clock",
    "poison-passed-over": "a broken record of ours is passed over",
    "ready-before-it-has-read": "a joiner answers before it has read what was there",
    "second-record-accepted": "a later record of an id is accepted too",
    "position-ahead-of-blocks": "the position on disk is one ahead of the blocks beside it",
    "block-sum-not-compared": "a block that was torn on the disk is taken for what was written",
    "positions-ahead-of-segments": "the positions on a joiner's disk are one ahead of the events beside them",
    "event-block-sum-not-compared": "events of a block that was damaged on a joiner's disk are taken for what was written",
    "reset-to-latest": "a replica that starts from nothing begins at the log's end",
    "barrier-skipped": "a replica serves before its barrier came back",
    "child-inherits-nothing": "what was split from a partition does not know what that registered",
    "old-count-accepted": "a record whose writer had not heard of a split counts where it stands",
    "forgotten-without-marks": "ids are forgotten though their source is not done up to there",
    "floor-not-compared": "what is read again after it was forgotten is an event like any other",
    "mark-beyond-the-mark": "a dispatcher announces more as done than is",
    "read-is-committed": "positions are committed as far as was read, not as far as is resolved",
    "unheard-is-parked": "an event counts as parked though nobody knows whether the retry topic has it",
    "epoch-not-compared": "answers of an assignment that is over count in the next one",
    "topic-known-by-name": "records of a topic that was made anew are taken for those of its predecessor",
    "silence-is-success": "a call without an answer counts as done",
    "given-up-after-attempts": "an event is given up after some attempts instead of after its time",
    "wait-begins-with-the-look": "an event's wait counts from when somebody began to look for it, before it was there",
    "not-ready-is-no-partner": "a joiner's \"not ready\" is taken for \"no partner\"",
    "waiting-lost": "now and then what is due is dropped",
    "cursor-not-compared": "the sink appends whatever it is told, wherever it ends (here the simulated one; the real one's script has `publisher/tests/it/redis.rs`)",
    "standby-never-takes-over": "a publisher that left a partition to another one waits for it for ever",
    "forgotten-rows-not-refilled": "a publisher does not notice that the sink forgot rows",
}

/// What became of a mutant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caught {
    /// Seeds it took.
    pub seeds: u64,
    /// By which promise.
    pub invariant: String,
}

/// The first of so many seeds that fails in this process: how many it took, and what was violated.
pub fn first_failure(from: u64, seeds: u64) -> Option<(u64, &'static str)> {
    let reports = run_all((from..from + seeds).map(Plan::of), Keep::Nothing);
    let mut violated = (1..).zip(reports).filter_map(|(count, (_, report))| {
        let violation = report.violation?;
        Some((count, violation.invariant))
    });
    violated.next()
}

/// Looks for a seed that catches a mutant, in a process of its own that runs `program`. None when it survives.
///
/// # Errors
/// The program could not be run.
pub fn hunt(program: &std::path::Path, mutant: &Mutant) -> std::io::Result<Option<Caught>> {
    let mut hunter = Command::new(program);
    let seeds = SEEDS_MAX.to_string();
    hunter
        .args(["--first", "--seeds", &seeds])
        .env(VARIABLE, mutant.name);
    let said = hunter.output()?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let caught = said
        .lines()
        .find_map(|line| line.strip_prefix("caught after "));
    Ok(caught.and_then(|words| {
        let (seeds, invariant) = words.split_once(": ")?;
        Some(Caught {
            seeds: seeds.parse().ok()?,
            invariant: invariant.into(),
        })
    }))
}
