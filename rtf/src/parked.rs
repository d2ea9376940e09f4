//! Events parked in the retry topics: what stands there behind the positions of the topics' readers.

use crate::reader::Reader;
use rtf_config::Config;
use rtf_kafka::{Cluster, Isolation, Record, Settings};
use rtf_proto::{Offset, PartitionId};

/// How far a group has read each partition.
pub type Committed = Vec<(PartitionId, Option<Offset>)>;

/// Where each retry topic's readers are.
pub type Positions = Vec<(String, Committed)>;

/// Asks how far the retry topics are read; those that are not there yet are left out. Blocking.
///
/// # Errors
/// No answer.
pub fn positions(cluster: &Cluster, config: &Config) -> anyhow::Result<Positions> {
    let mut positions = Vec::new();
    let parking = crate::options::dispatcher(config).parking.into_iter();
    for tier in parking.flat_map(|parking| parking.tiers) {
        if cluster.topic(&tier.topic)?.is_some() {
            let committed = cluster.committed(&tier.group, &tier.topic)?;
            positions.push((tier.topic, committed));
        }
    }
    Ok(positions)
}

/// Reads the retry topics from these positions to their present ends, until `each`, which is told the topic too, has enough. Blocking.
///
/// # Errors
/// A topic cannot be read, or what `each` says.
pub fn read(
    cluster: &Cluster,
    settings: &Settings,
    positions: &Positions,
    mut each: impl FnMut(&str, &Record<'_>) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let isolation = Isolation::ReadUncommitted;
    let mut goes_on = true;
    for (topic, committed) in positions {
        let Some(reader) = Reader::open(cluster, settings, topic, isolation, "parked")? else {
            continue;
        };
        let from = committed.iter();
        let from = from.map(|(partition, next)| (*partition, next.unwrap_or_default()));
        let from = from.filter(|(partition, _)| *partition < reader.info.partitions);
        reader.read_while(from, |record| {
            goes_on = each(topic, record)?;
            Ok(goes_on)
        })?;
        if !goes_on {
            break;
        }
    }
    Ok(())
}
