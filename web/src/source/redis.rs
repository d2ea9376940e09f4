//! Rows from Redis streams: `<name>:joined:{<partition>}`, entry id `<offset>-0`, field `row`; the key `<name>:partitions` says how many there are. The only file of the web
//! that says redis. It only reads.
//!
//! Every call has a time-out, and a connection that timed out or failed is never used again: what it answers next may
//! be the answer to the previous question. Blocking reads have a connection of their own.

use super::{Chunk, Page, RowSource, SourceError, keep};
use crate::{Cursor, Row};
use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, Value, cmd, from_redis_value};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A connection is up within this time, or Redis is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A call is answered within this time (beyond what it was told to wait), or Redis is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Row text that one answer may have, about: fewer rows are asked for when rows are large.
const ANSWER_BYTES: usize = 8 << 20;
/// What a row is thought to measure before one was seen.
const ROW_BYTES_GUESS: usize = 4 << 10;
/// How many streams there are is asked this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// More streams than a log can have are nonsense.
const PARTITIONS_MAX: u32 = 4096;
const STORE: &str = "Redis";

/// Redis streams as a source.
pub struct RedisRows {
    client: Client,
    name: String,
    /// As many as are configured, or more after a split; never fewer.
    partitions: AtomicU32,
    looked: std::sync::Mutex<Option<Instant>>,
    questions: Line,
    waiting: Line,
    /// Running estimate of a large row's size, in bytes.
    row_bytes: AtomicUsize,
}

impl RedisRows {
    /// The streams of join `name` with `partitions` partitions. Does not connect yet: Redis may come later.
    pub fn new(client: Client, name: &str, partitions: u32) -> Self {
        let (questions, waiting) = (Line::default(), Line::default());
        let row_bytes = AtomicUsize::new(ROW_BYTES_GUESS);
        Self {
            client,
            name: name.into(),
            partitions: AtomicU32::new(partitions),
            looked: std::sync::Mutex::default(),
            questions,
            waiting,
            row_bytes,
        }
    }

    fn stream(&self, partition: u32) -> String {
        format!("{}:joined:{{{partition}}}", self.name)
    }

    /// Learns now and then how many streams there are. What goes wrong here goes wrong with the next question too.
    async fn look(&self) {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                return;
            }
            *looked = Some(Instant::now());
        }
        let mut get = cmd("GET");
        get.arg(format!("{}:partitions", self.name));
        let answer = self.questions.ask(&self.client, &get, Duration::ZERO).await;
        let told = answer
            .ok()
            .and_then(|value| from_redis_value::<Option<u32>>(value).ok());
        if let Some(partitions) = told.flatten() {
            let most = partitions.min(PARTITIONS_MAX);
            self.partitions.fetch_max(most, Ordering::Relaxed);
        }
    }

    /// At most `count`, and fewer when as many rows from every partition would be too much at once.
    fn fit(&self, count: usize, partitions: usize) -> usize {
        let row_bytes = self.row_bytes.load(Ordering::Relaxed).max(1);
        count
            .min(ANSWER_BYTES / (row_bytes * partitions.max(1)))
            .max(1)
    }

    /// Rises with the largest row at once, sinks slowly.
    fn learn(&self, rows: &[Row]) {
        if let Some(largest) = rows.iter().map(|row| row.json.len()).max() {
            let sunk = self.row_bytes.load(Ordering::Relaxed) / 8 * 7;
            self.row_bytes.store(largest.max(sunk), Ordering::Relaxed);
        }
    }

    /// The newest `count` entries of each partition up to and with an id.
    async fn newest(
        &self,
        wants: &[(u32, String)],
        count: usize,
    ) -> Result<Vec<Value>, SourceError> {
        let mut pipe = Pipeline::with_capacity(wants.len());
        for (partition, id) in wants {
            pipe.cmd("XREVRANGE")
                .arg(self.stream(*partition))
                .arg(id)
                .arg("-")
                .arg("COUNT")
                .arg(count);
        }
        let answers = self
            .questions
            .ask_all(&self.client, &pipe, wants.len())
            .await?;
        if answers.len() == wants.len() {
            Ok(answers)
        } else {
            Err(beside("XREVRANGE"))
        }
    }
}

