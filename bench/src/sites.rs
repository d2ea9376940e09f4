//! Two pipelines at full speed over the same backlog and log: what is done twice, and what each of them does.

use crate::stage::all_match;
use crate::waiting::{send, wait};
use anyhow::Result;
use rtf_kafka::Sender;
use rtf_synth::CLICKS;
use rtf_testing::{Instance, PipelineOptions, Role, Servers, http};
use std::time::{Duration, Instant};

const SITES: [Instance; 2] = [Instance(Role::Dispatcher, 0), Instance(Role::Dispatcher, 1)];
const OTHERS: [Instance; 2] = [Instance(Role::Registry, 0), Instance(Role::Joiner, 0)];
const INPUT_PARTITIONS: u32 = 4;
const READY_WITHIN: Duration = Duration::from_secs(120);
const FLUSH_WITHIN: Duration = Duration::from_secs(120);
const DONE_WITHIN: Duration = Duration::from_secs(900);
const JOINED: &str = "rtf_dispatcher_events_total{outcome=\"joined\"}";
const WASTED: &str = "rtf_dispatcher_wasted_total";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Clicks, each with its query
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

/// Runs it and prints the figures.
pub fn run(args: &Args) -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, INPUT_PARTITIONS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions {
        is_cluster: true,
        partitions: 16,
        ..PipelineOptions::new(CLICKS)
    })?;
    for (site, number) in SITES.into_iter().zip(1..) {
        pipeline.set(site, "dispatcher.site", &format!("{number}/2"));
    }
    pipeline.set(SITES[1], "dispatcher.group", "clicks.dispatcher.second");
    let sender = Sender::open(servers.checker(CLICKS).settings())?;
    let clicks = all_match(args.events);
    eprintln!("sending {} clicks and their queries", args.events);
    for event in clicks.events() {
        send(&sender, &event)?;
    }
    sender.flush(FLUSH_WITHIN)?;
    pipeline.start_all(&OTHERS, READY_WITHIN)?;
    let begun = Instant::now();
    for site in SITES {
        pipeline.start(site)?;
    }
    for site in SITES {
        pipeline.wait_ready(site, READY_WITHIN)?;
    }
    let both = |name: &str| -> Result<[f64; 2]> {
        let [a, b] = SITES.map(|site| http::metric(&pipeline.health(site), name, ""));
        Ok([a?, b?])
    };
    wait(DONE_WITHIN, || {
        Ok(both(JOINED)?.iter().sum::<f64>() >= args.events as f64)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let (joined, wasted) = (both(JOINED)?, both(WASTED)?);
    let all: f64 = joined.iter().sum();
    println!(
        "{all:.0} joined by two pipelines in {seconds:.1} s from their start, {:.0} a second; {:.0} % by the first; {:.2} % done twice",
        all / seconds,
        100.0 * joined[0] / all,
        100.0 * wasted.iter().sum::<f64>() / all
    );
    Ok(())
}
