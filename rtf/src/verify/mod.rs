//! `rtf verify`: reads foreign topic, join log, dead letters and sink, and compares them.
//!
//! It believes none of the roles: winners are found anew from the raw records of the log. Positions are taken in an order that
//! makes it safe beside a running pipeline: first what the groups have committed, then the ends of the foreign
//! topic and of the retry topics, then the end of the log, then that of the dead letters, then Redis. What was committed must be parked or in the log; what is in the log may not
//! be in the topic or in Redis yet.

mod foreign;
mod letters;
mod log;
mod partition;
mod report;
mod sink;

use anyhow::Context;
use rtf_config::Config;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::partitioner::murmur2;
use rtf_proto::{PartitionId, naming};
use std::process::ExitCode;

pub use report::Report;

/// A joined name of one event: 128 bits of its id's hashes, the lowest 32 those by which it has its partition of the log. Ids themselves are not
/// kept: a hundred million would not fit.
type IdHash = u128;

fn hash(id: &[u8]) -> IdHash {
    use std::hash::{DefaultHasher, Hasher};
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(id);
        hasher.finish()
    };
    let third = half(1) & !u64::from(u32::MAX);
    u128::from(half(0)) << 64 | u128::from(third) | u128::from(murmur2(id))
}

/// The partition of an id among so many.
fn share(id: IdHash, count: u32) -> PartitionId {
    let positive = id & 0x7fff_ffff;
    u32::try_from(positive).expect("31 bits") % count
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
    let read = {
        let (config, settings) = (config.clone(), settings.clone());
        tokio::task::spawn_blocking(move || read_kafka(&config, &settings)).await??
    };
    let rows = sink::read(config, &read.log)
        .await
        .context("reading the rows in Redis")?;
    let emits_unmatched = crate::options::emits_unmatched(config);
    Ok(Report::of(&read, rows, emits_unmatched))
}

/// What Kafka has.
#[derive(Default)]
struct Topics {
    foreign: foreign::Foreign,
    parked: foreign::Parked,
    log: log::Log,
    letters: letters::Letters,
}

fn read_kafka(config: &Config, settings: &Settings) -> anyhow::Result<Topics> {
    let cluster = Cluster::connect(settings)?;
    let topic = &config.join.foreign.topic;
    let committed = cluster.committed(&crate::options::group(config), topic)?;
    let positions = foreign::retry_positions(&cluster, config)?;
    let foreign = foreign::read(&cluster, config, settings, &committed)?;
    let parked = foreign::parked(&cluster, settings, &positions)?;
    let skip = config.registry.skipped().collect();
    let log = log::read(
        &cluster,
        settings,
        &naming::log_topic(&config.join.name),
        &skip,
    )?;
    let topic = naming::dead_letter_topic(&config.join.name);
    let letters = letters::read(&cluster, settings, &topic, log.id)?;
    Ok(Topics {
        foreign,
        parked,
        log,
        letters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::partitioner::partition_of;

    #[test]
    fn a_hash_tells_the_partition() {
        for number in 0..1000 {
            let id = format!("id-{number}");
            let id = id.as_bytes();
            assert_eq!(share(hash(id), 24), partition_of(id, 24));
        }
    }
}
