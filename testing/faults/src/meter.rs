//! Meter: reads the rows from Redis as they come, and knows of each how long it took from the moment at which both of its events had been sent; and of each
//! event how long it took until Kafka had acknowledged it. It must not know what is done to the pipeline meanwhile.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use redis::Commands;
use redis::streams::{StreamReadOptions, StreamReadReply};
use rtf_proto::naming;
use rtf_synth::{Event, Expect, Join, Side};
use rtf_testing::pause;
use serde::Deserialize;

/// The grain of what is remembered.
const TICK: Duration = Duration::from_millis(50);
/// A row that takes longer is late: less than full speed.
const LATE: Duration = Duration::from_secs(1);
/// So long all rows must be in time again for full speed.
const CALM: Duration = Duration::from_millis(1_500);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const READ_ROWS: usize = 2_000;

/// What came in a tick.
#[derive(Clone, Copy, Debug, Default)]
struct Tick {
    count: u32,
    slowest_ms: u32,
}

/// What came, tick by tick.
#[derive(Debug, Default)]
struct Ticks(Vec<Tick>);

/// When the later of a pair's events was sent, and which were.
#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    has_foreign: bool,
    has_primary: bool,
}

struct Book {
    begun: Instant,
    /// By the hash of their key, until their row has come.
    pairs: HashMap<u64, Sent>,
    /// Those that have both, in order.
    due: VecDeque<(Instant, u64)>,
    rows_came: Ticks,
    acknowledgements: Ticks,
    rows: u64,
    /// Rows for which no pair was due.
    strays: u64,
}

/// What a reader saw of a stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The longest time without any row.
    pub(crate) gap: Duration,
    /// The longest time from an event's sending to its row.
    pub(crate) slowest: Duration,
    /// From the stretch's beginning until no row is late any more.
    pub(crate) full_speed: Duration,
    /// From there until no acknowledgement is late any more.
    pub(crate) kafka: Duration,
}

/// What is seen, and the thread that sees it.
pub(crate) struct Meter {
    book: Arc<Mutex<Book>>,
    is_over: Arc<AtomicBool>,
    hasher: RandomState,
    reading: Option<JoinHandle<()>>,
}

