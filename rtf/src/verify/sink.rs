//! What Redis holds: every row of every stream, in order. The only file of the binary that says `redis`.

use super::{IdHash, hash, log::Log};
use crate::progress::Progress;
use anyhow::{Context, bail};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands, AsyncConnectionConfig, RedisResult};
use rtf_config::Config;
use rtf_proto::{Offset, PartitionId, naming};
use std::time::Duration;

/// Rows fetched at once: a page of large rows must still come within `[redis].timeout`.
const PAGE: usize = 500;
/// How often a page is asked for before Redis counts as not answering.
const TRIES: u32 = 12;
/// From one try to the next: a Redis that starts, or fails over, needs seconds.
const PAUSE: Duration = Duration::from_secs(1);

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
    let mut pages = Pages::of(config)?;
    let progress = Progress::new("rows", None);
    let mut rows = Rows::default();
    for partition in 0..log.partitions {
        let stream = naming::redis_stream(&config.join.name, partition);
        let before = rows.rows.len();
        let mut from = "-".to_owned();
        loop {
            let page = pages.page(&stream, &from).await?;
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

/// Reads pages, each with a few tries.
struct Pages {
    client: redis::Client,
    timeouts: AsyncConnectionConfig,
    connection: Option<MultiplexedConnection>,
}

impl Pages {
    fn of(config: &Config) -> anyhow::Result<Self> {
        let timeout = Some(config.redis.timeout.0);
        Ok(Self {
            client: redis::Client::open(config.redis.url.as_str()).context("[redis].url")?,
            timeouts: AsyncConnectionConfig::new()
                .set_connection_timeout(timeout)
                .set_response_timeout(timeout),
            connection: None,
        })
    }

    /// The page that begins at `from`, an argument of `XRANGE`.
    async fn page(&mut self, stream: &str, from: &str) -> anyhow::Result<StreamRangeReply> {
        let mut tries = 1;
        loop {
            match self.ask(stream, from).await {
                Ok(page) => return Ok(page),
                Err(error) if tries == TRIES || !passes(&error) => {
                    return Err(error).with_context(|| format!("stream {stream} from {from}"));
                }
                Err(error) => {
                    tracing::warn!(%error, stream, from, "Redis did not answer, asking again")
                }
            }
            // A connection that timed out may give the answer to the question before (redis-rs#1252).
            self.connection = None;
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&mut self, stream: &str, from: &str) -> RedisResult<StreamRangeReply> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(
                self.client
                    .get_multiplexed_async_connection_with_config(&self.timeouts)
                    .await?,
            ),
        };
        connection.xrange_count(stream, from, "+", PAGE).await
    }
}

/// Whether asking again may help: Redis was silent, gone, or is loading its data.
fn passes(error: &redis::RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind};
    error.is_io_error() || error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading)
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
