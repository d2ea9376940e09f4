//! From a load to what it takes, by measured costs. Pure; knows neither flags nor configuration files.
//!
//! docs/sizing.md has the formulas in words, and how far off they were.

use crate::size::reckoning::Reckoning;
use crate::size::waiting::Waiting;
use serde::Serialize;
use std::time::Duration;

/// What comes, and how long it is kept.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    pub events_per_second: f64,
    pub primaries_per_second: f64,
    /// The share of events whose partner comes later.
    pub late: f64,
    /// How long those wait, on average.
    #[serde(serialize_with = "seconds")]
    pub wait: Duration,
    #[serde(serialize_with = "seconds")]
    pub horizon: Duration,
    /// How many primaries are kept at a time.
    pub primaries_kept: f64,
    pub event_bytes: f64,
    pub primary_bytes: f64,
    /// Both originals.
    pub row_bytes: f64,
}

/// What is configured.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Copies of each record in Kafka.
    pub replication: u64,
    /// So long the join log keeps its records.
    #[serde(serialize_with = "seconds")]
    pub kafka_retention: Duration,
    /// Processes of each role that could each do it alone.
    pub replicas: u64,
    pub partitions: u32,
    pub partitioned: bool,
    pub joiner_memory: f64,
    /// Events a dispatcher lets wait in memory, and their bytes.
    pub max_waiting: f64,
    pub max_waiting_bytes: f64,
    #[serde(serialize_with = "seconds")]
    pub max_wait: Duration,
    #[serde(skip)]
    pub park_after: Duration,
    /// The first pause before a retry, and the longest.
    #[serde(skip)]
    pub retries: (Duration, Duration),
    #[serde(skip)]
    pub tiers: Vec<Duration>,
    /// In Redis, of a partition; 0: all.
    pub max_rows: f64,
}

/// What one machine has.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: f64,
    pub memory_bytes: f64,
    pub disk_bytes: f64,
    /// The share of its cores that is to be busy.
    pub busy: f64,
}

/// All that a plan follows from.
#[derive(Clone, Debug, Serialize)]
pub struct Inputs {
    pub load: Load,
    pub settings: Settings,
    pub machine: Machine,
}

/// An amount, and the cost it follows from.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub all: f64,
    pub each: f64,
    pub from: String,
}

/// A role, the brokers, or Redis. Cores are those to provide, of which [`Machine::busy`] are used; the rest is bytes, or bytes a second.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub processes: u64,
    /// What their number follows from.
    pub from: String,
    pub cores: Figure,
    pub memory_bytes: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<Figure>,
    pub in_bytes_per_second: Figure,
    pub out_bytes_per_second: Figure,
}

/// What a load takes.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Of the join log.
    pub partitions: u32,
    pub partitions_from: String,
    /// Whether joiners share the primary topic's partitions.
    pub partitioned: bool,
    /// All roles in one process, if it can be.
    pub all_in_one: Option<Part>,
    pub roles: Vec<Part>,
    pub kafka: Part,
    pub redis: Part,
    /// What to know before it is believed.
    pub notes: Vec<String>,
}

/// Whole seconds, as far as programs are concerned.
fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Plan {
    /// What these inputs take.
    pub fn of(inputs: &Inputs) -> Self {
        let waiting = Waiting::of(&inputs.load, &inputs.settings);
        let reckoning = Reckoning { inputs, waiting };
        let joiners = reckoning.joiners();
        let parts = reckoning.registry_parts();
        let registry = reckoning.registry(parts);
        let redis = reckoning.redis();
        let (partitions, partitions_from) = reckoning.partitions(parts, redis.processes);
        let kafka = reckoning.kafka(&joiners);
        let roles = vec![
            reckoning.dispatcher(),
            joiners.part,
            registry,
            reckoning.publisher(),
        ];
        Self {
            notes: reckoning.notes(parts, partitions, joiners.partitioned),
            all_in_one: reckoning.all_in_one(),
            partitions,
            partitions_from,
            partitioned: joiners.partitioned,
            roles,
            kafka,
            redis,
        }
    }
}
