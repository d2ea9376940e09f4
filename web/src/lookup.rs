//! `/api/lookup?id=`: where an event is now, asked of whoever knows. The web must not know how that is found out.

use crate::error::ApiError;
use crate::server::Web;
use async_trait::async_trait;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Look-ups under way at once; each may read from the log.
const LOOKUPS_MAX: usize = 4;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an id.
const ID_MAX: usize = 1024;

/// Knows where events are.
#[async_trait]
pub trait LookupSource: Send + Sync + 'static {
    /// Where the event is, as a JSON object: `{"id":…,"state":"joined|unjoinable|malformed|waiting|parked|unresolved|forgotten"}` and, of a
    /// resolved one, `partition`, `offset`, `resolved_ts`, `source`, and what there is of `row`, `reason`, `attempts`, `first_seen_ts`, `words`, `original`, `note`;
    /// of a waiting or parked one `key`, `attempts`, `first_seen_ts`, `due_ts`, `source` and `tier`; of an unresolved one, if the parked ones could not all be read, `parked`,
    /// a count by topic, and `note`.
    ///
    /// # Errors
    /// Why it is not known, in words.
    async fn lookup(&self, id: &str) -> Result<Value, String>;
}

/// Asks for a few ids at a time.
pub(crate) struct Finder {
    source: Option<Arc<dyn LookupSource>>,
    turns: Semaphore,
}

impl Finder {
    pub(crate) fn new(source: Option<Arc<dyn LookupSource>>) -> Self {
        Self {
            source,
            turns: Semaphore::new(LOOKUPS_MAX),
        }
    }

    async fn find(&self, id: &str) -> Result<Value, ApiError> {
        let source = self.source.as_ref().ok_or(ApiError::NotFound)?;
        let finding = async {
            let turn = self.turns.acquire().await;
            let _turn = turn.expect("the semaphore is never closed");
            source.lookup(id).await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, finding).await {
            Ok(found) => found.map_err(ApiError::Unknown),
            Err(_) => Err(ApiError::Unknown("no answer in time".into())),
        }
    }
}

/// `GET /api/lookup?id=`.
pub(crate) async fn lookup(
    State(web): State<Web>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let found = web.finder.find(id(&query)?).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(found)).into_response())
}

fn id(query: &[(String, String)]) -> Result<&str, ApiError> {
    match query {
        [(name, _), ..] if name != "id" => Err(ApiError::unknown(name, &["id"])),
        [(_, id)] if (1..=ID_MAX).contains(&id.len()) => Ok(id),
        _ => Err(ApiError::parameter(
            "id",
            format_args!("one id of 1 to {ID_MAX} bytes"),
        )),
    }
}
