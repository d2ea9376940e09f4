//! Reads a topic from its beginning to its present end, and later on from there. It must not know what stands in it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rtf_kafka::{Cluster, Isolation, Polled, Record, Settings, Start, Tail, TopicInfo};

const POLL: Duration = Duration::from_millis(50);
const ASK_WITHIN: Duration = Duration::from_secs(20);
/// A reader that gets nothing for so long, although there is something, is stuck.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Connection settings of the tests: nothing but the address.
pub fn kafka_settings(bootstrap: &str) -> Settings {
    Settings {
        bootstrap: bootstrap.into(),
        ..Settings::default()
    }
}

/// A reader of all partitions of a topic, which may become more. It must not hold transactions: it waits for the very last record.
pub struct TopicReader {
    settings: Settings,
    cluster: Cluster,
    tail: Tail,
    topic: String,
    info: TopicInfo,
    /// The next offset of each partition.
    positions: Vec<u64>,
}

impl TopicReader {
    /// Stands at the beginning of the topic, which must exist.
    pub fn open(settings: &Settings, topic: &str) -> Result<Self> {
        let cluster = Cluster::connect(settings)?;
        let info = cluster.topic(topic)?;
        let info = info.with_context(|| format!("there is no topic {topic}"))?;
        let mut reader = Self {
            settings: settings.clone(),
            cluster,
            tail: open_tail(settings, topic)?,
            topic: topic.into(),
            info,
            positions: Vec::new(),
        };
        reader.assign()?;
        Ok(reader)
    }

    /// Goes on with the partitions it reads, and begins with those it does not.
    fn assign(&mut self) -> Result<()> {
        let known = self.positions.len();
        for partition in (0..self.info.partitions).skip(known) {
            self.positions
                .push(self.tail.offsets(partition, ASK_WITHIN)?.0);
        }
        // Given by number: asked for by name, librdkafka takes half a second to find the beginning.
        let starts = (0..).zip(&self.positions);
        let starts: Vec<_> = starts.map(|(n, at)| (n, Start::Offset(*at))).collect();
        Ok(self.tail.assign(&starts)?)
    }

    /// Partitions may have been added.
    fn grow(&mut self) -> Result<()> {
        let info = self.cluster.topic(&self.topic)?;
        let info = info.with_context(|| format!("there is no topic {} any more", self.topic))?;
        if info.partitions > self.info.partitions {
            self.info = info;
            // The old one would take minutes to hear of them.
            self.tail = open_tail(&self.settings, &self.topic)?;
            self.assign()?;
        }
        Ok(())
    }

    /// The topic's id and number of partitions.
    pub fn info(&self) -> TopicInfo {
        self.info
    }

    /// Reads on to what is the end of each partition now; each partition in order.
    pub fn read_to_end(&mut self, mut each: impl FnMut(&Record<'_>) -> Result<()>) -> Result<()> {
        self.grow()?;
        let ends = (0..self.info.partitions)
            .map(|partition| Ok(self.tail.offsets(partition, ASK_WITHIN)?.1))
            .collect::<Result<Vec<_>>>()?;
        let mut last = Instant::now();
        while self.positions.iter().zip(&ends).any(|(at, end)| at < end) {
            match self.tail.poll(POLL) {
                Polled::Record(record) => {
                    last = Instant::now();
                    self.positions[record.partition() as usize] = record.offset() + 1;
                    each(&record)?;
                }
                Polled::Failed(error) => return Err(error.into()),
                Polled::EndOfPartition(_) | Polled::Idle if last.elapsed() < STALLED_AFTER => {}
                Polled::EndOfPartition(_) | Polled::Idle => {
                    let (topic, at) = (&self.topic, &self.positions);
                    bail!("{topic} stands still at {at:?}, its ends are {ends:?}");
                }
            }
        }
        Ok(())
    }
}

fn open_tail(settings: &Settings, topic: &str) -> Result<Tail> {
    Ok(Tail::open(
        settings,
        topic,
        &[],
        Isolation::ReadUncommitted,
    )?)
}
