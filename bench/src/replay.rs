//! How fast the foreign topic is read again when all of it is resolved, beside the first run: same process, same data.

use crate::stage::{LOG_PARTITIONS, Stage, Topics, wait};
use anyhow::{Context, Result, bail};
use rtf_testing::cost::cpu_seconds;
use rtf_testing::{rtf_binary, run as finish};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(600);
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const NAME: &str = "clicks";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pairs of click and query
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How often it is read again
    #[arg(long, default_value_t = 3)]
    repeat: u32,
}

/// Prints a line for the first run and for each replay.
pub fn run(args: &Args) -> Result<()> {
    let stage = Stage::open(args.events)?;
    let mut connection = stage.redis.connection()?;
    let begun = Instant::now();
    let mut process = stage.pipeline(NAME, &Topics::backlog(), LOG_PARTITIONS)?;
    let mut first_row = None;
    wait("all rows", WITHIN, &mut process, || {
        let rows = stage.rows(&mut connection, NAME)?;
        if rows > 0 {
            first_row.get_or_insert(begun.elapsed());
        }
        Ok(rows >= args.events)
    })?;
    let whole = begun.elapsed();
    let events = args.events as f64;
    let at_work = whole.saturating_sub(first_row.unwrap_or_default());
    println!(
        "run                            seconds  events/s  own CPU s  times the first run, from its start / its first row"
    );
    let line = |what: &str, time: Duration, cpu: f64| {
        let seconds = time.as_secs_f64();
        println!(
            "{what:<30} {seconds:>7.2} {:>9.0} {cpu:>10.2} {:>8.1} {:>8.1}",
            events / seconds,
            whole.as_secs_f64() / seconds,
            at_work.as_secs_f64() / seconds
        );
    };
    line(
        "first run, from its start",
        whole,
        cpu_seconds(process.pid())?,
    );
    line("first run, from its first row", at_work, f64::NAN);
    wait("all is committed", WITHIN, &mut process, || {
        is_at(&stage, "mark", args.events)
    })?;
    for turn in 1..=args.repeat {
        let before = cpu_seconds(process.pid())?;
        let begun = Instant::now();
        rtf(&stage, &["replay", "--to-earliest", "--execute"])?;
        wait("all is read again", WITHIN, &mut process, || {
            is_at(&stage, "position", args.events)
        })?;
        let time = begun.elapsed();
        let cpu = cpu_seconds(process.pid())? - before;
        line(&format!("replay {turn}"), time, cpu);
        wait("all is committed", WITHIN, &mut process, || {
            is_at(&stage, "mark", args.events)
        })?;
    }
    process.sigterm()?;
    process.wait(STOP_WITHIN)?;
    Ok(())
}

/// Whether all partitions together are so far.
fn is_at(stage: &Stage, field: &str, events: u64) -> Result<bool> {
    let status = rtf(stage, &["status"])?;
    let partitions = status["dispatchers"][0]["partitions"].as_array();
    let offsets = partitions.context("partitions")?.iter();
    let sum: u64 = offsets.filter_map(|p| p[field].as_u64()).sum();
    Ok(sum >= events)
}

/// `rtf dispatcher ...`
fn rtf(stage: &Stage, arguments: &[&str]) -> Result<Value> {
    let config = stage.config(NAME);
    let mut command = Command::new(rtf_binary()?);
    command.arg("dispatcher").args(arguments).arg("--json");
    command.arg("-c").arg(&config);
    let folder = config.parent().context("it lies in a folder")?;
    let finished = finish(&command, folder, COMMAND_WITHIN)?;
    if finished.code() != 0 {
        bail!("{command:?}: {}", finished.output);
    }
    finished.json()
}
