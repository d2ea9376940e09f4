//! Why a replica cannot go on.

use rtf_kafka::KafkaError;
use rtf_proto::record::DecodeError;
use rtf_proto::{LogId, Offset, PartitionId};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A replica stops with one of these. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RegistryFailure {
    /// Kafka did not answer, or refused.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The topic's settings would lose or reorder what was decided.
    #[error(
        "join log `{topic}`: {setting} is `{found}`, it must be {wanted}; correct it with kafka-configs.sh --alter, then start again"
    )]
    TopicSetting {
        /// The log's topic.
        topic: String,
        /// The setting.
        setting: &'static str,
        /// What the broker says.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// The partition count differs from the configuration.
    #[error(
        "join log `{topic}` has {found} partitions, [registry].partitions says {wanted}; ids would move away from their winners, so correct the configuration. \
         To have more partitions run `rtf registry split`"
    )]
    PartitionCount {
        /// The log's topic.
        topic: String,
        /// What the log says.
        found: u32,
        /// What the configuration says.
        wanted: u32,
    },
    /// Somebody gave the topic more partitions, but not by a split.
    #[error(
        "join log `{topic}` has {found} partitions, but the log itself speaks of {count}: somebody else raised the number, and no id belongs to the others. \
         To put them to use start with [registry].topic_checks = \"warn\" and run `rtf registry split --partitions N`, N a multiple of {count} and at least {found}"
    )]
    Raised {
        /// The log's topic.
        topic: String,
        /// What the broker says.
        found: u32,
        /// What holds in the log.
        count: u32,
    },
    /// It is to serve a partition that the log did not begin with.
    #[error(
        "[registry].serves names partition {partition}, but join log `{topic}` began with {roots}: partitions that were split off are served with those they came from"
    )]
    Serves {
        /// The log's topic.
        topic: String,
        /// The partition.
        partition: PartitionId,
        /// How many the log began with.
        roots: u32,
    },
    /// The data directory belongs to another log.
    #[error(
        "{} was written from join log {found}, but topic `{topic}` is log {wanted}: another join's directory, or the topic was \
         made anew. Use another [registry].data, or delete the directory if the old log is gone for good",
        path.display()
    )]
    OtherLog {
        /// The directory.
        path: PathBuf,
        /// The log's topic.
        topic: String,
        /// The log named in the directory.
        found: String,
        /// The log there is.
        wanted: LogId,
    },
    /// The log ends before what was applied, or says something else there.
    #[error(
        "join log `{topic}` partition {partition} was truncated or replaced: {words} at offset {offset}. Nothing is served from a log \
         that forgot. If the loss is accepted, run `rtf registry rebuild` (it sets {} aside) and start again: the registry is rebuilt from what the log still has",
        path.display()
    )]
    Truncated {
        /// The log's topic.
        topic: String,
        /// Partition of the log.
        partition: PartitionId,
        /// Where it differs.
        offset: Offset,
        /// How it differs.
        words: String,
        /// The directory.
        path: PathBuf,
    },
    /// A record of ours cannot be applied; every replica stops here alike.
    #[error(
        "join log `{topic}` partition {partition} offset {offset}: {source}. Every replica stops here alike. A newer program may know the record; \
         if it is damaged for good, start all replicas with [registry].skip_records = [\"{partition}/{offset}\"]: what it decided is lost then"
    )]
    Poison {
        /// The log's topic.
        topic: String,
        /// Partition of the log.
        partition: PartitionId,
        /// The record.
        offset: Offset,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The log lacks its beginning, and nothing in it says what stood there.
    #[error(
        "join log `{topic}` partition {partition} begins at offset {first} and holds no checkpoint that tells all of what was resolved before: it cannot be known. \
         Start a replica that still has its data directory, or copy that of one that is stopped; if there is none, and events joined twice are acceptable, run `rtf registry rebuild --accept-loss`"
    )]
    Uninformed {
        /// The log's topic.
        topic: String,
        /// Partition of the log.
        partition: PartitionId,
        /// The first offset it has.
        first: Offset,
    },
    /// Another replica decided otherwise.
    #[error(
        "join log `{topic}` partition {partition}: up to offset {offset} this replica decided otherwise than another one (digest {ours:016x}, theirs {theirs:016x}). \
         Stop it and run `rtf registry rebuild`; if it disagrees again, the other one is to be rebuilt"
    )]
    Diverged {
        /// The log's topic.
        topic: String,
        /// Partition of the log.
        partition: PartitionId,
        /// Where the digests were taken.
        offset: Offset,
        /// This replica's.
        ours: u64,
        /// The other's, as it stands in the log.
        theirs: u64,
    },
    /// The log grows and nothing of it arrives.
    #[error("join log `{topic}` partition {partition} stands still at offset {applied} while its end is at {end}: nothing was read for {} s", stalled.as_secs())]
    Stalled {
        /// The log's topic.
        topic: String,
        /// Partition of the log.
        partition: PartitionId,
        /// First offset not applied.
        applied: Offset,
        /// The log's end.
        end: Offset,
        /// For how long.
        stalled: Duration,
    },
    /// The data directory cannot be used.
    #[error("{}: {words}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        words: String,
    },
    /// A thread of the replica died.
    #[error("the registry's {thread} stopped unexpectedly: {words}")]
    Thread {
        /// Which.
        thread: &'static str,
        /// Its last words.
        words: String,
    },
}

impl RegistryFailure {
    /// A directory, or something in it, that cannot be used.
    pub(crate) fn data(path: &Path, words: impl ToString) -> Self {
        Self::Data {
            path: path.into(),
            words: words.to_string(),
        }
    }
}
