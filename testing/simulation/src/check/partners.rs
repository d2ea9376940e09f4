//! "No partner" is said only by a joiner that has read what was there when it started.

use crate::workload::AllSent;
use rtf_proto::{ForeignEvent, JoinVerdict};

/// The promise.
pub const INVARIANT: &str = "a joiner that has not caught up never says that there is no partner";

/// Whether a joiner that began then may say so.
pub fn check(
    sent: &AllSent,
    began_ms: u64,
    asked: &ForeignEvent,
    verdict: JoinVerdict,
) -> Result<(), String> {
    if verdict != JoinVerdict::NotFound {
        return Ok(());
    }
    match sent.primaries.get(&asked.key) {
        Some(came_ms) if *came_ms < began_ms => Err(format!(
            "{} has a partner since {came_ms}, and a joiner that began at {began_ms} says that it has none",
            asked.id
        )),
        _ => Ok(()),
    }
}
