//! How a topic stands: who leads its partitions and which replicas are in sync, as Kafka's own tool prints it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// A topic as it was when the tool looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    /// Settings of the topic that are not the broker's.
    pub settings: BTreeMap<String, String>,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionState>,
}

/// A partition; nodes by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// Its leader, if it has one.
    pub leader: Option<usize>,
    /// Who has a copy.
    pub replicas: Vec<usize>,
    /// Who has all of it.
    pub in_sync: Vec<usize>,
}

impl TopicState {
    /// Reads what `TopicCommand --describe` prints: a line of each topic, each with one of each partition after it.
    pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Self>> {
        let mut topics: BTreeMap<String, Self> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let fields = fields(line);
            let name = fields.get("Topic");
            let name = name.with_context(|| format!("no topic in: {line}"))?;
            let topic = topics.entry((*name).to_owned()).or_default();
            if fields.contains_key("Partition") {
                topic.partitions.push(PartitionState::parse(&fields)?);
            } else {
                topic.settings = settings(&fields);
            }
        }
        Ok(topics)
    }

    /// Whether every replica has all of its partition.
    pub fn is_in_sync(&self) -> bool {
        let mut partitions = self.partitions.iter();
        partitions.all(|p| p.leader.is_some() && p.in_sync.len() == p.replicas.len())
    }

    /// The node that leads most partitions.
    pub fn busiest(&self) -> Option<usize> {
        let leaders = self.partitions.iter().filter_map(|p| p.leader);
        let mut led: BTreeMap<usize, u32> = BTreeMap::new();
        leaders.for_each(|leader| *led.entry(leader).or_default() += 1);
        led.into_iter()
            .max_by_key(|(_, partitions)| *partitions)
            .map(|(node, _)| node)
    }
}

impl PartitionState {
    fn parse(fields: &BTreeMap<&str, &str>) -> Result<Self> {
        let nodes = |name: &str| -> Result<Vec<usize>> {
            let text = fields.get(name).context("a field is missing")?;
            let nodes = text.split(',').filter(|node| !node.is_empty());
            Ok(nodes.map(str::parse).collect::<Result<_, _>>()?)
        };
        let parsed = || -> Result<Self> {
            Ok(Self {
                leader: fields.get("Leader").and_then(|node| node.parse().ok()),
                replicas: nodes("Replicas")?,
                in_sync: nodes("Isr")?,
            })
        };
        parsed().with_context(|| format!("cannot read {fields:?}"))
    }
}

fn settings(topic: &BTreeMap<&str, &str>) -> BTreeMap<String, String> {
    let text = topic.get("Configs").copied().unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.into(), v.into())).collect()
}

/// `Name: value`, tabs between.
fn fields(line: &str) -> BTreeMap<&str, &str> {
    let fields = line.split('\t').filter_map(|field| field.split_once(':'));
    fields.map(|(k, v)| (k.trim(), v.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Topic: t\tTopicId: uLzvGIkMTAGsYyFvBjVhQg\tPartitionCount: 3\tReplicationFactor: 3\tConfigs: min.insync.replicas=2,retention.ms=-1
\tTopic: t\tPartition: 0\tLeader: 2\tReplicas: 2,0,1\tIsr: 2,1\tElr: \tLastKnownElr: 
\tTopic: t\tPartition: 1\tLeader: none\tReplicas: 0,1,2\tIsr: \tElr: 0\tLastKnownElr: 
\tTopic: t\tPartition: 2\tLeader: 2\tReplicas: 1,2,0\tIsr: 2\tElr: \tLastKnownElr: 

Topic: u\tTopicId: SVaSn0x6RkmIuzMuCF-dGA\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: 
\tTopic: u\tPartition: 0\tLeader: 0\tReplicas: 0\tIsr: 0\tElr: \tLastKnownElr: 
";

    #[test]
    fn read_as_printed() {
        let topics = TopicState::parse(PRINTED).unwrap();
        assert_eq!(topics.len(), 2);
        let state = &topics["t"];
        assert_eq!(state.settings["min.insync.replicas"], "2");
        assert_eq!(state.settings["retention.ms"], "-1");
        let first = PartitionState {
            leader: Some(2),
            replicas: vec![2, 0, 1],
            in_sync: vec![2, 1],
        };
        assert_eq!(state.partitions[0], first);
        assert_eq!(state.partitions[1].leader, None);
        assert_eq!(state.partitions[1].in_sync, [] as [usize; 0]);
        assert_eq!(state.busiest(), Some(2));
        assert!(!state.is_in_sync());
        assert!(topics["u"].is_in_sync());
        assert!(topics["u"].settings.is_empty());
    }

    #[test]
    fn what_is_no_topic_is_an_error() {
        assert!(TopicState::parse("Error while executing").is_err());
        assert!(TopicState::parse("\tTopic: t\tPartition: 0\tLeader: 1\n").is_err());
    }
}
