//! `/api/stream` over the embedded store: every row once and in order, whatever the reader does.

use crate::support::{Site, Store, of, row};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use std::time::Duration;

#[tokio::test]
async fn a_stream_starts_from_now() {
    let store = Store::new();
    store.fill(0, 0..5);
    let site = Site::over(store.source());
    let mut events = site.stream("/api/stream", None).await;
    events.store(true).await;
    store.fill(0, 5..7);
    store.fill(3, 0..1);
    let seen = events.rows(3).await;
    assert_eq!((of(0, seen), of(3, seen)), (vec![5, 6], vec![0]));
}

#[tokio::test]
async fn a_stream_from_the_answers_cursor_misses_nothing() {
    let store = Store::new();
    store.fill(0, 0..5);
    let site = Site::over(store.source());
    let (_, page) = site.json("/api/rows").await;
    store.fill(0, 5..9);
    let path = format!("/api/stream?after={}", page["cursor"].as_str().unwrap());
    let mut events = site.stream(&path, None).await;
    assert_eq!(of(0, events.rows(4).await), [5, 6, 7, 8]);
}

#[tokio::test]
async fn an_empty_store_is_resumed_from_its_beginning() {
    let store = Store::new();
    let site = Site::over(store.source());
    let mut events = site.stream("/api/stream", None).await;
    events.store(true).await;
    // The place comes right after the state, before any row.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), events.next())
            .await
            .is_err()
    );
    let id = events.last_id.clone();
    drop(events);
    store.fill(2, 0..3);
    let mut events = site.stream("/api/stream", Some(&id)).await;
    assert_eq!(of(2, events.rows(3).await), [0, 1, 2]);
}

#[tokio::test]
async fn the_last_event_id_is_newer_than_the_address() {
    let store = Store::new();
    store.fill(0, 0..9);
    let site = Site::over(store.source());
    let mut events = site.stream("/api/stream?after=0:2", Some("0:6")).await;
    assert_eq!(of(0, events.rows(2).await), [7, 8]);
    let request = Request::get("/api/stream")
        .header("Last-Event-ID", "x")
        .body(Body::empty())
        .unwrap();
    assert_eq!(site.send(request).await.status(), StatusCode::BAD_REQUEST);
}

/// The connection breaks again and again while rows arrive.
#[tokio::test]
async fn broken_connections_leave_no_gap_and_no_repeat() {
    const ROWS: u64 = 3000;
    let store = Store::new();
    let site = Site::over(store.source());
    let mut seen = Vec::new();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for offset in 0..ROWS {
                store.fill((offset % 3) as u32, [offset]);
                if offset % 17 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    });
    let mut id = "-".to_owned();
    while seen.len() < ROWS as usize {
        let mut events = site.stream("/api/stream?after=-", Some(&id)).await;
        let wanted = (ROWS as usize - seen.len()).min(40);
        events.rows(wanted).await;
        id = events.last_id.clone();
        seen.extend(events.seen);
    }
    writer.await.unwrap();
    for partition in 0..3 {
        let all: Vec<u64> = (0..ROWS).filter(|o| o % 3 == partition).collect();
        assert_eq!(of(partition as u32, &seen), all);
    }
}

/// A browser that does not read falls out of the broadcast and must find its own way back.
#[tokio::test]
async fn a_slow_browser_gets_every_row() {
    const ROUNDS: u64 = 150;
    let store = Store::new();
    let site = Site::over(store.source());
    let mut quick = site.stream("/api/stream", None).await;
    let mut slow = site.stream("/api/stream", None).await;
    slow.store(true).await;
    for round in 0..ROUNDS {
        // Full batches come without a pause, so that more of them are broadcast than are kept.
        store.fill(0, round * 64..(round + 1) * 64);
        quick.rows(((round + 1) * 64) as usize).await;
    }
    let all: Vec<u64> = (0..ROUNDS * 64).collect();
    assert_eq!(of(0, &quick.seen), all);
    assert_eq!(of(0, slow.rows(all.len()).await), all);
    store.fill(1, [7]);
    assert_eq!(slow.rows(all.len() + 1).await.last(), Some(&(1, 7)));
    assert_eq!(slow.cursor().get(1), Some(7));
}

#[tokio::test]
async fn a_store_that_was_emptied_is_seen_again() {
    let store = Store::new();
    store.fill(0, 0..5);
    store.fill(1, 0..5);
    let site = Site::over(store.source());
    let mut events = site.stream("/api/stream?after=-", None).await;
    events.rows(10).await;
    store.rows.clear();
    store.fill(0, 0..3);
    assert_eq!(of(0, events.rows(13).await), [0, 1, 2, 3, 4, 0, 1, 2]);
    store.fill(1, 0..6);
    assert_eq!(
        of(1, events.rows(19).await),
        [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]
    );
    // Who comes back with an old cursor sees the refilled rows as well.
    let mut events = site.stream("/api/stream", Some("0:4,1:4")).await;
    assert_eq!(
        (of(0, events.rows(4).await), of(1, &events.seen)),
        (vec![0, 1, 2], vec![5])
    );
}

#[tokio::test]
async fn a_row_with_line_breaks_is_one_event() {
    let store = Store::new();
    store.put(
        0,
        1,
        "{\r\n \"key\":\"k\",\n\n\"joined_ts\":1,\r\"offset\":1,\"partition\":0}".into(),
    );
    store.put(0, 2, row(0, 2, 1, "k", "line\nbreak \u{2028} </script>"));
    let site = Site::over(store.source());
    let mut events = site.stream("/api/stream?after=-", None).await;
    assert_eq!(of(0, events.rows(2).await), [1, 2]);
}
