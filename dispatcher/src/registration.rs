//! The registrations the dispatcher makes itself: what was given up, what could not be read. Pure; joined rows are the joiner's.

use rtf_proto::record::Body;
use rtf_proto::row::{self, RowParts};
use rtf_proto::{ForeignEvent, Original, Outcome, Reason, Registration, Source, Token, header};

/// The parser's words are cut here, so that they always fit into the log.
const WORDS_MAX_BYTES: usize = 1_000;

/// An event that is given up. One that comes back from a retry topic keeps where it stood before, `origin`, as its original's last header.
pub(crate) fn unjoinable(
    event: &ForeignEvent,
    origin: Option<&Source>,
    reason: Reason,
    attempts: u32,
    first_seen_ms: i64,
) -> Registration {
    let outcome = Outcome::Unjoinable(reason);
    let row = row::open(&RowParts {
        id: &event.id,
        key: &event.key,
        outcome,
        foreign: event.original.value.as_deref().unwrap_or(b"null"),
        primary: &[],
        foreign_ts: event.foreign_ts,
        primary_ts: None,
        attempts,
    });
    let mut original = event.original.clone();
    if let Some(origin) = origin {
        let place = Some(origin.to_string().into());
        original.headers.push((header::SOURCE.into(), place));
    }
    let body = Body::Unjoinable {
        row,
        attempts,
        first_seen_ms,
        original,
    };
    Registration {
        id: event.id.clone(),
        outcome,
        source: event.source.clone(),
        token: event.token,
        later_ts: event.kafka_ts,
        body: body.encode(),
    }
}

/// A record that is not an event; its position is its id.
pub(crate) fn malformed(
    source: Source,
    kafka_ts: i64,
    words: &str,
    original: Original,
) -> Registration {
    let words = cut(words).to_owned();
    Registration {
        id: source.event_id(),
        outcome: Outcome::Malformed,
        source,
        token: Token::fresh(),
        later_ts: kafka_ts,
        body: Body::Malformed { words, original }.encode(),
    }
}

/// Whether nothing can be taken away from it any more.
pub(crate) fn is_smallest(registration: &Registration) -> bool {
    registration.outcome == Outcome::Malformed && registration.body.len() <= 2 * WORDS_MAX_BYTES
}

/// What remains of a registration that does not fit into the log: that it was, and where.
///
/// It keeps its id. Under another one the event itself would stay unresolved, and a later reading could resolve it a second time.
pub(crate) fn without_original(registration: &Registration) -> Registration {
    let words = format!(
        "the record does not fit into the join log: {} with {} bytes",
        registration.outcome,
        registration.body.len()
    );
    let original = Original::default();
    Registration {
        outcome: Outcome::Malformed,
        body: Body::Malformed { words, original }.encode(),
        ..registration.clone()
    }
}

fn cut(words: &str) -> &str {
    let mut ends = words.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
    match ends.find(|(_, end)| *end > WORDS_MAX_BYTES) {
        Some((at, _)) => &words[..at],
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{event, source};
    use serde_json::{Value, json};

    #[test]
    fn what_is_given_up_keeps_its_original_and_its_token() {
        let event = event(3, "k");
        let registration = unjoinable(&event, None, Reason::TimedOut, 5, 1_234);
        assert_eq!(registration.token, event.token);
        assert_eq!(registration.later_ts, event.kafka_ts);
        let Some(Body::Unjoinable {
            row,
            attempts: 5,
            first_seen_ms: 1_234,
            original,
        }) = Body::decode(registration.outcome, registration.body)
        else {
            panic!("not an unjoinable body");
        };
        assert_eq!(original, event.original);
        let row: Value = serde_json::from_slice(&row::close(&row, 1, 2, 3)).unwrap();
        assert_eq!(row["reason"], "timed_out");
        assert_eq!(row["primary"], json!([]));
        assert_eq!(row["foreign"]["n"], 3);
    }

    #[test]
    fn what_is_too_large_is_registered_small_under_its_own_id() {
        let large = unjoinable(&event(3, "k"), None, Reason::TimedOut, 5, 0);
        let small = without_original(&large);
        assert_eq!((&small.id, small.token), (&large.id, large.token));
        let Some(Body::Malformed { words, original }) = Body::decode(small.outcome, small.body)
        else {
            panic!("not a malformed body");
        };
        assert!(
            words.contains(&format!(
                "unjoinable (timed_out) with {} bytes",
                large.body.len()
            )),
            "{words}"
        );
        assert_eq!(original, Original::default());
    }

    #[test]
    fn words_are_cut_between_characters() {
        let words = "é".repeat(WORDS_MAX_BYTES);
        let registration = malformed(source(1), 0, &words, Original::default());
        assert_eq!(registration.id, source(1).event_id());
        assert!(registration.body.len() < WORDS_MAX_BYTES + 50);
    }
}
