//! What can be typed after `rtf init`.

use crate::kafka_flags::KafkaFlags;
use clap::Args;
use std::path::PathBuf;

/// `rtf init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Topic of the stream that drives the join, such as clicks; asked for on a terminal when it is not given
    #[arg(long, value_name = "TOPIC")]
    pub foreign: Option<String>,
    /// Topic of the stream that is looked up, such as queries; asked for on a terminal when it is not given
    #[arg(long, value_name = "TOPIC")]
    pub primary: Option<String>,
    #[command(flatten)]
    pub kafka: KafkaFlags,
    /// Where rows shall go; only written down
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    pub redis: String,
    /// Name of the join, the prefix of its topics, group and Redis keys [default: that of the foreign topic]
    #[arg(long)]
    pub name: Option<String>,
    /// The fields whose values must meet, instead of what the samples suggest; several make a composite key
    #[arg(long, value_name = "FOREIGN=PRIMARY", value_parser = key)]
    pub key: Vec<(String, String)>,
    /// Records that are read at the beginning, and as many at the end, of each partition; at most 40,000 of a topic, 64 MiB and 20 s
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub sample: u64,
    /// The file to write; `-` writes to standard output, and what is said to standard error
    #[arg(short, long, value_name = "FILE", default_value = "rtf.toml")]
    pub output: PathBuf,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub force: bool,
}

fn key(text: &str) -> Result<(String, String), String> {
    let sides = text.split_once('=');
    let (foreign, primary) = sides
        .filter(|(foreign, primary)| !foreign.is_empty() && !primary.is_empty())
        .ok_or("expected two fields, for example /query_id=/id")?;
    Ok((foreign.into(), primary.into()))
}
