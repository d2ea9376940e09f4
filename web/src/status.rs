//! The figures that the page shows, asked of whoever knows them. The web must not know how they are come by.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Figures are asked for at most this often, however many pages are open.
const FRESH: Duration = Duration::from_secs(1);
/// Who does not answer by then has no figures.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Knows how the pipeline is. All fields are optional:
/// `{"joined":n,"unjoinable":{"timed_out":n},"malformed":n,"duplicates":n,"waiting":n,"oldest_waiting_seconds":x,
/// "joins_per_second":x,"latency_seconds":{"p50":x,"p99":x},"lag":{"<topic>":{"<partition>":n}},"publisher_lag":n,
/// "registry_ids":n,"ready":bool,"roles":[{"role":…,"ready":bool,"reason":…}]}`.
#[async_trait]
pub trait StatusSource: Send + Sync + 'static {
    /// The figures as they are now, a JSON object.
    async fn status(&self) -> Value;
}

/// Remembers the figures for a moment, so that many pages cost as much as one.
#[derive(Default)]
pub(crate) struct Board {
    source: Option<Arc<dyn StatusSource>>,
    last: Mutex<Option<(Instant, Map<String, Value>)>>,
}

impl Board {
    pub(crate) fn new(source: Option<Arc<dyn StatusSource>>) -> Self {
        Self {
            source,
            last: Mutex::new(None),
        }
    }

    pub(crate) async fn status(&self) -> Map<String, Value> {
        let Some(source) = &self.source else {
            return Map::new();
        };
        // Held while asking: who comes meanwhile takes the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, status)) = &*last
            && at.elapsed() < FRESH
        {
            return status.clone();
        }
        let status = match tokio::time::timeout(ANSWER_TIMEOUT, source.status()).await {
            Ok(Value::Object(status)) => status,
            Ok(_) => error("the figures are not a JSON object"),
            Err(_) => error("the figures did not come in time"),
        };
        *last = Some((Instant::now(), status.clone()));
        status
    }
}

fn error(reason: &str) -> Map<String, Value> {
    Map::from_iter([("error".to_owned(), json!(reason))])
}
