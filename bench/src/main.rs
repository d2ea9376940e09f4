//! Our numbers beside the pass-through limit, in one run, on real Kafka and Redis.

mod backlog;
mod ids;
mod latency;
mod pass_through;
mod primaries;
mod replay;
mod sites;
mod stage;
mod waiting;

use crate::latency::{Latency, Who};
use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// The product's own: what is measured in this process is measured as it runs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Ready To Fly against what the machine can do at all.
#[derive(Debug, Parser)]
#[command(name = "rtf-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Kafka and Redis, prepare the data once, measure everything, print a table
    Run(RunArgs),
    /// The pass-through limit alone, as a process of its own: both topics, through a Kafka topic, into Redis, with no join
    PassThrough(pass_through::Args),
    /// What it costs to wait: events parked in Kafka, and woken there
    Waiting(waiting::Args),
    /// What remembering ids costs, in a hot bucket and in sealed ones
    Ids(ids::Args),
    /// How fast the foreign topic is read again when all of it is resolved
    Replay(replay::Args),
    /// Two pipelines at full speed over the same topics and log: what is done twice
    Sites(sites::Args),
    /// What primaries cost that memory cannot hold: loading, restart, cold and hot look-ups
    Primaries(primaries::Args),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Pairs of click and query in the backlog
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Clicks a second of the latency run; 0 leaves it out
    #[arg(long, default_value_t = 5000)]
    rate: u32,
    /// Seconds of the latency run
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Each backlog run is repeated, in turns
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Also write the figures here
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::PassThrough(args) => pass_through::run(&args),
        Command::Ids(args) => ids::run(&args),
        Command::Waiting(args) => waiting::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Sites(args) => sites::run(&args),
        Command::Primaries(args) => primaries::run(&args),
    }
}

fn run(args: &RunArgs) -> Result<()> {
    let stage = stage::Stage::open(args.events)?;
    let (mut limit, mut ours) = (Vec::new(), Vec::new());
    println!("{}", backlog::HEADER);
    for turn in 0..args.repeat {
        let figures = backlog::pass_through(&stage, turn)?;
        println!("{figures}");
        limit.push(figures);
        let figures = backlog::ours(&stage, turn)?;
        println!("{figures}");
        ours.push(figures);
    }
    let (best_limit, best_ours) = (backlog::median_rate(&limit), backlog::median_rate(&ours));
    println!(
        "\nbacklog, median: {best_ours:.0} of {best_limit:.0} rows/s, {:.0} % of the pass-through limit",
        100.0 * best_ours / best_limit
    );
    let mut latencies = Vec::new();
    if args.rate > 0 {
        for who in [Who::PassThrough, Who::Ours] {
            let latency = latency::measure(&stage, who, args.rate, args.seconds)?;
            println!("{latency}");
            latencies.push(latency);
        }
    }
    if let Some(path) = &args.json {
        let figures = json!({
            "events": args.events,
            "pass_through": limit.iter().map(backlog::Figures::to_json).collect::<Vec<_>>(),
            "ours": ours.iter().map(backlog::Figures::to_json).collect::<Vec<_>>(),
            "latency": latencies.iter().map(Latency::to_json).collect::<Vec<_>>(),
        });
        std::fs::write(path, format!("{figures:#}\n"))?;
    }
    Ok(())
}
