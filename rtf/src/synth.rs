//! `rtf synth`: makes the demonstration's data, the click/query load or that of an example and sends it, seeded and repeatable.

use crate::kafka_flags::KafkaFlags;
use crate::out;
use crate::progress::Progress;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use rtf_kafka::{Cluster, Sender};
use rtf_synth::{
    CLICKS, Clicks, ClicksParams, Event, Example, ExampleParams, Join, Share, Side, Tally,
    VACATION, Vacation, VacationParams,
};
use std::io::Write;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Sending is checked against the clock this often.
const PACE_EVERY: Duration = Duration::from_millis(2);
const FLUSH_WITHIN: Duration = Duration::from_secs(60);

/// `rtf synth`.
#[derive(Debug, Args)]
pub struct SynthArgs {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Tweets of people who long for a vacation (foreign) and flight deals (primary), as in the demonstration
    Vacation(VacationArgs),
    /// Ad clicks (foreign) and the search queries they came from (primary), 1:1, about 300 bytes each
    Clicks(ClicksArgs),
    /// Payments (foreign) and the orders they are for (primary), for examples/payments
    Payments(PaymentsArgs),
    /// Readings of sensors (foreign) and calibrations of these (primary), for examples/sensors
    Sensors(SensorsArgs),
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    kafka: KafkaFlags,
    /// Topic of the foreign stream [default: tweets, clicks, payments, readings]
    #[arg(long)]
    foreign_topic: Option<String>,
    /// Topic of the primary stream [default: deals, queries, orders, calibrations]
    #[arg(long)]
    primary_topic: Option<String>,
    /// Partitions of topics that do not exist yet
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// The same seed and parameters give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When the data begins, in milliseconds since 1970 [default: now]; give it to get the same bytes again
    #[arg(long)]
    start_ms: Option<i64>,
    /// Foreign events a second
    #[arg(long)]
    rate: Option<NonZeroU32>,
    /// Send as fast as it goes, without regard to time
    #[arg(long, conflicts_with = "rate")]
    fast: bool,
    /// Print the records as lines `side<TAB>key<TAB>value` instead of sending them
    #[arg(long)]
    dry_run: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct VacationArgs {
    #[command(flatten)]
    common: Common,
    /// Tweets to send; 0 goes on until stopped
    #[arg(long, default_value_t = 0)]
    count: u64,
    /// Flight deals
    #[arg(long, default_value_t = 6000)]
    deals: u32,
    /// Share of deals that come minutes late
    #[arg(long, default_value = "5%")]
    late: Share,
    /// Share of tweets from cities no deal departs from
    #[arg(long, default_value = "5%")]
    elsewhere: Share,
    /// Share of tweets sent twice
    #[arg(long, default_value = "2%")]
    duplicates: Share,
    /// Share of lines that are not JSON
    #[arg(long, default_value = "1%")]
    malformed: Share,
}

#[derive(Debug, Args)]
struct ClicksArgs {
    #[command(flatten)]
    common: Common,
    /// Pairs of click and query
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// Share of queries that come after their click
    #[arg(long, default_value = "10%")]
    late: Share,
    /// How late those are, in milliseconds
    #[arg(long, default_value_t = 2000)]
    late_by_ms: u32,
    /// Share of clicks whose query never comes
    #[arg(long, default_value = "1%")]
    orphans: Share,
    /// Share of clicks sent twice
    #[arg(long, default_value = "1%")]
    duplicates: Share,
    /// Share of malformed records on either side
    #[arg(long, default_value = "0.5%")]
    malformed: Share,
}

#[derive(Debug, Args)]
struct PaymentsArgs {
    #[command(flatten)]
    example: ExampleArgs,
}

#[derive(Debug, Args)]
struct SensorsArgs {
    #[command(flatten)]
    example: ExampleArgs,
    /// Sensors that the readings are of
    #[arg(long, default_value = "40")]
    sensors: NonZeroU32,
    /// From one calibration of a sensor to the next, in milliseconds
    #[arg(long, default_value = "5000")]
    calibrate_every_ms: NonZeroU32,
}

#[derive(Debug, Args)]
struct ExampleArgs {
    #[command(flatten)]
    common: Common,
    /// Foreign events to send
    #[arg(long, default_value_t = 2000)]
    count: u32,
    /// Share of keys (orders, sensors) that come after those who refer to them
    #[arg(long, default_value = "10%")]
    late: Share,
    /// How late those are, in milliseconds
    #[arg(long, default_value_t = 3000)]
    late_by_ms: u32,
    /// Share of keys that never come
    #[arg(long, default_value = "5%")]
    orphans: Share,
    /// Share of foreign events sent twice
    #[arg(long, default_value = "2%")]
    duplicates: Share,
    /// Share of malformed records on either side
    #[arg(long, default_value = "1%")]
    malformed: Share,
}

impl ExampleArgs {
    fn params(&self, defaults: ExampleParams) -> ExampleParams {
        ExampleParams {
            seed: self.common.seed,
            start_ms: self.common.start_ms.unwrap_or_else(now_ms),
            count: self.count,
            per_second: self.common.rate.unwrap_or(defaults.per_second),
            late_by_ms: self.late_by_ms,
            late: self.late,
            orphans: self.orphans,
            duplicates: self.duplicates,
            malformed: self.malformed,
            ..defaults
        }
    }

