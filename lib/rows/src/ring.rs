//! One partition's rows, oldest to newest, bounded. It must not know of other partitions, nor of expectations.

use crate::{Entry, Limits};
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Ring {
    /// The log that the rows were accepted by.
    log: String,
    /// Offsets rise from front to back, with gaps.
    rows: VecDeque<Entry>,
    /// Row text in `rows`.
    bytes: usize,
}

impl Ring {
    pub(crate) fn new(log: &str) -> Self {
        Self {
            log: log.to_owned(),
            rows: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.rows.back().map(|(offset, _)| *offset)
    }

    /// Appends `rows`, forgets what is too much, and returns the newest offset.
    pub(crate) fn extend(&mut self, rows: &[Entry], limits: Limits) -> u64 {
        for (offset, row) in rows {
            self.bytes += row.len();
            self.rows.push_back((*offset, row.clone()));
            self.trim(limits);
        }
        self.last().expect("the newest row always stays")
    }

    pub(crate) fn after(&self, after: Option<u64>, limit: usize) -> Vec<Entry> {
        let start = match after {
            Some(after) => self.rows.partition_point(|(offset, _)| *offset <= after),
            None => 0,
        };
        self.rows.range(start..).take(limit).cloned().collect()
    }

    pub(crate) fn before(&self, before: Option<u64>, limit: usize) -> Vec<Entry> {
        let end = match before {
            Some(before) => self.rows.partition_point(|(offset, _)| *offset < before),
            None => self.rows.len(),
        };
        self.rows.range(..end).rev().take(limit).cloned().collect()
    }

    /// The newest row stays whatever the limits say: it tells how far the partition is.
    fn trim(&mut self, limits: Limits) {
        let max_rows = if limits.max_rows == 0 {
            usize::MAX
        } else {
            limits.max_rows
        };
        while self.rows.len() > 1 && (self.rows.len() > max_rows || self.bytes > limits.max_bytes) {
            if let Some((_, row)) = self.rows.pop_front() {
                self.bytes -= row.len();
            }
        }
    }
}
