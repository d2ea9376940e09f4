//! The figures that the page shows, asked of whoever knows them, with a history of them. The web must not know how they are
//! come by.

use crate::history::{History, STEP};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex as PlainMutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Figures are asked for at most this often, however many pages are open.
const FRESH: Duration = Duration::from_secs(1);
/// Who does not answer by then has no figures.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Knows how the pipeline is. All fields are optional:
/// `{"joined":n,"unjoinable":{"timed_out":n},"malformed":n,"duplicates":n,"waiting":n,"oldest_waiting_seconds":x,
/// "waiting_by_age":{"<below, seconds>":n,"older":n},"parked":{"<topic>":n},"joins_per_second":x,
/// "latency_seconds":{"p50":x,"p99":x},"lag":{"<topic>":{"<partition>":n}},"publisher_lag":n,"dead_letter_lag":n,
/// "registry_ids":n,"registry_disk_bytes":n,"ready":bool,
/// "roles":[{"role":…,"version":…,"uptime_seconds":n,"memory_bytes":n,"ready":bool,"reason":…}],
/// "troubles":[{"what":…,"act":…,"see":"<chapter>#<heading>"}]}`.
#[async_trait]
pub trait StatusSource: Send + Sync + 'static {
    /// The figures as they are now, a JSON object.
    async fn status(&self) -> Value;
}

/// Remembers the figures for a moment, so that many pages cost as much as one, and their history for a quarter of an hour.
#[derive(Default)]
pub(crate) struct Board {
    source: Option<Arc<dyn StatusSource>>,
    last: Mutex<Option<(Instant, Map<String, Value>)>>,
    history: PlainMutex<History>,
}

impl Board {
    pub(crate) fn new(source: Option<Arc<dyn StatusSource>>) -> Self {
        Self {
            source,
            ..Self::default()
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

    /// The history so far.
    pub(crate) fn history(&self) -> Value {
        self.lock().to_json()
    }

    /// Keeps a moment every [`STEP`] until `shutdown`.
    pub(crate) async fn remember(self: Arc<Self>, shutdown: CancellationToken) {
        let mut steps = tokio::time::interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(steps.tick()).await.is_some() {
            let figures = Value::Object(self.status().await);
            self.lock()
                .push(Instant::now().into_std(), wall_ms(), &figures);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(reason: &str) -> Map<String, Value> {
    Map::from_iter([("error".to_owned(), json!(reason))])
}

/// For the axis of the charts only.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
