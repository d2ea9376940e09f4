//! Rows from Redis streams: `<name>:joined:{<partition>}`, entry id `<offset>-0`, field `row`; the key `<name>:partitions` says how many there are. The only file of the web
//! that says redis. It only reads.
//!
//! Every call has a time-out, and a connection that timed out or failed is never used again: what it answers next may
//! be the answer to the previous question. Blocking reads have a connection of their own. Which server has a stream is `rtf_redis`'s to know.

use super::{Chunk, Page, RowSource, SourceError, keep};
use crate::{Cursor, Row};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use redis::{Cmd, Pipeline, RedisResult, Value, cmd, from_redis_value};
use rtf_redis::{Connection, Connections, Limits, Redis};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
/// Where no answer can wait for new rows of all streams, they are asked for again after so long for each of them: at most 500 questions a second.
const PAUSE_PER_STREAM: Duration = Duration::from_millis(2);
/// More streams than a log can have are nonsense.
const PARTITIONS_MAX: u32 = 4096;
const STORE: &str = "Redis";

/// Redis streams as a source.
pub struct RedisRows {
    name: String,
    /// As many as are configured, or more after a split; never fewer.
    partitions: AtomicU32,
    looked: std::sync::Mutex<Option<Instant>>,
    questions: Line,
    waiting: Line,
    /// Whether no command may name more than one stream.
    is_spread: bool,
    /// Running estimate of a large row's size, in bytes.
    row_bytes: AtomicUsize,
}