    fn deliver(&self, example: &Example, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let join = example.join();
        deliver(&self.common, &join, example.events(), None, shutdown)
    }
}

/// Runs `rtf synth` until all is sent or `shutdown`. Blocking.
///
/// # Errors
/// Kafka does not take the data.
pub fn run(args: &SynthArgs, shutdown: &CancellationToken) -> anyhow::Result<()> {
    match &args.workload {
        Workload::Vacation(vacation) => {
            let defaults = VacationParams::default();
            let params = VacationParams {
                seed: vacation.common.seed,
                start_ms: vacation.common.start_ms.unwrap_or_else(now_ms),
                deals: vacation.deals,
                tweets: (vacation.count > 0).then_some(vacation.count),
                per_second: vacation.common.rate.unwrap_or(defaults.per_second),
                elsewhere: vacation.elsewhere,
                late: vacation.late,
                duplicates: vacation.duplicates,
                malformed: vacation.malformed,
                ..defaults
            };
            let total = params.tweets.map(|tweets| tweets + u64::from(params.deals));
            let events = Vacation::new(params).map_err(usage)?.events();
            deliver(&vacation.common, &VACATION, events, total, shutdown)
        }
        Workload::Payments(PaymentsArgs { example }) => {
            let params = example.params(ExampleParams::payments());
            example.deliver(&Example::payments(params), shutdown)
        }
        Workload::Sensors(sensors) => {
            let example = &sensors.example;
            let params = ExampleParams {
                keys: Some(sensors.sensors),
                again_after_ms: Some(sensors.calibrate_every_ms),
                ..example.params(ExampleParams::sensors())
            };
            example.deliver(&Example::sensors(params), shutdown)
        }
        Workload::Clicks(clicks) => {
            let defaults = ClicksParams::default();
            let params = ClicksParams {
                seed: clicks.common.seed,
                start_ms: clicks.common.start_ms.unwrap_or_else(now_ms),
                count: clicks.count,
                per_second: clicks.common.rate.unwrap_or(defaults.per_second),
                late_by_ms: clicks.late_by_ms,
                late: clicks.late,
                orphans: clicks.orphans,
                duplicates: clicks.duplicates,
                malformed: clicks.malformed,
                ..defaults
            };
            let total = Some(params.count * 2);
            deliver(
                &clicks.common,
                &CLICKS,
                Clicks::new(params).events(),
                total,
                shutdown,
            )
        }
    }
}

fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    crate::exit::usage(error.to_string())
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn deliver(
    common: &Common,
    join: &Join,
    events: impl Iterator<Item = Event>,
    total: Option<u64>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    if common.dry_run {
        return print(events);
    }
    let topics = Topics {
        foreign: common
            .foreign_topic
            .clone()
            .unwrap_or_else(|| join.foreign.topic.into()),
        primary: common
            .primary_topic
            .clone()
            .unwrap_or_else(|| join.primary.topic.into()),
    };
    let settings = common.kafka.settings()?;
    let cluster = Cluster::connect(&settings)?;
    for topic in [&topics.foreign, &topics.primary] {
        cluster.ensure_topic(topic, common.partitions, None, &[])?;
    }
    let sender = Sender::open(&settings)?;
    let progress = Progress::new("sent", total);
    let begun = Instant::now();
    let pace = if common.fast {
        Pace::Fast
    } else {
        Pace::ByTime
    };
    let tally = send(&sender, &topics, events, pace, &progress, shutdown)?;
    sender
        .flush(FLUSH_WITHIN)
        .context("not everything was sent")?;
    progress.finish();
    report(common, &topics, &tally, begun.elapsed())
}

/// The two topics of a workload.
#[derive(Clone, Debug)]
pub struct Topics {
    /// The foreign stream's.
    pub foreign: String,
    /// The primary stream's.
    pub primary: String,
}

/// Whether events keep their own times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Each at its own time after the start.
    ByTime,
    /// As fast as it goes.
    Fast,
}

