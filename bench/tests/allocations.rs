//! What the hot path allocates for an event, compared with what is kept here. Unlike times, counts are the same on each machine.
//!
//! A figure that grew is a regression; one that fell is to be kept: put it into [`KEPT`].

use allocation_counter::measure;
use bytes::Bytes;
use rtf_joiner::parts::{RegistersAll, Store};
use rtf_joiner::{Options, Policy};
use rtf_json::{Extractor, Fields, Folding, Parts};
use rtf_proto::record::{Body, Stamp, decode, encode_event};
use rtf_proto::row::{self, RowParts};
use rtf_proto::{
    EventId, ForeignEvent, Incarnation, JoinKey, JoinVerdict, Joiner, Offset, Original, Outcome,
    PartitionId, Registration, Source, Token, TopicId,
};
use rtf_registry::parts::{Decision, Place, Remembered, apply};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

/// Allocations an event, in hundredths; each step takes a batch of [`BATCH`].
const KEPT: &[(&str, u64)] = &[
    ("extract id, key and time of an event", 0),
    ("make an open row", 200),
    ("encode a record of the log", 0),
    ("decode a record of the log", 0),
    ("close a row", 100),
    ("take a primary event", 105),
    ("join a foreign event", 205),
    ("apply a record of the log", 104),
];
const BATCH: u64 = 500;
const LOG: TopicId = TopicId([1; 16]);
const STAMP: Stamp = Stamp {
    log: LOG,
    partitions: 1,
    incarnation: Incarnation(1),
    sequence: 0,
};

