//! What Redis holds: every row of every stream, in order. The only file of the binary that says `redis`.

use super::{IdHash, hash, log::Log};
use crate::progress::Progress;
use anyhow::{Context, bail};
use redis::AsyncCommands;
use redis::streams::StreamRangeReply;
use rtf_config::Config;
use rtf_proto::{Offset, PartitionId, naming};

/// Rows fetched at once.
const PAGE: usize = 2000;

/// One row in the sink.
#[derive(Clone, Copy)]
pub struct RowSeen {
    /// Stream it stands in.
    pub partition: PartitionId,
    /// Its entry id's offset.
    pub offset: Offset,
    /// The event it says it is of; `None` when it is not a row.
    pub id: Option<IdHash>,
}

/// All streams.
#[derive(Default)]
pub struct Rows {
    /// Every row.
    pub rows: Vec<RowSeen>,
    /// First and last offset of each stream, by partition; `None` for an empty one.
    pub bounds: Vec<Option<(Offset, Offset)>>,
}

/// Reads every stream of the join.
///
/// # Errors
/// Redis does not answer, or a stream is not one of ours.
pub async fn read(config: &Config, log: &Log) -> anyhow::Result<Rows> {
    let client = redis::Client::open(config.redis.url.as_str()).context("[redis].url")?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let progress = Progress::new("rows", None);
    let mut rows = Rows::default();
    for partition in 0..log.partitions {
        let stream = naming::redis_stream(&config.join.name, partition);
        let before = rows.rows.len();
        let mut from = "-".to_owned();
        loop {
            let page: StreamRangeReply = connection.xrange_count(&stream, &from, "+", PAGE).await?;
            let Some(last) = page.ids.last() else { break };
            from = format!("({}", last.id);
            progress.add(page.ids.len() as u64);
            for entry in &page.ids {
                let row: Option<Vec<u8>> = entry.get("row");
                rows.rows
                    .push(seen(partition, &entry.id, row.as_deref(), &stream)?);
            }
        }
        let of_stream = &rows.rows[before..];
        rows.bounds.push(
            of_stream
                .first()
                .zip(of_stream.last())
                .map(|(first, last)| (first.offset, last.offset)),
        );
    }
    progress.finish();
    Ok(rows)
}

fn seen(
    partition: PartitionId,
    entry: &str,
    row: Option<&[u8]>,
    stream: &str,
) -> anyhow::Result<RowSeen> {
    let Some(offset) = entry
        .strip_suffix("-0")
        .and_then(|offset| offset.parse().ok())
    else {
        bail!(
            "stream {stream} has an entry {entry}, which is no offset of the join log: somebody else writes there"
        );
    };
    #[derive(serde::Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    let id = row
        .and_then(|row| serde_json::from_slice::<Id<'_>>(row).ok())
        .map(|row| hash(row.id.as_bytes()));
    Ok(RowSeen {
        partition,
        offset,
        id,
    })
}