impl RedisRows {
    /// The streams of join `name` with `partitions` partitions. Does not connect yet: Redis may come later.
    pub fn new(redis: Redis, name: &str, partitions: u32) -> Self {
        Self {
            name: name.into(),
            partitions: AtomicU32::new(partitions),
            looked: std::sync::Mutex::default(),
            is_spread: redis.is_cluster(),
            questions: Line::new(redis.clone()),
            waiting: Line::new(redis),
            row_bytes: AtomicUsize::new(ROW_BYTES_GUESS),
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
        let key = format!("{}:partitions", self.name);
        let mut get = cmd("GET");
        get.arg(&key);
        let answer = self.questions.ask(&key, &get, Duration::ZERO).await;
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
        let question = |(partition, id): &(u32, String)| {
            let stream = self.stream(*partition);
            let mut range = cmd("XREVRANGE");
            range.arg(&stream).arg(id).arg("-").arg("COUNT").arg(count);
            (stream, range)
        };
        let questions = wants.iter().map(question).collect();
        self.questions.ask_all(questions).await
    }

    /// New entries of all streams: the answer waits for them.
    async fn wait(
        &self,
        places: &[Place],
        count: usize,
        patience: Duration,
    ) -> Result<Found, SourceError> {
        // All streams are where one is.
        let Some((anyone, _)) = places.first() else {
            return Ok(Found::new());
        };
        let mut read = read(count);
        // BLOCK 0 would mean for ever.
        let wait_ms = patience.as_millis() as u64;
        if wait_ms > 0 {
            read.arg("BLOCK").arg(wait_ms);
        }
        read.arg("STREAMS");
        for (stream, _) in places {
            read.arg(stream);
        }
        for (_, seen) in places {
            read.arg(seen);
        }
        let line = if wait_ms > 0 {
            &self.waiting
        } else {
            &self.questions
        };
        streams(line.ask(anyone, &read, patience).await?)
    }

    /// New entries of all streams, each of which is asked for by itself, again and again: no answer could wait for all of them.
    async fn poll(
        &self,
        places: &[Place],
        count: usize,
        patience: Duration,
    ) -> Result<Found, SourceError> {
        let until = Instant::now() + patience;
        let pause = PAUSE_PER_STREAM * places.len() as u32;
        loop {
            let found = self.read_each(places, count).await?;
            let left = until.saturating_duration_since(Instant::now());
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
            tokio::time::sleep(pause.min(left)).await;
        }
    }

    async fn read_each(&self, places: &[Place], count: usize) -> Result<Found, SourceError> {
        let question = |(stream, seen): &Place| {
            let mut read = read(count);
            read.arg("STREAMS").arg(stream).arg(seen);
            (stream.clone(), read)
        };
        let questions = places.iter().map(question).collect();
        let mut found = Found::new();
        for answer in self.questions.ask_all(questions).await? {
            found.extend(streams(answer)?);
        }
        Ok(found)
    }
}

/// A stream, and the id that all its unseen entries are above.
type Place = (String, String);

/// Streams with their new entries.
type Found = Vec<(Bytes, Vec<Entry>)>;

fn read(count: usize) -> Cmd {
    let mut read = cmd("XREAD");
    read.arg("COUNT").arg(count);
    read
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
        let places: Vec<Place> = (0..self.partitions())
            .map(|partition| (self.stream(partition), after_id(cursor.get(partition))))
            .collect();
        let count = self.fit(count, places.len());
        let found = if self.is_spread {
            self.poll(&places, count, patience).await?
        } else {
            self.wait(&places, count, patience).await?
        };
        let mut page = Page {
            rows: Vec::new(),
            cursor: cursor.clone(),
        };
        for (stream, entries) in found {
            let partition = places
                .iter()
                .position(|(name, _)| name.as_bytes() == stream);
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
fn streams(answer: Value) -> Result<Found, SourceError> {
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

/// Connections to whoever has what is asked for, each given up at its first failure.
struct Line(Connections);

impl Line {
    fn new(redis: Redis) -> Self {
        // Our own time-outs differ from call to call, so the driver's is off.
        Self(Connections::new(
            redis,
            Limits {
                connect: CONNECT_TIMEOUT,
                answer: None,
            },
        ))
    }

    /// Of who has `key`.
    async fn ask(&self, key: &str, question: &Cmd, wait: Duration) -> Result<Value, SourceError> {
        let connection = self.0.of(key).await.map_err(away)?;
        let mut redis = connection.redis.clone();
        let answer = redis.send_packed_command(question);
        self.in_time(&connection, answer, wait + ANSWER_TIMEOUT)
            .await
    }

    /// Questions about a key each, and as many answers.
    async fn ask_all(&self, questions: Vec<(String, Cmd)>) -> Result<Vec<Value>, SourceError> {
        let keys: Vec<&str> = questions.iter().map(|(key, _)| key.as_str()).collect();
        let servers = self.0.by_server(&keys).await.map_err(away)?;
        let asking = servers.iter().map(|(connection, places)| {
            let mut pipe = Pipeline::with_capacity(places.len());
            for place in places {
                pipe.add_command(questions[*place].1.clone());
            }
            self.ask_one_server(connection, pipe)
        });
        // All are waited for, also when one fails: no connection is left with an answer that nobody takes.
        let answers = join_all(asking).await;
        let mut sorted = vec![Value::Nil; questions.len()];
        for ((_, places), answers) in servers.iter().zip(answers) {
            for (place, answer) in places.iter().zip(answers?) {
                sorted[*place] = answer;
            }
        }
        Ok(sorted)
    }

    async fn ask_one_server(
        &self,
        connection: &Connection,
        questions: Pipeline,
    ) -> Result<Vec<Value>, SourceError> {
        let count = questions.len();
        let mut redis = connection.redis.clone();
        let asking = async {
            let answers = redis.send_packed_commands(&questions, 0, count).await?;
            let answers = answers.into_iter().map(accepted);
            answers.collect::<RedisResult<Vec<Value>>>()
        };
        let answers = self.in_time(connection, asking, ANSWER_TIMEOUT).await?;
        if answers.len() == count {
            Ok(answers)
        } else {
            Err(beside("as many answers as questions"))
        }
    }

    async fn in_time<T>(
        &self,
        connection: &Connection,
        answer: impl Future<Output = RedisResult<T>>,
        limit: Duration,
    ) -> Result<T, SourceError> {
        let failure = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => away(error),
            Err(_) => away("no answer in time"),
        };
        self.0.give_up(connection).await;
        Err(failure)
    }
}

/// A refusal among many answers is one.
fn accepted(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}
