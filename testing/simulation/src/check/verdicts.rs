//! What a registry answers is true: who is told that he won, won; who is told that another was first, finds it there.

use crate::ledger::Ledger;
use rtf_proto::{Known, LookupItem, Registration, Verdict};

/// The promise.
pub const INVARIANT: &str = "a registry's answers are true";

/// Whether a verdict is.
pub fn check(ledger: &Ledger, asked: &Registration, verdict: Verdict) -> Result<(), String> {
    let id = &asked.id;
    let Some(winner) = ledger.winners.get(id) else {
        return Err(format!(
            "{id} was answered {verdict:?}, and is not in the log"
        ));
    };
    let is_true = match verdict {
        Verdict::Registered(offset) => winner.place.1 == offset && winner.token == asked.token.0,
        Verdict::AlreadyResolved(offset) => winner.place.1 == offset,
        Verdict::TooOld => true,
        Verdict::TooLarge => false,
    };
    match is_true {
        true => Ok(()),
        false => Err(format!(
            "{id} was answered {verdict:?}, and its winner is at {:?} with token {}, not {}",
            winner.place, winner.token, asked.token.0
        )),
    }
}

/// Whether what was known of an id is so. A miss says nothing.
pub fn check_known(ledger: &Ledger, asked: &LookupItem, known: &Known) -> Result<(), String> {
    let id = &asked.id;
    let Some(winner) = ledger.winners.get(id) else {
        return Err(format!("{id} is known as {known:?}, and is not in the log"));
    };
    match known {
        Known::Resolved(found) if (found.partition, found.offset) != winner.place => Err(format!(
            "{id} is known as {known:?}, and its winner is at {:?}",
            winner.place
        )),
        _ => Ok(()),
    }
}
