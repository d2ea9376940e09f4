//! `/api/rows` and `/api/status` over the embedded store.

use crate::support::{PARTITIONS, Site, Store, row, rows_only};
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use proptest::prelude::*;
use rtf_web::{Options, Sources, StatusSource, app};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

fn places(rows: &Value) -> Vec<(u64, u64)> {
    let place = |row: &Value| {
        (
            row["partition"].as_u64().unwrap(),
            row["offset"].as_u64().unwrap(),
        )
    };
    rows.as_array().unwrap().iter().map(place).collect()
}

/// All pages from the newest row to the oldest.
async fn walk(site: &Site, limit: usize) -> Vec<(u64, u64)> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let (status, page) = site
            .json(&format!("/api/rows?limit={limit}&before={before}"))
            .await;
        assert_eq!(status, StatusCode::OK);
        let rows = places(&page["rows"]);
        assert!(rows.len() <= limit);
        all.extend(rows);
        match page["next"].as_str() {
            Some(next) => before = next.to_owned(),
            None => return all,
        }
    }
}

#[tokio::test]
async fn an_empty_store_has_no_rows_and_a_place_to_start_from() {
    let (status, page) = Site::over(Store::new().source()).json("/api/rows").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        page,
        json!({ "rows": [], "next": null, "cursor": "-", "truncated": false, "scanned": 0 })
    );
}

#[tokio::test]
async fn rows_are_sent_as_they_are_stored() {
    let store = Store::new();
    let text =
        r#"{"key":"k","joined_ts":5,  "foreign":{"a":1.0,"b":"\u00e9"},"offset":3,"partition":0}"#;
    store.put(0, 3, text.into());
    let response = Site::over(store.source()).get("/api/rows").await;
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(
        std::str::from_utf8(&body)
            .unwrap()
            .starts_with(&format!("{{\"rows\":[{text}],"))
    );
}