#[async_trait]
impl RowSource for RedisRows {
    fn partitions(&self) -> u32 {
        self.partitions.load(Ordering::Relaxed)
    }

    async fn ends(&self) -> Result<Cursor, SourceError> {
        self.look().await;
        let wants: Vec<_> = (0..self.partitions())
            .map(|p| (p, "+".to_owned()))
            .collect();
        let answers = self.newest(&wants, 1).await?;
        let mut ends = Cursor::default();
        for (partition, answer) in (0..).zip(answers) {
            if let Some(entry) = entries(answer)?.pop() {
                ends.set(partition, entry.offset);
            }
        }
        Ok(ends)
    }

    async fn before(&self, wants: &[(u32, u64)], count: usize) -> Result<Vec<Chunk>, SourceError> {
        // Nothing is below offset 0, and a partition that Redis does not have has nothing either.
        let below = |&(partition, bound): &(u32, u64)| {
            let last = bound.checked_sub(1)?;
            (partition < self.partitions()).then(|| (partition, last.to_string()))
        };
        let asked: Vec<_> = wants.iter().filter_map(below).collect();
        if asked.is_empty() {
            return Ok(wants.iter().map(|_| Chunk::default()).collect());
        }
        let count = self.fit(count, asked.len());
        let mut answers = self.newest(&asked, count).await?.into_iter();
        let mut chunks = Vec::with_capacity(wants.len());
        for want in wants {
            let answer = below(want).and_then(|_| answers.next());
            let found = answer.map(entries).transpose()?.unwrap_or_default();
            let chunk = to_chunk(want.0, found, count);
            self.learn(&chunk.rows);
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    async fn after(
        &self,
        cursor: &Cursor,
        count: usize,
        patience: Duration,
    ) -> Result<Page, SourceError> {
        self.look().await;
        let names: Vec<_> = (0..self.partitions())
            .map(|partition| self.stream(partition))
            .collect();
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(self.fit(count, names.len()));
        // BLOCK 0 would mean for ever.
        let wait_ms = patience.as_millis() as u64;
        if wait_ms > 0 {
            read.arg("BLOCK").arg(wait_ms);
        }
        read.arg("STREAMS").arg(&names);
        for (partition, _) in (0..).zip(&names) {
            read.arg(after_id(cursor.get(partition)));
        }
        let line = if wait_ms > 0 {
            &self.waiting
        } else {
            &self.questions
        };
        let answer = line.ask(&self.client, &read, patience).await?;
        let mut page = Page {
            rows: Vec::new(),
            cursor: cursor.clone(),
        };
        for (stream, entries) in streams(answer)? {
            let partition = names.iter().position(|name| name.as_bytes() == stream);
            let partition = partition.ok_or_else(|| beside("XREAD"))? as u32;
            for entry in entries {
                page.cursor.set(partition, entry.offset);
                keep(&mut page.rows, partition, entry.offset, entry.row);
            }
        }
        self.learn(&page.rows);
        Ok(page)
    }
}

/// The id that all unseen entries are above. An entry's second number is 0; whatever it is, its offset was seen.
fn after_id(seen: Option<u64>) -> String {
    match seen {
        Some(offset) => format!("{offset}-{}", u64::MAX),
        None => "0-0".to_owned(),
    }
}

fn to_chunk(partition: u32, found: Vec<Entry>, count: usize) -> Chunk {
    let rest = found
        .last()
        .map(|entry| entry.offset)
        .filter(|_| found.len() >= count);
    let mut rows = Vec::with_capacity(found.len());
    for entry in found {
        keep(&mut rows, partition, entry.offset, entry.row);
    }
    Chunk { rows, rest }
}

/// An entry of a stream. Without the field `row` its text is empty, hence no row.
struct Entry {
    offset: u64,
    row: Bytes,
}

/// Reads `[[id, [field, value, …]], …]`, or nil for nothing.
fn entries(answer: Value) -> Result<Vec<Entry>, SourceError> {
    list(answer, "entries")?.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Result<Entry, SourceError> {
    let [id, fields] = pair(value, "an entry")?;
    let id = bytes(id, "an entry's id")?;
    let offset = std::str::from_utf8(&id)
        .ok()
        .and_then(|id| id.split_once('-')?.0.parse().ok());
    let offset = offset.ok_or_else(|| beside("an entry's id"))?;
    let mut fields = list(fields, "an entry's fields")?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if bytes(name, "a field's name")? == b"row"[..] {
            return Ok(Entry {
                offset,
                row: bytes(value, "a row")?,
            });
        }
    }
    Ok(Entry {
        offset,
        row: Bytes::new(),
    })
}

/// Reads XREAD's `[[stream, entries], …]`, or its map form, or nil when the wait was in vain.
fn streams(answer: Value) -> Result<Vec<(Bytes, Vec<Entry>)>, SourceError> {
    let pairs: Vec<[Value; 2]> = match answer {
        Value::Map(pairs) => pairs
            .into_iter()
            .map(|(stream, entries)| [stream, entries])
            .collect(),
        other => {
            let streams = list(other, "streams")?;
            streams
                .into_iter()
                .map(|stream| pair(stream, "a stream"))
                .collect::<Result<_, _>>()?
        }
    };
    let read =
        |[stream, found]: [Value; 2]| Ok((bytes(stream, "a stream's name")?, entries(found)?));
    pairs.into_iter().map(read).collect()
}

fn list(value: Value, asked: &'static str) -> Result<Vec<Value>, SourceError> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        Value::ServerError(error) => Err(away(error)),
        _ => Err(beside(asked)),
    }
}

fn pair(value: Value, asked: &'static str) -> Result<[Value; 2], SourceError> {
    list(value, asked)?.try_into().map_err(|_| beside(asked))
}

fn bytes(value: Value, asked: &'static str) -> Result<Bytes, SourceError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(beside(asked)),
    }
}

