//! One browser's stream of new rows (`/api/stream`): resumes at its cursor, passes on what the feed broadcasts, and reads
//! for itself where it fell behind, so that it sees each row once and in order. It must not know how rows are stored.

use crate::error::ApiError;
use crate::feed::{BATCH_ROWS, Event, Feed, Health};
use crate::frame::{self, Frame};
use crate::server::Web;
use crate::{Cursor, SourceError};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::sleep;

/// A silent stream says this often that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A browser that lost its stream tries again after this.
const RETRY_MS: u32 = 1000;
/// While the store is away, a stream that must catch up tries again this often.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(500);
const LAST_EVENT_ID: &str = "last-event-id";

/// `GET /api/stream`: from `Last-Event-ID` on, else from `after` on, else from now on.
pub(crate) async fn stream(
    State(web): State<Web>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let resume = place(&query, &headers)?;
    let seat = web
        .seats
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::Full)?;
    // First listen, then look where we are: what comes in between is then seen, and what is seen twice is left out.
    let events = web.feed.listen();
    let behind = resume.is_some();
    let cursor = match resume {
        Some(cursor) => cursor,
        None => web.feed.source.ends().await?,
    };
    let reader = Browser::new(web.feed.clone(), events, cursor, behind, seat);
    let frames = futures::stream::unfold(reader, |mut reader| async move {
        let text = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(text), reader))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that buffer would hold the rows back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// A browser that reconnects sends the header, and still the `after` that its page once started from: the header is newer.
fn place(query: &[(String, String)], headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let mut place = None;
    for (name, value) in query {
        match name.as_str() {
            "after" if value.is_empty() => {}
            "after" => place = Some(cursor("after", value)?),
            _ => return Err(ApiError::unknown(name, &["after"])),
        }
    }
    match headers.get(LAST_EVENT_ID) {
        Some(value) if !value.is_empty() => {
            let text = String::from_utf8_lossy(value.as_bytes());
            Ok(Some(cursor(LAST_EVENT_ID, &text)?))
        }
        _ => Ok(place),
    }
}

fn cursor(name: &'static str, value: &str) -> Result<Cursor, ApiError> {
    value
        .parse()
        .map_err(|error| ApiError::parameter(name, error))
}

struct Browser {
    feed: Feed,
    events: broadcast::Receiver<Arc<Event>>,
    health: watch::Receiver<Health>,
    /// Everything up to here was sent.
    cursor: Cursor,
    /// The broadcast goes on further ahead than the cursor: read from the source until it is reached.
    behind: bool,
    /// Whether `cursor` was compared with the store's ends since it fell behind.
    checked: bool,
    ready: VecDeque<Bytes>,
    _seat: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Browser {
    fn new(
        feed: Feed,
        events: broadcast::Receiver<Arc<Event>>,
        cursor: Cursor,
        behind: bool,
        seat: OwnedSemaphorePermit,
    ) -> Self {
        let mut health = feed.health();
        let hello = format!("retry: {RETRY_MS}\n\n").into();
        let state = health_event(&health.borrow_and_update());
        let ready = [hello, state, frame::place(&cursor)].into();
        let (checked, _counted) = (false, Counted::new());
        Self {
            feed,
            events,
            health,
            cursor,
            behind,
            checked,
            ready,
            _seat: seat,
            _counted,
        }
    }

    /// The next bytes to send; `None` when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Some(text);
            }
            if self.behind {
                let shutdown = self.feed.shutdown.clone();
                shutdown.run_until_cancelled(self.catch_up()).await?;
            } else {
                self.listen().await?;
            }
        }
    }

    async fn listen(&mut self) -> Option<()> {
        tokio::select! {
            () = self.feed.shutdown.cancelled() => return None,
            changed = self.health.changed() => {
                changed.ok()?;
                self.tell_health();
            }
            event = self.events.recv() => match event {
                Ok(event) => self.take(&event),
                Err(RecvError::Lagged(_)) => self.fall_behind(),
                Err(RecvError::Closed) => return None,
            },
            () = sleep(KEEP_ALIVE) => self.ready.push_back(Bytes::from_static(b": still here\n\n")),
        }
        Some(())
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Rewound(ends) => {
                self.cursor.rewind(ends);
            }
            Event::Started(place) if self.cursor == *place => {}
            Event::Started(_) => self.fall_behind(),
            Event::Rows(frame) if self.cursor.is_behind(&frame.from) => self.fall_behind(),
            Event::Rows(frame) if self.cursor == frame.from => {
                self.cursor = frame.to.clone();
                self.send(frame.text.clone(), frame.len());
            }
            Event::Rows(frame) => {
                let seen = self.cursor.clone();
                self.cursor.advance(&frame.to);
                let (text, count) = frame.unseen(&seen, &self.cursor);
                self.send(text, count);
            }
        }
    }

    fn send(&mut self, text: Bytes, rows: usize) {
        if rows > 0 {
            metrics::counter!("rtf_web_rows_sent_total").increment(rows as u64);
            self.ready.push_back(text);
        }
    }

    fn fall_behind(&mut self) {
        self.behind = true;
        self.checked = false;
    }

    /// One step towards the broadcast.
    async fn catch_up(&mut self) {
        let Err(error) = self.read_own().await else {
            return;
        };
        tracing::debug!(%error, "a stream cannot catch up yet");
        tokio::select! {
            changed = self.health.changed() => if changed.is_ok() { self.tell_health() },
            () = sleep(CATCH_UP_PAUSE) => self.ready.push_back(Bytes::from_static(b": waiting for rows\n\n")),
        }
    }

    async fn read_own(&mut self) -> Result<(), SourceError> {
        let reads = self.feed.reads.clone();
        let _permit = reads
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let source = &self.feed.source;
        if !self.checked {
            self.cursor.rewind(&source.ends().await?);
            self.checked = true;
        }
        let page = source
            .after(&self.cursor, BATCH_ROWS, Duration::ZERO)
            .await?;
        self.behind = page.cursor != self.cursor;
        let from = std::mem::replace(&mut self.cursor, page.cursor.clone());
        let frame = Frame::new(from, page.cursor, page.rows);
        self.send(frame.text.clone(), frame.len());
        Ok(())
    }

    fn tell_health(&mut self) {
        let state = health_event(&self.health.borrow_and_update());
        self.ready.push_back(state);
    }
}

fn health_event(health: &Health) -> Bytes {
    let data = match health {
        Ok(()) => json!({ "ok": true }),
        Err(reason) => json!({ "ok": false, "reason": reason }),
    };
    frame::event("store", &data)
}

/// An open stream in the metrics, for as long as it lives.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("rtf_web_sse_clients").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("rtf_web_sse_clients").decrement(1.0);
    }
}
