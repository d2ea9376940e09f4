//! The join log's topic: made with the settings the protocol needs, and checked for them (RULES 6, 11).

use crate::error::RegistryFailure;
use crate::lineage::Lineage;
use crate::replica::Options;
use rtf_kafka::{Cluster, TopicInfo};
use rtf_proto::LogId;
use rtf_proto::control::Settings;
use rtf_proto::record::MAX_RECORD_BYTES;
use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets a horizon is cut into; the log keeps one more than twice the horizon.
pub const BUCKETS: u32 = 12;

/// So long the log keeps its records: twice the horizon and a bucket.
pub fn retention(horizon: Duration) -> Duration {
    horizon * 2 + horizon / BUCKETS
}

/// Checks the settings of a replica's log, without a replica; `None` where there is no topic yet and one could be made. Changes nothing. Blocking.
///
/// # Errors
/// Kafka does not answer; the topic is not as it must be, or would not be made.
pub fn check(options: &Options, cluster: &Cluster) -> Result<Option<TopicInfo>, RegistryFailure> {
    let topic = LogTopic::of(options);
    let info = cluster.topic(&topic.name)?;
    match info {
        Some(_) => topic.check(cluster)?,
        None => {
            let config = topic.config();
            let config: Vec<_> = config.iter().map(|(k, v)| (*k, v.as_str())).collect();
            cluster.may_create(&topic.name, topic.partitions, topic.replication, &config)?;
        }
    }
    Ok(info)
}

/// What the log's topic must be.
#[derive(Clone, Debug)]
pub struct LogTopic {
    /// Its name.
    pub name: String,
    /// Its partitions when it is made.
    pub partitions: u32,
    /// Replication factor; `None`: 3 where there are 3 brokers.
    pub replication: Option<i32>,
    /// How long an id is remembered.
    pub horizon: Duration,
    /// Whether the broker can be asked for settings (the embedded one cannot).
    pub verify: bool,
}

impl LogTopic {
    /// The log of a replica, of a broker that can be asked for settings.
    pub fn of(options: &Options) -> Self {
        Self {
            name: options.topic.clone(),
            partitions: options.partitions,
            replication: options.replication,
            horizon: options.horizon,
            verify: true,
        }
    }

    fn retention(&self) -> Duration {
        retention(self.horizon)
    }

    /// What decides, as it is to stand in the log.
    pub fn settings(&self) -> Settings {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Settings {
            horizon_ms: ms(self.horizon),
            span_ms: ms(self.horizon / BUCKETS).max(1),
        }
    }

    /// Checks that it is still the same topic, set up as it must be. Blocking.
    ///
    /// # Errors
    /// Kafka does not answer; the topic is gone, another one, or not as it must be.
    pub fn verify(
        &self,
        cluster: &Cluster,
        log: LogId,
        lineage: &Lineage,
    ) -> Result<(), RegistryFailure> {
        let info = cluster.topic(&self.name)?;
        let found = info.map_or_else(|| "(no topic)".to_owned(), |info| info.id.to_string());
        if found != log.to_string() {
            return Err(self.deviation("topic id", found, format!("`{log}`")));
        }
        if !self.verify {
            return Ok(());
        }
        self.check_counts(info.map_or(0, |info| info.partitions), lineage)?;
        self.check(cluster)
    }

    /// Makes the topic unless it is there, and checks it. Blocking.
    ///
    /// # Errors
    /// Kafka does not answer or refuses; the topic is not as it must be.
    pub fn ensure(&self, cluster: &Cluster) -> Result<TopicInfo, RegistryFailure> {
        let config = self.config();
        let config: Vec<_> = config.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let info = cluster.ensure_topic(&self.name, self.partitions, self.replication, &config)?;
        if self.verify {
            self.check(cluster)?;
        }
        Ok(info)
    }