fn beside(asked: &'static str) -> SourceError {
    SourceError::Answer {
        store: STORE,
        asked,
    }
}

fn away(reason: impl std::fmt::Display) -> SourceError {
    SourceError::Away {
        store: STORE,
        reason: reason.to_string(),
    }
}

/// One connection, made when it is needed and given up at its first failure.
#[derive(Default)]
struct Line {
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Line {
    async fn ask(
        &self,
        client: &Client,
        question: &Cmd,
        wait: Duration,
    ) -> Result<Value, SourceError> {
        let mut connection = self.connected(client).await?;
        let answer = connection.send_packed_command(question);
        self.in_time(answer, wait + ANSWER_TIMEOUT).await
    }

    async fn ask_all(
        &self,
        client: &Client,
        questions: &Pipeline,
        count: usize,
    ) -> Result<Vec<Value>, SourceError> {
        let mut connection = self.connected(client).await?;
        let answers = connection.send_packed_commands(questions, 0, count);
        self.in_time(answers, ANSWER_TIMEOUT).await
    }

    async fn connected(&self, client: &Client) -> Result<MultiplexedConnection, SourceError> {
        let mut line = self.connection.lock().await;
        if let Some(connection) = line.as_ref() {
            return Ok(connection.clone());
        }
        // Our own time-outs differ from call to call, so the driver's is off.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| away("no connection in time"))?
            .map_err(away)?;
        Ok(line.insert(connection).clone())
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = redis::RedisResult<T>>,
        limit: Duration,
    ) -> Result<T, SourceError> {
        let failure = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => away(error),
            Err(_) => away("no answer in time"),
        };
        *self.connection.lock().await = None;
        Err(failure)
    }
}
