//! What can be typed after `rtf size`, and what the configuration says where nothing was.

use crate::cli::ConfigArgs;
use crate::size::plan::{Inputs, Load, Machine, Settings};
use crate::{exit, options, overrides};
use clap::Args;
use rtf_config::{Config, Layout, Size, Span};
use rtf_synth::Share;
use std::str::FromStr;
use std::time::Duration;

/// Sections whose keys change what it takes.
const SECTIONS: [&str; 4] = ["join.wait.", "registry.", "joiner.", "redis.max_rows"];

/// `rtf size`.
#[derive(Debug, Args)]
pub struct SizeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Foreign events a second, at the busiest time that must be kept up with
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    events_per_second: f64,
    /// Primaries a second [default: as many as events]
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    primaries_per_second: Option<f64>,
    /// Share of events whose partner comes later
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    late: Share,
    /// How long those wait, on average
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    wait: Span,
    /// How long ids are remembered [default: registry.horizon]
    #[arg(long, value_name = "DURATION")]
    horizon: Option<Span>,
    /// Primaries kept at a time: how many, or for how long (they expire, or the topic's retention takes them)
    #[arg(long, value_name = "NUMBER|DURATION", default_value = "1d")]
    primaries_kept: Kept,
    /// Bytes of a foreign event
    #[arg(long, value_name = "BYTES", default_value_t = 300)]
    event_bytes: u64,
    /// Bytes of a primary
    #[arg(long, value_name = "BYTES", default_value_t = 300)]
    primary_bytes: u64,
    /// Bytes of the originals in a row [default: those of an event and a primary]
    #[arg(long, value_name = "BYTES")]
    row_bytes: Option<u64>,
    /// Copies of each record in Kafka [default: registry.replication, else 3]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    replication_factor: Option<u16>,
    /// How long the join log keeps its records [default: twice the horizon and a twelfth of it, which is the least]
    #[arg(long, value_name = "DURATION")]
    kafka_retention: Option<Span>,
    /// Processes that could each do it alone, so that one may die
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    replicas: u16,
    /// Cores of a machine
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    cores_per_machine: u16,
    /// Memory of a machine
    #[arg(long, value_name = "SIZE", default_value = "128GiB", value_parser = size)]
    memory_per_machine: Size,
    /// Disk of a machine
    #[arg(long, value_name = "SIZE", default_value = "16TiB", value_parser = size)]
    disk_per_machine: Size,
    /// The share of its cores that is to be busy
    #[arg(long, value_name = "SHARE", default_value = "60%")]
    busy: Share,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// How many primaries, or for how long they are there.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Number(u64),
    For(Duration),
}

impl FromStr for Kept {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().map(Self::Number);
        number.or_else(|_| text.parse().map(|Span(time)| Self::For(time)))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.replace(['_', ','], "").parse::<f64>();
    let good = rate.ok().filter(|rate| (0.0..=1e12).contains(rate));
    good.ok_or_else(|| "expected how many a second, such as 50000".into())
}

fn size(text: &str) -> Result<Size, String> {
    serde_json::from_value::<Size>(text.into())
        .ok()
        .filter(|Size(bytes)| *bytes > 0)
        .ok_or_else(|| "expected a size with a unit, such as 64GiB".into())
}

impl SizeArgs {
    /// What to reckon with.
    ///
    /// # Errors
    /// A configuration that is not accepted; flags that do not go together.
    pub fn inputs(&self) -> anyhow::Result<Inputs> {
        let file = self.config.config.as_deref();
        let config = Config::load_sections(file, &overrides(&self.config.set)?, &SECTIONS)
            .map_err(|error| exit::usage(error.to_string()))?;
        self.with(&config)
    }

    /// What to reckon with, where the configuration is this.
    pub fn with(&self, config: &Config) -> anyhow::Result<Inputs> {
        if self.busy.value() <= 0.0 {
            return Err(exit::usage("--busy: expected more than none, such as 60%"));
        }
        let horizon = self.horizon.unwrap_or(config.registry.horizon).0;
        let least = rtf_registry::log_retention(horizon);
        let retention = self.kafka_retention.map_or(least, |Span(time)| time);
        if retention < least {
            let least = Span(least);
            return Err(exit::usage(format!(
                "--kafka-retention: the join log keeps its records for twice the horizon and a bucket at the least, {least}"
            )));
        }
        let primaries_per_second = self.primaries_per_second.unwrap_or(self.events_per_second);
        let [event_bytes, primary_bytes] =
            [self.event_bytes, self.primary_bytes].map(|bytes| bytes as f64);
        let row_bytes = self.row_bytes.map(|bytes| bytes as f64);
        Ok(Inputs {
            load: Load {
                events_per_second: self.events_per_second,
                primaries_per_second,
                late: self.late.value(),
                wait: self.wait.0,
                horizon,
                primaries_kept: match self.primaries_kept {
                    Kept::Number(number) => number as f64,
                    Kept::For(time) => primaries_per_second * time.as_secs_f64(),
                },
                event_bytes,
                primary_bytes,
                row_bytes: row_bytes.unwrap_or(event_bytes + primary_bytes),
            },
            settings: self.settings(config, retention),
            machine: Machine {
                cores: f64::from(self.cores_per_machine),
                memory_bytes: self.memory_per_machine.0 as f64,
                disk_bytes: self.disk_per_machine.0 as f64,
                busy: self.busy.value(),
            },
        })
    }

    fn settings(&self, config: &Config, kafka_retention: Duration) -> Settings {
        let wait = &config.join.wait;
        let replication = options::replication(config).unwrap_or(3);
        let replication = self.replication_factor.map_or(replication, i32::from);
        Settings {
            replication: replication.unsigned_abs().into(),
            kafka_retention,
            replicas: self.replicas.into(),
            partitions: config.registry.partitions,
            partitioned: config.joiner.layout == Layout::Partitioned,
            joiner_memory: config.joiner.memory.0 as f64,
            max_waiting: wait.max_events as f64,
            max_waiting_bytes: wait.max_bytes.0 as f64,
            max_wait: wait.max.0,
            park_after: wait.park_after.0,
            retries: (wait.retry_initial.0, wait.retry_max.0),
            tiers: wait.tiers.iter().map(|tier| tier.0).collect(),
            max_rows: config.redis.max_rows as f64,
        }
    }
}
