//! Real servers and real processes for the end-to-end tests and the bench: Apache Kafka, Redis and the `rtf`
//! binary, each on free ports, in a folder of its own, gone when its value is dropped. It knows how to
//! start, hurt and stop them, and how to check that each event ended exactly once ([`Checker`]); when what is done to them is for
//! the tests to say.
//!
//! Set `RTF_KEEP=1` to keep the folders, with the servers' logs and data, for a look afterwards.

mod binary;
mod certificates;
mod checker;
mod collector;
pub mod cost;
mod doctor;
mod fate;
mod folder;
mod host;
pub mod http;
mod kafka;
mod kafka_cluster;
mod load;
mod operator;
mod pipeline;
mod port;
mod process;
mod progress;
mod proxy;
mod reader;
mod redis;
mod redis_cluster;
mod redis_source;
mod replica;
mod scene;
mod secured;
mod seed;
mod sentinel;
mod server;
mod servers;
mod spawner;
mod stillness;
mod topic_state;
mod wait;

pub use binary::rtf_binary;
pub use certificates::{Authority, Certificate};
pub use checker::{Checked, Checker, POISON_KEY, Rows, RowsByStream};
pub use collector::{Collector, Span};
pub use doctor::{Diagnosis, doctor, doctors};
pub use fate::Fate;
pub use folder::temp_folder;
pub use host::Host;
pub use kafka::{Kafka, KafkaOptions, fetch_kafka};
pub use kafka_cluster::{ClusterOptions, KafkaCluster};
pub use load::Load;
pub use operator::Operator;
pub use pipeline::{Finished, Instance, Pipeline, PipelineOptions, Role, Running, run};
pub use port::{HEALTH_PORT_ABOVE, free_port, free_role_port};
pub use process::Process;
pub use progress::Progress;
pub use proxy::{Proxy, Way};
pub use reader::{TopicReader, kafka_settings};
pub use redis::{Redis, RedisOptions};
pub use redis_cluster::{RedisCluster, redis_url};
pub use replica::replica_status;
pub use scene::Scene;
pub use secured::{SecuredServers, grant_as_documented, tls_arguments};
pub use seed::seed;
pub use sentinel::{Sentinel, SentinelOptions};
pub use servers::{Servers, create_topics};
pub use stillness::Stillness;
pub use topic_state::{PartitionState, TopicState};
pub use wait::{pause, wait_until};