#[tokio::test]
async fn an_older_page_does_not_move_when_rows_arrive() {
    let store = Store::new();
    store.fill(0, 0..30);
    let site = Site::over(store.source());
    let (_, first) = site.json("/api/rows?limit=10").await;
    // Partition 1 was empty when the first page was read: all of it is newer.
    store.fill(0, 30..50);
    store.fill(1, 0..5);
    let next = first["next"].as_str().unwrap();
    let (_, second) = site
        .json(&format!("/api/rows?limit=10&before={next}"))
        .await;
    assert_eq!(
        places(&second["rows"]),
        (10..20).rev().map(|o| (0, o)).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn rows_are_found_by_text_and_by_key() {
    let store = Store::new();
    store.put(0, 1, row(0, 1, 1, "Austin, TX", "take me to the BEACH 🌴"));
    store.put(1, 4, row(1, 4, 2, "Boston, MA", "beach & sun"));
    store.put(2, 9, row(2, 9, 3, "Austin, TX", "snow"));
    let site = Site::over(store.source());
    for (query, found) in [
        ("q=beach", vec![(1, 4), (0, 1)]),
        ("q=%F0%9F%8C%B4", vec![(0, 1)]),
        ("q=beach%20%26", vec![(1, 4)]),
        ("key=Austin,%20TX", vec![(2, 9), (0, 1)]),
        ("key=Austin,%20TX&q=BEACH", vec![(0, 1)]),
        ("key=austin,%20tx", vec![]),
        ("q=&key=&limit=1", vec![(2, 9)]),
    ] {
        let (_, page) = site.json(&format!("/api/rows?{query}")).await;
        assert_eq!(places(&page["rows"]), found, "{query}");
    }
}

#[tokio::test]
async fn a_search_has_a_bound_and_can_be_carried_on() {
    let store = Store::new();
    store.put(0, 0, row(0, 0, 0, "k", "needle"));
    store.fill(0, 1..20_001);
    let site = Site::over(store.source());
    let (_, page) = site.json("/api/rows?q=needle").await;
    assert_eq!(
        (&page["rows"], &page["truncated"], &page["scanned"]),
        (&json!([]), &json!(true), &json!(20_000))
    );
    let next = page["next"].as_str().unwrap();
    let (_, page) = site
        .json(&format!("/api/rows?q=needle&before={next}"))
        .await;
    assert_eq!(
        (places(&page["rows"]), &page["truncated"]),
        (vec![(0, 0)], &json!(false))
    );
}

#[tokio::test]
async fn an_answer_is_bounded_in_bytes() {
    let store = Store::new();
    for offset in 0..20 {
        store.put(0, offset, row(0, offset, 1, "k", &"x".repeat(700_000)));
    }
    let site = Site::over(store.source());
    let (_, page) = site.json("/api/rows?limit=1000").await;
    assert_eq!(places(&page["rows"]).len(), 12);
    assert_eq!(page["next"], "0:8,1:0,2:0,3:0");
}

#[tokio::test]
async fn a_bad_parameter_is_named() {
    let site = Site::over(Store::new().source());
    let long = format!("q={}", "x".repeat(1001));
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=-1", "limit"),
        ("before=12", "before"),
        ("before=0:1,0:2", "before"),
        ("page=2", "page"),
        (long.as_str(), "q"),
    ] {
        let (status, body) = site.json(&format!("/api/rows?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(body["parameter"], name);
        assert!(body["error"].as_str().unwrap().starts_with(name), "{body}");
    }
    let (status, body) = site.json("/api/stream?after=nonsense").await;
    assert_eq!(
        (status, &body["parameter"]),
        (StatusCode::BAD_REQUEST, &json!("after"))
    );
}

#[tokio::test]
async fn an_entry_that_is_no_row_hides_no_other() {
    let store = Store::new();
    store.fill(0, 0..3);
    for offset in 3..100 {
        store.put(0, offset, "not json".into());
    }
    store.fill(0, 100..103);
    let site = Site::over(store.source());
    assert_eq!(
        walk(&site, 50).await,
        [102, 101, 100, 2, 1, 0].map(|o| (0, o))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the page size, paging shows every row once, in the order of a simple merge.
    #[test]
    fn paging_agrees_with_sorting(
        steps in prop::collection::vec((0..PARTITIONS, 1u64..4, 0i64..3), 0..120),
        limit in 1usize..30,
    ) {
        let store = Store::new();
        let (mut next, mut clock) = ([0u64; PARTITIONS as usize], 0i64);
        let mut expected = Vec::new();
        for (partition, gap, tick) in steps {
            clock += tick;
            let offset = next[partition as usize] + gap;
            next[partition as usize] = offset;
            store.put(partition, offset, row(partition, offset, clock, "k", "t"));
            expected.push((clock, u64::from(partition), offset));
        }
        expected.sort_unstable();
        let expected: Vec<_> = expected.into_iter().rev().map(|(_, p, o)| (p, o)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let got = runtime.block_on(async { walk(&Site::over(store.source()), limit).await });
        prop_assert_eq!(got, expected);
    }
}

struct Figures(Value);

#[async_trait]
impl StatusSource for Figures {
    async fn status(&self) -> Value {
        self.0.clone()
    }
}

async fn status(source: Option<Arc<dyn StatusSource>>) -> Value {
    let sources = Sources {
        status: source,
        ..rows_only(Store::new().source())
    };
    let app = app(&Options::default(), sources, CancellationToken::new());
    let request = Request::get("/api/status").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
}

#[tokio::test]
async fn figures_are_passed_on_with_the_webs_own() {
    let body = status(Some(Arc::new(Figures(
        json!({ "joined": 7, "lag": { "t": { "0": 1 } } }),
    ))))
    .await;
    assert_eq!(
        (&body["joined"], &body["lag"]["t"]["0"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(body["web"]["partitions"], PARTITIONS);
    assert_eq!(status(None).await["web"]["store"]["ok"], true);
    let body = status(Some(Arc::new(Figures(json!([]))))).await;
    assert_eq!(body["error"], "the figures are not a JSON object");
}

struct Stuck;

#[async_trait]
impl StatusSource for Stuck {
    async fn status(&self) -> Value {
        std::future::pending().await
    }
}

#[tokio::test]
async fn figures_that_do_not_come_are_not_waited_for() {
    assert_eq!(
        status(Some(Arc::new(Stuck))).await["error"],
        "the figures did not come in time"
    );
}
