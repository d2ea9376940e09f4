//! A foreign record becomes an event, or what is to be registered of one that is none. Does no I/O.

use crate::parked::Parked;
use crate::registration::malformed;
use crate::{Flight, Millis, Place, Subject};
use rtf_json::{Extractor, Parts, share};
use rtf_proto::{EventId, ForeignEvent, JoinKey, Original, Source, Token, header};
use std::sync::Arc;

/// Said of a record that has a null where its event should be.
const NO_VALUE: &str = "the record has no value";

/// Reads events; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    extractor: Arc<Extractor>,
}

impl Intake {
    /// With the fields to look for.
    pub fn new(extractor: Extractor) -> Self {
        Self {
            extractor: Arc::new(extractor),
        }
    }

    /// What the record is. Never fails: what cannot be read is malformed, and says why (RULE 33).
    pub fn subject(&self, source: Source, kafka_ts: i64, original: Original) -> Subject {
        match self.event(&source, kafka_ts, &original) {
            Ok(Some((id, key, foreign_ts))) => Subject::Event(ForeignEvent {
                id,
                key,
                source,
                foreign_ts,
                kafka_ts,
                token: Token::fresh(),
                attempts: 0,
                original,
                collect: false,
            }),
            Ok(None) => Subject::Malformed(malformed(source, kafka_ts, NO_VALUE, original)),
            Err(words) => Subject::Malformed(malformed(source, kafka_ts, &words, original)),
        }
    }

    /// A record of a retry topic that stands at `stands_at`: the event that was parked, and when it is due, ms since 1970. It is registered as
    /// standing there: what is forgotten of that topic, and when, follows from how far that was read. `None` for somebody else's record.
    pub fn returned(
        &self,
        place: Place,
        stands_at: Source,
        record: Original,
        now: Millis,
    ) -> Option<(i64, Flight)> {
        let (parked, original) = Parked::read(record)?;
        let mut subject = self.subject(parked.source.clone(), parked.kafka_ts, original);
        subject.stand_at(stands_at);
        if let Subject::Event(event) = &mut subject {
            event.token = parked.token;
        }
        let flight = Flight {
            attempts: parked.attempts,
            origin: Some(parked.source),
            ..Flight::new(place, subject, now, parked.first_seen_ms)
        };
        Some((parked.due_ms, flight))
    }

