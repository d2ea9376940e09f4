//! What it costs to wait: events nobody comes for, parked in Kafka, and how long those take to be woken for whom somebody comes after all.

use crate::stage::all_match;
use anyhow::{Result, bail};
use rtf_kafka::Sender;
use rtf_synth::{CLICKS, Event, Side};
use rtf_testing::cost::{cpu_seconds, peak_mib};
use rtf_testing::{Instance, Pipeline, PipelineOptions, Role, Servers, http};
use std::time::{Duration, Instant};

const DISPATCHER: Instance = Instance(Role::Dispatcher, 0);
const REGISTRY: Instance = Instance(Role::Registry, 0);
const ROLES: [Instance; 3] = [REGISTRY, Instance(Role::Joiner, 0), DISPATCHER];
const INPUT_PARTITIONS: u32 = 4;
const READY_WITHIN: Duration = Duration::from_secs(60);
const FLUSH_WITHIN: Duration = Duration::from_secs(120);
const PARKED_WITHIN: Duration = Duration::from_secs(1800);
const WOKEN_WITHIN: Duration = Duration::from_secs(300);
/// Nothing is moved from a retry topic to the next for so long: they rest.
const RESTS: Duration = Duration::from_secs(5);
/// Events for which somebody comes one at a time.
const SINGLE: u64 = 100;
/// This share of the events must be parked.
const PARKED: f64 = 0.99;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Events that wait
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// Of which so many may wait in memory
    #[arg(long, default_value_t = 50_000)]
    memory: u64,
    /// And for so many somebody comes
    #[arg(long, default_value_t = 10_000)]
    woken: u64,
    /// Nobody comes before all of them have been moved on to the tier in which they stay longer
    #[arg(long)]
    rest: bool,
}

/// Runs it and prints the figures.
pub fn run(args: &Args) -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, INPUT_PARTITIONS)?;
    let more_wait = format!("max_events = {}\n", args.memory);
    let mut pipeline = servers.pipeline(&PipelineOptions {
        wait_max: "24h",
        more_wait: more_wait.leak(),
        is_cluster: true,
        partitions: 16,
        ..PipelineOptions::new(CLICKS)
    })?;
    pipeline.start_all(&ROLES, READY_WITHIN)?;
    let sender = Sender::open(servers.checker(CLICKS).settings())?;
    let clicks = all_match(args.events);
    eprintln!("sending {} clicks without their queries", args.events);
    let begun = Instant::now();
    for event in clicks.events().filter(|event| event.side == Side::Foreign) {
        send(&sender, &event)?;
    }
    sender.flush(FLUSH_WITHIN)?;
    let sent = begun.elapsed();
    wait(PARKED_WITHIN, || {
        let keys = metric(&pipeline, "rtf_dispatcher_parked_keys")?;
        Ok(keys >= PARKED * args.events as f64)
    })?;
    let parked = begun.elapsed();
    let pid = pipeline.process(DISPATCHER)?.pid();
    println!(
        "{} events parked and indexed {:.1} s after the first was sent (sending took {:.1} s): {:.0} a second",
        args.events,
        parked.as_secs_f64(),
        sent.as_secs_f64(),
        args.events as f64 / parked.as_secs_f64()
    );
    println!(
        "dispatcher: {} MiB at the most, {:.1} CPU s a million",
        peak_mib(pid)?,
        cpu_seconds(pid)? * 1e6 / args.events as f64
    );

    if args.rest {
        rest(&pipeline)?;
        println!(
            "all of them rest in a later tier {:.1} s after the first was sent",
            begun.elapsed().as_secs_f64()
        );
    }
    let stride = (args.events / (args.woken + SINGLE)).max(1) as usize;
    let queries = clicks.events().filter(|event| event.side == Side::Primary);
    let queries: Vec<Event> = queries.step_by(stride).collect();
    // Neighbours would be found on the way.
    let (single, many): (Vec<_>, Vec<_>) = (0..)
        .zip(queries)
        .partition(|(n, _)| n % (args.woken / SINGLE + 1) == 0);
    let mut joined = 0;
    let mut times = Vec::new();
    for (_, event) in &single {
        let begun = Instant::now();
        send(&sender, event)?;
        sender.flush(FLUSH_WITHIN)?;
        joined += 1;
        wait_joined(&pipeline, joined)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!(
        "{} of them, one at a time, from its query to joined: p50 {:.0?}, at the most {:.0?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    let begun = Instant::now();
    for (_, event) in &many {
        send(&sender, event)?;
        joined += 1;
    }
    sender.flush(FLUSH_WITHIN)?;
    wait_joined(&pipeline, joined)?;
    println!(
        "{} of them, all over the topics, were joined within {:.1} s of their queries",
        many.len(),
        begun.elapsed().as_secs_f64()
    );
    println!("dispatcher: {} MiB at the most", peak_mib(pid)?);
    Ok(())
}

/// Waits until nothing has been parked anew for a while.
fn rest(pipeline: &Pipeline) -> Result<()> {
    let (mut moved, mut since) = (0.0, Instant::now());
    wait(PARKED_WITHIN, || {
        let parked = metric(pipeline, "rtf_dispatcher_parked_total")?;
        if parked != moved {
            (moved, since) = (parked, Instant::now());
        }
        Ok(since.elapsed() > RESTS)
    })
}

fn wait_joined(pipeline: &Pipeline, count: u64) -> Result<()> {
    // The dispatcher's own figures are of the last second. Nothing else is registered here.
    let health = pipeline.health(REGISTRY);
    wait(WOKEN_WITHIN, || {
        let registered = http::metric(&health, "rtf_registry_registered_total", "\"registered\"")?;
        Ok(registered >= count as f64)
    })
}

pub fn send(sender: &Sender, event: &Event) -> Result<()> {
    let topic = match event.side {
        Side::Foreign => CLICKS.foreign.topic,
        Side::Primary => CLICKS.primary.topic,
    };
    Ok(sender.send(topic, None, event.key.as_deref(), Some(&event.value))?)
}

fn metric(pipeline: &Pipeline, name: &str) -> Result<f64> {
    http::metric(&pipeline.health(DISPATCHER), name, "")
}

pub fn wait(within: Duration, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !reached()? {
        if begun.elapsed() > within {
            bail!("not within {within:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
