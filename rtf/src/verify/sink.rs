//! What Redis holds: every row of every stream, in order.

use super::{IdHash, hash};
use crate::progress::Progress;
use crate::redis_client;
use anyhow::{Context, bail};
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands, RedisResult};
use rtf_config::Config;
use rtf_proto::{Offset, PartitionId, naming};
use rtf_redis::{Connections, may_pass};
use std::time::Duration;

/// Rows fetched at once: a page of large rows must still come within `[redis].timeout`.
const PAGE: usize = 500;
/// How often a page is asked for before Redis counts as not answering.
const TRIES: u32 = 12;
/// From one try to the next: a Redis that starts, or fails over, needs seconds.
const PAUSE: Duration = Duration::from_secs(1);

/// The rows of a join.
pub struct Sink {
    join: String,
    pages: Pages,
    progress: Progress,
}

impl Sink {
    /// Of the Redis that is configured; it is not asked yet.
    ///
    /// # Errors
    /// `[redis].url` is none.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            join: config.join.name.clone(),
            pages: Pages(redis_client::connections(config)?),
            progress: Progress::new("rows", None),
        })
    }

    /// Reads the stream of a partition in its order: the offset that each row stands at, and the id it says it has; `None` when it is not a row.
    ///
    /// # Errors
    /// Redis does not answer, the stream is not one of ours, or what `each` says.
    pub async fn read(
        &mut self,
        partition: PartitionId,
        mut each: impl FnMut(Offset, Option<IdHash>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let stream = naming::redis_stream(&self.join, partition);
        let mut from = "-".to_owned();
        loop {
            let page = self.pages.page(&stream, &from).await;
            let page = page.context("reading the rows in Redis")?;
            let Some(last) = page.ids.last() else {
                return Ok(());
            };
            from = format!("({}", last.id);
            self.progress.add(page.ids.len() as u64);
            for entry in &page.ids {
                let row: Option<Vec<u8>> = entry.get("row");
                let offset = offset_of(&entry.id, &stream)?;
                each(offset, row.as_deref().and_then(id_of_row))?;
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.progress.finish();
    }
}

/// Reads pages, each with a few tries.
struct Pages(Connections);

/// A page that was not had.
struct Failure {
    error: anyhow::Error,
    /// Whether asking again may help.
    may_pass: bool,
}

impl Pages {
    /// The page that begins at `from`, an argument of `XRANGE`.
    async fn page(&self, stream: &str, from: &str) -> anyhow::Result<StreamRangeReply> {
        let mut tries = 1;
        loop {
            match self.ask(stream, from).await {
                Ok(page) => return Ok(page),
                Err(failure) if tries == TRIES || !failure.may_pass => {
                    let error = failure.error;
                    return Err(error).with_context(|| format!("stream {stream} from {from}"));
                }
                Err(Failure { error, .. }) => {
                    tracing::warn!(%error, stream, from, "Redis did not answer, asking again")
                }
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, stream: &str, from: &str) -> Result<StreamRangeReply, Failure> {
        let connected = self.0.of(stream).await;
        let mut connection = connected.map_err(|error| Failure {
            may_pass: error.may_pass(),
            error: error.into(),
        })?;
        let page: RedisResult<StreamRangeReply> =
            connection.redis.xrange_count(stream, from, "+", PAGE).await;
        if page.is_err() {
            // It may give the answer to the question before (redis-rs#1252), and another server may have the stream by now.
            self.0.give_up(&connection).await;
        }
        page.map_err(|error| Failure {
            may_pass: may_pass(&error),
            error: error.into(),
        })
    }
}

fn offset_of(entry: &str, stream: &str) -> anyhow::Result<Offset> {
    let offset = entry.strip_suffix("-0").map(str::parse);
    match offset {
        Some(Ok(offset)) => Ok(offset),
        _ => bail!(
            "stream {stream} has an entry {entry}, which is no offset of the join log: somebody else writes there"
        ),
    }
}

fn id_of_row(row: &[u8]) -> Option<IdHash> {
    #[derive(serde::Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    let row: Id<'_> = serde_json::from_slice(row).ok()?;
    Some(hash(row.id.as_bytes()))
}
