//! The dead letter: a foreign record as it was, with headers that say what became of it (DESIGN §7). Pure.
//!
//! | header | says |
//! |---|---|
//! | `rtf.outcome` | `unjoinable` or `malformed` |
//! | `rtf.reason` | `timed_out`, `row_too_large`; of a malformed one the parser's words |
//! | `rtf.attempts` | how often a partner was looked for; 0 for a malformed one |
//! | `rtf.first_seen` | when it was read first, ms since 1970; of a malformed one, when it was registered |
//! | `rtf.source` | where it stood: topic/partition/offset |
//! | `rtf.id`, `rtf.key` | what it was registered as, and the key it was looked for by; not of a malformed one |
//! | `rtf.log`, `rtf.offset` | the join log's id, and the offset in it that decided; its partition is the letter's |
//!
//! Headers of the original stay, but for those that begin with `rtf.`: an earlier letter that was replayed brought them.

use crate::sink::Place;
use bytes::Bytes;
use rtf_proto::record::Body;
use rtf_proto::{Accepted, Header, Offset, Original, Outcome, Reason, header, row};

/// Which events become letters, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LetterOptions {
    /// The foreign topic, for `rtf.source`.
    pub source_topic: String,
    /// Whether events that found no partner in time have rows (a left join): then they are no dead letters.
    pub emit_unjoinable: bool,
}

impl LetterOptions {
    pub(crate) fn wants(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Joined => false,
            Outcome::Unjoinable(Reason::TimedOut) => !self.emit_unjoinable,
            Outcome::Unjoinable(Reason::RowTooLarge) | Outcome::Malformed => true,
        }
    }
}

/// The letter of an accepted record, an encoded [`Original`]; `None` when its body is broken.
pub(crate) fn write(options: &LetterOptions, place: Place, accepted: Accepted) -> Option<Bytes> {
    let ((_, partition), offset) = accepted.source;
    let stands_at = format!("{}/{partition}/{offset}", options.source_topic);
    let body = Body::decode(accepted.outcome, accepted.body)?;
    let (mut letter, mut said) = match body {
        Body::Joined { .. } => return None,
        Body::Malformed { words, original } => (
            original,
            vec![
                (header::REASON, words),
                (header::ATTEMPTS, "0".into()),
                (header::FIRST_SEEN, accepted.log_ts.to_string()),
            ],
        ),
        Body::Unjoinable {
            row,
            attempts,
            first_seen_ms,
            original,
        } => {
            let (id, key) = row::id_and_key(&row)?;
            let Outcome::Unjoinable(reason) = accepted.outcome else {
                return None;
            };
            (
                original,
                vec![
                    (header::REASON, reason.as_str().into()),
                    (header::ATTEMPTS, attempts.to_string()),
                    (header::FIRST_SEEN, first_seen_ms.to_string()),
                    (header::ID, id),
                    (header::KEY, key),
                ],
            )
        }
    };
    said.push((header::OUTCOME, accepted.outcome.as_str().into()));
    said.push((header::SOURCE, parked_from(&letter).unwrap_or(stands_at)));
    said.push((header::LOG, place.log.to_string()));
    said.push((header::OFFSET, accepted.offset.to_string()));
    letter.headers.retain(|(name, _)| !header::is_ours(name));
    letter.headers.extend(said.into_iter().map(text));
    let mut encoded = Vec::new();
    letter.encode(&mut encoded);
    Some(encoded.into())
}

/// Where an event that was parked stood before: the dispatcher says so in the last header.
fn parked_from(original: &Original) -> Option<String> {
    let (name, value) = original.headers.last()?;
    let text = std::str::from_utf8(value.as_deref()?).ok()?;
    (name == header::SOURCE).then(|| text.to_owned())
}

/// Of which record of which log a letter in the topic is; `None` when it is somebody else's record.
pub(crate) fn decided_by(headers: &[Header]) -> Option<(String, Offset)> {
    let log = header::text(headers, header::LOG)?;
    let offset = header::text(headers, header::OFFSET)?.parse().ok()?;
    Some((log.to_owned(), offset))
}

/// Reads what [`write`] wrote.
pub(crate) fn read(payload: &Bytes) -> Original {
    Original::decode(payload.clone()).expect("a letter was written here")
}

