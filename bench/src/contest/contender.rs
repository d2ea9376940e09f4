//! Who is measured: the pass-through limit, Ready To Fly, and peers, each a folder in `bench/peers` with the programs `build` and `run`.

use crate::output::Output;
use crate::stage::{INPUT_PARTITIONS, LOG_PARTITIONS, Stage, Topics};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rtf_kafka::Cluster;
use rtf_testing::Process;
use std::path::PathBuf;
use std::process::Command;

/// In the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Contender {
    /// The same bytes with no join: the limit of the machine
    PassThrough,
    /// `rtf run`, all roles in one process
    Rtf,
    /// Kafka Streams, a windowed join of two streams
    KafkaStreams,
    /// Flink, a keyed join in a cluster of one process
    Flink,
    /// Pathway, in its free edition
    Pathway,
}

/// One run of a contender: what everything is called that it makes, and what it reads.
pub struct Job {
    pub name: String,
    pub topics: Topics,
}

impl Job {
    fn rows_topic(&self) -> String {
        format!("{}.rows", self.name)
    }
}

impl Contender {
    /// What it is called in the table. Versions are those in its folder.
    pub fn title(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Rtf => "`rtf run`",
            Self::KafkaStreams => "Kafka Streams 4.1.0",
            Self::Flink => "Flink 2.2.1",
            Self::Pathway => "Pathway 0.33.0",
        }
    }

    /// What it promises of its rows, in the way it is configured here.
    pub fn promise(self) -> &'static str {
        match self {
            Self::PassThrough => "no join",
            Self::Rtf | Self::KafkaStreams | Self::Flink => "exactly once",
            Self::Pathway => "at least once",
        }
    }

    /// As on the command line, and in the names of what it makes.
    pub fn word(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Rtf => "rtf",
            Self::KafkaStreams => "kafka-streams",
            Self::Flink => "flink",
            Self::Pathway => "pathway",
        }
    }

    /// Whether its rows are joined ones, and so can be wrong.
    pub fn joins(self) -> bool {
        self != Self::PassThrough
    }

    fn is_peer(self) -> bool {
        !matches!(self, Self::PassThrough | Self::Rtf)
    }

    fn program(self, name: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"))
            .join(self.word())
            .join(name)
    }

    /// Fetches and compiles what it needs.
    pub fn build(self) -> Result<()> {
        if self.is_peer() {
            eprintln!("building {}", self.title());
            let status = Command::new(self.program("build")).status();
            let status = status.with_context(|| format!("cannot build {}", self.title()))?;
            ensure!(status.success(), "building {} failed", self.title());
        }
        Ok(())
    }

    /// Makes what must be there before it starts.
    pub fn prepare(self, stage: &Stage, job: &Job) -> Result<()> {
        std::fs::create_dir_all(stage.folder(&job.name))?;
        if self.is_peer() {
            let cluster = Cluster::connect(&stage.settings())?;
            cluster.ensure_topic(&job.rows_topic(), INPUT_PARTITIONS, None, &[])?;
        }
        Ok(())
    }

    /// Starts it, or starts it again after it was killed.
    pub fn start(self, stage: &Stage, job: &Job) -> Result<Process> {
        match self {
            Self::PassThrough => stage.pass_through(&job.name, &job.topics),
            Self::Rtf => stage.pipeline(&job.name, &job.topics, LOG_PARTITIONS),
            _ => self.start_peer(stage, job),
        }
    }

    fn start_peer(self, stage: &Stage, job: &Job) -> Result<Process> {
        let mut command = Command::new(self.program("run"));
        command
            .env("PEER_NAME", &job.name)
            .env("PEER_KAFKA", stage.kafka.bootstrap())
            .env("PEER_FOREIGN", &job.topics.foreign)
            .env("PEER_PRIMARY", &job.topics.primary)
            .env("PEER_OUTPUT", job.rows_topic())
            .env("PEER_DATA", stage.folder(&job.name));
        Process::spawn(self.word(), &command, &stage.log(&job.name))
    }

    /// Where its rows become visible.
    pub fn output(self, stage: &Stage, job: &Job) -> Result<Output> {
        if self.is_peer() {
            Output::topic(&stage.settings(), &job.rows_topic(), INPUT_PARTITIONS)
        } else {
            Output::redis(&stage.redis, &job.name, LOG_PARTITIONS)
        }
    }
}
