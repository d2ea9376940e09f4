//! Our numbers beside the pass-through limit and those of peers, in one run, on real Kafka and Redis.

mod apart;
mod backlog;
mod bars;
mod circumstances;
mod contest;
mod document;
mod ids;
mod oracle;
mod output;
mod pass_through;
mod primaries;
mod rebuild;
mod replay;
mod scale;
mod sites;
mod spread;
mod stage;
mod table;
mod tools;
mod waiting;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// Start Kafka and Redis, prepare the data once, measure us beside the pass-through limit and peers, print tables
    Run(contest::Args),
    /// What each role costs in a process of its own, by the size of events: what `rtf size` reckons with
    Apart(apart::Args),
    /// What an event costs while one thing grows: ids, late primaries, partitions, processes, bytes; prints tables
    Scale(scale::Args),
    /// The pass-through limit alone, as a process of its own: both topics, through a Kafka topic, into Redis, with no join
    PassThrough(pass_through::Args),
    /// What it costs to wait: events parked in Kafka, and woken there
    Waiting(waiting::Args),
    /// What remembering ids costs, in a hot bucket and in sealed ones
    Ids(ids::Args),
    /// How soon a registry serves again, from nothing and from its disk
    Rebuild(rebuild::Args),
    /// How fast the foreign topic is read again when all of it is resolved
    Replay(replay::Args),
    /// Two pipelines at full speed over the same topics and log: what is done twice
    Sites(sites::Args),
    /// What primaries cost that memory cannot hold: loading, restart, cold and hot look-ups
    Primaries(primaries::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => contest::run(&args),
        Command::Apart(args) => apart::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::PassThrough(args) => pass_through::run(&args),
        Command::Ids(args) => ids::run(&args),
        Command::Waiting(args) => waiting::run(&args),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Sites(args) => sites::run(&args),
        Command::Primaries(args) => primaries::run(&args),
    }
}