fn text((name, value): (&str, String)) -> Header {
    (name.into(), Some(value.into()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rtf_proto::row::RowParts;
    use rtf_proto::{EventId, JoinKey, TopicId};

    const PLACE: Place = Place {
        log: TopicId([1; 16]),
        partition: 2,
    };

    fn options(emit_unjoinable: bool) -> LetterOptions {
        LetterOptions {
            source_topic: "tweets".into(),
            emit_unjoinable,
        }
    }

    fn original() -> Original {
        let header = |name: &str, value: Option<&'static [u8]>| {
            (name.to_owned(), value.map(Bytes::from_static))
        };
        Original {
            key: Some(Bytes::from_static(b"k\xff")),
            value: Some(Bytes::from_static(b"{\"a\":1}")),
            headers: vec![
                header("trace", Some(b"\x00\x01")),
                header("null", None),
                header("rtf.outcome", Some(b"of an earlier life")),
                header("trace", Some(b"twice")),
            ],
        }
    }

    pub(crate) fn accepted(outcome: Outcome, body: Body) -> Accepted {
        Accepted {
            offset: 77,
            log_ts: 5000,
            later_ts: 4000,
            outcome,
            source: ((TopicId([9; 16]), 3), 41),
            body: body.encode(),
        }
    }

    fn unjoinable() -> Accepted {
        let outcome = Outcome::Unjoinable(Reason::TimedOut);
        let row = row::open(&RowParts {
            id: &EventId::from("id \"7\""),
            key: &JoinKey::from("Austin, TX"),
            outcome,
            foreign: b"{\"a\":1}",
            primary: &[],
            foreign_ts: 1,
            primary_ts: None,
            attempts: 1,
        });
        let body = Body::Unjoinable {
            row,
            attempts: 12,
            first_seen_ms: 3000,
            original: original(),
        };
        accepted(outcome, body)
    }

    fn said(letter: &Original) -> Vec<(&str, &str)> {
        let ours = letter.headers.iter().filter(|(n, _)| header::is_ours(n));
        let mut said: Vec<_> = ours
            .map(|(n, v)| {
                (
                    n.as_str(),
                    std::str::from_utf8(v.as_ref().unwrap()).unwrap(),
                )
            })
            .collect();
        said.sort_unstable();
        said
    }

    #[test]
    fn an_unjoinable_one_is_what_it_was_and_says_why() {
        let letter = read(&write(&options(false), PLACE, unjoinable()).unwrap());
        assert_eq!(
            (&letter.key, &letter.value),
            (&original().key, &original().value)
        );
        let mut users = original().headers;
        users.remove(2);
        assert_eq!(letter.headers[..3], users);
        let log = PLACE.log.to_string();
        let expected = [
            ("rtf.attempts", "12"),
            ("rtf.first_seen", "3000"),
            ("rtf.id", "id \"7\""),
            ("rtf.key", "Austin, TX"),
            ("rtf.log", &log),
            ("rtf.offset", "77"),
            ("rtf.outcome", "unjoinable"),
            ("rtf.reason", "timed_out"),
            ("rtf.source", "tweets/3/41"),
        ];
        assert_eq!(said(&letter), expected);
        assert_eq!(decided_by(&letter.headers), Some((log, 77)));
    }

    #[test]
    fn one_that_was_parked_says_where_it_stood_before() {
        let mut parked = original();
        let from = Some(Bytes::from_static(b"tweets/7/8"));
        parked.headers.push((header::SOURCE.into(), from));
        let mut accepted = unjoinable();
        let Some(Body::Unjoinable {
            row,
            attempts,
            first_seen_ms,
            ..
        }) = Body::decode(accepted.outcome, accepted.body)
        else {
            panic!("not unjoinable");
        };
        let body = Body::Unjoinable {
            row,
            attempts,
            first_seen_ms,
            original: parked,
        };
        accepted.body = body.encode();
        let letter = read(&write(&options(false), PLACE, accepted).unwrap());
        assert!(said(&letter).contains(&("rtf.source", "tweets/7/8")));
        assert_eq!(said(&letter).len(), 9);
    }

    #[test]
    fn a_malformed_one_says_the_parsers_words() {
        let body = Body::Malformed {
            words: "not JSON".into(),
            original: original(),
        };
        let malformed = accepted(Outcome::Malformed, body);
        let letter = read(&write(&options(true), PLACE, malformed).unwrap());
        let log = PLACE.log.to_string();
        let expected = [
            ("rtf.attempts", "0"),
            ("rtf.first_seen", "5000"),
            ("rtf.log", &log),
            ("rtf.offset", "77"),
            ("rtf.outcome", "malformed"),
            ("rtf.reason", "not JSON"),
            ("rtf.source", "tweets/3/41"),
        ];
        assert_eq!(said(&letter), expected);
    }

    #[test]
    fn a_left_join_has_rows_instead_of_letters() {
        assert!(!options(true).wants(Outcome::Unjoinable(Reason::TimedOut)));
        assert!(options(true).wants(Outcome::Unjoinable(Reason::RowTooLarge)));
        assert!(options(false).wants(Outcome::Unjoinable(Reason::TimedOut)));
        assert!(!options(false).wants(Outcome::Joined));
    }

    #[test]
    fn somebody_elses_record_is_no_letter() {
        assert_eq!(decided_by(&original().headers), None);
        let mut broken = unjoinable();
        broken.body = Bytes::from_static(b"?");
        assert_eq!(write(&options(false), PLACE, broken), None);
    }
}
