//! The seed that decides a test's random moments.

use anyhow::{Context, Result};

/// The environment variable that gives another one.
const VARIABLE: &str = "RTF_SEED";

/// `RTF_SEED` if it is set, else the test's own.
pub fn seed(own: u64) -> Result<u64> {
    let given = std::env::var(VARIABLE).ok();
    let given = given.map_or(Ok(own), |seed| seed.parse());
    given.with_context(|| format!("{VARIABLE} is no number"))
}
