//! The embedded sink: rows in this process's memory, for the page of the same process. Knows no network.

use super::{AppendOutcome, Place, Row, Sink, SinkError};
use async_trait::async_trait;
use rtf_proto::{Offset, PartitionId};
use rtf_rows::Rows;

/// Rows in memory; the page holds another handle of the same [`Rows`].
#[derive(Clone, Debug)]
pub struct EmbeddedSink(Rows);

impl EmbeddedSink {
    /// Writes into this store.
    pub fn new(rows: Rows) -> Self {
        Self(rows)
    }
}

#[async_trait]
impl Sink for EmbeddedSink {
    async fn last(&self, place: Place) -> Result<Option<Offset>, SinkError> {
        Ok(self.0.last(place.partition))
    }

    async fn append(
        &self,
        place: Place,
        expected_last: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        let entries: Vec<rtf_rows::Entry> = rows
            .iter()
            .map(|row| (row.offset, row.payload.clone()))
            .collect();
        let log = place.log.to_string();
        match self
            .0
            .append(place.partition, &log, expected_last, &entries)
        {
            rtf_rows::AppendOutcome::Appended { last } => Ok(AppendOutcome::Appended { last }),
            rtf_rows::AppendOutcome::Behind { last } => Ok(AppendOutcome::Moved { last }),
            rtf_rows::AppendOutcome::OtherLog { found } => Err(SinkError::OtherLog {
                subject: self.subject(place.partition),
                found,
                expected: place.log,
                remedy: self.remedy(place.partition),
            }),
        }
    }

    fn subject(&self, partition: PartitionId) -> String {
        format!("partition {partition} of the rows in memory")
    }

    fn remedy(&self, _partition: PartitionId) -> String {
        "start the program anew".into()
    }
}
