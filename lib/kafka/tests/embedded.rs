//! The clients against librdkafka's mock cluster: the same code the demonstration runs.

use rtf_kafka::{
    Appender, AppenderOptions, Cluster, Deliveries, Embedded, GroupEvents, GroupOptions,
    GroupReader, Isolation, KafkaError, Polled, Sender, Settings, Start, Tail,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Count(std::sync::Arc<AtomicU64>);

impl Deliveries for Count {
    fn delivered(&self, _: u64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn unknown(&self, sequence: u64, words: &str) {
        panic!("append {sequence} failed: {words}");
    }
}

fn read(tail: &Tail, wanted: usize) -> Vec<(u32, u64, Vec<u8>)> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut records = Vec::new();
    while records.len() < wanted && Instant::now() < deadline {
        match tail.poll(Duration::from_millis(100)) {
            Polled::Record(r) => records.push((
                r.partition(),
                r.offset(),
                r.value().unwrap_or_default().to_vec(),
            )),
            Polled::Failed(error) => panic!("{error}"),
            Polled::EndOfPartition(_) | Polled::Idle => {}
        }
    }
    records
}

#[test]
fn what_is_appended_is_read_from_the_offset_asked_for() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("log", 2).unwrap();
    let settings = broker.settings();
    let count = Count::default();
    let delivered = count.0.clone();
    let options = AppenderOptions {
        topic: "log".into(),
        linger: Duration::from_millis(1),
        delivery_timeout: Duration::from_secs(10),
        max_record_bytes: 1_000_000,
        queue_bytes: 1 << 24,
        tells_delivered: true,
    };
    let appender = Appender::open(&settings, &options, count).unwrap();
    for n in 0..10u64 {
        appender
            .append(1, Some(b"key"), n.to_string().as_bytes(), n)
            .unwrap();
    }
    appender.flush(Duration::from_secs(10));
    assert_eq!(delivered.load(Ordering::SeqCst), 10);
    let tail = Tail::open(
        &settings,
        "log",
        &[(0, Start::Beginning), (1, Start::Offset(7))],
        Isolation::ReadUncommitted,
    )
    .unwrap();
    let expected: Vec<_> = (7..10u64)
        .map(|n| (1, n, n.to_string().into_bytes()))
        .collect();
    assert_eq!(read(&tail, 3), expected);
    assert_eq!(tail.offsets(1, Duration::from_secs(5)).unwrap(), (0, 10));
}

#[test]
fn a_position_that_is_not_there_is_an_error() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("log", 1).unwrap();
    let settings = broker.settings();
    let sender = Sender::open(&settings).unwrap();
    sender.send("log", Some(0), None, Some(b"0")).unwrap();
    sender.flush(Duration::from_secs(10)).unwrap();
    let from = [(0, Start::Offset(7))];
    let tail = Tail::open(&settings, "log", &from, Isolation::ReadUncommitted).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        match tail.poll(Duration::from_millis(100)) {
            Polled::Failed(error) => break error,
            Polled::Record(record) => panic!("it was reset to {}", record.offset()),
            _ => assert!(
                Instant::now() < deadline,
                "it waits for what may never come"
            ),
        }
    };
    assert!(matches!(error, KafkaError::OutOfRange { .. }), "{error}");
}

#[test]
fn a_tail_leaves_no_position_in_its_group() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("log", 1).unwrap();
    let settings = broker.settings();
    let sender = Sender::open(&settings).unwrap();
    sender.send("log", Some(0), None, Some(b"0")).unwrap();
    sender.flush(Duration::from_secs(10)).unwrap();
    let from = [(0, Start::Beginning)];
    let tail = Tail::open(&settings, "log", &from, Isolation::ReadUncommitted).unwrap();
    assert_eq!(read(&tail, 1).len(), 1);
    drop(tail);
    let cluster = Cluster::connect(&settings).unwrap();
    assert_eq!(
        cluster.committed("ready-to-fly.tail", "log").unwrap(),
        [(0, None)]
    );
}

