//! Fuzzing what reads bytes from outside, on stable Rust and under `cargo test`: kept inputs first, then random damage to them. Knows no parser; each
//! target is a test beside its own, which calls [`fuzz`].
//!
//! A target is to say more than "it did not panic": that what was read is written the same, that another parser agrees.
//!
//! - `RTF_FUZZ_SECONDS=600 cargo test --release -p rtf-json fuzz` looks for longer than the half second of a plain run.
//! - `RTF_FUZZ_SEED=7` draws the same inputs again.
//! - An input that a target fails on is printed, and kept as `testing/fuzz/corpus/TARGET/found-…`: from then on it is tried first. Rename it when the
//!   defect is fixed, and it stays as the regression's.

mod corpus;
mod damage;

use corpus::Corpus;
use damage::Damage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// How long a target is tried in a plain run of the tests.
const PLAIN: Duration = Duration::from_millis(500);
/// Inputs are not made longer than this.
const MAX_BYTES: usize = 4096;

/// Hands a target the inputs that are kept under its name, the seeds, and then damaged ones until the time is over. The target fails by a panic.
///
/// # Panics
/// As the target does; the input is printed and kept.
pub fn fuzz(name: &str, seeds: &[&[u8]], target: impl Fn(&[u8])) {
    let corpus = Corpus::open(name);
    let mut inputs = corpus.kept();
    inputs.extend(seeds.iter().map(|seed| seed.to_vec()));
    assert!(
        !inputs.is_empty(),
        "target {name} has nothing to begin with"
    );
    let attempt = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
            let kept = corpus.keep(input);
            eprintln!(
                "target {name} fails on {:?}, kept as {}",
                input.escape_ascii().to_string(),
                kept.display()
            );
            resume_unwind(panic);
        }
    };
    inputs.iter().for_each(|input| attempt(input));
    let (seed, until) = (number("RTF_FUZZ_SEED"), Instant::now() + time());
    let mut random = ChaCha8Rng::seed_from_u64(seed.unwrap_or_else(rand::random));
    while Instant::now() < until {
        attempt(&Damage::of(&inputs, MAX_BYTES).damaged(&mut random));
    }
}

fn time() -> Duration {
    number("RTF_FUZZ_SECONDS").map_or(PLAIN, Duration::from_secs)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}
