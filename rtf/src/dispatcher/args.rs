//! What can be typed after `rtf dispatcher`.

use crate::cli::{ConfigArgs, Target, Watched};
use crate::replay::ReplayArgs;
use clap::{Args, Subcommand};
use rtf_config::Span;
use rtf_proto::pb::retry_now_request::Which as Asked;

/// The role, or a command.
#[derive(Debug, Args)]
pub struct DispatcherArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: Option<DispatcherCommand>,
}

/// Some of what waits.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Everything that waits
    #[arg(long)]
    pub all: bool,
    /// What waits for this key, written as in a row's "key"
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub key: Option<String>,
    /// The event with this id
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub id: Option<String>,
}

impl Which {
    /// As it is asked for over gRPC.
    pub fn asked(self) -> Asked {
        match (self.key, self.id) {
            (Some(key), _) => Asked::Key(key.into()),
            (None, Some(id)) => Asked::Id(id.into()),
            (None, None) => Asked::All(true),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum DispatcherCommand {
    /// Show every dispatcher: its partitions and how far they are, what is in flight and what waits, for how long
    ///
    /// Exit code 1 unless all dispatchers answer, are ready and are not paused.
    #[command(after_help = "Example:\n  rtf dispatcher status -c rtf.toml\n\n\
        POSITION is the first offset that is not resolved, MARK what of it is committed, NEXT what is read next, END one past the last record. LAG \
        is what is not read yet; PENDING is read and not resolved: in flight, or waiting for a partner.")]
    Status(Watched),
    /// Read no more, until `resume` or the end of the process
    ///
    /// What is in flight and what waits goes on. It is a command to this one process: it keeps its partitions, and after a restart it reads on. To stop
    /// the join altogether, pause all dispatchers. A paused dispatcher is not ready.
    #[command(after_help = "Example:\n  rtf dispatcher pause -c rtf.toml")]
    Pause(Target),
    /// Read on, and try what waits
    ///
    /// Undoes `pause` and `drain` in a process that still runs.
    #[command(after_help = "Example:\n  rtf dispatcher resume -c rtf.toml")]
    Resume(Target),
    /// Pause, let what waits rest, wait until nothing is in flight, and commit
    ///
    /// Says how many events wait for a partner: the committed positions stay before them. Exit code 1 when something still is in flight; it stays paused
    /// either way, until `resume` or the end of the process.
    #[command(after_help = "Example: before a dispatcher is stopped for good\n  \
        rtf dispatcher drain -c rtf.toml --endpoint http://10.0.0.2:7403 --within 1m")]
    Drain {
        /// How long to wait: a duration, at most 10m
        #[arg(long, value_name = "DURATION", default_value = "30s")]
        within: Span,
        #[command(flatten)]
        to: Target,
    },
    /// Try what waits for a partner now instead of when it is due, and say how many events that are
    ///
    /// Harmless: what finds no partner waits on, as long as it would have.
    #[command(
        name = "retry-now",
        after_help = "Example: the primary topic was mended\n  rtf dispatcher retry-now -c rtf.toml --all\n  \
        rtf dispatcher retry-now -c rtf.toml --key Austin"
    )]
    RetryNow {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        to: Target,
    },
    /// Change what running dispatchers log, until they end
    #[command(
        name = "log-level",
        after_help = "Example:\n  rtf dispatcher log-level -c rtf.toml info,rtf_dispatcher=debug"
    )]
    LogLevel {
        /// error, warn, info, debug, trace, or a tracing filter
        filter: String,
        #[command(flatten)]
        to: Target,
    },
    /// Read the foreign topic again while the dispatchers run: `rtf replay --running`
    #[command(after_help = "Example: see what would be read again, then do it\n  \
        rtf dispatcher replay -c rtf.toml --to-datetime 2026-03-01T00:00:00Z\n  \
        rtf dispatcher replay -c rtf.toml --to-datetime 2026-03-01T00:00:00Z --execute --watch")]
    Replay(ReplayArgs),
}
