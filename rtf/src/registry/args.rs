//! What can be typed after `rtf registry`.

use crate::cli::{ConfigArgs, Target, Watched};
use clap::{Args, Subcommand};
use rtf_config::Span;

/// The role, or a command.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: Option<RegistryCommand>,
}

#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Show every replica: how far it is, what it remembers and what keeps it from forgetting
    ///
    /// Exit code 1 unless all replicas answer, are ready and are not paused.
    #[command(after_help = "Example:\n  rtf registry status -c rtf.toml\n\n\
        COUNT is among how many partitions ids are hashed there; a split changes it. LAG is what the replica has not applied of the log. IDS are remembered. DIGEST is the sum over all winners below an offset, which \
        `rtf registry digest` compares. Awaited sources are partitions of foreign topics: what was registered of them is kept until the \
        dispatcher has committed past it; a source that nobody reads any more waits for ever, until `rtf registry retire`.")]
    Status(Watched),
    /// Say who won an id: partition, offset and outcome, and the bucket it is remembered in
    ///
    /// Asks the replicas that serve its partition, not Kafka; `rtf lookup` shows the row too. Exit code 1 unless all of them know it.
    #[command(after_help = "Example:\n  rtf registry lookup -c rtf.toml click-17")]
    Lookup {
        /// The event's id
        id: String,
        #[command(flatten)]
        to: Target,
    },
    /// Compare what the replicas decided
    ///
    /// Per partition, at the highest offset that all who serve it know. Exit code 1 when they differ, when one does not answer, or when there is no
    /// offset to compare at.
    #[command(after_help = "Example:\n  rtf registry digest -c rtf.toml")]
    Digest(Target),
    /// Remove from disk now what is forgotten; it happens by itself every few seconds
    #[command(after_help = "Example:\n  rtf registry gc -c rtf.toml")]
    Gc(Target),
    /// Refuse new registrations until `resume` or a restart
    ///
    /// Events are not lost: whoever wants to register tries again, with another replica if there is one, and waits otherwise. Look-ups, the
    /// publisher and the status go on. A paused replica is not ready.
    #[command(after_help = "Example: take one of two replicas out of use\n  \
        rtf registry pause -c rtf.toml --endpoint http://10.0.0.2:7401")]
    Pause(Target),
    /// Take registrations again
    #[command(after_help = "Example:\n  rtf registry resume -c rtf.toml")]
    Resume(Target),
    /// Pause, and wait until no registration is under way
    ///
    /// Exit code 1 when some still are; it stays paused either way.
    #[command(after_help = "Example: before a replica is stopped for good\n  \
        rtf registry drain -c rtf.toml --endpoint http://10.0.0.2:7401 --within 1m")]
    Drain {
        /// How long to wait: a duration, at most 10m
        #[arg(long, value_name = "DURATION", default_value = "30s")]
        within: Span,
        #[command(flatten)]
        to: Target,
    },
    /// Change what running registries log, until they end
    #[command(
        name = "log-level",
        after_help = "Example:\n  \
        rtf registry log-level -c rtf.toml info,rtf_registry=debug\n  rtf registry log-level -c rtf.toml info"
    )]
    LogLevel {
        /// error, warn, info, debug, trace, or a tracing filter
        filter: String,
        #[command(flatten)]
        to: Target,
    },
    /// Say in the log that nobody reads a foreign topic any more, so that its ids are forgotten in time
    ///
    /// One replica of each part of the log does it for all. Only for a topic that was deleted or given up: ids of one that is still read may be forgotten before its
    /// dispatcher has come past them.
    #[command(
        after_help = "Example: the id is what `rtf registry status` shows under AWAITED TOPIC\n  \
        rtf registry retire -c rtf.toml 0iRVFk5ASiSO5BbzWdUs4A"
    )]
    Retire {
        /// Kafka's id of the topic, 22 characters
        #[arg(value_name = "TOPIC_ID", allow_hyphen_values = true)]
        topic_id: String,
        #[command(flatten)]
        to: Target,
    },
    /// Give the join log more partitions while everything runs
    ///
    /// One replica does it for all, and answers when it is done. Nothing pauses, and no event is joined twice. The number can only grow, to a multiple of
    /// what it is. Run it again if it was interrupted: it goes on where it was. [registry].partitions may keep the old number or be set to
    /// the new one.
    #[command(after_help = "Example: see whether it could be done, then do it\n  \
        rtf registry split -c rtf.toml --partitions 32 --dry-run\n  rtf registry split -c rtf.toml --partitions 32")]
    Split {
        /// How many partitions the log shall have
        #[arg(long, value_name = "N")]
        partitions: u32,
        /// Only say whether it could be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        to: Target,
    },
    /// Set the view of a replica that does not run aside, so that the next start makes it anew from the log
    ///
    /// Works on [registry].data of this machine. Says what it would do, and does it with --execute. What is set aside is kept; delete it when
    /// the replica is ready again.
    #[command(
        after_help = "Example: the replica says that it was truncated, or that it decided otherwise\n  \
        rtf registry rebuild -c rtf.toml\n  rtf registry rebuild -c rtf.toml --execute\n  rtf registry -c rtf.toml"
    )]
    Rebuild(RebuildArgs),
}

#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Do it
    #[arg(long)]
    pub execute: bool,
    /// Go on with a log that lost its beginning and holds no checkpoint: appends an empty one to each such partition. What was resolved before
    /// counts as never resolved, and may be joined a second time if it is read again
    #[arg(long)]
    pub accept_loss: bool,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}
