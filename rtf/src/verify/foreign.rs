//! What the foreign topic says must come out.

use super::reader::Reader;
use super::{IdHash, hash};
use crate::foreign_id::id_of;
use anyhow::Context;
use rtf_config::Config;
use rtf_json::Extractor;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::{Offset, PartitionId, Source, TopicId};
use std::collections::HashMap;

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
    /// Whether the group has passed it: then it must be in the log.
    pub committed: bool,
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
