//! What can be typed after `rtf dlq`.

use crate::cli::ConfigArgs;
use clap::{Args, Subcommand, ValueEnum};

/// The command, and which configuration.
#[derive(Debug, Args)]
pub struct DlqArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: DlqCommand,
}

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// Show the newest dead letters, and how many there are
    #[command(after_help = "Example: what timed out in the last hour\n  \
        rtf dlq list -c rtf.toml --reason timed_out --since 1h")]
    List {
        #[command(flatten)]
        which: Which,
        /// Show so many at the most, the newest; 0 shows all
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show all of one letter: its headers and its value
    #[command(after_help = "Example:\n  rtf dlq show -c rtf.toml 3/17")]
    Show {
        /// PARTITION/OFFSET in the dead-letter topic, the event's id, or its source TOPIC/PARTITION/OFFSET
        which: String,
        /// Report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Send letters to the foreign topic again, to be joined after all; a dry run unless --execute
    ///
    /// That an event was given up is decided for ever: its id stays unjoinable. So a letter is sent again under a new id, ID~again-1, and its row
    /// carries that id; sending the same letter twice joins it once. A malformed record was registered by its position alone: it is sent as it
    /// is, with the id that stands in it. docs/dead-letters.md says more.
    #[command(after_help = "Example: the deals are there now, join these again\n  \
        rtf dlq replay -c rtf.toml --reason timed_out --since 2h            # says what would be sent\n  \
        rtf dlq replay -c rtf.toml --reason timed_out --since 2h --execute  # sends it")]
    Replay {
        #[command(flatten)]
        which: Which,
        /// All letters; needed when nothing else says which
        #[arg(long)]
        all: bool,
        /// Send them
        #[arg(long)]
        execute: bool,
        /// Report as JSON
        #[arg(long)]
        json: bool,
    },
}

/// How an event ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Ended {
    /// It was given up
    Unjoinable,
    /// It could not be read
    Malformed,
}

/// Which letters. All that is said must be so.
#[derive(Debug, Default, Args)]
pub struct Which {
    /// Only those that ended so
    #[arg(long, value_enum)]
    pub outcome: Option<Ended>,
    /// Only those whose reason is this, or has this in it: timed_out, row_too_large, or words of the parser
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only those written since then: a duration before now, such as 2h, or a time, such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only those written before then: likewise
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only those looked for by this key
    #[arg(long)]
    pub key: Option<String>,
    /// Only those of this event; may be repeated
    #[arg(long)]
    pub id: Vec<String>,
}
