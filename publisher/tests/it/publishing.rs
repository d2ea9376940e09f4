//! What a publisher does whatever the sink: here rows in memory.

use crate::common::{Running, options, until};
use crate::test_log::TestLog;
use rtf_proto::{Offset, Outcome, Reason, RegistryError};
use rtf_publisher::sink::EmbeddedSink;
use rtf_publisher::{Content, Options, State};
use rtf_rows::{Limits, Rows};
use std::sync::Arc;

fn memory() -> (Rows, Arc<EmbeddedSink>) {
    let rows = Rows::new(Limits {
        max_rows: 1_000_000,
        max_bytes: 64 << 20,
    });
    (rows.clone(), Arc::new(EmbeddedSink::new(rows)))
}

fn shown(rows: &Rows, partition: u32) -> Vec<(Offset, String)> {
    let text = |row: Vec<u8>| String::from_utf8(row).unwrap();
    let entries = rows.read_after(partition, None, usize::MAX);
    entries
        .into_iter()
        .map(|(offset, row)| (offset, text(row.to_vec())))
        .collect()
}

fn resolve_all_ways(log: &TestLog) {
    log.join(0, 3);
    log.resolve(0, Outcome::Unjoinable(Reason::TimedOut), 5);
    log.resolve(0, Outcome::Malformed, 5);
    log.join(0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_joined_rows_unless_told_otherwise() {
    for emit_unjoinable in [false, true] {
        let (log, (rows, sink)) = (TestLog::new(1, 1), memory());
        resolve_all_ways(&log);
        let options = Options {
            content: Content::Rows { emit_unjoinable },
            ..options()
        };
        let running = Running::start(&log, sink, options);
        let expected = log.rows(0, emit_unjoinable);
        assert_eq!(expected.len(), 5 + usize::from(emit_unjoinable));
        until("all is there", || shown(&rows, 0) == expected).await;
        until("no lag is left", || {
            running.handle.partitions()[0].lag == 0 && running.handle.is_carrying()
        })
        .await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_was_cleared_is_refilled() {
    let (log, (rows, sink)) = (TestLog::new(1, 3), memory());
    let running = Running::start(&log, sink, options());
    for partition in 0..3 {
        log.join(partition, 2000);
    }
    for _ in 0..3 {
        for partition in 0..3 {
            let expected = log.rows(partition, false);
            until("all is there", || shown(&rows, partition) == expected).await;
        }
        rows.clear();
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_delays() {
    let (log, (rows, sink)) = (TestLog::new(1, 2), memory());
    let gone = || Some(RegistryError::Unavailable("gone fishing".into()));
    log.set_away(gone());
    let running = Running::start(&log, sink, options());
    until("it is told", || running.reason().contains("gone fishing")).await;
    log.join(1, 10);
    log.set_away(None);
    let expected = log.rows(1, false);
    until("all is there", || shown(&rows, 1) == expected).await;
    until("it is ready", || running.component.reason().is_none()).await;
    log.set_away(gone());
    until("it is told", || running.reason().contains("gone fishing")).await;
    log.join(1, 10);
    log.set_away(None);
    let expected = log.rows(1, false);
    until("all is there", || shown(&rows, 1) == expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_is_skipped_and_the_rest_goes_on() {
    let (log, (rows, sink)) = (TestLog::new(1, 1), memory());
    log.join(0, 10);
    let before = log.rows(0, false);
    let running = Running::start(&log, sink.clone(), options());
    until("all is there", || shown(&rows, 0) == before).await;
    running.stop().await;
    log.join(0, 60);
    log.retain_from(0, 40);
    let running = Running::start(&log, sink, options());
    let expected: Vec<_> = before.into_iter().chain(log.rows(0, false)).collect();
    until("the rest is there", || shown(&rows, 0) == expected).await;
    rows.clear();
    let expected = log.rows(0, false);
    until("what the log has is there", || shown(&rows, 0) == expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_record_stops_its_partition_behind_the_rows_before_it() {
    let (log, (rows, sink)) = (TestLog::new(1, 2), memory());
    log.join(0, 5);
    let before = log.rows(0, false);
    log.spoil(0);
    log.join(0, 5);
    log.join(1, 5);
    let options = Options {
        content: Content::Rows {
            emit_unjoinable: true,
        },
        ..options()
    };
    let running = Running::start(&log, sink, options);
    until("it is refused", || {
        running.reason().contains("offset 6 of partition 0")
    })
    .await;
    until("the rows before are there", || shown(&rows, 0) == before).await;
    let expected = log.rows(1, false);
    until("the other partition goes on", || {
        shown(&rows, 1) == expected
    })
    .await;
    let partitions = running.handle.partitions();
    assert!(matches!(partitions[0].state, State::Refused(_)));
    assert_eq!(partitions[1].state, State::Carrying);
    running.stop().await;
}
