//! What all runs share: servers, data, and the configuration of a pipeline. Knows no measurement.

use anyhow::{Context, Result};
use rtf_kafka::{Cluster, Sender, Settings};
use rtf_synth::{CLICKS, Clicks, ClicksParams, Event, Share, Side};
use rtf_testing::{Kafka, KafkaOptions, Process, Redis, RedisOptions, rtf_binary};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Partitions of each input topic.
pub const INPUT_PARTITIONS: u32 = 4;
/// Partitions of the log, and so streams in Redis.
pub const LOG_PARTITIONS: u32 = 16;
const FLUSH_WITHIN: Duration = Duration::from_secs(120);

/// Servers with a backlog in them.
pub struct Stage {
    pub kafka: Kafka,
    pub redis: Redis,
    pub events: u64,
    /// Process ids of Kafka and Redis.
    pub servers: (u32, u32),
    folder: TempDir,
}

impl Stage {
    /// Starts Kafka and Redis and sends `events` pairs, each click with its query.
    pub fn open(events: u64) -> Result<Self> {
        eprintln!("starting Kafka and Redis, preparing {events} pairs");
        let mut kafka = Kafka::start(&KafkaOptions::default())?;
        let mut redis = Redis::start(&RedisOptions::default())?;
        let servers = (kafka.process().pid(), redis.process().pid());
        let stage = Self {
            kafka,
            redis,
            events,
            servers,
            folder: rtf_testing::temp_folder("bench")?,
        };
        stage.make_topics(CLICKS.foreign.topic, CLICKS.primary.topic)?;
        stage.send(
            all_match(events),
            CLICKS.foreign.topic,
            CLICKS.primary.topic,
        )?;
        Ok(stage)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            bootstrap: self.kafka.bootstrap(),
            ..Settings::default()
        }
    }

    pub fn make_topics(&self, foreign: &str, primary: &str) -> Result<()> {
        let cluster = Cluster::connect(&self.settings())?;
        for topic in [foreign, primary] {
            cluster.ensure_topic(topic, INPUT_PARTITIONS, None, &[])?;
        }
        Ok(())
    }

    fn send(&self, clicks: Clicks, foreign: &str, primary: &str) -> Result<()> {
        let sender = Sender::open(&self.settings())?;
        for event in clicks.events() {
            sender.send(
                topic_of(&event, foreign, primary),
                None,
                event.key.as_deref(),
                Some(&event.value),
            )?;
        }
        Ok(sender.flush(FLUSH_WITHIN)?)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// A pipeline named `name` over these topics, in one process.
    pub fn pipeline(&self, name: &str, foreign: &str, primary: &str) -> Result<Process> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("rtf.toml");
        std::fs::write(
            &file,
            self.configuration(name, foreign, primary, &folder.display().to_string()),
        )?;
        let mut command = Command::new(rtf_binary().context("cargo build --release -p rtf")?);
        command.arg("run").arg("-c").arg(&file);
        Process::spawn("rtf run", &command, &self.log(name))
    }

    fn configuration(&self, name: &str, foreign: &str, primary: &str, folder: &str) -> String {
        let (bootstrap, redis) = (self.kafka.bootstrap(), self.redis.url());
        format!(
            r#"
kafka.bootstrap = "{bootstrap}"
redis = {{ url = "{redis}", max_rows = 0 }}
registry = {{ partitions = {LOG_PARTITIONS}, data = "{folder}/registry", listen = "127.0.0.1:0" }}
joiner = {{ data = "{folder}/joiner", listen = "127.0.0.1:0" }}
dispatcher.listen = "127.0.0.1:0"
publisher.listen = "127.0.0.1:0"
web.listen = "127.0.0.1:0"
[join]
name = "{name}"
foreign = {{ topic = "{foreign}", id = ["/click_id"], key = ["/query_id"], time = "/time" }}
primary = {{ topic = "{primary}", id = ["/query_id"], key = ["/query_id"], time = "/time" }}
match.policy = "first"
wait.max = "10m"
"#
        )
    }

    /// Rows in all streams of `name`.
    pub fn rows(&self, connection: &mut redis::Connection, name: &str) -> Result<u64> {
        let mut lengths = redis::pipe();
        for partition in 0..LOG_PARTITIONS {
            lengths
                .cmd("XLEN")
                .arg(rtf_proto::naming::redis_stream(name, partition));
        }
        let lengths: Vec<u64> = lengths.query(connection)?;
        Ok(lengths.iter().sum())
    }
}

/// Which topic an event belongs to.
pub fn topic_of<'a>(event: &Event, foreign: &'a str, primary: &'a str) -> &'a str {
    match event.side {
        Side::Foreign => foreign,
        Side::Primary => primary,
    }
}

/// Clicks that all have their query, in time.
pub fn all_match(count: u64) -> Clicks {
    Clicks::new(ClicksParams {
        count,
        late: Share::NONE,
        orphans: Share::NONE,
        duplicates: Share::NONE,
        malformed: Share::NONE,
        ..ClicksParams::default()
    })
}
