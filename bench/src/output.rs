//! Where rows become visible, as a reader sees it: streams in Redis, or a Kafka topic read committed. Knows no row.

use anyhow::{Context, Result};
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Connection};
use rtf_kafka::{Isolation, Polled, Settings, Start, Tail};
use rtf_proto::naming::redis_stream;
use rtf_testing::Redis;
use std::time::Duration;

/// How long a read waits for something to come.
const WAIT: Duration = Duration::from_millis(100);
const ROWS_AT_ONCE: usize = 1000;
/// Between two reads: the reader shall not take the machine from what it measures.
const READ_EVERY: Duration = Duration::from_millis(1);
const ASK_WITHIN: Duration = Duration::from_secs(20);

/// A reader of all rows from the first one.
pub enum Output {
    Redis(RedisStreams),
    Topic(CommittedTopic),
}

/// Where a row is: visible once [`Output::ends`] says at least `end` of its partition.
#[derive(Clone, Copy)]
pub struct Place {
    pub partition: usize,
    pub end: u64,
}

impl Output {
    pub fn redis(redis: &Redis, name: &str, partitions: u32) -> Result<Self> {
        let keys: Vec<_> = (0..partitions)
            .map(|partition| redis_stream(name, partition))
            .collect();
        Ok(Self::Redis(RedisStreams {
            connection: redis.connection()?,
            cursors: vec!["0-0".into(); keys.len()],
            rows: vec![0; keys.len()],
            keys,
        }))
    }

    pub fn topic(settings: &Settings, topic: &str, partitions: u32) -> Result<Self> {
        let all: Vec<_> = (0..partitions)
            .map(|partition| (partition, Start::Beginning))
            .collect();
        Ok(Self::Topic(CommittedTopic {
            tail: Tail::open(settings, topic, &all, Isolation::ReadCommitted)?,
            partitions,
        }))
    }

    /// How far each partition is. Costs the servers next to nothing, as no row is read.
    pub fn ends(&mut self) -> Result<Vec<u64>> {
        match self {
            Self::Redis(streams) => streams.lengths(),
            Self::Topic(topic) => topic.stable_offsets(),
        }
    }

    /// What came since the last call; waits a moment if that is nothing. Says how many rows that was.
    pub fn read(&mut self, mut each: impl FnMut(Place, &[u8])) -> Result<usize> {
        match self {
            Self::Redis(streams) => streams.read(&mut each),
            Self::Topic(topic) => topic.read(&mut each),
        }
    }
}

/// The streams of a join, one per partition.
pub struct RedisStreams {
    connection: Connection,
    keys: Vec<String>,
    cursors: Vec<String>,
    /// Rows read of each.
    rows: Vec<u64>,
}

impl RedisStreams {
    fn lengths(&mut self) -> Result<Vec<u64>> {
        let mut lengths = redis::pipe();
        for key in &self.keys {
            lengths.cmd("XLEN").arg(key);
        }
        Ok(lengths.query(&mut self.connection)?)
    }

    fn read(&mut self, each: &mut impl FnMut(Place, &[u8])) -> Result<usize> {
        let wait = usize::try_from(WAIT.as_millis())?;
        let options = StreamReadOptions::default().block(wait).count(ROWS_AT_ONCE);
        let reply: Option<StreamReadReply> =
            self.connection
                .xread_options(&self.keys, &self.cursors, &options)?;
        let mut count = 0;
        for stream in reply.map(|reply| reply.keys).unwrap_or_default() {
            let partition = self.keys.iter().position(|key| *key == stream.key);
            let partition = partition.context("a stream nobody asked for")?;
            for entry in stream.ids {
                let row: Vec<u8> = entry.get("row").context("an entry without a row")?;
                self.rows[partition] += 1;
                let end = self.rows[partition];
                each(Place { partition, end }, &row);
                self.cursors[partition] = entry.id;
                count += 1;
            }
        }
        std::thread::sleep(READ_EVERY);
        Ok(count)
    }
}

/// A topic whose open transactions are not seen.
pub struct CommittedTopic {
    tail: Tail,
    partitions: u32,
}

impl CommittedTopic {
    /// To a reader of what is committed the end is the last stable offset.
    fn stable_offsets(&self) -> Result<Vec<u64>> {
        (0..self.partitions)
            .map(|partition| Ok(self.tail.offsets(partition, ASK_WITHIN)?.1))
            .collect()
    }

    fn read(&self, each: &mut impl FnMut(Place, &[u8])) -> Result<usize> {
        let (mut wait, mut count) = (WAIT, 0);
        while count < ROWS_AT_ONCE {
            match self.tail.poll(wait) {
                Polled::Record(record) => {
                    let partition = record.partition() as usize;
                    let end = record.offset() + 1;
                    each(Place { partition, end }, record.value().unwrap_or_default());
                    count += 1;
                    wait = Duration::ZERO;
                }
                Polled::EndOfPartition(_) => {}
                Polled::Idle => break,
                Polled::Failed(error) => return Err(error.into()),
            }
        }
        Ok(count)
    }
}
