//! Rows from the store in this process's memory. It must not know Redis.

use super::{Chunk, Page, RowSource, SourceError, keep};
use crate::Cursor;
use async_trait::async_trait;
use rtf_rows::Rows;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The embedded store as a source.
#[derive(Clone, Debug)]
pub struct EmbeddedRows {
    rows: Rows,
    partitions: u32,
}

impl EmbeddedRows {
    /// Reads `rows`, which has `partitions` partitions.
    pub fn new(rows: Rows, partitions: u32) -> Self {
        Self { rows, partitions }
    }

    fn read_after(&self, cursor: &Cursor, count: usize) -> Page {
        let mut page = Page {
            rows: Vec::new(),
            cursor: cursor.clone(),
        };
        for partition in 0..self.partitions {
            for (offset, json) in self
                .rows
                .read_after(partition, cursor.get(partition), count)
            {
                page.cursor.set(partition, offset);
                keep(&mut page.rows, partition, offset, json);
            }
        }
        page
    }
}

#[async_trait]
impl RowSource for EmbeddedRows {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    async fn ends(&self) -> Result<Cursor, SourceError> {
        let end = |partition| self.rows.last(partition).map(|offset| (partition, offset));
        Ok((0..self.partitions).filter_map(end).collect())
    }

    async fn before(&self, wants: &[(u32, u64)], count: usize) -> Result<Vec<Chunk>, SourceError> {
        let chunk = |&(partition, bound): &(u32, u64)| {
            let found = self.rows.read_before(partition, Some(bound), count);
            let rest = found
                .last()
                .map(|(offset, _)| *offset)
                .filter(|_| found.len() == count);
            let mut rows = Vec::with_capacity(found.len());
            for (offset, json) in found {
                keep(&mut rows, partition, offset, json);
            }
            Chunk { rows, rest }
        };
        Ok(wants.iter().map(chunk).collect())
    }

    async fn after(
        &self,
        cursor: &Cursor,
        count: usize,
        patience: Duration,
    ) -> Result<Page, SourceError> {
        let deadline = Instant::now() + patience;
        let mut changed = self.rows.changed();
        loop {
            changed.mark_unchanged();
            let page = self.read_after(cursor, count);
            // A cursor that moved without rows passed entries that are none.
            if page.cursor != *cursor {
                return Ok(page);
            }
            // The sender lives as long as `self.rows`, so only the time can run out.
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Ok(page);
            }
        }
    }
}
