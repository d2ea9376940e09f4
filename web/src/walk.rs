//! A walk over all partitions from the newest row to the oldest, as one list. Each partition keeps its log's order; between
//! partitions the joined time decides. It must not know what is looked for.

use crate::{Cursor, Row, RowSource, SourceError};
use std::collections::VecDeque;

/// The walk. It reads ahead in chunks and never more than that.
pub(crate) struct Walk<'a> {
    source: &'a dyn RowSource,
    lanes: Vec<Lane>,
    /// Rows read at once from a partition.
    chunk: usize,
}

/// What is ahead in one partition.
struct Lane {
    partition: u32,
    /// Everything at and above this offset is behind us.
    bound: u64,
    /// Rows read ahead, newest first.
    ahead: VecDeque<Row>,
    /// Go on reading below this offset; `None` when the partition's end was seen.
    rest: Option<u64>,
}

impl<'a> Walk<'a> {
    /// Starts below `before`, and where that says nothing, from `ends` on.
    pub(crate) fn new(
        source: &'a dyn RowSource,
        before: &Cursor,
        ends: &Cursor,
        chunk: usize,
    ) -> Self {
        let lane = |partition| {
            let end = ends.get(partition).map_or(0, |last| last + 1);
            let bound = before.get(partition).map_or(end, |before| before.min(end));
            Lane {
                partition,
                bound,
                ahead: VecDeque::new(),
                rest: Some(bound).filter(|b| *b > 0),
            }
        };
        Self {
            source,
            lanes: (0..source.partitions()).map(lane).collect(),
            chunk,
        }
    }

    /// The next older row.
    pub(crate) async fn next(&mut self) -> Result<Option<Row>, SourceError> {
        self.read_ahead().await?;
        let ahead = |lane: &Lane| lane.ahead.front().map(Row::rank);
        let newest = self.lanes.iter_mut().max_by_key(|lane| ahead(lane));
        let Some(lane) = newest else { return Ok(None) };
        let row = lane.ahead.pop_front();
        if let Some(row) = &row {
            lane.bound = row.offset;
        }
        Ok(row)
    }

    /// Where to start the next walk: below these offsets. `None` when nothing older is left.
    pub(crate) fn rest(&self) -> Option<Cursor> {
        let more = self
            .lanes
            .iter()
            .any(|lane| !lane.ahead.is_empty() || lane.rest.is_some());
        more.then(|| {
            self.lanes
                .iter()
                .map(|lane| (lane.partition, lane.bound))
                .collect()
        })
    }

    /// Only when every lane shows its next row is it known which is the newest.
    async fn read_ahead(&mut self) -> Result<(), SourceError> {
        loop {
            let wants: Vec<(u32, u64)> = self.lanes.iter().filter_map(Lane::want).collect();
            if wants.is_empty() {
                return Ok(());
            }
            let chunks = self.source.before(&wants, self.chunk).await?;
            let lanes = self.lanes.iter_mut().filter(|lane| lane.want().is_some());
            for (lane, chunk) in lanes.zip(chunks) {
                lane.ahead = chunk.rows.into();
                lane.rest = chunk.rest;
            }
        }
    }
}

impl Lane {
    fn want(&self) -> Option<(u32, u64)> {
        let rest = self.rest.filter(|_| self.ahead.is_empty())?;
        Some((self.partition, rest))
    }
}
