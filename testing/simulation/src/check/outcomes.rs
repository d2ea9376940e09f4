//! Every event that was sent has exactly one accepted record, with the outcome and the partner it must have; and nobody else has one.

use crate::ledger::{Entry, Ledger};
use crate::workload::{AllSent, End, Sent};
use crate::world::WAIT_MAX;
use bytes::Bytes;
use rtf_proto::EventId;
use rtf_proto::record::Body;
use rtf_proto::{Outcome, Reason};
use serde_json::Value;
use std::time::Duration;

/// The promise.
pub const INVARIANT: &str = "each event ends once, as it must";

/// A dispatcher counts whole milliseconds, from a beginning of its own.
const CLOCKS_DIFFER: Duration = Duration::from_millis(2);

/// What is wrong, if anything.
pub fn check(sent: &AllSent, ledger: &Ledger) -> Result<(), String> {
    for (id, event) in &sent.events {
        let Some(entry) = ledger.winners.get(id) else {
            return Err(format!("{id} has no record in the log"));
        };
        check_end(event, entry).map_err(|words| format!("{id}: {words}"))?;
    }
    let stranger = |id: &&EventId| !sent.events.contains_key(id);
    match ledger.winners.keys().find(stranger) {
        Some(id) => Err(format!("{id} was never sent")),
        None => Ok(()),
    }
}

fn check_end(event: &Sent, entry: &Entry) -> Result<(), String> {
    match &event.end {
        End::Joined(primary) if entry.is_joined() => row(&entry.body, event, &[primary]),
        End::Malformed if entry.is_malformed() => original(Outcome::Malformed, event, entry),
        End::Unjoinable if !entry.is_joined() && !entry.is_malformed() => {
            let deadline = WAIT_MAX.saturating_sub(CLOCKS_DIFFER).as_millis();
            if u128::from(entry.arrived_ms - event.at_ms) < deadline {
                return Err("it was given up before its time".into());
            }
            original(Outcome::Unjoinable(Reason::TimedOut), event, entry)
        }
        _ => Err(format!(
            "it must be {:?}, and is {:#06x}",
            event.end, entry.outcome
        )),
    }
}

/// The row holds the original bytes of both sides.
fn row(open: &Bytes, event: &Sent, partners: &[&Bytes]) -> Result<(), String> {
    let text = std::str::from_utf8(open).map_err(|error| error.to_string())?;
    for part in partners.iter().copied().chain([&event.value]) {
        if !text.contains(std::str::from_utf8(part).unwrap_or("?")) {
            return Err(format!("its row lacks {part:?}: {text}"));
        }
    }
    let row: Value = serde_json::from_str(&format!("{text}}}")).map_err(|e| e.to_string())?;
    let count = row["primary"].as_array().map_or(0, Vec::len);
    match count == partners.len() {
        true => Ok(()),
        false => Err(format!("it has {count} partners: {text}")),
    }
}

fn original(outcome: Outcome, event: &Sent, entry: &Entry) -> Result<(), String> {
    let original = match Body::decode(outcome, entry.body.clone()) {
        Some(Body::Malformed { original, .. } | Body::Unjoinable { original, .. }) => original,
        _ => return Err("its body is none".into()),
    };
    // What was parked says beside where it came from; nothing else of its having been parked may be left.
    let is_clean = original
        .headers
        .iter()
        .all(|(name, _)| name == header::SOURCE);
    match original.value.as_ref() == Some(&event.value) && is_clean {
        true => Ok(()),
        false => Err("its original is another".into()),
    }
}
