//! What the foreign topic says must come out, and what is parked.

use super::ids::Seen;
use super::{IdHash, hash};
use crate::foreign_id::id_of;
use crate::reader::Reader;
use anyhow::Context;
use rtf_config::Config;
use rtf_json::Extractor;
use rtf_kafka::{Cluster, Isolation, Settings};
use rtf_proto::{Offset, PartitionId, Source, TopicId, header};
use std::collections::HashMap;
use std::sync::Arc;

/// How far a group has read each partition.
pub type Committed = Vec<(PartitionId, Option<Offset>)>;

/// Where each retry topic's readers are.
pub type Positions = Vec<(String, Committed)>;

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

/// Reads the retry topics from these positions to their present ends: events that have not come back. Blocking.
///
/// # Errors
/// A topic cannot be read, or what `each` says.
pub fn parked(
    cluster: &Cluster,
    settings: &Settings,
    positions: &Positions,
    mut each: impl FnMut(IdHash) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for (topic, committed) in positions {
        let committed: HashMap<_, _> = committed.iter().copied().collect();
        let isolation = Isolation::ReadUncommitted;
        let Some(reader) = Reader::open(cluster, settings, topic, isolation, "parked")? else {
            continue;
        };
        reader.read(0..reader.info.partitions, |record| {
            let position = committed.get(&record.partition()).copied().flatten();
            if record.offset() >= position.unwrap_or_default()
                && let Some(id) = header::text(&record.headers(), header::ID)
            {
                each(hash(id.as_bytes()))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The foreign topic.
pub struct Foreign {
    reader: Reader,
    topic: Arc<str>,
    extractor: Extractor,
}

impl Foreign {
    /// Asks where it begins and ends. Blocking.
    ///
    /// # Errors
    /// No answer, or there is no such topic.
    pub fn open(cluster: &Cluster, config: &Config, settings: &Settings) -> anyhow::Result<Self> {
        let topic = &config.join.foreign.topic;
        let isolation = crate::options::isolation(config);
        let reader = Reader::open(cluster, settings, topic, isolation, "foreign")?
            .with_context(|| format!("topic `{topic}` does not exist"))?;
        Ok(Self {
            reader,
            topic: topic.as_str().into(),
            extractor: Extractor::new(crate::options::foreign_fields(config))?,
        })
    }

    /// Its id.
    pub fn id(&self) -> TopicId {
        self.reader.info.id
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.reader.info.partitions
    }

    /// Reads a partition to its end; `committed` is how far the group has read it. Blocking.
    ///
    /// # Errors
    /// It cannot be read, or what `each` says.
    pub fn read(
        &self,
        partition: PartitionId,
        committed: Option<Offset>,
        mut each: impl FnMut(Seen) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.reader.read([partition], |record| {
            let source = Source {
                topic: self.topic.clone(),
                topic_id: self.id(),
                partition,
                offset: record.offset(),
            };
            each(Seen {
                id: hash(id_of(&self.extractor, record, &source).as_bytes()),
                partition,
                offset: source.offset,
                committed: committed.is_some_and(|next| source.offset < next),
            })
        })
    }
}
