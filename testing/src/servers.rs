//! Kafka and Redis together, as most end-to-end tests want them.

use anyhow::Result;
use rtf_kafka::Cluster;
use rtf_proto::naming;
use rtf_synth::Join;

use crate::{
    Checker, Kafka, KafkaOptions, Pipeline, PipelineOptions, Progress, Redis, RedisOptions,
    kafka_settings,
};

/// A group may lose a silent member after a second; Kafka's own least of six would make tests that kill slow.
const SESSION_MIN: (&str, &str) = ("group.min.session.timeout.ms", "1000");
const GROUP_TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// Makes the two topics of a join, replicated as far as there are brokers.
pub fn create_topics(bootstrap: &str, join: &Join, partitions: u32) -> Result<()> {
    let cluster = Cluster::connect(&kafka_settings(bootstrap))?;
    for topic in [join.foreign.topic, join.primary.topic] {
        cluster.ensure_topic(topic, partitions, None, &[])?;
    }
    Ok(())
}

/// A broker and a Redis server.
#[derive(Debug)]
pub struct Servers {
    /// Kafka.
    pub kafka: Kafka,
    /// Redis, whose rows survive its death.
    pub redis: Redis,
}

impl Servers {
    /// Starts both.
    pub fn start() -> Result<Self> {
        let redis = Redis::start(&RedisOptions {
            append_only: true,
            ..RedisOptions::default()
        })?;
        let kafka = Kafka::start(&KafkaOptions {
            properties: vec![(SESSION_MIN.0.into(), SESSION_MIN.1.into())],
            ..KafkaOptions::default()
        })?;
        Ok(Self { kafka, redis })
    }

    /// Makes the two topics of a join.
    pub fn create_topics(&self, join: &Join, partitions: u32) -> Result<()> {
        create_topics(&self.kafka.bootstrap(), join, partitions)
    }

    /// Has the dispatchers of a join, which must not run, begin with the foreign topic once more.
    pub fn rewind(&self, join: &Join) -> Result<()> {
        let group = naming::dispatcher_group(join.name);
        let of = ["--group", &group, "--topic", join.foreign.topic];
        let reset = ["--reset-offsets", "--to-earliest", "--execute"];
        self.kafka
            .tool(GROUP_TOOL, &[reset.as_slice(), &of].concat(), "")?;
        Ok(())
    }

    /// A pipeline on these servers.
    pub fn pipeline(&self, options: &PipelineOptions) -> Result<Pipeline> {
        Pipeline::new(options, &self.kafka.bootstrap(), &self.redis.url())
    }

    /// Checks a join on these servers.
    pub fn checker(&self, join: Join) -> Checker {
        Checker::new(&self.kafka.bootstrap(), &self.redis.url(), join)
    }

    /// Follows a join on these servers.
    pub fn progress(&self, join: Join) -> Result<Progress> {
        Progress::new(&self.checker(join), &self.redis.url())
    }
}
