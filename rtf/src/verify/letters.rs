//! What the dead-letter topic holds: which records of the log its letters are of.

use crate::reader::Reader;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::{LogId, Offset, PartitionId, header};

/// The dead letters of one log.
pub struct Letters {
    /// `None`: there is no such topic yet.
    reader: Option<Reader>,
    log: String,
}

impl Letters {
    /// Asks where the topic begins and ends, for a reader of committed records. Blocking.
    ///
    /// # Errors
    /// No answer.
    pub fn open(
        cluster: &Cluster,
        settings: &Settings,
        topic: &str,
        log: LogId,
    ) -> anyhow::Result<Self> {
        let committed = Isolation::ReadCommitted;
        Ok(Self {
            reader: Reader::open(cluster, settings, topic, committed, "dead letters")?,
            log: log.to_string(),
        })
    }

    /// Reads the letters of a partition of the log, in the order in which they stand, and gives the offset in the log that each names. Blocking.
    ///
    /// # Errors
    /// It cannot be read, or what `each` says.
    pub fn read(
        &self,
        partition: PartitionId,
        mut each: impl FnMut(Offset) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let reader = self.reader.iter();
        // A split adds partitions to the log first.
        for reader in reader.filter(|reader| partition < reader.info.partitions) {
            reader.read([partition], |record| {
                let headers = record.headers();
                let offset = header::text(&headers, header::OFFSET);
                let offset = offset.and_then(|text| text.parse().ok());
                // Letters of an earlier log may stand before, and somebody else's records anywhere.
                let is_ours = header::text(&headers, header::LOG) == Some(&self.log);
                offset.filter(|_| is_ours).map_or(Ok(()), &mut each)
            })?;
        }
        Ok(())
    }
}