#[test]
fn positions_are_asked_for_again_while_the_coordinator_moves() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("clicks", 2).unwrap();
    let cluster = Cluster::connect(&broker.settings()).unwrap();
    broker.deny_coordinating(2);
    assert_eq!(
        cluster.committed("clicks.dispatcher", "clicks").unwrap(),
        [(0, None), (1, None)]
    );
}

#[test]
fn a_poll_ends_soon_however_long_it_may_take() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("log", 1).unwrap();
    let from = [(0, Start::Beginning)];
    let settings = broker.settings();
    let tail = Tail::open(&settings, "log", &from, Isolation::ReadUncommitted).unwrap();
    let begun = Instant::now();
    for _ in 0..2 {
        tail.poll(Duration::from_secs(60));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn topics_are_described() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("deals", 3).unwrap();
    let cluster = Cluster::connect(&broker.settings()).unwrap();
    assert_eq!(cluster.topic("deals").unwrap().unwrap().partitions, 3);
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl GroupEvents for Seen {
    fn assigned(&self, partitions: &[u32]) {
        self.0
            .lock()
            .unwrap()
            .push(format!("assigned {}", partitions.len()));
    }
    fn revoked(&self, partitions: &[u32]) -> Vec<(u32, u64)> {
        self.0
            .lock()
            .unwrap()
            .push(format!("revoked {}", partitions.len()));
        partitions.iter().map(|p| (*p, 1)).collect()
    }
    fn lost(&self, _: &[u32]) {}
}

/// A broker with so many tweets in one partition.
fn tweets(count: u8) -> (Embedded, Settings) {
    let broker = Embedded::start().unwrap();
    broker.create_topic("tweets", 1).unwrap();
    let settings = broker.settings();
    let sender = Sender::open(&settings).unwrap();
    for n in 0..count {
        sender.send("tweets", Some(0), None, Some(&[n])).unwrap();
    }
    sender.flush(Duration::from_secs(10)).unwrap();
    (broker, settings)
}

/// The group that reads them.
fn readers() -> GroupOptions {
    GroupOptions {
        topic: "tweets".into(),
        group: "g".into(),
        session_timeout: Duration::from_secs(6),
        isolation: Isolation::ReadCommitted,
        instance_id: None,
    }
}

#[test]
fn a_group_resumes_behind_what_was_committed_when_it_left() {
    let (_broker, settings) = tweets(3);
    for expected in [0, 1] {
        let reader = GroupReader::open(&settings, &readers(), Seen::default()).unwrap();
        assert_eq!(next(&reader), expected);
        reader.close();
    }
}

/// The offset of the next record.
fn next(reader: &GroupReader<Seen>) -> u64 {
    let begun = Instant::now();
    loop {
        match reader.poll(Duration::from_millis(100)) {
            Polled::Record(record) => return record.offset(),
            Polled::Failed(error) => panic!("{error}"),
            _ => assert!(begun.elapsed() < Duration::from_secs(20), "no record"),
        }
    }
}

/// librdkafka alone looks at a resumed partition within a second.
#[test]
fn what_is_resumed_is_fetched_at_once() {
    const TIMES: u8 = 8;
    let (_broker, settings) = tweets(TIMES + 1);
    let reader = GroupReader::open(&settings, &readers(), Seen::default()).unwrap();
    next(&reader);
    let mut waits = Vec::new();
    for expected in 1..=u64::from(TIMES) {
        reader.pause(&[0]).unwrap();
        let is_quiet = |_| matches!(reader.poll(Duration::from_millis(50)), Polled::Idle);
        assert!((0..8).all(is_quiet), "it is paused");
        let begun = Instant::now();
        reader.resume(&[0]).unwrap();
        assert_eq!(next(&reader), expected);
        waits.push(begun.elapsed());
    }
    waits.sort();
    // One may be unlucky on a machine that is busy.
    let usual = waits[waits.len() / 2];
    assert!(usual < Duration::from_millis(350), "{waits:?}");
}
