//! What each role costs in a process of its own, over a backlog, by the size of events: what `rtf size` reckons with.

use crate::stage::{LOG_PARTITIONS, Stage, Topics, all_match, all_run, stop, wait};
use anyhow::{Context, Result, bail};
use rtf_synth::{Event, Side};
use rtf_testing::cost::{cpu_seconds, folder_bytes, peak_mib};
use rtf_testing::{Process, free_role_port, http};
use serde_json::Value;
use std::time::{Duration, Instant};

/// In the order of their start.
const ROLES: [&str; 4] = ["registry", "joiner", "publisher", "dispatcher"];
const JOINER: usize = 1;
const DISPATCHER: usize = 3;
/// A role's HTTP port is so far above its gRPC port.
const HTTP_ABOVE: u16 = 100;
const WITHIN: Duration = Duration::from_secs(600);
const SAMPLE_EVERY: Duration = Duration::from_millis(25);
const SIZE_TOOL: &str = "org.apache.kafka.tools.LogDirsCommand";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pairs of click and query in each run
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    /// A run for each: bytes that every click and every query is longer by. The first one comes once before, and is not counted
    #[arg(long, value_delimiter = ',', default_values_t = [0, 500, 1500])]
    longer_by: Vec<usize>,
    /// Partitions of the join log
    #[arg(long, default_value_t = LOG_PARTITIONS)]
    log_partitions: u32,
}

/// What was sent.
struct Sent {
    foreign_bytes: u64,
    primary_bytes: u64,
}

/// Prints a line for each run.
pub fn run(args: &Args) -> Result<()> {
    let stage = Stage::open(0)?;
    println!(
        "bytes: click  query  in log  in Redis | CPU s / M: primaries loaded, {} Kafka Redis | peak MiB: {} | bytes an event on disk: registry joiner | rows/s",
        ROLES.join(" "),
        ROLES.join(" ")
    );
    let first = args.longer_by.first().into_iter();
    for (turn, longer_by) in first.chain(&args.longer_by).enumerate() {
        let line = measure(&stage, &format!("apart{turn}"), *longer_by, args)?;
        match turn {
            0 => eprintln!("warm-up: {line}"),
            _ => println!("{line}"),
        }
    }
    Ok(())
}

fn measure(stage: &Stage, name: &str, longer_by: usize, args: &Args) -> Result<String> {
    let topics = Topics {
        foreign: format!("{name}.clicks"),
        primary: format!("{name}.queries"),
    };
    stage.make_topics(&topics)?;
    let sent = send(stage, &topics, longer_by, args.events)?;
    let mut connection = stage.redis.connection()?;
    let redis_before = used_memory(&mut connection)?;
    stage.configure(name, &topics, args.log_partitions)?;
    let mut own = Vec::new();
    let mut health = Vec::new();
    for role in ROLES {
        let port = free_role_port()?;
        own.push(format!("{role}.listen=127.0.0.1:{port}"));
        health.push(format!("http://127.0.0.1:{}/readyz", port + HTTP_ABOVE));
    }
    let before = stage.cpu_seconds(&[])?;
    let mut roles = Vec::new();
    // So the joiner has read all primaries before it is asked for any.
    for (role, health) in ROLES.iter().zip(&health).take(DISPATCHER) {
        let mut process = stage.rtf(role, name, &own)?;
        let is_ready = || Ok(http::get(health).is_ok_and(|said| said.status().is_success()));
        wait("the role is ready", WITHIN, &mut process, is_ready)?;
        roles.push(process);
    }
    let loading = cpu_seconds(roles[JOINER].pid())?;
    let begun = Instant::now();
    roles.push(stage.rtf(ROLES[DISPATCHER], name, &own)?);
    wait_for(stage, name, args.events, &mut roles, &mut connection)?;
    let rate = args.events as f64 / begun.elapsed().as_secs_f64();
    let events = args.events as f64;
    let [_, kafka, redis] = stage.cpu_seconds(&[])?;
    let mut cpu = vec![loading];
    for role in &roles {
        cpu.push(cpu_seconds(role.pid())?);
    }
    cpu[1 + JOINER] -= loading;
    cpu.extend([kafka - before[1], redis - before[2]]);
    let peaks: Result<Vec<_>> = roles.iter().map(|role| peak_mib(role.pid())).collect();
    let each = |bytes: u64| bytes as f64 / events;
    let in_redis = used_memory(&mut connection)? - redis_before;
    let in_log = topic_bytes(stage, &rtf_proto::naming::log_topic(name))?;
    for role in roles {
        stop(role)?;
    }
    let on_disk: Result<Vec<_>> = ["registry", "joiner"]
        .iter()
        .map(|role| folder_bytes(&stage.folder(name).join(role)))
        .collect();
    stage.clear(name)?;
    Ok(format!(
        "{:.0} {:.0} {:.0} {:.0} | {} | {} | {} | {rate:.0}",
        each(sent.foreign_bytes),
        each(sent.primary_bytes),
        each(in_log),
        each(in_redis),
        words(cpu.iter().map(|s| format!("{:.1}", s * 1e6 / events))),
        words(peaks?.iter()),
        words(on_disk?.into_iter().map(|b| format!("{:.0}", each(b)))),
    ))
}

fn words(figures: impl Iterator<Item = impl ToString>) -> String {
    let figures: Vec<_> = figures.map(|figure| figure.to_string()).collect();
    figures.join(" ")
}

fn send(stage: &Stage, topics: &Topics, longer_by: usize, events: u64) -> Result<Sent> {
    let mut sent = Sent {
        foreign_bytes: 0,
        primary_bytes: 0,
    };
    let events = all_match(events).events().map(|mut event| {
        lengthen(&mut event, longer_by);
        let bytes = event.value.len() as u64;
        match event.side {
            Side::Foreign => sent.foreign_bytes += bytes,
            Side::Primary => sent.primary_bytes += bytes,
        }
        event
    });
    stage.send(events, topics)?;
    Ok(sent)
}

/// By one more field.
fn lengthen(event: &mut Event, by: usize) {
    const FRAME: usize = r#","more":"""#.len();
    if by > FRAME && event.value.pop() == Some(b'}') {
        let filling = "x".repeat(by - FRAME);
        event
            .value
            .extend(format!(r#","more":"{filling}"}}"#).bytes());
    }
}

/// Until all rows are in Redis.
fn wait_for(
    stage: &Stage,
    name: &str,
    events: u64,
    roles: &mut [Process],
    connection: &mut redis::Connection,
) -> Result<()> {
    let begun = Instant::now();
    while stage.rows(connection, name)? < events {
        all_run(roles)?;
        if begun.elapsed() > WITHIN {
            bail!("not all rows came within {WITHIN:?}");
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
    Ok(())
}

fn used_memory(connection: &mut redis::Connection) -> Result<u64> {
    let info: String = redis::cmd("INFO").arg("memory").query(connection)?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("no used_memory")?.trim().parse()?)
}

/// What a topic takes on the broker's disk.
fn topic_bytes(stage: &Stage, topic: &str) -> Result<u64> {
    let said = stage
        .kafka
        .tool(SIZE_TOOL, &["--describe", "--topic-list", topic], "")?;
    let json = said.lines().find(|line| line.starts_with('{'));
    let said: Value = serde_json::from_str(json.context("no sizes")?)?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let dirs = list(&said, "brokers")
        .into_iter()
        .flat_map(move |broker| list(&broker, "logDirs"));
    let partitions = dirs.flat_map(move |dir| list(&dir, "partitions"));
    Ok(partitions.filter_map(|part| part["size"].as_u64()).sum())
}