    /// Id, key and time; slices of the value where they stand in it as they are. `None` where there is no value.
    fn event(
        &self,
        source: &Source,
        kafka_ts: i64,
        original: &Original,
    ) -> Result<Option<(EventId, JoinKey, i64)>, String> {
        let Some(value) = &original.value else {
            return Ok(None);
        };
        let parts = Parts {
            value,
            key: original.key.as_deref(),
            headers: &original.headers,
        };
        let found = self.extractor.extract(&parts).map_err(|e| e.to_string())?;
        let own = || match found.id {
            Some(id) => EventId::new(share(value, id)),
            None => source.event_id(),
        };
        let given = header::given_id(&original.headers).map_err(|e| e.to_string())?;
        let id = given.unwrap_or_else(own);
        let key = JoinKey::new(share(value, found.key));
        Ok(Some((id, key, found.time_ms.unwrap_or(kafka_ts))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::testing::source;
    use bytes::Bytes;
    use rtf_proto::Outcome;
    use rtf_proto::record::Body;

    fn read(options: &Options, value: Option<&[u8]>) -> Subject {
        let intake = Intake::new(Extractor::new(options.fields()).unwrap());
        let original = Original {
            key: Some(Bytes::from_static(b"kafka's key")),
            value: value.map(Bytes::copy_from_slice),
            headers: vec![("h".into(), None)],
        };
        intake.subject(source(5), 99, original)
    }

    fn clicks() -> Options {
        Options {
            id: vec!["/id".into()],
            time: Some("/at".into()),
            fold_case: true,
            ..Options::new("t", "g", vec!["/city".into()])
        }
    }

    fn words(subject: Subject) -> String {
        let Subject::Malformed(registration) = subject else {
            panic!("an event: {subject:?}");
        };
        assert_eq!(registration.outcome, Outcome::Malformed);
        assert_eq!(registration.id, source(5).event_id());
        assert_eq!(registration.later_ts, 99);
        match Body::decode(registration.outcome, registration.body) {
            Some(Body::Malformed { words, original }) => {
                assert_eq!(original.key.as_deref(), Some(&b"kafka's key"[..]));
                assert_eq!(original.headers.len(), 1);
                words
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_have_id_key_and_time() {
        let json = br#"{"id": 7, "city": "Austin", "at": "1539202764000"}"#;
        let Subject::Event(event) = read(&clicks(), Some(json)) else {
            panic!("malformed");
        };
        assert_eq!(event.id, EventId::from("7"));
        assert_eq!(event.key, JoinKey::from("austin"));
        assert_eq!((event.foreign_ts, event.kafka_ts), (1_539_202_764_000, 99));
        assert_eq!(event.original.value.as_deref(), Some(&json[..]));
    }

    #[test]
    fn without_fields_of_their_own_position_and_kafkas_time_serve() {
        let options = Options::new("t", "g", vec!["/a".into(), "/b".into()]);
        let Subject::Event(event) = read(&options, Some(br#"{"a":"x","b":1}"#)) else {
            panic!("malformed");
        };
        assert_eq!(event.id, source(5).event_id());
        assert_eq!(event.key, JoinKey::from(r#"["x","1"]"#));
        assert_eq!(event.foreign_ts, 99);
    }

    #[test]
    fn an_id_that_is_brought_along_takes_the_place_of_its_own() {
        let intake = Intake::new(Extractor::new(clicks().fields()).unwrap());
        let subject = |id: &'static [u8]| {
            let original = Original {
                key: Some(Bytes::from_static(b"kafka's key")),
                value: Some(Bytes::from_static(br#"{"id": 7, "city": "x", "at": 1}"#)),
                headers: vec![(header::ID.into(), Some(Bytes::from_static(id)))],
            };
            intake.subject(source(5), 99, original)
        };
        assert_eq!(subject(b"7~again-1").id(), &EventId::from("7~again-1"));
        let Subject::Malformed(registration) = subject(b"") else {
            panic!("an event");
        };
        let body = Body::decode(registration.outcome, registration.body);
        assert!(
            matches!(&body, Some(Body::Malformed { words, .. }) if words.contains("`rtf.id` is not an id"))
        );
    }

    #[test]
    fn message_key_and_headers_serve_as_id_and_key() {
        let options = |id: &str, key: &str| Options {
            id: vec![id.into()],
            ..Options::new("t", "g", vec![key.into(), "/city".into()])
        };
        let json = br#"{"city":"x"}"#;
        let Subject::Event(event) = read(&options("@key", "@key"), Some(json)) else {
            panic!("malformed");
        };
        assert_eq!(event.id, EventId::from("kafka's key"));
        assert_eq!(event.key, JoinKey::from(r#"["kafka's key","x"]"#));
        let words = words(read(&options("@key", "@header.h"), Some(json)));
        assert_eq!(words, "`@header.h` is null");
    }

    #[test]
    fn what_is_no_event_says_why() {
        assert_eq!(words(read(&clicks(), None)), NO_VALUE);
        for (json, expected) in [
            (&b""[..], "not JSON"),
            (b"{\"id\":", "not JSON"),
            (b"\xff", "not JSON: invalid UTF-8"),
            (br#"{"city":"x","at":1}"#, "`/id` is missing"),
            (br#"{"id":1,"city":"","at":1}"#, "`/city` is empty"),
            (br#"{"id":1,"city":null,"at":1}"#, "`/city` is null"),
            (br#"{"id":1,"city":"x","at":"soon"}"#, "`/at` is not a time"),
        ] {
            let words = words(read(&clicks(), Some(json)));
            assert!(words.starts_with(expected), "{words}");
        }
        let long = format!(r#"{{"id":"{}","city":"x","at":1}}"#, "i".repeat(2_000));
        assert!(words(read(&clicks(), Some(long.as_bytes()))).contains("2000 bytes"));
    }
}
