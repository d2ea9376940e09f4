//! Reads partitions of a topic from their beginnings to the ends they had when it was asked. Blocking.

use crate::progress::Progress;
use rtf_kafka::{Cluster, Isolation, Polled, Record, Settings, Start, Tail, TopicInfo};
use rtf_proto::{Offset, PartitionId};
use std::collections::HashMap;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(200);
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// A topic as it was when it was opened.
pub struct Reader {
    /// The topic.
    pub info: TopicInfo,
    /// First offset and end of each partition.
    offsets: Vec<(Offset, Offset)>,
    tail: Tail,
    progress: Progress,
}

impl Reader {
    /// Asks where the topic begins and ends; `None` if there is no such topic. `what` is for the progress bar.
    ///
    /// # Errors
    /// No answer.
    pub fn open(
        cluster: &Cluster,
        settings: &Settings,
        topic: &str,
        isolation: Isolation,
        what: &'static str,
    ) -> anyhow::Result<Option<Self>> {
        let Some(info) = cluster.topic(topic)? else {
            return Ok(None);
        };
        // The last one first: a partition of the join log holds nothing of ours before another with a lower number was split, so that
        // record is below the end that is asked for afterwards.
        let mut offsets = (0..info.partitions)
            .rev()
            .map(|partition| cluster.offsets(topic, partition))
            .collect::<Result<Vec<_>, _>>()?;
        offsets.reverse();
        let records = offsets.iter().map(|(first, end)| end - first).sum();
        Ok(Some(Self {
            info,
            offsets,
            tail: Tail::open(settings, topic, &[], isolation)?,
            progress: Progress::new(what, Some(records)),
        }))
    }

    /// The first offset of a partition; what stood below it is lost.
    pub fn first(&self, partition: PartitionId) -> Offset {
        let offsets = self.offsets.get(partition as usize);
        offsets.map_or(0, |(first, _)| *first)
    }

    /// Reads some partitions to their ends, in no order between them.
    ///
    /// # Errors
    /// A partition cannot be read, or what `each` says.
    pub fn read(
        &self,
        partitions: impl IntoIterator<Item = PartitionId>,
        mut each: impl FnMut(&Record<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let starts = partitions.into_iter().map(|partition| (partition, 0));
        self.read_while(starts, |record| {
            each(record)?;
            self.progress.add(1);
            Ok(true)
        })
    }

    /// Reads some partitions from these offsets, or from where they begin now, until `each` has enough. Not counted as progress.
    ///
    /// # Errors
    /// A partition cannot be read, or what `each` says.
    pub fn read_while(
        &self,
        from: impl IntoIterator<Item = (PartitionId, Offset)>,
        mut each: impl FnMut(&Record<'_>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut starts = Vec::new();
        let mut left: HashMap<PartitionId, Offset> = HashMap::new();
        for (partition, from) in from {
            let (first, end) = self.offsets[partition as usize];
            if first.max(from) < end {
                // Asked again, as retention goes on; given by number, because librdkafka is slow to find the beginning by name.
                let (first, _) = self.tail.offsets(partition, ASK_WITHIN)?;
                starts.push((partition, Start::Offset(first.max(from))));
                left.insert(partition, end);
            }
        }
        self.tail.assign(&starts)?;
        while !left.is_empty() {
            match self.tail.poll(POLL) {
                Polled::Record(record) => {
                    let (partition, offset) = (record.partition(), record.offset());
                    let Some(end) = left.get(&partition).copied() else {
                        continue;
                    };
                    if offset < end && !each(&record)? {
                        return Ok(());
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
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.progress.finish();
    }
}
