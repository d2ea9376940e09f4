//! The two workloads as their users see them: the same bytes for the same seed, good JSON where it is said to
//! be good, shares as asked for, and an oracle that agrees with what is sent.

mod clicks;
mod example;
mod vacation;

use std::collections::HashSet;

use rtf_synth::{Event, Expect, Expected, Join, Side, Stream};
use serde_json::Value;

/// A fingerprint of all that is sent (64-bit FNV-1a). It stands in tests as a number: whoever changes a
/// workload's bytes must say so, because kept seeds and measurements would no longer be comparable.
fn fingerprint(events: impl Iterator<Item = Event>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for event in events {
        eat(&event.at_ms.to_le_bytes());
        eat(event.key.as_deref().unwrap_or_default());
        eat(&event.value);
    }
    hash
}

/// Reads a good event's JSON.
fn parse(event: &Event) -> Value {
    let text = String::from_utf8_lossy(&event.value);
    serde_json::from_slice(&event.value).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The text at a pointer, as the product takes it for an id or a key: a string or a number, not empty.
fn text_at(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Id and key of a record, if it has both.
fn id_and_key(event: &Event, join: &Join) -> Option<(String, String)> {
    let value: Value = serde_json::from_slice(&event.value).ok()?;
    let Stream { id, key, .. } = match event.side {
        Side::Foreign => join.foreign,
        Side::Primary => join.primary,
    };
    Some((text_at(&value, id)?, text_at(&value, key)?))
}

/// The naive join of everything sent: what a checker with all the time in the world would say. A primary's
/// id is told only where no more than one has the key.
fn naive(events: &[Event], join: &Join) -> Vec<Expected> {
    let primaries: Vec<(String, String)> = events
        .iter()
        .filter(|event| event.side == Side::Primary)
        .filter_map(|event| id_and_key(event, join))
        .collect();
    let mut by_key = std::collections::HashMap::<String, Vec<String>>::new();
    for (id, key) in primaries {
        by_key.entry(key).or_default().push(id);
    }
    let mut seen = HashSet::new();
    let mut expected = Vec::new();
    for event in events.iter().filter(|event| event.side == Side::Foreign) {
        let Some((id, key)) = id_and_key(event, join) else {
            expected.push(Expected::Malformed {
                value: event.value.clone(),
            });
            continue;
        };
        if !seen.insert(id.clone()) {
            continue;
        }
        expected.push(match by_key.get(&key).map(Vec::as_slice) {
            None => Expected::Unjoinable { id, key },
            Some([only]) => Expected::Joined {
                id,
                key,
                primary: Some(only.clone()),
            },
            Some(_) => Expected::Joined {
                id,
                key,
                primary: None,
            },
        });
    }
    expected.sort();
    expected
}

fn sorted(expected: impl Iterator<Item = Expected>) -> Vec<Expected> {
    let mut all: Vec<Expected> = expected.collect();
    all.sort();
    all
}

fn assert_in_order(events: &[Event]) {
    assert!(
        events.is_sorted_by_key(|event| event.at_ms),
        "not in the order of sending"
    );
}

/// Every record labelled malformed is, every other is not, and no two malformed ones are alike.
fn assert_labels_are_true(events: &[Event], join: &Join) {
    let mut malformed = HashSet::new();
    for event in events {
        let readable = id_and_key(event, join).is_some();
        let text = String::from_utf8_lossy(&event.value);
        assert_eq!(readable, event.expect != Expect::Malformed, "{text}");
        assert!(readable || malformed.insert(&event.value), "twice: {text}");
    }
}

/// Whether `found` of `all` is `share` to within a tenth of it and five standard deviations.
fn assert_share(what: &str, found: u64, all: u64, share: f64) {
    let wanted = all as f64 * share;
    let allowed = (5.0 * wanted.sqrt()).max(wanted / 10.0) + 1.0;
    assert!(
        (found as f64 - wanted).abs() <= allowed,
        "{what}: {found} of {all}, not {share}"
    );
}
