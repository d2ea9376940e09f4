//! What the foreign topic says must come out.

use super::{IdHash, hash};
use crate::foreign_id::id_of;
use crate::reader::Reader;
use anyhow::Context;
use rtf_config::Config;
use rtf_json::Extractor;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::{Offset, PartitionId, Source, TopicId, header};
use std::collections::{HashMap, HashSet};

/// The foreign topic, read once.
#[derive(Default)]
pub struct Foreign {
    /// Its topic.
    pub topic_id: TopicId,
    /// Records in all.
    pub records: u64,
    /// Each event, by its id.
    pub events: HashMap<IdHash, Seen>,
}

/// One event in the foreign topic.
#[derive(Clone, Copy)]
pub struct Seen {
    /// Its first record.
    pub partition: PartitionId,
    /// Its first record.
    pub offset: Offset,
    /// Whether the group has passed it: then it must be in the log, or parked.
    pub committed: bool,
}

/// Events parked in retry topics that have not come back.
pub type Parked = HashSet<IdHash>;

/// Where each retry topic's readers are.
pub type Positions = Vec<(String, Vec<(PartitionId, Option<Offset>)>)>;

/// Asks how far the retry topics are read; those that are not there yet are left out. Blocking.
///
/// # Errors
/// No answer.
pub fn retry_positions(cluster: &Cluster, config: &Config) -> anyhow::Result<Positions> {
    let mut positions = Vec::new();
    for tier in crate::options::dispatcher(config)
        .parking
        .into_iter()
        .flat_map(|p| p.tiers)
    {
        if cluster.topic(&tier.topic)?.is_some() {
            let committed = cluster.committed(&tier.group, &tier.topic)?;
            positions.push((tier.topic, committed));
        }
    }
    Ok(positions)
}

/// Reads the retry topics from these positions to their present ends. Blocking.
///
/// # Errors
/// A topic cannot be read.
pub fn parked(
    cluster: &Cluster,
    settings: &Settings,
    positions: &Positions,
) -> anyhow::Result<Parked> {
    let mut parked = Parked::new();
    for (topic, committed) in positions {
        let committed: HashMap<_, _> = committed.iter().copied().collect();
        let isolation = Isolation::ReadUncommitted;
        let Some(reader) = Reader::open(cluster, settings, topic, isolation, "parked")? else {
            continue;
        };
        reader.read(0..reader.info.partitions, |record| {
            let position = committed.get(&record.partition()).copied().flatten();
            if record.offset() >= position.unwrap_or_default() {
                let id = header::text(&record.headers(), header::ID).map(str::to_owned);
                parked.extend(id.map(|id| hash(id.as_bytes())));
            }
            Ok(())
        })?;
    }
    Ok(parked)
}

/// Reads the topic to its present end. Blocking.
///
/// # Errors
/// The topic cannot be read.
pub fn read(
    cluster: &Cluster,
    config: &Config,
    settings: &Settings,
    committed: &[(PartitionId, Option<Offset>)],
) -> anyhow::Result<Foreign> {
    let topic = &config.join.foreign.topic;
    let isolation = crate::options::isolation(config);
    let reader = Reader::open(cluster, settings, topic, isolation, "foreign")?
        .with_context(|| format!("topic `{topic}` does not exist"))?;
    let topic_id = reader.info.id;
    let extractor = Extractor::new(crate::options::foreign_fields(config))?;
    let positions: HashMap<_, _> = committed.iter().copied().collect();
    let name: std::sync::Arc<str> = topic.as_str().into();
    let mut foreign = Foreign {
        topic_id,
        ..Foreign::default()
    };
    reader.read(0..reader.info.partitions, |record| {
        let source = Source {
            topic: name.clone(),
            topic_id,
            partition: record.partition(),
            offset: record.offset(),
        };
        let id = id_of(&extractor, record, &source);
        let committed = positions
            .get(&source.partition)
            .copied()
            .flatten()
            .is_some_and(|next| source.offset < next);
        foreign.records += 1;
        let seen = Seen {
            partition: source.partition,
            offset: source.offset,
            committed,
        };
        let known = foreign.events.entry(hash(id.as_bytes())).or_insert(seen);
        known.committed |= committed;
        Ok(())
    })?;
    Ok(foreign)
}
