//! Latency at a paced load: from the moment the later side was handed to the producer to the row being read from Redis.

use crate::stage::{LOG_PARTITIONS, Stage, Topics};
use anyhow::{Context, Result, bail};
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Connection};
use rtf_kafka::Sender;
use rtf_proto::naming::redis_stream;
use rtf_synth::{Clicks, ClicksParams, Share, Side};
use rtf_testing::cost::cpu_seconds;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The first seconds are not counted: everything is still warming up.
const WARM_UP: Duration = Duration::from_secs(3);
const WITHIN: Duration = Duration::from_secs(60);
const START_WITHIN: Duration = Duration::from_secs(60);
const BLOCK_MS: usize = 100;
/// Between two reads: the reader shall not take the machine from what it measures.
const READ_EVERY: Duration = Duration::from_millis(1);

/// Milliseconds, sorted, and what they cost.
pub struct Latency {
    what: &'static str,
    rate: u32,
    millis: Vec<f64>,
    cores: Cores,
}

/// Cores kept busy on average.
struct Cores {
    own: f64,
    kafka: f64,
    redis: f64,
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    PassThrough,
    Ours,
}

impl Latency {
    fn quantile(&self, quantile: f64) -> f64 {
        let last = self.millis.len().saturating_sub(1);
        self.millis
            .get((last as f64 * quantile).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }

    pub fn to_json(&self) -> Value {
        json!({
            "run": self.what, "rate": self.rate, "rows": self.millis.len(), "p50_ms": self.quantile(0.5), "p90_ms": self.quantile(0.9),
            "p99_ms": self.quantile(0.99), "p999_ms": self.quantile(0.999), "max_ms": self.quantile(1.0),
            "cores": { "own": self.cores.own, "kafka": self.cores.kafka, "redis": self.cores.redis },
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, p999, max] =
            [0.5, 0.9, 0.99, 0.999, 1.0].map(|quantile| self.quantile(quantile));
        write!(
            f,
            "latency at {}/s, {:<12} ms: p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1} ({} rows); cores: own {:.2}, Kafka {:.2}, Redis {:.2}",
            self.rate,
            self.what,
            self.millis.len(),
            self.cores.own,
            self.cores.kafka,
            self.cores.redis
        )
    }
}

type Sent = Arc<Mutex<HashMap<String, Instant>>>;

/// Runs a pipeline, or the pass-through, under this load.
pub fn measure(stage: &Stage, who: Who, rate: u32, seconds: u32) -> Result<Latency> {
    let (what, name) = match who {
        Who::PassThrough => ("pass-through", "paced-pass"),
        Who::Ours => ("rtf run", "paced"),
    };
    let topics = Topics {
        foreign: format!("{name}-clicks"),
        primary: format!("{name}-queries"),
    };
    stage.make_topics(&topics)?;
    let mut process = match who {
        Who::PassThrough => stage.pass_through(name, &topics)?,
        Who::Ours => stage.pipeline(name, &topics)?,
    };
    if who == Who::Ours {
        process.wait_for_log("the event store has caught up", START_WITHIN)?;
    }
    let sent: Sent = Arc::default();
    let count = u64::from(rate) * u64::from(seconds);
    let sender = Sender::open(&stage.settings())?;
    let pids = [process.pid(), stage.servers.0, stage.servers.1];
    let before = pids.map(cpu_seconds);
    let begun = Instant::now();
    let sending = std::thread::spawn({
        let sent = sent.clone();
        move || send(&sender, &topics, rate, count, &sent)
    });
    let mut millis = read(
        &mut stage.redis.connection()?,
        name,
        &sent,
        count,
        begun + WARM_UP,
    )?;
    let elapsed = begun.elapsed().as_secs_f64();
    let mut cores = [0.0; 3];
    for ((cores, pid), before) in cores.iter_mut().zip(pids).zip(before) {
        *cores = (cpu_seconds(pid)? - before?) / elapsed;
    }
    let [own, kafka, redis] = cores;
    sending
        .join()
        .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    process.sigterm()?;
    process.wait(START_WITHIN)?;
    millis.sort_by(f64::total_cmp);
    Ok(Latency {
        what,
        rate,
        millis,
        cores: Cores { own, kafka, redis },
    })
}

fn send(sender: &Sender, topics: &Topics, rate: u32, count: u64, sent: &Sent) -> Result<()> {
    let clicks = Clicks::new(ClicksParams {
        count,
        per_second: NonZeroU32::new(rate).context("a rate")?,
        late: Share::NONE,
        orphans: Share::NONE,
        duplicates: Share::NONE,
        malformed: Share::NONE,
        ..ClicksParams::default()
    });
    let begun = Instant::now();
    for event in clicks.events() {
        let due = Duration::from_millis(event.at_ms.max(0).unsigned_abs());
        while begun.elapsed() < due {
            std::thread::sleep((due - begun.elapsed().min(due)).min(Duration::from_millis(1)));
        }
        if event.side == Side::Foreign {
            // The query was sent before, so the click is the later side.
            let id = click_id(&event.value).context("a click id")?.to_owned();
            sent.lock()
                .map_err(|_| anyhow::anyhow!("poisoned"))?
                .insert(id, Instant::now());
        }
        topics.send(sender, &event)?;
    }
    Ok(())
}

fn read(
    connection: &mut Connection,
    name: &str,
    sent: &Sent,
    count: u64,
    from: Instant,
) -> Result<Vec<f64>> {
    let streams: Vec<_> = (0..LOG_PARTITIONS)
        .map(|partition| redis_stream(name, partition))
        .collect();
    let mut cursors = vec!["0-0".to_owned(); streams.len()];
    let options = StreamReadOptions::default().block(BLOCK_MS).count(1000);
    let (mut millis, mut seen) = (Vec::new(), 0);
    let deadline = Instant::now() + WITHIN;
    while seen < count {
        if Instant::now() > deadline {
            bail!("{seen} of {count} rows came");
        }
        let reply: Option<StreamReadReply> =
            connection.xread_options(&streams, &cursors, &options)?;
        let now = Instant::now();
        for stream in reply.map(|reply| reply.keys).unwrap_or_default() {
            let at = streams
                .iter()
                .position(|name| *name == stream.key)
                .context("a stream nobody asked for")?;
            for entry in stream.ids {
                seen += 1;
                let row: Vec<u8> = entry.get("row").context("a row")?;
                if let Some(millisecond) = waited(&row, sent, now, from)? {
                    millis.push(millisecond);
                }
                cursors[at] = entry.id;
            }
        }
        std::thread::sleep(READ_EVERY);
    }
    Ok(millis)
}

/// How long a row took, if it was sent after `from`.
fn waited(row: &[u8], sent: &Sent, now: Instant, from: Instant) -> Result<Option<f64>> {
    let id = click_id(row).context("a row's id")?;
    let at = sent
        .lock()
        .map_err(|_| anyhow::anyhow!("poisoned"))?
        .remove(id)
        .context("a row nobody sent")?;
    Ok((at >= from).then(|| (now - at).as_secs_f64() * 1000.0))
}

/// The id in a click, or in a row that has one in it: found by its name, as parsing would cost more than what is measured.
fn click_id(json: &[u8]) -> Option<&str> {
    const NAME: &str = "\"click_id\":\"";
    let json = std::str::from_utf8(json).ok()?;
    let (_, rest) = json.split_once(NAME)?;
    Some(rest.split_once('"')?.0)
}
