//! The contract of a sink, the same for both.

use crate::common::{NAME, redis_sink, server};
use rtf_proto::{Offset, TopicId};
use rtf_publisher::sink::{AppendOutcome, EmbeddedSink, Place, Row, Sink, SinkError};
use rtf_rows::{Limits, Rows};

const PLACE: Place = Place {
    log: TopicId([1; 16]),
    partition: 3,
};

fn row(offset: Offset) -> Row {
    Row {
        offset,
        later_ts: 0,
        payload: format!("{{\"offset\":{offset}}}").into(),
    }
}

fn rows(offsets: &[Offset]) -> Vec<Row> {
    offsets.iter().copied().map(row).collect()
}

async fn keeps_the_contract(sink: impl Sink) {
    assert_eq!(sink.last(PLACE).await, Ok(None));
    let moved = |last| Ok(AppendOutcome::Moved { last });
    let appended = |last| Ok(AppendOutcome::Appended { last });
    let append =
        async |expected, offsets: &[Offset]| sink.append(PLACE, expected, &rows(offsets)).await;
    assert_eq!(append(Some(4), &[5]).await, moved(None));
    assert_eq!(sink.last(PLACE).await, Ok(None));
    assert_eq!(append(None, &[1, 4, 9]).await, appended(9));
    assert_eq!(append(None, &[1, 4, 9]).await, moved(Some(9)));
    assert_eq!(append(Some(4), &[9, 10]).await, moved(Some(9)));
    assert_eq!(append(Some(10), &[11]).await, moved(Some(9)));
    assert_eq!(append(Some(9), &[10]).await, appended(10));
    assert_eq!(sink.last(PLACE).await, Ok(Some(10)));
    let other_partition = Place {
        partition: 4,
        ..PLACE
    };
    assert_eq!(sink.last(other_partition).await, Ok(None));

    let other_log = Place {
        log: TopicId([2; 16]),
        ..PLACE
    };
    let refused = sink.append(other_log, Some(10), &rows(&[11])).await;
    let Err(SinkError::OtherLog {
        found, expected, ..
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((found, expected), (PLACE.log.to_string(), other_log.log));
    assert_eq!(sink.last(PLACE).await, Ok(Some(10)));

    // Two publishers at once: of two appends with the same belief one succeeds.
    let (batch_a, batch_b) = (rows(&[11, 12]), rows(&[11, 12, 13]));
    let (a, b) = tokio::join!(
        sink.append(PLACE, Some(10), &batch_a),
        sink.append(PLACE, Some(10), &batch_b)
    );
    let is_in = |outcome: &Result<_, _>| matches!(outcome, Ok(AppendOutcome::Appended { .. }));
    assert!(is_in(&a) != is_in(&b), "{a:?} {b:?}");
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let redis = server();
    let sink = redis_sink(redis.url());
    assert_eq!(
        sink.remedy(3),
        format!("delete it (DEL {NAME}:joined:{{3}} {NAME}:log:{{3}}) or use another join.name")
    );
    keeps_the_contract(std::sync::Arc::into_inner(sink).unwrap()).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_the_contract(EmbeddedSink::new(Rows::new(Limits::for_partitions(16)))).await;
}
