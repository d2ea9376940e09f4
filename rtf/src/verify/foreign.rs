//! What the foreign topic says must come out.

use super::hash;
use super::ids::Seen;
use crate::foreign_id::id_of;
use crate::reader::Reader;
use anyhow::Context;
use rtf_config::Config;
use rtf_json::Extractor;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::{Offset, PartitionId, Source, TopicId};
use std::sync::Arc;

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
