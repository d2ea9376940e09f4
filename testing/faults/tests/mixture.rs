//! A mixture of faults against real servers and real processes for five minutes, as `rtf-faults` gives it by hand for hours; each event
//! ends exactly once, and full speed comes back after each of them.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use rtf_testing::seed;

const MINUTES: &str = "5";
/// The rate that a small machine sustains beside three brokers.
const RATE: &str = "500";
const SEED: u64 = 7;

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_event_ends_once_whatever_is_shot_at() -> Result<()> {
    let seed = seed(SEED)?.to_string();
    // Its words are the test's: what was skipped must be read by whoever reads the log.
    let status = Command::new(env!("CARGO_BIN_EXE_rtf-faults"))
        .args(["--minutes", MINUTES, "--rate", RATE, "--seed", &seed])
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}
