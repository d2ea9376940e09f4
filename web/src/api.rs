//! The JSON API: `/api/rows`, newest first, filtered and paged, `/api/status` and
//! `/api/history`. Rows go out as they are stored.

use crate::error::ApiError;
use crate::filter::Filter;
use crate::server::Web;
use crate::walk::Walk;
use crate::{Cursor, Row, RowSource, SourceError};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 1000;
/// Row text of one answer; the page ends early when it is reached.
const ANSWER_BYTES: usize = 8 << 20;
/// Rows that one search looks at.
const SCAN_ROWS: usize = 20_000;
/// Rows of a partition that a search reads at once.
const SCAN_CHUNK: usize = 256;
/// A search lets others run after so many rows.
const SCAN_TURN: usize = 512;
/// Characters of a text or key to look for.
const TEXT_MAX: usize = 1000;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ROWS_PARAMETERS: [&str; 4] = ["limit", "q", "key", "before"];

/// `GET /api/rows?limit=&q=&key=&before=`.
pub(crate) async fn rows(
    State(web): State<Web>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let request = Request::parse(&query)?;
    let reading = async {
        let _permit = web
            .feed
            .reads
            .acquire()
            .await
            .expect("the semaphore is never closed");
        find(&*web.feed.source, &request).await
    };
    let found = tokio::time::timeout(REQUEST_TIMEOUT, reading)
        .await
        .map_err(|_| ApiError::TimedOut)??;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, found.to_json()).into_response())
}

/// `GET /api/status`.
pub(crate) async fn status(State(web): State<Web>) -> impl IntoResponse {
    let mut status = web.board.status().await;
    let store = match &*web.feed.health().borrow() {
        Ok(()) => json!({ "ok": true }),
        Err(reason) => json!({ "ok": false, "reason": reason }),
    };
    status.insert(
        "web".into(),
        json!({
            "store": store,
            "partitions": web.feed.source.partitions(),
            "sse_clients": web.clients(),
            "uptime_seconds": web.started.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        }),
    );
    (
        [(header::CACHE_CONTROL, "no-store")],
        Json(Value::Object(status)),
    )
}

/// `GET /api/history`.
pub(crate) async fn history(State(web): State<Web>) -> impl IntoResponse {
    (
        [(header::CACHE_CONTROL, "no-store")],
        Json(web.board.history()),
    )
}

#[derive(Debug)]
struct Request {
    limit: usize,
    filter: Filter,
    before: Cursor,
}

impl Request {
    fn parse(query: &[(String, String)]) -> Result<Self, ApiError> {
        let (mut limit, mut before) = (LIMIT_DEFAULT, Cursor::default());
        let (mut text, mut key) = (None, None);
        for (name, value) in query {
            match name.as_str() {
                // A form sends its empty fields too.
                "limit" | "q" | "key" | "before" if value.is_empty() => {}
                "limit" => limit = parse_limit(value)?,
                "q" => text = Some(short("q", value)?),
                "key" => key = Some(short("key", value)?),
                "before" => {
                    before = value
                        .parse()
                        .map_err(|e| ApiError::parameter("before", e))?
                }
                _ => return Err(ApiError::unknown(name, &ROWS_PARAMETERS)),
            }
        }
        Ok(Self {
            limit,
            filter: Filter::new(text, key),
            before,
        })
    }

    /// Rows of a partition to read at once: few when each row is wanted, many when most are passed over.
    fn chunk(&self, partitions: u32) -> usize {
        if self.filter.is_empty() {
            (2 * self.limit / partitions.max(1) as usize).clamp(4, SCAN_CHUNK)
        } else {
            SCAN_CHUNK
        }
    }
}

fn parse_limit(value: &str) -> Result<usize, ApiError> {
    let limit = value
        .parse()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit
        .ok_or_else(|| ApiError::parameter("limit", format_args!("a number from 1 to {LIMIT_MAX}")))
}

fn short<'a>(name: &str, value: &'a str) -> Result<&'a str, ApiError> {
    if value.chars().count() <= TEXT_MAX {
        Ok(value)
    } else {
        Err(ApiError::parameter(
            name,
            format_args!("at most {TEXT_MAX} characters"),
        ))
    }
}

#[derive(Debug, Default)]
struct Found {
    rows: Vec<Row>,
    /// Where older rows begin.
    next: Option<Cursor>,
    /// Where new rows begin: everything after this is not in `rows`.
    cursor: Cursor,
    /// The search ended at its bound, not at the oldest row.
    truncated: bool,
    scanned: usize,
}

async fn find(source: &dyn RowSource, request: &Request) -> Result<Found, SourceError> {
    let ends = source.ends().await?;
    let mut walk = Walk::new(
        source,
        &request.before,
        &ends,
        request.chunk(source.partitions()),
    );
    let mut found = Found {
        cursor: ends,
        ..Found::default()
    };
    let mut bytes = 0;
    while found.rows.len() < request.limit && bytes < ANSWER_BYTES {
        if found.scanned == SCAN_ROWS {
            found.truncated = true;
            break;
        }
        let Some(row) = walk.next().await? else { break };
        found.scanned += 1;
        if found.scanned.is_multiple_of(SCAN_TURN) {
            tokio::task::yield_now().await;
        }
        if request.filter.matches(&row) {
            bytes += row.json.len();
            found.rows.push(row);
        }
    }
    found.next = walk.rest();
    Ok(found)
}

impl Found {
    /// The rows' text is put in as it is.
    fn to_json(&self) -> Vec<u8> {
        let bytes: usize = self.rows.iter().map(|row| row.json.len() + 1).sum();
        let mut json = Vec::with_capacity(bytes + 1024);
        json.extend_from_slice(b"{\"rows\":[");
        for (i, row) in self.rows.iter().enumerate() {
            if i > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&row.json);
        }
        let next = json!(self.next.as_ref().map(Cursor::to_string));
        let (cursor, truncated, scanned) = (&self.cursor, self.truncated, self.scanned);
        let rest = format!(
            "],\"next\":{next},\"cursor\":\"{cursor}\",\"truncated\":{truncated},\"scanned\":{scanned}}}"
        );
        json.extend_from_slice(rest.as_bytes());
        json
    }
}
