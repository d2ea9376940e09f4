//! Every event that was sent has exactly one accepted record, with the outcome and the partner it must have; and nobody else has one.

use crate::ledger::{Entry, Ledger};
use crate::workload::{AllSent, End, Sent};
use crate::world::WAIT_MAX;
use rtf_proto::record::Body;
use rtf_proto::{EventId, header};
use rtf_proto::{Outcome, Reason};
use std::time::Duration;

/// The promise.
pub const INVARIANT: &str = "each event ends once, as it must";

/// A dispatcher counts whole milliseconds, from a beginning of its own.
const CLOCKS_DIFFER: Duration = Duration::from_millis(2);

/// What is wrong, if anything.
pub fn check(sent: &AllSent, ledger: &Ledger) -> Result<(), String> {
    let mut winners = ledger.winners.iter();
    let stranger = |id: &EventId| Err(format!("{id} was never sent"));
    for (id, event) in &sent.events {
        match winners.next() {
            Some((won, entry)) if won == id => check_once(id, event, entry)?,
            Some((won, _)) if won < id => return stranger(won),
            _ => return Err(format!("{id} has no record in the log")),
        }
    }
    winners.next().map_or(Ok(()), |(won, _)| stranger(won))
}

/// What has won stays as it is.
fn check_once(id: &EventId, event: &Sent, entry: &Entry) -> Result<(), String> {
    if event.is_checked.get() {
        return Ok(());
    }
    check_end(id, event, entry).map_err(|words| format!("{id}: {words}"))?;
    event.is_checked.set(true);
    Ok(())
}

fn check_end(id: &EventId, event: &Sent, entry: &Entry) -> Result<(), String> {
    match &event.end {
        End::Joined(primary) if entry.is_joined() => row(&entry.body, id, event, primary),
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

/// The row begins with the id, and holds the original bytes of both sides, of nobody else.
fn row(open: &[u8], id: &EventId, event: &Sent, partner: &[u8]) -> Result<(), String> {
    let before_key: [&[u8]; 3] = [b"{\"id\":\"", id.as_bytes(), b"\",\"key\":\""];
    let behind_key: [&[u8]; 5] = [
        b"\",\"outcome\":\"joined\",\"foreign\":",
        &event.value,
        b",\"primary\":[",
        partner,
        b"],\"foreign_ts\":",
    ];
    let key = behind(open, &before_key);
    let end = key.and_then(|key| {
        key.iter()
            .position(|byte| *byte == b'"')
            .map(|at| &key[at..])
    });
    match end.and_then(|end| behind(end, &behind_key)) {
        Some(_) => Ok(()),
        None => Err(format!(
            "its row is another's, or not all of it: {}",
            String::from_utf8_lossy(open)
        )),
    }
}

/// What comes behind these parts, if they come first.
fn behind<'a>(bytes: &'a [u8], parts: &[&[u8]]) -> Option<&'a [u8]> {
    let mut parts = parts.iter();
    parts.try_fold(bytes, |bytes, part| bytes.strip_prefix(*part))
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
