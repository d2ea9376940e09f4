//! `rtf verify`: reads foreign topic, join log and sink, and compares them.
//!
//! It believes none of the roles: winners are found anew from the raw records of the log. Positions are taken in an order that
//! makes it safe beside a running pipeline: first what the group has committed, then the end of the foreign
//! topic, then the end of the log, then Redis. What was committed must be in the log; what is in the log may not be in Redis yet.

mod foreign;
mod log;
mod report;
mod sink;

use crate::progress::Progress;
use anyhow::Context;
use rtf_config::Config;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::naming;
use std::process::ExitCode;

pub use report::Report;

/// A joined name of one event: 128 bits of its id's hash. Ids themselves are not kept: a hundred million would not fit.
type IdHash = u128;

fn hash(id: &[u8]) -> IdHash {
    use std::hash::{DefaultHasher, Hasher};
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(id);
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}

/// Runs `rtf verify`. Exit code 1 if anything is lost or duplicated.
///
/// # Errors
/// Something could not be read.
pub async fn run(config: &Config, settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let report = check(config, settings).await?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Compares everything there is.
///
/// # Errors
/// Something could not be read.
pub async fn check(config: &Config, settings: &Settings) -> anyhow::Result<Report> {
    let (foreign, log) = {
        let (config, settings) = (config.clone(), settings.clone());
        tokio::task::spawn_blocking(move || read_kafka(&config, &settings)).await??
    };
    let rows = sink::read(config, &log)
        .await
        .context("reading the rows in Redis")?;
    Ok(Report::of(
        &foreign,
        &log,
        rows,
        crate::options::emits_unmatched(config),
    ))
}

fn read_kafka(
    config: &Config,
    settings: &Settings,
) -> anyhow::Result<(foreign::Foreign, log::Log)> {
    let cluster = Cluster::connect(settings)?;
    let topic = &config.join.foreign.topic;
    let committed = cluster.committed(&crate::options::group(config), topic)?;
    let foreign = foreign::read(&cluster, config, settings, &committed)?;
    let skip = config.registry.skipped().collect();
    let log = log::read(
        &cluster,
        settings,
        &naming::log_topic(&config.join.name),
        &skip,
    )?;
    Ok((foreign, log))
}

/// Reads every partition of a topic from its beginning to its present end, in no order between partitions. Blocking.
fn read_topic(
    cluster: &Cluster,
    settings: &Settings,
    topic: &str,
    isolation: rtf_kafka::Isolation,
    what: &'static str,
    mut each: impl FnMut(&rtf_kafka::Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<rtf_kafka::TopicInfo> {
    use rtf_kafka::{Polled, Start, Tail};
    let info = cluster
        .topic(topic)?
        .with_context(|| format!("topic `{topic}` does not exist"))?;
    let mut left = std::collections::HashMap::new();
    let mut total = 0;
    for partition in 0..info.partitions {
        let (first, end) = cluster.offsets(topic, partition)?;
        if first < end {
            left.insert(partition, end);
            total += end - first;
        }
    }
    let positions: Vec<_> = left
        .keys()
        .map(|partition| (*partition, Start::Beginning))
        .collect();
    if positions.is_empty() {
        return Ok(info);
    }
    let tail = Tail::open(settings, topic, &positions, isolation)?;
    let progress = Progress::new(what, Some(total));
    while !left.is_empty() {
        match tail.poll(std::time::Duration::from_millis(200)) {
            Polled::Record(record) => {
                let (partition, offset) = (record.partition(), record.offset());
                let Some(end) = left.get(&partition).copied() else {
                    continue;
                };
                if offset < end {
                    each(&record)?;
                    progress.add(1);
                }
                if offset + 1 >= end {
                    left.remove(&partition);
                }
            }
            // The end as librdkafka sees it: what is missing up to the offset asked for are transaction markers.
            Polled::EndOfPartition(partition) => drop(left.remove(&partition)),
            Polled::Idle => {}
            Polled::Failed(error) => return Err(error.into()),
        }
    }
    progress.finish();
    Ok(info)
}
