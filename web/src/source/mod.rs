//! Where rows are read from: the port that the web asks, and the two stores behind it. It must not know HTTP.

mod embedded;
mod redis;

pub use embedded::EmbeddedRows;
pub use redis::RedisRows;

use crate::{BadRow, Cursor, Row};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// A store of joined rows, by partition and offset. Every call ends within a bounded time.
#[async_trait]
pub trait RowSource: Send + Sync + 'static {
    /// Partitions there can be, from 0 on.
    fn partitions(&self) -> u32;

    /// The newest offset of each partition that has rows.
    async fn ends(&self) -> Result<Cursor, SourceError>;

    /// For each `(partition, bound)` up to about `count` rows with offsets below the bound, newest first.
    async fn before(&self, wants: &[(u32, u64)], count: usize) -> Result<Vec<Chunk>, SourceError>;

    /// Up to about `count` rows of each partition after the cursor. When there are none, waits for some, at most
    /// `patience`.
    async fn after(
        &self,
        cursor: &Cursor,
        count: usize,
        patience: Duration,
    ) -> Result<Page, SourceError>;
}

/// Rows of one partition, newest first.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The rows; entries that are no rows are left out.
    pub rows: Vec<Row>,
    /// Go on below this offset; `None` when nothing older is left.
    pub rest: Option<u64>,
}

/// New rows of all partitions.
#[derive(Debug, Default)]
pub struct Page {
    /// The rows, oldest first in each partition; entries that are no rows are left out.
    pub rows: Vec<Row>,
    /// Where the reader is now.
    pub cursor: Cursor,
}

/// The store cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store is not there or not well; worth another try.
    #[error("{store} cannot be read: {reason}")]
    Away {
        /// The store's name.
        store: &'static str,
        /// Why, in the store's or the driver's words.
        reason: String,
    },
    /// The store answered something else than what was asked; worth another try on a new connection.
    #[error("{store} answered beside the question: {asked}")]
    Answer {
        /// The store's name.
        store: &'static str,
        /// What was asked.
        asked: &'static str,
    },
}

/// Keeps a row, or counts and reports an entry that is none: one bad entry must not hide the others.
fn keep(rows: &mut Vec<Row>, partition: u32, offset: u64, json: Bytes) {
    match Row::parse(partition, offset, json) {
        Ok(row) => rows.push(row),
        Err(error) => report(&error),
    }
}

fn report(error: &BadRow) {
    metrics::counter!("rtf_web_bad_rows_total").increment(1);
    tracing::warn!(%error, cause = ?std::error::Error::source(error), "an entry is left out");
}
