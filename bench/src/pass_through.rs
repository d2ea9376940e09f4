//! The pass-through limit: reads both topics, sends a row of the same size through a Kafka topic of 16 partitions, reads it
//! back and appends it to a Redis stream per partition. No join, no registry, nothing remembered.

use crate::stage::{INPUT_PARTITIONS, LOG_PARTITIONS};
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use rtf_kafka::{
    AppendError, Appender, AppenderOptions, Cluster, Deliveries, Isolation, Polled, Settings,
    Start, Tail,
};
use rtf_proto::naming::{log_topic, redis_stream};
use rtf_proto::partitioner::partition_of;
use std::thread;
use std::time::Duration;

/// Rows in one pipelined call to Redis.
const ROWS_AT_ONCE: usize = 500;
/// What our record has beside the two originals: header, names, ids, times.
const FRAME_BYTES: usize = 260;
const POLL: Duration = Duration::from_millis(20);

/// What it must be told.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Kafka's address
    #[arg(long)]
    kafka: String,
    /// Redis' address
    #[arg(long)]
    redis: String,
    /// Prefix of its topic and streams
    #[arg(long)]
    name: String,
    /// The topic that is sent on
    #[arg(long)]
    foreign: String,
    /// The topic that is read beside it
    #[arg(long)]
    primary: String,
}

struct Ignored;

impl Deliveries for Ignored {
    fn delivered(&self, _: u64) {}
    fn unknown(&self, sequence: u64, words: &str) {
        panic!("record {sequence} was not delivered: {words}");
    }
}

/// Runs until it is killed.
pub fn run(args: &Args) -> Result<()> {
    let settings = Settings {
        bootstrap: args.kafka.clone(),
        ..Settings::default()
    };
    let topic = log_topic(&args.name);
    Cluster::connect(&settings)?.ensure_topic(
        &topic,
        LOG_PARTITIONS,
        None,
        &[("message.timestamp.type", "LogAppendTime")],
    )?;
    let primary = input(&settings, &args.primary)?;
    let reading = thread::spawn(move || {
        loop {
            // Read and forgotten, as its bytes must cross the wire too.
            let _ = primary.poll(POLL);
        }
    });
    let foreign = input(&settings, &args.foreign)?;
    let appender = Appender::open(&settings, &appender_options(&topic), Ignored)?;
    let sending = thread::spawn(move || send(&foreign, &appender));
    write(&settings, args, &topic)?;
    drop((reading, sending));
    Ok(())
}

fn input(settings: &Settings, topic: &str) -> Result<Tail> {
    let all: Vec<_> = (0..INPUT_PARTITIONS)
        .map(|partition| (partition, Start::Beginning))
        .collect();
    Ok(Tail::open(settings, topic, &all, Isolation::ReadCommitted)?)
}

fn appender_options(topic: &str) -> AppenderOptions {
    AppenderOptions {
        topic: topic.into(),
        linger: Duration::from_millis(1),
        delivery_timeout: Duration::from_secs(30),
        max_record_bytes: 1 << 20,
        queue_bytes: 64 << 20,
        tells_delivered: false,
    }
}

fn send(foreign: &Tail, appender: &Appender<Ignored>) {
    let mut row = Vec::new();
    let mut sequence = 0;
    loop {
        let Polled::Record(record) = foreign.poll(POLL) else {
            continue;
        };
        let (key, value) = (
            record.key().unwrap_or_default(),
            record.value().unwrap_or_default(),
        );
        row.clear();
        row.extend_from_slice(value);
        row.extend_from_slice(value);
        row.resize(row.len() + FRAME_BYTES, b' ');
        while let Err(error) =
            appender.append(partition_of(key, LOG_PARTITIONS), Some(key), &row, sequence)
        {
            match error {
                AppendError::Full => thread::sleep(Duration::from_millis(1)),
                other => panic!("{other}"),
            }
        }
        sequence += 1;
    }
}

fn write(settings: &Settings, args: &Args, topic: &str) -> Result<()> {
    let mut connection = redis::Client::open(args.redis.as_str())?.get_connection()?;
    let all: Vec<_> = (0..LOG_PARTITIONS)
        .map(|partition| (partition, Start::Beginning))
        .collect();
    let tail = Tail::open(settings, topic, &all, Isolation::ReadUncommitted)?;
    let streams: Vec<_> = (0..LOG_PARTITIONS)
        .map(|partition| redis_stream(&args.name, partition))
        .collect();
    let (mut rows, mut waiting) = (redis::pipe(), 0);
    loop {
        let wait = if waiting == 0 { POLL } else { Duration::ZERO };
        match tail.poll(wait) {
            Polled::Record(record) => {
                let id = format!("{}-1", record.offset());
                let stream = &streams[record.partition() as usize];
                rows.cmd("XADD")
                    .arg(stream)
                    .arg(id)
                    .arg("row")
                    .arg(record.value().unwrap_or_default())
                    .ignore();
                waiting += 1;
                if waiting < ROWS_AT_ONCE {
                    continue;
                }
            }
            Polled::Failed(error) => return Err(error.into()),
            Polled::Idle | Polled::EndOfPartition(_) => {}
        }
        if waiting > 0 {
            rows.query::<()>(&mut connection)
                .context("appending to Redis")?;
            (rows, waiting) = (redis::pipe(), 0);
        }
    }
}
