//! Clicks and queries of any size: an event is cut behind its time and filled up. Knows no row but how long the one of two such events is.

use crate::tools::scattered;
use rtf_synth::Event;

const BEFORE_TIME: &[u8] = b"\"time\":";
const FILL: &[u8] = b",\"fill\":\"";
const END: &[u8] = b"\"}";
/// What a row has beside its two events: id, key, times and the like.
const ROW_ELSE: usize = 220;

/// How long each event is for rows of about so many bytes.
pub fn event_bytes(row_bytes: usize) -> usize {
    row_bytes.saturating_sub(ROW_ELSE) / 2
}

/// The same event with so many bytes, or as few as id, key and time take.
pub fn sized(event: Event, bytes: usize) -> Event {
    let mut value = event.value;
    let mut windows = value.windows(BEFORE_TIME.len());
    let time = windows.position(|bytes| bytes == BEFORE_TIME);
    let digits = time.expect("clicks and queries have a time") + BEFORE_TIME.len();
    let rest = value[digits..].iter();
    let end = digits + rest.take_while(|byte| byte.is_ascii_digit()).count();
    value.truncate(end);
    if end + FILL.len() + END.len() <= bytes {
        // Of the event's own, so that no two are alike.
        let mix = |seed, byte: &u8| scattered(seed ^ u64::from(*byte));
        let seed = value.iter().fold(0, mix);
        value.extend_from_slice(FILL);
        fill(&mut value, bytes - END.len(), seed);
        value.extend_from_slice(END);
    } else {
        value.push(b'}');
    }
    Event { value, ..event }
}

/// With hexadecimal digits, which compression can halve and no more.
fn fill(value: &mut Vec<u8>, until: usize, seed: u64) {
    let mut words = (0..).map(|n| scattered(seed ^ n));
    while value.len() < until {
        let word = words.next().expect("there is no end of them");
        value.extend_from_slice(format!("{word:016x}").as_bytes());
    }
    value.truncate(until);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::all_match;
    use serde_json::Value;

    #[test]
    fn an_event_of_any_size_keeps_its_id_key_and_time() {
        for event in all_match(3).events() {
            let whole: Value = serde_json::from_slice(&event.value).unwrap();
            for bytes in [0, 120, 290, 10_000] {
                let event = sized(event.clone(), bytes);
                let value: Value = serde_json::from_slice(&event.value).unwrap();
                for field in ["click_id", "query_id", "time"] {
                    assert_eq!(value.get(field), whole.get(field));
                }
                assert!(bytes == 0 || event.value.len() == bytes);
            }
        }
    }
}
