//! Fuzzed: what this crate reads that others may have written. Records of the log, their bodies, rows, ids in headers.

use crate::control::{Checkpoint, Control, Settings};
use crate::next::versions;
use crate::record::{
    Body, Content, Stamp, decode, encode_barrier, encode_control, encode_event, reseal,
};
use crate::row::{RowParts, close, id_and_key, open};
use crate::{
    EventId, Incarnation, JoinKey, Original, Outcome, Reason, Registration, Source, Token, TopicId,
    header,
};
use bytes::Bytes;
use rtf_fuzz::fuzz;
use serde_json::value::RawValue;

const ID: &str = "an id";
const STAMP: Stamp = Stamp {
    log: TopicId([1; 16]),
    partitions: 4,
    incarnation: Incarnation(5),
    sequence: 6,
};
const OUTCOMES: [Outcome; 4] = [
    Outcome::Joined,
    Outcome::Unjoinable(Reason::TimedOut),
    Outcome::Unjoinable(Reason::RowTooLarge),
    Outcome::Malformed,
];

fn registration(outcome: Outcome, body: Bytes) -> Registration {
    let source = Source {
        topic: "t".into(),
        topic_id: TopicId([2; 16]),
        partition: 3,
        offset: 4,
    };
    Registration {
        id: ID.into(),
        outcome,
        source,
        token: Token(7),
        later_ts: 8,
        body,
    }
}

fn original() -> Original {
    Original {
        key: Some(Bytes::from_static(b"key")),
        value: None,
        headers: vec![
            ("h".into(), Some(Bytes::from_static(b"v"))),
            ("n".into(), None),
        ],
    }
}

fn bodies() -> Vec<Bytes> {
    let row = Bytes::from_static(b"{\"id\":\"1\",\"key\":\"k\"");
    let all = [
        Body::Joined { row: row.clone() },
        Body::Unjoinable {
            row,
            attempts: 3,
            first_seen_ms: 4,
            original: original(),
        },
        Body::Malformed {
            words: "not JSON".into(),
            original: original(),
        },
    ];
    all.into_iter().map(Body::encode).collect()
}

fn controls() -> Vec<Control> {
    let settings = Settings {
        horizon_ms: 100,
        span_ms: 10,
    };
    let offsets = vec![((TopicId([2; 16]), 1), 9)];
    vec![
        Control::Heartbeat,
        Control::Settings(settings),
        Control::Progress(offsets.clone()),
        Control::Checkpoint(Checkpoint {
            base: 3,
            time_ms: 4,
            settings: Some(settings),
            marks: offsets.clone(),
            floors: offsets,
            oldest_ms: Some(2),
            digest: (1, 2),
            counts: vec![4, 8],
            wanted: Some(16),
        }),
        Control::Retire(TopicId([2; 16])),
        Control::Split { partitions: 8 },
        Control::Epoch { partitions: 8 },
        Control::Born {
            parent: 1,
            offset: 70,
        },
    ]
}

fn records() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut value = Vec::new();
    for (outcome, body) in OUTCOMES.into_iter().zip(bodies()) {
        encode_event(&STAMP, &registration(outcome, body), &mut value);
        records.push(value.clone());
    }
    for control in controls() {
        encode_control(&STAMP, &control, &mut value);
        records.push(value.clone());
    }
    encode_barrier(&STAMP, &mut value);
    records.push(value);
    records
}

fn slices(seeds: &[Vec<u8>]) -> Vec<&[u8]> {
    seeds.iter().map(Vec::as_slice).collect()
}

/// With the checksum as it is, and with the right one: what is behind it must bear anything as well.
#[test]
fn fuzz_records() {
    fuzz("record", &slices(&records()), |input| {
        let _ = decode(Some(ID.as_bytes()), Some(input));
        let mut value = input.to_vec();
        reseal(ID.as_bytes(), &mut value);
        let Ok(record) = decode(Some(ID.as_bytes()), Some(&value)) else {
            return;
        };
        let mut again = Vec::new();
        if value[4] != versions().0 {
            // It is read, but would be written in another version.
            return;
        }
        match record.content {
            Content::Event(event) => {
                let (topic_id, partition, offset) = event.source;
                let source = Source {
                    topic: "t".into(),
                    topic_id,
                    partition,
                    offset,
                };
                let registration = Registration {
                    id: ID.into(),
                    outcome: event.outcome,
                    source,
                    token: event.token,
                    later_ts: event.later_ts,
                    body: Bytes::copy_from_slice(event.body),
                };
                encode_event(&record.stamp, &registration, &mut again);
                assert_eq!(again, value, "what is read is written the same");
            }
            // Their outcome is not looked at, and a barrier's end neither: so they are compared as they are read.
            Content::Barrier => {
                encode_barrier(&record.stamp, &mut again);
                let read = decode(None, Some(&again)).map(|record| record.content);
                assert_eq!(read, Ok(Content::Barrier));
            }
            Content::Control(control) => {
                encode_control(&record.stamp, &control, &mut again);
                let read = decode(None, Some(&again)).map(|record| record.content);
                assert_eq!(read, Ok(Content::Control(control)));
            }
        }
    });
}

#[test]
fn fuzz_bodies() {
    let seeds: Vec<Vec<u8>> = bodies().iter().map(|body| body.to_vec()).collect();
    fuzz("body", &slices(&seeds), |input| {
        for outcome in OUTCOMES {
            let body = Body::decode(outcome, Bytes::copy_from_slice(input));
            if let Some(body) = body {
                assert_eq!(body.encode(), input, "{outcome:?}");
            }
        }
    });
}

/// Whatever JSON is spliced: the row is JSON with the same fields, and tells its id and its key.
#[test]
fn fuzz_rows() {
    let seeds: [&[u8]; 4] = [
        b"{\"a\": [1, 2.50, null]}",
        b"\"\\ud83d\\ude00\"",
        b"{\"id\":\"x\",\"id\":7}",
        b" [ ] ",
    ];
    fuzz("row", &seeds, |input| {
        let _ = id_and_key(input);
        let text = String::from_utf8_lossy(input);
        let (id, key) = (EventId::from(text.as_ref()), JoinKey::from(text.as_ref()));
        // As whoever splices has it checked.
        let foreign: &[u8] = match serde_json::from_slice::<&RawValue>(input) {
            Ok(_) => input,
            Err(_) => b"{}",
        };
        let parts = RowParts {
            id: &id,
            key: &key,
            outcome: Outcome::Joined,
            foreign,
            primary: &[foreign, foreign],
            foreign_ts: i64::MIN,
            primary_ts: Some(i64::MAX),
            attempts: u32::MAX,
        };
        let row = open(&parts);
        let told = id_and_key(&row);
        assert_eq!(told, Some((text.to_string(), text.to_string())));
        let closed = close(&row, 1, u64::MAX, u32::MAX);
        let read: &RawValue = serde_json::from_slice(&closed).expect("a row is JSON");
        assert_eq!(read.get().len(), closed.len());
    });
}

#[test]
fn fuzz_given_ids() {
    fuzz("given-id", &[b"an id", b"\xff", b""], |input| {
        let value = Bytes::copy_from_slice(input);
        let given = header::given_id(&[(header::ID.into(), Some(value))]);
        let is_id =
            std::str::from_utf8(input).is_ok() && (1..=crate::MAX_ID_BYTES).contains(&input.len());
        assert_eq!(given.is_ok(), is_id);
    });
}
