//! How soon a registry serves again, with so many ids in the log: with nothing on its disk, and with all of it.

use crate::stage::{LOG_PARTITIONS, Stage, Topics, wait};
use anyhow::{Result, ensure};
use rtf_testing::cost::{cpu_seconds, peak_mib};
use rtf_testing::{HEALTH_PORT_ABOVE, Process, free_role_port, http, rtf_binary, wait_until};
use std::process::Command;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(1200);
const COUNTED_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const NAME: &str = "clicks";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pairs of click and query; each is an id in the log
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// How often each is measured
    #[arg(long, default_value_t = 3)]
    repeat: u32,
}

/// Prints a line for each start.
pub fn run(args: &Args) -> Result<()> {
    let stage = Stage::open(args.events)?;
    fill(&stage, args.events)?;
    println!("what it finds  seconds until ready      ids/s  own CPU s  Kafka CPU s  peak MiB");
    for _ in 0..args.repeat {
        std::fs::remove_dir_all(stage.folder(NAME).join("registry"))?;
        for found in ["nothing", "all of it"] {
            measure(&stage, found, args.events)?;
        }
    }
    Ok(())
}

/// Has all of it joined, by a pipeline that then ends.
fn fill(stage: &Stage, events: u64) -> Result<()> {
    eprintln!("joining them");
    let mut connection = stage.redis.connection()?;
    let mut process = stage.pipeline(NAME, &Topics::backlog(), LOG_PARTITIONS)?;
    wait("all rows", WITHIN, &mut process, || {
        Ok(stage.rows(&mut connection, NAME)? >= events)
    })?;
    stop(process)
}

fn measure(stage: &Stage, found: &str, events: u64) -> Result<()> {
    let port = free_role_port()?;
    let mut command = Command::new(rtf_binary()?);
    command.arg("registry").arg("-c").arg(stage.config(NAME));
    command.arg(format!("--set=registry.listen=127.0.0.1:{port}"));
    let health = format!("http://127.0.0.1:{}", port + HEALTH_PORT_ABOVE);
    let ready = format!("{health}/readyz");
    let before = stage.cpu_seconds(&[])?;
    let begun = Instant::now();
    let mut process = Process::spawn("rtf registry", &command, &stage.log("registry"))?;
    wait("it is ready", WITHIN, &mut process, || {
        // Until it listens there is no answer.
        Ok(http::get(&ready).is_ok_and(|answer| answer.status() == 200))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let [_, kafka, _] = stage.cpu_seconds(&[])?;
    let (own, peak) = (cpu_seconds(process.pid())?, peak_mib(process.pid())?);
    // It counts them every other second.
    wait_until("it knows all ids", COUNTED_WITHIN, || {
        let ids = http::metric(&health, "rtf_registry_ids", "").ok()?;
        (ids == events as f64).then_some(())
    })?;
    println!(
        "{found:<13} {seconds:>20.2} {:>10.0} {own:>10.2} {:>12.2} {peak:>9}",
        events as f64 / seconds,
        kafka - before[1]
    );
    stop(process)
}

fn stop(mut process: Process) -> Result<()> {
    process.sigterm()?;
    let status = process.wait(STOP_WITHIN)?;
    ensure!(status.success(), "it did not stop cleanly: {status}");
    Ok(())
}
