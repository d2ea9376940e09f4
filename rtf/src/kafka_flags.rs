//! Where Kafka is, for commands that need nothing else.

use crate::options;
use anyhow::Context;
use clap::Args;
use rtf_config::Config;
use rtf_kafka::Settings;
use std::path::PathBuf;

/// `--kafka` or `-c`.
#[derive(Clone, Debug, Args)]
pub struct KafkaFlags {
    /// Kafka's address [default: what the configuration says, or 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Configuration file, for its [kafka] section
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl KafkaFlags {
    /// How to reach Kafka.
    ///
    /// # Errors
    /// A configuration that is not accepted.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = match &self.config {
            Some(file) => {
                let config = Config::load(Some(file), &[])
                    .map_err(|e| crate::exit::usage(e.to_string()))
                    .context("configuration")?;
                options::kafka(&config)
            }
            None => Settings {
                bootstrap: "127.0.0.1:9092".into(),
                ..Settings::default()
            },
        };
        if let Some(kafka) = &self.kafka {
            settings.bootstrap.clone_from(kafka);
        }
        Ok(settings)
    }
}