/// Sends events in order and counts them. Blocking; ends early, without error, on `shutdown`.
///
/// # Errors
/// Kafka does not take one.
pub fn send(
    sender: &Sender,
    topics: &Topics,
    events: impl Iterator<Item = Event>,
    pace: Pace,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> anyhow::Result<Tally> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    for event in events {
        if pace == Pace::ByTime && !wait_for(event.at_ms, begun, shutdown)
            || shutdown.is_cancelled()
        {
            break;
        }
        let topic = match event.side {
            Side::Foreign => &topics.foreign,
            Side::Primary => &topics.primary,
        };
        sender.send(topic, None, event.key.as_deref(), Some(&event.value))?;
        tally.count(&event);
        progress.add(1);
    }
    Ok(tally)
}

/// Waits until an event is due; `false` when told to stop before.
fn wait_for(at_ms: i64, begun: Instant, shutdown: &CancellationToken) -> bool {
    let due = Duration::from_millis(at_ms.max(0).unsigned_abs());
    while begun.elapsed() < due {
        if shutdown.is_cancelled() {
            return false;
        }
        std::thread::sleep(
            (due - begun.elapsed().min(due))
                .min(PACE_EVERY * 10)
                .max(PACE_EVERY),
        );
    }
    true
}

fn print(events: impl Iterator<Item = Event>) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for event in events {
        let side = match event.side {
            Side::Foreign => "foreign",
            Side::Primary => "primary",
        };
        let key = event.key.unwrap_or_default();
        let line = [side.as_bytes(), b"\t", &key, b"\t", &event.value, b"\n"].concat();
        if let Err(error) = out.write_all(&line) {
            // `| head` closes the pipe: that is not an error.
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return Ok(());
            }
            bail!(error);
        }
    }
    Ok(())
}

fn report(common: &Common, topics: &Topics, tally: &Tally, took: Duration) -> anyhow::Result<()> {
    let sent = tally.foreign_records() + tally.primary_records();
    if common.json {
        let json = serde_json::json!({
            "seconds": took.as_secs_f64(),
            "foreign": { "topic": topics.foreign, "records": tally.foreign_records(), "joins": tally.joins,
                "orphans": tally.orphans, "malformed": tally.malformed, "duplicates": tally.duplicates },
            "primary": { "topic": topics.primary, "records": tally.primary_records(), "malformed": tally.malformed_primaries },
            "accepted": tally.accepted(),
        });
        return out::line(json).map(drop);
    }
    out::line(format_args!(
        "sent {sent} records in {:.1} s ({:.0} a second)",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64()
    ))?;
    out::line(format_args!(
        "  {}: {} records: {} with a partner, {} without, {} malformed, {} sent twice",
        topics.foreign,
        tally.foreign_records(),
        tally.joins,
        tally.orphans,
        tally.malformed,
        tally.duplicates
    ))?;
    out::line(format_args!(
        "  {}: {} records, {} of them malformed",
        topics.primary,
        tally.primary_records(),
        tally.malformed_primaries
    ))?;
    Ok(())
}
