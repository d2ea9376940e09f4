//! Throughput over a backlog, from process start until the last row is in Redis.

use crate::stage::{Stage, Topics};
use anyhow::{Result, bail};
use rtf_testing::Process;
use rtf_testing::cost::{cpu_seconds, peak_mib};
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(600);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// The table's head.
pub const HEADER: &str = "run             rows/s  seconds  first row s  peak MiB  CPU s per million rows: own  Kafka  Redis";

/// One run.
pub struct Figures {
    what: &'static str,
    rows: u64,
    seconds: f64,
    first_row: f64,
    peak_mib: u64,
    own_cpu: f64,
    kafka_cpu: f64,
    redis_cpu: f64,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.rows as f64 / self.seconds
    }

    fn per_million(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.rows as f64
    }

    pub fn to_json(&self) -> Value {
        json!({
            "run": self.what, "rows": self.rows, "rows_per_second": self.rate(), "seconds": self.seconds,
            "first_row_seconds": self.first_row, "peak_mib": self.peak_mib,
            "cpu_seconds_per_million": {
                "own": self.per_million(self.own_cpu), "kafka": self.per_million(self.kafka_cpu), "redis": self.per_million(self.redis_cpu),
            },
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<13} {:>8.0} {:>8.1} {:>12.2} {:>9} {:>28.1} {:>6.1} {:>6.1}",
            self.what,
            self.rate(),
            self.seconds,
            self.first_row,
            self.peak_mib,
            self.per_million(self.own_cpu),
            self.per_million(self.kafka_cpu),
            self.per_million(self.redis_cpu)
        )
    }
}

/// The middle one.
pub fn median_rate(figures: &[Figures]) -> f64 {
    let mut rates: Vec<f64> = figures.iter().map(Figures::rate).collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// The same bytes with no join.
pub fn pass_through(stage: &Stage, turn: u32) -> Result<Figures> {
    let name = format!("pass{turn}");
    watch("pass-through", stage, &name, || {
        stage.pass_through(&name, &Topics::backlog())
    })
}

/// The whole pipeline in one process.
pub fn ours(stage: &Stage, turn: u32) -> Result<Figures> {
    let name = format!("clicks{turn}");
    watch("rtf run", stage, &name, || {
        stage.pipeline(&name, &Topics::backlog())
    })
}

fn watch(
    what: &'static str,
    stage: &Stage,
    name: &str,
    start: impl FnOnce() -> Result<Process>,
) -> Result<Figures> {
    let mut connection = stage.redis.connection()?;
    let servers = stage.servers;
    let before = (cpu_seconds(servers.0)?, cpu_seconds(servers.1)?);
    let begun = Instant::now();
    let mut process = start()?;
    let mut first_row = None;
    loop {
        let rows = stage.rows(&mut connection, name)?;
        if rows > 0 && first_row.is_none() {
            first_row = Some(begun.elapsed().as_secs_f64());
        }
        if rows >= stage.events {
            break;
        }
        if !process.is_running()? || begun.elapsed() > WITHIN {
            bail!(
                "{what} gave {rows} of {} rows:\n{}",
                stage.events,
                process.log()?
            );
        }
        std::thread::sleep(POLL);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let figures = Figures {
        what,
        rows: stage.events,
        seconds,
        first_row: first_row.unwrap_or(seconds),
        peak_mib: peak_mib(process.pid())?,
        own_cpu: cpu_seconds(process.pid())?,
        kafka_cpu: cpu_seconds(servers.0)? - before.0,
        redis_cpu: cpu_seconds(servers.1)? - before.1,
    };
    process.sigterm()?;
    process.wait(STOP_WITHIN)?;
    stage.redis.flushall()?;
    Ok(figures)
}
