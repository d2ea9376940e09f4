//! Joins against events on disk, through the port.

use futures::{FutureExt, StreamExt};
use rtf_joiner::parts::{RegistersAll, Store};
use rtf_joiner::{Options, Policy};
use rtf_json::Folding;
use rtf_proto::{
    EventId, ForeignEvent, JoinKey, JoinVerdict, Joiner, Original, Source, Token, TopicId,
};
use std::path::Path;
use std::sync::Arc;

const EVENTS: u64 = 20_000;
const KEYS: u64 = 5_000;

fn options(data: &Path) -> Options {
    Options {
        topic: "deals".into(),
        id: vec!["/id".into()],
        key: vec!["/k".into()],
        time: None,
        expires: None,
        folding: Folding::default(),
        policy: Policy::Latest,
        data: Some(data.into()),
        // A tenth of what the events take.
        memory_bytes: 512 << 10,
        wanted_keys: 10_000,
        batches_in_flight: 8,
    }
}

fn filled(data: &Path) -> Store {
    let mut store = Store::open(&options(data), Arc::new(RegistersAll)).unwrap();
    for n in 0..EVENTS {
        let json = format!(r#"{{"id":{n},"k":"k{}","more":"{n:0200}"}}"#, n % KEYS);
        store.take(0, n, json.as_bytes()).unwrap();
    }
    store.finish().unwrap();
    store
}

fn foreign(key: u64) -> ForeignEvent {
    ForeignEvent {
        id: EventId::from("x"),
        key: JoinKey::from(format!("k{key}").as_str()),
        source: Source {
            topic: "tweets".into(),
            topic_id: TopicId([1; 16]),
            partition: 0,
            offset: 0,
        },
        foreign_ts: 1,
        kafka_ts: 1,
        token: Token(1),
        attempts: 0,
        original: Original::default(),
        collect: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cold_keys_are_joined_and_absent_ones_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let figures = filled(dir.path()).figures();
    assert_eq!(figures.events, EVENTS);
    assert!(figures.bytes < 1 << 20, "{figures:?}");
    // Everything is cold after a restart.
    let mut store = Store::open(&options(dir.path()), Arc::new(RegistersAll)).unwrap();
    assert_eq!(store.positions(), [EVENTS]);
    let joiner = store.joiner();
    let mut wakeups = joiner.wakeups().await.unwrap();
    for from in (0..2 * KEYS).step_by(500) {
        let verdicts = joiner.join((from..from + 500).map(foreign).collect()).await;
        let wanted = match from < KEYS {
            true => JoinVerdict::Joined(0),
            false => JoinVerdict::NotFound,
        };
        assert_eq!(verdicts, Ok(vec![wanted; 500]));
    }
    assert_eq!(joiner.status().await.unwrap().wanted, KEYS);
    let late = format!(r#"{{"id":"late","k":"k{KEYS}"}}"#);
    store.take(0, EVENTS, late.as_bytes()).unwrap();
    store.finish().unwrap();
    let verdicts = joiner.join(vec![foreign(KEYS)]).await;
    assert_eq!(verdicts, Ok(vec![JoinVerdict::Joined(0)]));
    assert_eq!(joiner.status().await.unwrap().wanted, KEYS - 1);
    // The store is fed by hand here, without the tail that wakes.
    assert_eq!(wakeups.next().now_or_never(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_not_ready_and_never_not_found() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let store = Store::open(&options(dir.path()), Arc::new(RegistersAll)).unwrap();
    for entry in std::fs::read_dir(dir.path().join("events")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "segment")
        {
            // Under the joiner's hands: the blocks are gone, the summary is in memory.
            std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(0)
                .unwrap();
        }
    }
    let verdicts = store.joiner().join((0..500).map(foreign).collect()).await;
    assert_eq!(verdicts, Ok(vec![JoinVerdict::NotReady; 500]));
    assert_eq!(store.joiner().status().await.unwrap().wanted, 0);
}
