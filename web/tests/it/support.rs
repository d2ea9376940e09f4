//! What the tests share: rows as the publisher writes them, an app, and a browser's half of an event stream.

use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use rtf_rows::{AppendOutcome, Limits, Rows};
use rtf_web::{Cursor, EmbeddedRows, Options, RowSource, Sources, app};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

pub const PARTITIONS: u32 = 4;
/// Nothing in these tests takes longer unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A row as it stands in a store.
pub fn row(partition: u32, offset: u64, joined_ts: i64, key: &str, text: &str) -> Bytes {
    let row = json!({
        "id": format!("{partition}-{offset}"), "key": key, "outcome": "joined",
        "foreign": { "text": text }, "primary": [{ "totalFare": 99.5 }],
        "foreign_ts": 1, "primary_ts": 2, "joined_ts": joined_ts, "offset": offset, "partition": partition,
    });
    row.to_string().into()
}

/// An embedded store that knows where it ends.
#[derive(Clone)]
pub struct Store {
    pub rows: Rows,
}

impl Store {
    pub fn new() -> Self {
        Self {
            rows: Rows::new(Limits::for_partitions(PARTITIONS)),
        }
    }

    pub fn put(&self, partition: u32, offset: u64, row: Bytes) {
        let last = self.rows.last(partition);
        let outcome = self.rows.append(partition, "log", last, &[(offset, row)]);
        assert_eq!(outcome, AppendOutcome::Appended { last: offset });
    }

    /// Rows with these offsets, joined at their offset.
    pub fn fill(&self, partition: u32, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            self.put(
                partition,
                offset,
                row(partition, offset, offset as i64, "k", "t"),
            );
        }
    }

    pub fn source(&self) -> Arc<dyn RowSource> {
        Arc::new(EmbeddedRows::new(self.rows.clone(), PARTITIONS))
    }
}

/// A page that knows rows and nothing else.
pub fn rows_only(rows: Arc<dyn RowSource>) -> Sources {
    Sources {
        rows,
        status: None,
        lookup: None,
    }
}

/// An app; it stops with the test.
pub struct Site {
    pub router: Router,
    _stop: DropGuard,
}

impl Site {
    pub fn over(source: Arc<dyn RowSource>) -> Self {
        Self::with(&Options::default(), source)
    }

    pub fn with(options: &Options, source: Arc<dyn RowSource>) -> Self {
        let stop = CancellationToken::new();
        let router = app(options, rows_only(source), stop.clone());
        Self {
            router,
            _stop: stop.drop_guard(),
        }
    }

    pub async fn get(&self, path: &str) -> Response<Body> {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        let answer = tokio::time::timeout(PATIENCE, self.router.clone().oneshot(request)).await;
        answer.expect("an answer in time").unwrap()
    }

    pub async fn json(&self, path: &str) -> (StatusCode, Value) {
        let response = self.get(path).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Opens a stream as a browser does, that is, perhaps with the id of the last event it saw.
    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Events {
        let mut request = Request::get(path);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = self.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events::new(response.into_body().into_data_stream())
    }
}

/// A browser's half of an event stream.
pub struct Events {
    body: BodyDataStream,
    text: String,
    /// As the browser would send it.
    pub last_id: String,
    /// The rows' places, as they came.
    pub seen: Vec<(u32, u64)>,
}

/// One event that has data.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

impl Events {
    fn new(body: BodyDataStream) -> Self {
        Self {
            body,
            text: String::new(),
            last_id: String::new(),
            seen: Vec::new(),
        }
    }

    /// The next event; `None` when the server ended the stream.
    pub async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read())
            .await
            .expect("an event in time")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.dispatch(&block) {
                    return Some(event);
                }
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    fn dispatch(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = ("message", None);
        for line in block.split('\n') {
            assert!(!line.contains('\r'));
            match line.split_once(": ").expect("a field or a comment") {
                ("id", id) => self.last_id = id.to_owned(),
                ("event", event) => name = event,
                ("data", json) => data = Some(serde_json::from_str(json).unwrap()),
                ("retry" | "", _) => {}
                other => panic!("unknown line {other:?}"),
            }
        }
        let event = Event {
            name: name.to_owned(),
            data: data?,
        };
        if event.name == "rows" {
            let place = |row: &Value| {
                (
                    row["partition"].as_u64().unwrap() as u32,
                    row["offset"].as_u64().unwrap(),
                )
            };
            self.seen
                .extend(event.data.as_array().unwrap().iter().map(place));
        }
        Some(event)
    }

    /// Reads until so many rows were seen.
    pub async fn rows(&mut self, count: usize) -> &[(u32, u64)] {
        while self.seen.len() < count {
            self.next().await.expect("the stream goes on");
        }
        &self.seen
    }

    /// Reads until the store is said to be well, or not.
    pub async fn store(&mut self, ok: bool) {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.name == "store" && event.data["ok"] == ok {
                return;
            }
        }
    }

    /// Where a reader stands that comes back.
    pub fn cursor(&self) -> Cursor {
        self.last_id.parse().unwrap()
    }
}

/// Offsets seen of a partition, in order.
pub fn of(partition: u32, seen: &[(u32, u64)]) -> Vec<u64> {
    seen.iter()
        .filter(|(p, _)| *p == partition)
        .map(|(_, offset)| *offset)
        .collect()
}
