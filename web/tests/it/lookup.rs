//! `/api/lookup` and `/api/history`: whoever knows is asked, within bounds, and what cannot be found out is said.

use crate::support::{PATIENCE, Store, rows_only};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use rtf_web::{LookupSource, Options, Sources, StatusSource, app};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Knows every id but one; counts who asks at the same time.
#[derive(Default)]
struct Finder {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl LookupSource for Finder {
    async fn lookup(&self, id: &str) -> Result<Value, String> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        match id {
            "lost" => Err("the registry is away".into()),
            id => Ok(json!({ "id": id, "state": "joined" })),
        }
    }
}

struct Figures(AtomicUsize);

#[async_trait]
impl StatusSource for Figures {
    async fn status(&self) -> Value {
        let joined = 100 * self.0.fetch_add(1, Ordering::SeqCst);
        json!({ "joined": joined, "waiting": 7 })
    }
}

fn router(lookup: Option<Arc<dyn LookupSource>>, status: Option<Arc<dyn StatusSource>>) -> Router {
    let sources = Sources {
        lookup,
        status,
        ..rows_only(Store::new().source())
    };
    app(&Options::default(), sources, CancellationToken::new())
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn whoever_knows_is_asked() {
    let router = router(Some(Arc::new(Finder::default())), None);
    let (status, found) = get(&router, "/api/lookup?id=a%20b%2F1").await;
    assert_eq!((status, &found["id"]), (StatusCode::OK, &json!("a b/1")));
    let (status, failed) = get(&router, "/api/lookup?id=lost").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        failed["error"],
        "it cannot be found out: the registry is away"
    );
}

#[tokio::test]
async fn a_question_without_one_id_is_refused() {
    let router = router(Some(Arc::new(Finder::default())), None);
    let long = format!("/api/lookup?id={}", "x".repeat(1025));
    for path in [
        "/api/lookup",
        "/api/lookup?id=",
        "/api/lookup?id=a&id=b",
        "/api/lookup?key=a",
        &long,
    ] {
        assert_eq!(
            get(&router, path).await.0,
            StatusCode::BAD_REQUEST,
            "{path}"
        );
    }
}

#[tokio::test]
async fn where_nobody_knows_there_is_nothing() {
    let router = router(None, None);
    assert_eq!(
        get(&router, "/api/lookup?id=a").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_few_are_looked_up_at_once_and_the_others_wait() {
    let finder = Arc::new(Finder::default());
    let router = router(Some(finder.clone()), None);
    let questions = (0..20).map(|_| get(&router, "/api/lookup?id=a"));
    for (status, _) in futures::future::join_all(questions).await {
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(finder.most.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn the_history_goes_on_while_nobody_looks() {
    let router = router(None, Some(Arc::new(Figures(AtomicUsize::new(0)))));
    let history = tokio::time::timeout(PATIENCE, async {
        loop {
            let (status, history) = get(&router, "/api/history").await;
            assert_eq!(status, StatusCode::OK);
            if history["lines"]["waiting"] == json!([7.0, 7.0]) {
                return history;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let history = history.await.expect("a second moment in time");
    let rates = history["lines"]["joins_per_second"].as_array().unwrap();
    assert!(
        rates[0].is_null(),
        "there is no rate without a moment before"
    );
    // A hundred more in a step of five seconds, or a little more on a machine that is busy.
    assert!(
        (5.0..=20.1).contains(&rates[1].as_f64().unwrap()),
        "{rates:?}"
    );
}
