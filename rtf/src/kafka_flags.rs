//! Where Kafka is and how it is reached, for commands that need nothing else.

use crate::{exit, options, overrides};
use clap::Args;
use rtf_config::{Config, Kafka};
use rtf_kafka::Settings;
use std::path::PathBuf;

/// `--kafka`, `-c` or `--set`.
#[derive(Clone, Debug, Args)]
pub struct KafkaFlags {
    /// Kafka's address [default: what the configuration says, or 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Configuration file, of which only [kafka] is needed
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key of [kafka], for example --set kafka.properties.security.protocol=SSL; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl KafkaFlags {
    /// `[kafka]`, as the file, the environment and the flags say.
    ///
    /// # Errors
    /// A configuration that is not accepted, or a key of another section.
    pub fn section(&self) -> anyhow::Result<Kafka> {
        let mut overrides = overrides(&self.set)?;
        if let Some((key, _)) = overrides.iter().find(|(key, _)| !key.starts_with("kafka.")) {
            return Err(exit::usage(format!(
                "--set {key}: only keys of [kafka] have a meaning here"
            )));
        }
        let kafka = self.kafka.iter();
        overrides.extend(kafka.map(|kafka| ("kafka.bootstrap".into(), kafka.clone())));
        Config::load_kafka(self.config.as_deref(), &overrides)
            .map_err(|error| exit::usage(error.to_string()))
    }

    /// How to reach Kafka.
    ///
    /// # Errors
    /// As [`section`](Self::section).
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Ok(options::broker(&self.section()?))
    }
}
