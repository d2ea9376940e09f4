//! What Redis does to a publisher, and what a publisher must not do to Redis.

use crate::common::{
    NAME, Running, address, client, log_key, options, redis_sink, rows, server, until,
    until_published,
};
use crate::shifting_proxy::ShiftingProxy;
use crate::test_log::TestLog;
use async_trait::async_trait;
use rtf_proto::naming::{redis_partitions_key, redis_stream};
use rtf_proto::{Offset, Outcome, PartitionId};
use rtf_publisher::State;
use rtf_publisher::sink::{
    AppendOutcome, GIVE_WAY, Place, RedisOptions, RedisSink, Row, Sink, SinkError,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn do_it(redis: &mut redis::Connection, command: &[&str]) -> redis::Value {
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(redis)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_in_order_and_once() {
    let (redis, log) = (server(), TestLog::new(1, 4));
    let mut client = client(&redis);
    for partition in 0..4 {
        log.join(partition, 1500);
    }
    let running = Running::start(&log, redis_sink(redis.url()), options());
    for partition in 0..4 {
        until_published(&log, &mut client, partition).await;
        assert_eq!(log_key(&mut client, partition), Some(log.id.to_string()));
    }
    log.join(2, 10);
    until_published(&log, &mut client, 2).await;
    until("it is ready", || running.component.reason().is_none()).await;
    until("no lag is left", || {
        running.handle.partitions().iter().all(|p| p.lag == 0)
    })
    .await;
    assert!(running.handle.is_carrying());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_in_the_middle_refills_the_stream() {
    let (redis, log) = (server(), TestLog::new(1, 2));
    let mut client = client(&redis);
    let running = Running::start(&log, redis_sink(redis.url()), options());
    for _ in 0..10 {
        log.join(0, 700);
        redis.flushall().unwrap();
        log.join(1, 300);
    }
    until_published(&log, &mut client, 0).await;
    until_published(&log, &mut client, 1).await;
    // Nothing new comes, and still it is noticed.
    redis.flushall().unwrap();
    until_published(&log, &mut client, 0).await;
    until_published(&log, &mut client, 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_split_goes_on_in_more_streams() {
    let (redis, log) = (server(), TestLog::new(1, 2));
    let mut client = client(&redis);
    let running = Running::start(&log, redis_sink(redis.url()), options());
    log.join(1, 20);
    until_published(&log, &mut client, 1).await;
    log.split(4);
    log.join(3, 20);
    log.join(0, 20);
    for partition in 0..4 {
        until_published(&log, &mut client, partition).await;
    }
    until("it is ready", || running.component.reason().is_none()).await;
    let says = |client: &mut redis::Connection| -> Option<u32> {
        let get = redis::cmd("GET")
            .arg(redis_partitions_key(NAME))
            .query(client);
        get.unwrap()
    };
    until("readers are told", || says(&mut client) == Some(4)).await;
    redis.flushall().unwrap();
    until("readers are told again", || says(&mut client) == Some(4)).await;
    until_published(&log, &mut client, 3).await;
    // Another publisher may know less.
    redis_sink(redis.url()).announce(2).await.unwrap();
    assert_eq!(says(&mut client), Some(4));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_publishers_and_killed_ones_write_each_row_once() {
    let (redis, log) = (server(), TestLog::new(1, 2));
    let mut client = client(&redis);
    let sink = || redis_sink(redis.url());
    let steady = Running::start(&log, sink(), options());
    for _ in 0..15 {
        // Dropped at the end of each round: killed at some moment.
        let _doomed = Running::start(&log, sink(), options());
        log.join(0, 400);
        log.join(1, 40);
        tokio::task::yield_now().await;
    }
    until_published(&log, &mut client, 0).await;
    until_published(&log, &mut client, 1).await;
    steady.stop().await;
}

/// Counts the appends that its publisher sent in vain.
struct Counting {
    sink: Arc<RedisSink>,
    refused: AtomicU64,
}

#[async_trait]
impl Sink for Counting {
    async fn last(&self, place: Place) -> Result<Option<Offset>, SinkError> {
        self.sink.last(place).await
    }

    async fn append(
        &self,
        place: Place,
        expected_last: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        let outcome = self.sink.append(place, expected_last, rows).await?;
        if matches!(outcome, AppendOutcome::Moved { .. }) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(outcome)
    }

    fn give_way(&self) -> Duration {
        self.sink.give_way()
    }

    fn subject(&self, partition: PartitionId) -> String {
        self.sink.subject(partition)
    }

    fn remedy(&self, partition: PartitionId) -> String {
        self.sink.remedy(partition)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_gives_way_and_takes_over_from_the_dead() {
    let (redis, log) = (server(), TestLog::new(1, 1));
    let mut client = client(&redis);
    let sinks = [(), ()].map(|()| {
        Arc::new(Counting {
            sink: redis_sink(redis.url()),
            refused: AtomicU64::default(),
        })
    });
    let running = sinks
        .clone()
        .map(|sink| Running::start(&log, sink, options()));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        log.join(0, 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    until_published(&log, &mut client, 0).await;
    // Each time it is refused it had two appends under way at the most, and sends none for so long.
    let times = began.elapsed().as_millis() / GIVE_WAY.as_millis() + 1;
    for sink in &sinks {
        let refused = sink.refused.load(Ordering::Relaxed);
        assert!(
            u128::from(refused) <= 2 * times,
            "{refused} in {:?}",
            began.elapsed()
        );
    }
    // Whichever carried it, one of the two that are left alone is not the one.
    let [first, second] = running;
    drop(first);
    log.join(0, 100);
    until_published(&log, &mut client, 0).await;
    let first = Running::start(&log, sinks[0].clone(), options());
    log.join(0, 100);
    until_published(&log, &mut client, 0).await;
    drop(second);
    log.join(0, 100);
    until_published(&log, &mut client, 0).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_killed_and_has_forgotten_is_refilled() {
    let (mut redis, log) = (server(), TestLog::new(1, 1));
    let running = Running::start(&log, redis_sink(redis.url()), options());
    log.join(0, 800);
    until_published(&log, &mut client(&redis), 0).await;
    do_it(&mut client(&redis), &["SAVE"]);
    log.join(0, 900);
    until_published(&log, &mut client(&redis), 0).await;
    redis.kill9().unwrap();
    until("it is not ready", || {
        running.reason().contains("the sink is away")
    })
    .await;
    log.join(0, 50);
    redis.restart().unwrap();
    until_published(&log, &mut client(&redis), 0).await;
    until("it is ready", || running.component.reason().is_none()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_delays_and_doubles_nothing() {
    let (mut redis, log) = (server(), TestLog::new(1, 1));
    let mut client = client(&redis);
    let options_redis = RedisOptions {
        name: NAME.into(),
        max_rows: 0,
        call_timeout: Duration::from_millis(150),
    };
    let sink = std::sync::Arc::new(RedisSink::new(address(&redis.url()), options_redis));
    let running = Running::start(&log, sink, options());
    for _ in 0..3 {
        log.join(0, 600);
        until_published(&log, &mut client, 0).await;
        redis.process().sigstop().unwrap();
        // These are sent, time out, and are carried out when it thaws, beside those sent again.
        log.join(0, 900);
        until("it is not ready", || {
            running.reason().contains("the sink is away")
        })
        .await;
        redis.process().sigcont().unwrap();
        until_published(&log, &mut client, 0).await;
        until("it is ready", || running.component.reason().is_none()).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_delays() {
    let (redis, log) = (server(), TestLog::new(1, 1));
    let mut client = client(&redis);
    let running = Running::start(&log, redis_sink(redis.url()), options());
    log.join(0, 100);
    until_published(&log, &mut client, 0).await;
    do_it(&mut client, &["CONFIG", "SET", "maxmemory", "1mb"]);
    let before = rows(&mut client, 0);
    log.join(0, 3000);
    until("it is not ready", || running.reason().contains("OOM")).await;
    assert_eq!(rows(&mut client, 0), before, "all or nothing");
    do_it(&mut client, &["CONFIG", "SET", "maxmemory", "0"]);
    until_published(&log, &mut client, 0).await;
    until("it is ready", || running.component.reason().is_none()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_redis_delays() {
    let (redis, log) = (server(), TestLog::new(1, 1));
    let (mut client, mut other) = (client(&redis), crate::common::client(&redis));
    let running = Running::start(&log, redis_sink(redis.url()), options());
    log.join(0, 100);
    until_published(&log, &mut client, 0).await;
    // A replica of nobody: it keeps what it has and takes no writes.
    do_it(&mut client, &["REPLICAOF", "127.0.0.1", "1"]);
    log.join(0, 700);
    until("it is not ready", || {
        running.reason().contains("the sink is away")
    })
    .await;
    assert_eq!(rows(&mut client, 0).len(), 100);
    do_it(&mut other, &["REPLICAOF", "NO", "ONE"]);
    until_published(&log, &mut client, 0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_log_is_refused_until_it_is_deleted() {
    let redis = server();
    let mut client = client(&redis);
    let (old, new) = (TestLog::new(1, 1), TestLog::new(2, 1));
    old.join(0, 30);
    let running = Running::start(&old, redis_sink(redis.url()), options());
    until_published(&old, &mut client, 0).await;
    running.stop().await;

    new.join(0, 400);
    let running = Running::start(&new, redis_sink(redis.url()), options());
    let words = format!(
        "stream {NAME}:joined:{{0}} was written from log {}, this is log {}: \
         delete it (DEL {NAME}:joined:{{0}} {NAME}:log:{{0}}) or use another join.name",
        old.id, new.id
    );
    until("it is refused", || {
        running.handle.partitions().first().map(|p| &p.state)
            == Some(&State::Refused(words.clone()))
    })
    .await;
    assert!(running.reason().contains(&words));
    assert_eq!(rows(&mut client, 0), old.rows(0, false));

    do_it(&mut client, &["DEL", "vacation:log:{0}"]);
    until("the missing name is told", || {
        running.reason().contains("log")
    })
    .await;
    assert_eq!(rows(&mut client, 0), old.rows(0, false));

    do_it(&mut client, &["DEL", "vacation:joined:{0}"]);
    until_published(&new, &mut client, 0).await;
    assert_eq!(log_key(&mut client, 0), Some(new.id.to_string()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ahead_of_the_log_is_refused() {
    let redis = server();
    let mut client = client(&redis);
    let (long, short) = (TestLog::new(1, 1), TestLog::new(1, 1));
    long.join(0, 90);
    short.join(0, 20);
    let running = Running::start(&long, redis_sink(redis.url()), options());
    until_published(&long, &mut client, 0).await;
    running.stop().await;

    let running = Running::start(&short, redis_sink(redis.url()), options());
    until("it is refused", || {
        running.reason().contains("but the log ends at")
    })
    .await;
    assert_eq!(rows(&mut client, 0), long.rows(0, false));
    // A replica that was merely behind catches up.
    short.join(0, 90);
    until_published(&short, &mut client, 0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_other_calls_are_noticed() {
    let (redis, log) = (server(), TestLog::new(1, 3));
    let mut client = client(&redis);
    let proxy = ShiftingProxy::start(redis.port()).await;
    let running = Running::start(&log, redis_sink(proxy.url.clone()), options());
    for round in 1..=10 {
        for partition in 0..3 {
            log.join(partition, 300);
        }
        proxy.shift();
        until("an old answer was given", || proxy.shifts() == round).await;
        log.join(0, 20);
        for partition in 0..3 {
            until_published(&log, &mut client, partition).await;
        }
    }
    assert!(
        proxy.connections() > 1,
        "a wrong answer ends its connection"
    );
    running.stop().await;
}

const PLACE: Place = Place {
    log: rtf_proto::TopicId([1; 16]),
    partition: 0,
};

fn one(offset: u64, bytes: usize) -> Vec<Row> {
    vec![Row {
        offset,
        later_ts: 0,
        payload: vec![b'r'; bytes].into(),
    }]
}

#[tokio::test]
async fn a_wrong_answer_is_no_outcome() {
    let redis = server();
    let proxy = ShiftingProxy::start(redis.port()).await;
    let sink = redis_sink(proxy.url.clone());
    assert_eq!(sink.last(PLACE).await, Ok(None));
    proxy.shift();
    let outcome = sink.append(PLACE, None, &one(1, 1)).await;
    let Err(SinkError::Unavailable(words)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(words.contains("got the answer to call 0"), "{words}");
    assert_eq!(
        sink.last(PLACE).await,
        Ok(Some(1)),
        "it was in all the same"
    );
}

#[tokio::test]
async fn the_cursor_outlives_the_rows() {
    let redis = server();
    let (sink, mut client) = (redis_sink(redis.url()), client(&redis));
    let stream = redis_stream(NAME, 0);
    for offset in 1..=3 {
        let expected = (offset > 1).then(|| offset - 1);
        let appended = AppendOutcome::Appended { last: offset };
        assert_eq!(
            sink.append(PLACE, expected, &one(offset, 9)).await,
            Ok(appended)
        );
    }
    // The newest row is deleted: it was there, and does not come again.
    do_it(&mut client, &["XDEL", &stream, "3-0"]);
    assert_eq!(sink.last(PLACE).await, Ok(Some(3)));
    let moved = AppendOutcome::Moved { last: Some(3) };
    assert_eq!(sink.append(PLACE, Some(1), &one(4, 9)).await, Ok(moved));
    let fooled = sink.append(PLACE, Some(2), &one(3, 9)).await;
    assert!(
        matches!(fooled, Err(SinkError::Unavailable(_))),
        "{fooled:?}"
    );
    // All rows are trimmed away.
    do_it(&mut client, &["XTRIM", &stream, "MAXLEN", "0"]);
    assert_eq!(sink.last(PLACE).await, Ok(Some(3)));
    let appended = AppendOutcome::Appended { last: 4 };
    assert_eq!(sink.append(PLACE, Some(3), &one(4, 9)).await, Ok(appended));
    assert_eq!(rows(&mut client, 0).len(), 1);
}

#[tokio::test]
async fn a_consumer_group_made_beforehand_does_no_harm() {
    let redis = server();
    let (sink, mut client) = (redis_sink(redis.url()), client(&redis));
    let stream = redis_stream(NAME, 0);
    do_it(
        &mut client,
        &["XGROUP", "CREATE", &stream, "g", "0", "MKSTREAM"],
    );
    assert_eq!(sink.last(PLACE).await, Ok(None));
    let appended = AppendOutcome::Appended { last: 1 };
    assert_eq!(sink.append(PLACE, None, &one(1, 9)).await, Ok(appended));
}

#[tokio::test]
async fn what_is_not_ours_is_refused() {
    let redis = server();
    let (sink, mut client) = (redis_sink(redis.url()), client(&redis));
    let stream = redis_stream(NAME, 0);
    do_it(&mut client, &["SET", &stream, "a text"]);
    let refused = sink.last(PLACE).await;
    assert!(
        matches!(refused, Err(SinkError::NotOurs { .. })),
        "{refused:?}"
    );
    do_it(&mut client, &["DEL", &stream]);
    sink.append(PLACE, None, &one(1, 9)).await.unwrap();
    do_it(&mut client, &["XADD", &stream, "7-3", "row", "mine"]);
    let refused = sink.append(PLACE, Some(1), &one(8, 9)).await.unwrap_err();
    assert!(
        refused.to_string().contains("7-3 is no offset of a log"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_trimmed_about() {
    let (redis, log) = (server(), TestLog::new(1, 1));
    let mut client = client(&redis);
    let options_redis = RedisOptions {
        name: NAME.into(),
        max_rows: 1000,
        call_timeout: Duration::from_secs(2),
    };
    let sink = std::sync::Arc::new(RedisSink::new(address(&redis.url()), options_redis));
    let running = Running::start(&log, sink, options());
    log.join(0, 5000);
    let all = log.rows(0, false);
    until("the newest row is there", || {
        rows(&mut client, 0).last() == all.last()
    })
    .await;
    let kept = rows(&mut client, 0);
    assert!((1000..1200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept, all[all.len() - kept.len()..]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_megabyte_goes_through() {
    let (redis, log) = (server(), TestLog::new(1, 1));
    let mut client = client(&redis);
    let running = Running::start(&log, redis_sink(redis.url()), options());
    for _ in 0..5 {
        log.resolve(0, Outcome::Joined, 1_000_000);
        log.join(0, 3);
    }
    until_published(&log, &mut client, 0).await;
    running.stop().await;
}