    /// Its settings when it is made.
    fn config(&self) -> [(&'static str, String); 6] {
        [
            ("cleanup.policy", "delete".into()),
            ("message.timestamp.type", "LogAppendTime".into()),
            ("unclean.leader.election.enable", "false".into()),
            ("retention.bytes", "-1".into()),
            ("retention.ms", self.retention().as_millis().to_string()),
            ("max.message.bytes", MAX_RECORD_BYTES.to_string()),
        ]
    }

    /// The topic has not as many partitions as the configuration says.
    pub fn wrong_count(&self, found: u32) -> RegistryFailure {
        RegistryFailure::PartitionCount {
            topic: self.name.clone(),
            found,
            wanted: self.partitions,
        }
    }

    /// Whether the topic has the partitions that the log itself speaks of, and the configuration one of the counts that held in it.
    fn check_counts(&self, found: u32, lineage: &Lineage) -> Result<(), RegistryFailure> {
        if !lineage.counts().contains(&self.partitions) {
            return Err(self.wrong_count(lineage.count()));
        }
        let wanted = lineage.wanted().unwrap_or_default();
        if found > lineage.count().max(wanted) {
            return Err(RegistryFailure::Raised {
                topic: self.name.clone(),
                found,
                count: lineage.count(),
            });
        }
        Ok(())
    }

    fn check(&self, cluster: &Cluster) -> Result<(), RegistryFailure> {
        self.check_config(&cluster.topic_config(&self.name)?)
    }

    fn check_config(&self, config: &BTreeMap<String, String>) -> Result<(), RegistryFailure> {
        let found = |setting: &str| config.get(setting).cloned().unwrap_or_default();
        for (setting, wanted) in [
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "LogAppendTime"),
            ("unclean.leader.election.enable", "false"),
            ("retention.bytes", "-1"),
        ] {
            if found(setting) != wanted {
                return Err(self.deviation(setting, found(setting), format!("`{wanted}`")));
            }
        }
        let retention: i128 = found("retention.ms").parse().unwrap_or(0);
        let needed = self.retention().as_millis() as i128;
        if retention >= 0 && retention < needed {
            let wanted =
                format!("at least {needed} (twice [registry].horizon and a bucket), or -1");
            return Err(self.deviation("retention.ms", retention.to_string(), wanted));
        }
        let bytes: usize = found("max.message.bytes").parse().unwrap_or(0);
        if bytes < MAX_RECORD_BYTES {
            return Err(self.deviation(
                "max.message.bytes",
                bytes.to_string(),
                format!("at least {MAX_RECORD_BYTES}"),
            ));
        }
        Ok(())
    }

    fn deviation(&self, setting: &'static str, found: String, wanted: String) -> RegistryFailure {
        RegistryFailure::TopicSetting {
            topic: self.name.clone(),
            setting,
            found,
            wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: u32) -> LogTopic {
        LogTopic {
            name: "t.joins".into(),
            partitions,
            replication: None,
            horizon: Duration::from_secs(3600),
            verify: true,
        }
    }

    #[test]
    fn a_topic_that_would_lose_or_reorder_decisions_is_refused() {
        let topic = topic(4);
        let good: BTreeMap<String, String> = [
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "LogAppendTime"),
            ("unclean.leader.election.enable", "false"),
            ("retention.bytes", "-1"),
            ("retention.ms", "7500000"),
            ("max.message.bytes", "8388608"),
        ]
        .map(|(setting, value)| (setting.to_owned(), value.to_owned()))
        .into();
        topic.check_config(&good).unwrap();
        for (wrong, value) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("message.timestamp.type", "CreateTime"),
            ("unclean.leader.election.enable", "true"),
            ("retention.bytes", "1073741824"),
            ("retention.ms", "7499999"),
            ("max.message.bytes", "1048588"),
        ] {
            let mut config = good.clone();
            config.insert(wrong.into(), value.into());
            let refused = topic.check_config(&config).unwrap_err();
            assert!(
                matches!(&refused, RegistryFailure::TopicSetting { setting, found, .. } if *setting == wrong && found == value),
                "{wrong} = {value}: {refused}"
            );
        }
    }

    #[test]
    fn partitions_that_no_split_made_are_refused() {
        let mut lineage = Lineage::root(4);
        topic(4).check_counts(4, &lineage).unwrap();
        let raised = topic(4).check_counts(8, &lineage).unwrap_err();
        assert!(
            matches!(
                raised,
                RegistryFailure::Raised {
                    found: 8,
                    count: 4,
                    ..
                }
            ),
            "{raised}"
        );
        lineage.want(8);
        topic(4).check_counts(8, &lineage).unwrap();
        assert!(topic(4).check_counts(12, &lineage).is_err());
        let other = topic(5).check_counts(4, &lineage).unwrap_err();
        assert!(
            matches!(other, RegistryFailure::PartitionCount { .. }),
            "{other}"
        );
    }
}
