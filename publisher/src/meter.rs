//! The publisher's metrics, one handle each, so that counting a row costs next to nothing. Decides nothing.

use crate::Content;
use crate::sink::Row;
use metrics::{Counter, Histogram};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a worker counts.
pub struct Meter {
    rows: Counter,
    latency: Option<Histogram>,
    appended: Counter,
    moved: Counter,
    refused: Counter,
    unavailable: Counter,
    skips: Counter,
}

impl Meter {
    /// The handles of the process's recorder. A dead letter counts as such, and has no latency: it waited on purpose.
    pub fn new(content: &Content) -> Self {
        let content = content.name();
        let is_rows = content == Content::ROWS;
        let appends = |outcome: &'static str| metrics::counter!("rtf_publisher_appends_total", "content" => content, "outcome" => outcome);
        Self {
            rows: if is_rows {
                metrics::counter!("rtf_publisher_rows_total")
            } else {
                metrics::counter!("rtf_publisher_dead_letters_total")
            },
            latency: is_rows.then(|| metrics::histogram!("rtf_join_latency_seconds")),
            appended: appends("appended"),
            moved: appends("moved"),
            refused: appends("refused"),
            unavailable: appends("unavailable"),
            skips: metrics::counter!("rtf_publisher_retention_skips_total", "content" => content),
        }
    }

    /// These rows are visible in the sink as of now.
    pub fn appended(&self, rows: &[Row]) {
        self.appended.increment(1);
        self.rows.increment(rows.len() as u64);
        let Some(latency) = &self.latency else {
            return;
        };
        let now = now_ms();
        // Rows that were joined together have the same time, and neighbours often were.
        for same in rows.chunk_by(|a, b| a.later_ts == b.later_ts) {
            let latency_ms = now.saturating_sub(same[0].later_ts).max(0);
            latency.record_many(latency_ms as f64 / 1000.0, same.len());
        }
    }

    /// An append came too late or too early.
    pub fn moved(&self) {
        self.moved.increment(1);
    }

    /// An append or a question failed.
    pub fn failed(&self, retriable: bool) {
        if retriable {
            self.unavailable.increment(1);
        } else {
            self.refused.increment(1);
        }
    }

    /// The log began later than what the sink needed.
    pub fn skipped(&self) {
        self.skips.increment(1);
    }
}

/// The wall clock, ms since 1970; only ever measured with, never decided by.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
