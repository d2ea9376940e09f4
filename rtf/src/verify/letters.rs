//! What the dead-letter topic holds: which records of the log its letters are of.

use crate::reader::Reader;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::{LogId, Offset, PartitionId, header};

/// The letters of one log, by the place in the log that each names; those of a partition in the order in which they stand in it.
pub type Letters = Vec<(PartitionId, Offset)>;

/// Reads the topic to its present end, as a reader of committed records sees it. Blocking.
///
/// # Errors
/// It cannot be read.
pub fn read(
    cluster: &Cluster,
    settings: &Settings,
    topic: &str,
    log: LogId,
) -> anyhow::Result<Letters> {
    let committed = Isolation::ReadCommitted;
    let mut letters = Letters::new();
    let Some(reader) = Reader::open(cluster, settings, topic, committed, "dead letters")? else {
        return Ok(letters);
    };
    let log = log.to_string();
    reader.read(0..reader.info.partitions, |record| {
        let headers = record.headers();
        let offset = header::text(&headers, header::OFFSET).and_then(|text| text.parse().ok());
        // Letters of an earlier log may stand before, and somebody else's records anywhere.
        if let (true, Some(offset)) = (header::text(&headers, header::LOG) == Some(&log), offset) {
            letters.push((record.partition(), offset));
        }
        Ok(())
    })?;
    Ok(letters)
}