#[test]
fn the_hot_path_allocates_no_more_than_it_did() {
    let found = [
        extract(),
        open(),
        encode(),
        decode_all(),
        close(),
        primaries(),
        joins(),
        applies(),
    ];
    let mut wrong = String::new();
    for ((what, kept), found) in KEPT.iter().zip(found) {
        // Tables that grow do so at some event or other.
        if found.abs_diff(*kept) > 5 {
            writeln!(
                wrong,
                "{what}: {kept} hundredths are kept, found were {found}"
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Hundredths of an allocation for each of a batch.
fn each(step: impl FnMut(u64)) -> u64 {
    let mut step = step;
    let counted = measure(|| (0..BATCH).for_each(&mut step));
    counted.count_total * 100 / BATCH
}

fn value(n: u64) -> String {
    format!(
        r#"{{"id":"click-{n:012}","query":"query-{n:016}","words":"{n:0200}","cost":{},"at":{n}}}"#,
        n % 997
    )
}

fn values() -> Vec<Bytes> {
    (0..BATCH).map(|n| value(n).into()).collect()
}

fn registration(n: u64) -> Registration {
    let (foreign, primary) = (value(n), value(n));
    let row = row::open(&RowParts {
        id: &EventId::from(format!("click-{n:012}").as_str()),
        key: &JoinKey::from("key"),
        outcome: Outcome::Joined,
        foreign: foreign.as_bytes(),
        primary: &[primary.as_bytes()],
        foreign_ts: 1,
        primary_ts: Some(2),
        attempts: 1,
    });
    Registration {
        id: EventId::from(format!("click-{n:012}").as_str()),
        outcome: Outcome::Joined,
        source: source(n),
        token: Token(n),
        later_ts: 0,
        body: Body::Joined { row }.encode(),
    }
}

fn source(offset: Offset) -> Source {
    Source {
        topic: "clicks".into(),
        topic_id: TopicId([2; 16]),
        partition: 0,
        offset,
    }
}

fn extract() -> u64 {
    let fields = Fields {
        id: vec!["/id".into()],
        key: vec!["/query".into()],
        time: Some("/at".into()),
        max_id_bytes: 1024,
        ..Fields::default()
    };
    let extractor = Extractor::new(fields).unwrap();
    let values = values();
    each(|n| {
        black_box(extractor.extract(&Parts::of(&values[n as usize])).unwrap());
    })
}

fn open() -> u64 {
    let (id, key, value) = (EventId::from("click"), JoinKey::from("key"), value(7));
    each(|_| {
        black_box(row::open(&RowParts {
            id: &id,
            key: &key,
            outcome: Outcome::Joined,
            foreign: value.as_bytes(),
            primary: &[value.as_bytes()],
            foreign_ts: 1,
            primary_ts: Some(2),
            attempts: 1,
        }));
    })
}

fn encode() -> u64 {
    let registrations: Vec<_> = (0..BATCH).map(registration).collect();
    let mut out = Vec::new();
    each(|n| encode_event(&STAMP, &registrations[n as usize], &mut out))
}

/// Keys and values of records of the log.
fn records() -> Vec<(EventId, Vec<u8>)> {
    let record = |n| {
        let (registration, mut out) = (registration(n), Vec::new());
        encode_event(&STAMP, &registration, &mut out);
        (registration.id, out)
    };
    (0..BATCH).map(record).collect()
}

fn decode_all() -> u64 {
    let records = records();
    each(|n| {
        let (id, value) = &records[n as usize];
        black_box(decode(Some(id.as_bytes()), Some(value)).unwrap());
    })
}

fn close() -> u64 {
    let open = registration(7).body;
    each(|n| {
        black_box(row::close(&open, 1, n, 0));
    })
}

/// An event store, and its directory.
fn store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        topic: "queries".into(),
        id: vec!["/id".into()],
        key: vec!["/query".into()],
        time: None,
        expires: None,
        folding: Folding::default(),
        policy: Policy::First,
        data: Some(folder.path().into()),
        memory_bytes: 64 << 20,
        wanted_keys: 1000,
        batches_in_flight: 1,
    };
    (
        Store::open(&options, Arc::new(RegistersAll)).unwrap(),
        folder,
    )
}

fn primaries() -> u64 {
    let (mut store, _folder) = store();
    let values = values();
    each(|n| store.take(0, n, &values[n as usize]).unwrap())
}

fn joins() -> u64 {
    let (mut store, _folder) = store();
    let values = values();
    for (offset, value) in (0..).zip(&values) {
        store.take(0, offset, value).unwrap();
    }
    store.finish().unwrap();
    let joiner = store.joiner();
    let event = |n: u64| ForeignEvent {
        id: EventId::from(format!("click-{n}").as_str()),
        key: JoinKey::from(format!("query-{n:016}").as_str()),
        source: source(n),
        foreign_ts: 0,
        kafka_ts: 0,
        token: Token(1),
        attempts: 0,
        original: Original {
            value: Some(values[n as usize].clone()),
            ..Original::default()
        },
        collect: false,
    };
    let mut batch = Some((0..BATCH).map(event).collect::<Vec<_>>());
    // One thread, whose allocations are counted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut verdicts = Vec::new();
    let counted = measure(|| {
        verdicts = runtime
            .block_on(joiner.join(batch.take().unwrap()))
            .unwrap();
    });
    assert!(
        verdicts
            .iter()
            .all(|verdict| matches!(verdict, JoinVerdict::Joined(_)))
    );
    counted.count_total * 100 / BATCH
}

fn applies() -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let store = rtf_registry::parts::Store::open(folder.path(), "clicks.joins", LOG).unwrap();
    let (mut remembered, _) = Remembered::load(0, &store).unwrap();
    let place = Place {
        log: LOG,
        partitions: 1,
        partition: 0 as PartitionId,
    };
    let records = records();
    each(|n| {
        let (id, value) = &records[n as usize];
        let record = decode(Some(id.as_bytes()), Some(value)).unwrap();
        let rtf_proto::record::Content::Event(event) = &record.content else {
            panic!("an event")
        };
        remembered.reach(n, 1);
        let decision = apply(&place, &mut remembered, n, &record.stamp, event).unwrap();
        assert!(matches!(decision, Decision::Won));
    })
}
