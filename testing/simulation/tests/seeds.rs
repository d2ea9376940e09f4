//! New seeds each day.

use rtf_simulation::plan::Plan;
use rtf_simulation::run::{Keep, run_all};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

const DAY_SECONDS: u64 = 24 * 3600;
/// New ones a day.
const SEEDS: u64 = 2_000;
/// Each worker takes so many.
const AT_ONCE: u64 = 16;
/// A slow machine runs fewer: no new one is begun after this, unless so many are asked for.
const WITHIN: Duration = Duration::from_secs(60);
/// Where they begin, if not with the day.
const FROM: &str = "RTF_SEED";
/// How many, if not so many.
const COUNT: &str = "RTF_SEEDS";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Words, not a panic: while one thread says them, another makes a copy of the process.
fn check(seeds: Range<u64>) -> Option<String> {
    let mut violated = run_all(seeds.map(Plan::of), Keep::Nothing).filter_map(|(plan, report)| {
        let violation = report.violation?;
        let seed = plan.seed;
        Some(format!(
            "cargo run -p rtf-simulation --release -- --seed {seed}: {violation:?}"
        ))
    });
    violated.next()
}

#[test]
fn new_seeds_violate_nothing() {
    // A day's are the same: what failed is red until it is mended, and no change is blamed for what another found.
    let today = || {
        UNIX_EPOCH
            .elapsed()
            .map_or(0, |time| time.as_secs() / DAY_SECONDS)
    };
    let from = number(FROM).unwrap_or_else(|| today() << 20);
    let (count, within) = match number(COUNT) {
        Some(count) => (count, Duration::MAX),
        None => (SEEDS, WITHIN),
    };
    println!("up to {count} seeds from {from} on");
    let (begun, next) = (Instant::now(), AtomicU64::new(from));
    let seeds = || {
        let seed = next.fetch_add(AT_ONCE, Ordering::Relaxed);
        let end = (seed + AT_ONCE).min(from + count);
        (begun.elapsed() < within && seed < end).then_some(seed..end)
    };
    let work = || std::iter::from_fn(seeds).find_map(check);
    let cores = thread::available_parallelism().map_or(1, Into::into);
    let found: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let found = workers.into_iter().map(|worker| worker.join());
        found
            .filter_map(|found| found.expect("it does not panic"))
            .collect()
    });
    let run = next.load(Ordering::Relaxed).min(from + count) - from;
    println!("{run} seeds in {:?}", begun.elapsed());
    assert!(found.is_empty(), "{found:#?}");
}