impl Meter {
    /// Begins to read the join's rows, of so many partitions.
    pub(crate) fn start(join: &Join, partitions: u32, redis: &str) -> Result<Self> {
        let book = Arc::new(Mutex::new(Book {
            begun: Instant::now(),
            pairs: HashMap::new(),
            due: VecDeque::new(),
            rows_came: Ticks::default(),
            acknowledgements: Ticks::default(),
            rows: 0,
            strays: 0,
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let hasher = RandomState::new();
        let mut reader = Reader {
            client: redis::Client::open(redis)?,
            streams: (0..partitions)
                .map(|partition| naming::redis_stream(join.name, partition))
                .collect(),
            last: vec!["0".to_owned(); partitions as usize],
            book: book.clone(),
            hasher: hasher.clone(),
        };
        let end = is_over.clone();
        let reading = thread::Builder::new().name("meter".into()).spawn(move || {
            while !end.load(Ordering::Relaxed) {
                // Redis is away now and then here.
                if reader.read(&end).is_err() {
                    pause(TICK);
                }
            }
        })?;
        Ok(Self {
            book,
            is_over,
            hasher,
            reading: Some(reading),
        })
    }

    /// What is to be told of each event as it is sent.
    pub(crate) fn observer(&self) -> impl FnMut(&Event) + Send + use<> {
        let (book, hasher) = (self.book.clone(), self.hasher.clone());
        move |event| {
            let Some(key) = &event.key else { return };
            if matches!(event.expect, Expect::Malformed | Expect::Duplicate) {
                return;
            }
            lock(&book).sent(hasher.hash_one(key.as_slice()), event.side);
        }
    }

    /// What is to be told of each event as it is acknowledged: how long that took.
    pub(crate) fn acknowledged(&self) -> impl Fn(Duration) + Send + Sync + use<> {
        let book = self.book.clone();
        move |took| {
            let book = &mut *lock(&book);
            book.acknowledgements.note(book.begun.elapsed(), took);
        }
    }

    /// Whether rows come, and in time, for a while now, all of it after `since`: what was in time before a fault says nothing of it.
    pub(crate) fn is_calm_since(&self, since: Duration) -> bool {
        let mut book = lock(&self.book);
        let now = book.begun.elapsed();
        let from = now.saturating_sub(CALM);
        if from < since {
            return false;
        }
        let last = book.rows_came.between(from, now);
        let in_time = !last.iter().any(Tick::is_late);
        let flows = last.iter().rev().take(10).any(|tick| tick.count > 0);
        in_time && flows && !book.is_behind()
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        lock(&self.book).rows
    }

    /// Rows so far that no pair was waiting for: second ones, where Redis has forgotten none.
    pub(crate) fn strays(&self) -> u64 {
        lock(&self.book).strays
    }

    /// Pairs that were sent and have no row yet.
    pub(crate) fn left(&self) -> usize {
        lock(&self.book).left()
    }

    /// Time as the meter counts it.
    pub(crate) fn now(&self) -> Duration {
        lock(&self.book).begun.elapsed()
    }

    /// What was seen from `from` to `to`.
    pub(crate) fn seen(&self, from: Duration, to: Duration) -> Seen {
        let book = lock(&self.book);
        let rows = book.rows_came.between(from, to);
        let (mut gap, mut still) = (0, 0);
        for tick in &rows {
            still = if tick.count == 0 { still + 1 } else { 0 };
            gap = gap.max(still);
        }
        let slowest = rows.iter().map(|tick| tick.slowest_ms).max();
        Seen {
            gap: TICK * gap,
            slowest: Duration::from_millis(slowest.unwrap_or_default().into()),
            full_speed: late_until(&rows),
            kafka: late_until(&book.acknowledgements.between(from, to)),
        }
    }
}

/// How long it takes until nothing is late any more.
fn late_until(ticks: &[Tick]) -> Duration {
    let last = ticks.iter().rposition(Tick::is_late);
    let ticks = last.map_or(0, |last| last + 1);
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

impl Tick {
    /// Whether something took too long.
    fn is_late(&self) -> bool {
        u128::from(self.slowest_ms) > LATE.as_millis()
    }
}

impl Ticks {
    /// Something came, and had taken so long.
    fn note(&mut self, at: Duration, took: Duration) {
        let place = place(at);
        if self.0.len() <= place {
            self.0.resize(place + 1, Tick::default());
        }
        let tick = &mut self.0[place];
        tick.count += 1;
        let took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        tick.slowest_ms = tick.slowest_ms.max(took);
    }

    /// Those in which nothing came yet are there too.
    fn between(&self, from: Duration, to: Duration) -> Vec<Tick> {
        let ticks = (place(from)..place(to)).map(|n| self.0.get(n).copied().unwrap_or_default());
        ticks.collect()
    }
}

/// Which tick a time is in.
fn place(time: Duration) -> usize {
    (time.as_millis() / TICK.as_millis()) as usize
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            // It only reads: what it died of is of no interest any more.
            let _ = reading.join();
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().expect("nobody panics while holding the book")
}

impl Book {
    fn sent(&mut self, key: u64, side: Side) {
        let now = Instant::now();
        let sent = self.pairs.entry(key).or_insert(Sent {
            at: now,
            has_foreign: false,
            has_primary: false,
        });
        let side = match side {
            Side::Foreign => &mut sent.has_foreign,
            Side::Primary => &mut sent.has_primary,
        };
        if !std::mem::replace(side, true) && sent.has_foreign && sent.has_primary {
            sent.at = now;
            self.due.push_back((now, key));
        }
    }

    fn came(&mut self, key: u64) {
        let now = Instant::now();
        let sent = self.pairs.remove(&key);
        self.strays += u64::from(sent.is_none());
        let slow = sent.map_or(Duration::ZERO, |sent| now.duration_since(sent.at));
        self.rows_came.note(self.begun.elapsed(), slow);
        self.rows += 1;
    }

    /// Whether a row is late now.
    fn is_behind(&mut self) -> bool {
        self.strike();
        let oldest = self.due.front();
        oldest.is_some_and(|(at, _)| at.elapsed() > LATE)
    }

    /// Pairs without a row.
    fn left(&mut self) -> usize {
        self.strike();
        let is_left = |(_, key): &&(Instant, u64)| self.pairs.contains_key(key);
        self.due.iter().filter(is_left).count()
    }

    /// Forgets the oldest pairs that have their rows.
    fn strike(&mut self) {
        while let Some((_, key)) = self.due.front() {
            if self.pairs.contains_key(key) {
                return;
            }
            self.due.pop_front();
        }
    }
}

/// What is wanted of a row.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
}

struct Reader {
    client: redis::Client,
    streams: Vec<String>,
    last: Vec<String>,
    book: Arc<Mutex<Book>>,
    hasher: RandomState,
}

impl Reader {
    /// Reads until something fails.
    fn read(&mut self, end: &AtomicBool) -> Result<()> {
        let mut connection = self.client.get_connection_with_timeout(CALL_TIMEOUT)?;
        connection.set_read_timeout(Some(CALL_TIMEOUT))?;
        let options = StreamReadOptions::default().count(READ_ROWS).block(100);
        while !end.load(Ordering::Relaxed) {
            let reply: Option<StreamReadReply> =
                connection.xread_options(&self.streams, &self.last, &options)?;
            for stream in reply.into_iter().flat_map(|reply| reply.keys) {
                let number = self.streams.iter().position(|name| *name == stream.key);
                let number = number.context("a stream that was not asked for")?;
                for entry in stream.ids {
                    let row: Vec<u8> = entry.get("row").unwrap_or_default();
                    if let Ok(row) = serde_json::from_slice::<Row<'_>>(&row) {
                        let key = self.hasher.hash_one(row.key.as_bytes());
                        lock(&self.book).came(key);
                    }
                    self.last[number] = entry.id;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_counts_from_its_later_event_and_once() {
        let mut book = Book {
            begun: Instant::now(),
            pairs: HashMap::new(),
            due: VecDeque::new(),
            rows_came: Ticks::default(),
            acknowledgements: Ticks::default(),
            rows: 0,
            strays: 0,
        };
        book.sent(1, Side::Foreign);
        assert!(book.due.is_empty());
        pause(TICK);
        book.sent(1, Side::Primary);
        book.sent(1, Side::Foreign);
        assert_eq!((book.due.len(), book.left()), (1, 1));
        book.came(1);
        assert_eq!(book.rows, 1);
        let slowest = book.rows_came.0.last().map(|tick| tick.slowest_ms);
        assert!(slowest < Some(u32::try_from(TICK.as_millis()).unwrap()));
        assert!(!book.is_behind() && book.due.is_empty());
        assert_eq!((book.left(), book.strays), (0, 0));
        book.came(1);
        assert_eq!((book.rows, book.strays), (2, 1));
        let ticks = book.rows_came.between(Duration::ZERO, TICK * 5);
        assert_eq!(ticks.len(), 5);
        assert_eq!(ticks.iter().map(|tick| tick.count).sum::<u32>(), 2);
    }

    #[test]
    fn all_is_well_behind_the_last_that_was_late() {
        let mut ticks = Ticks::default();
        let ms = Duration::from_millis;
        assert_eq!(late_until(&ticks.between(ms(0), ms(500))), Duration::ZERO);
        ticks.note(ms(10), LATE);
        assert_eq!(late_until(&ticks.between(ms(0), ms(500))), Duration::ZERO);
        ticks.note(ms(160), LATE + ms(1));
        ticks.note(ms(210), ms(3));
        assert_eq!(late_until(&ticks.between(ms(0), ms(500))), ms(200));
        assert_eq!(late_until(&ticks.between(ms(200), ms(500))), Duration::ZERO);
    }
}
