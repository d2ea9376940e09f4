//! What all runs share: servers, data, and the configuration of a pipeline. Knows no measurement.

use anyhow::{Context, Result, anyhow, bail};
use rtf_kafka::{Cluster, Sender, Settings};
use rtf_synth::{CLICKS, Clicks, ClicksParams, Event, Share, Side};
use rtf_testing::cost::cpu_seconds;
use rtf_testing::{Kafka, KafkaOptions, Process, Redis, RedisOptions, rtf_binary, wait_until};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Partitions of each input topic.
pub const INPUT_PARTITIONS: u32 = 4;
/// Partitions of the log, and so streams in Redis.
pub const LOG_PARTITIONS: u32 = 16;
const FLUSH_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(20);
const TOPIC_TOOL: &str = "org.apache.kafka.tools.TopicCommand";

/// The input topics of a run.
pub struct Topics {
    pub foreign: String,
    pub primary: String,
}

impl Topics {
    /// Those of the backlog.
    pub fn backlog() -> Self {
        Self {
            foreign: CLICKS.foreign.topic.into(),
            primary: CLICKS.primary.topic.into(),
        }
    }

    /// Sends an event to the one it belongs to.
    pub fn send(&self, sender: &Sender, event: &Event) -> Result<()> {
        let topic = match event.side {
            Side::Foreign => &self.foreign,
            Side::Primary => &self.primary,
        };
        let (key, value) = (event.key.as_deref(), event.value.as_slice());
        Ok(sender.send(topic, None, key, Some(value))?)
    }
}

/// Servers with a backlog in them.
pub struct Stage {
    pub kafka: Kafka,
    pub redis: Redis,
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
            servers,
            folder: rtf_testing::temp_folder("bench")?,
        };
        let topics = Topics::backlog();
        stage.make_topics(&topics)?;
        stage.send(all_match(events).events(), &topics)?;
        Ok(stage)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            bootstrap: self.kafka.bootstrap(),
            ..Settings::default()
        }
    }

    pub fn make_topics(&self, topics: &Topics) -> Result<()> {
        let cluster = Cluster::connect(&self.settings())?;
        for topic in [&topics.foreign, &topics.primary] {
            cluster.ensure_topic(topic, INPUT_PARTITIONS, None, &[])?;
        }
        Ok(())
    }

    pub fn send(&self, events: impl Iterator<Item = Event>, topics: &Topics) -> Result<()> {
        let sender = Sender::open(&self.settings())?;
        for event in events {
            topics.send(&sender, &event)?;
        }
        Ok(sender.flush(FLUSH_WITHIN)?)
    }

    /// Where something of this name keeps what it has to keep.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Removes what a run of this name has left: topics whose names begin with it, its folder, and all that Redis holds.
    pub fn clear(&self, name: &str) -> Result<()> {
        let topics = format!("{name}.*");
        let arguments = ["--delete", "--if-exists", "--topic", &topics];
        self.kafka.tool(TOPIC_TOOL, &arguments, "")?;
        self.redis.flushall()?;
        let folder = self.folder(name);
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        Ok(())
    }

    /// What has been taken so far: by these processes, by Kafka, by Redis.
    pub fn cpu_seconds(&self, own: &[Process]) -> Result<[f64; 3]> {
        let own = own.iter().map(|process| cpu_seconds(process.pid()));
        let (kafka, redis) = self.servers;
        Ok([
            own.sum::<Result<f64>>()?,
            cpu_seconds(kafka)?,
            cpu_seconds(redis)?,
        ])
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// The same bytes with no join, in a process of its own.
    pub fn pass_through(&self, name: &str, topics: &Topics) -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["pass-through", "--name", name])
            .args(["--kafka", &self.kafka.bootstrap()])
            .args(["--redis", &self.redis.url()])
            .args(["--foreign", &topics.foreign])
            .args(["--primary", &topics.primary]);
        Process::spawn("pass-through", &command, &self.log(name))
    }

    /// A pipeline named `name` over these topics, in one process, with so many partitions of the log.
    pub fn pipeline(&self, name: &str, topics: &Topics, partitions: u32) -> Result<Process> {
        self.configure(name, topics, partitions)?;
        self.rtf("run", name, &[])
    }

    /// Writes that pipeline's configuration.
    pub fn configure(&self, name: &str, topics: &Topics, partitions: u32) -> Result<()> {
        std::fs::create_dir_all(self.folder(name))?;
        let configuration = self.configuration(name, topics, partitions)?;
        Ok(std::fs::write(self.config(name), configuration)?)
    }

    /// `rtf` with this role of the pipeline `name`, and these keys set.
    pub fn rtf(&self, role: &str, name: &str, set: &[String]) -> Result<Process> {
        let mut command = Command::new(rtf_binary().context("cargo build --release -p rtf")?);
        command.arg(role).arg("-c").arg(self.config(name));
        for set in set {
            command.arg("--set").arg(set);
        }
        Process::spawn(
            &format!("rtf {role}"),
            &command,
            &self.log(&format!("{name}-{role}")),
        )
    }

    /// Where a pipeline's configuration is.
    pub fn config(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("rtf.toml")
    }

    fn configuration(&self, name: &str, topics: &Topics, partitions: u32) -> Result<String> {
        let Topics { foreign, primary } = topics;
        let (bootstrap, redis) = (self.kafka.bootstrap(), self.redis.url());
        let folder = self.folder(name);
        let folder = folder.display();
        let dispatcher = rtf_testing::free_role_port()?;
        Ok(format!(
            r#"
kafka.bootstrap = "{bootstrap}"
redis = {{ url = "{redis}", max_rows = 0 }}
registry = {{ partitions = {partitions}, data = "{folder}/registry", listen = "127.0.0.1:0" }}
joiner = {{ data = "{folder}/joiner", listen = "127.0.0.1:0" }}
dispatcher.listen = "127.0.0.1:{dispatcher}"
publisher.listen = "127.0.0.1:0"
web.listen = "127.0.0.1:0"
[join]
name = "{name}"
foreign = {{ topic = "{foreign}", id = ["/click_id"], key = ["/query_id"], time = "/time" }}
primary = {{ topic = "{primary}", id = ["/query_id"], key = ["/query_id"], time = "/time" }}
match.policy = "first"
wait.max = "10m"
"#
        ))
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

/// Asks it to stop, and ends one that does not: its figures are taken already.
pub fn stop(mut process: Process) -> Result<()> {
    process.sigterm()?;
    if process.wait(STOP_WITHIN).is_err() {
        process.kill9()?;
    }
    Ok(())
}

/// Demands that these processes still run; the words are the log of one that does not.
pub fn all_run(processes: &mut [Process]) -> Result<()> {
    for process in processes {
        if !process.is_running()? {
            bail!("it ended:\n{}", process.log()?);
        }
    }
    Ok(())
}

/// Waits until it is so, while this process runs.
pub fn wait(
    what: &str,
    within: Duration,
    process: &mut Process,
    mut reached: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_until(what, within, || match (process.is_running(), reached()) {
        (Ok(true), Ok(false)) => None,
        (Ok(true), reached) => Some(reached.map(drop)),
        _ => Some(Err(anyhow!("it ended"))),
    })?
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
