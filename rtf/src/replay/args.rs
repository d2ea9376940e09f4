//! What can be typed after `rtf replay`.

use super::plan::Target;
use crate::cli::ConfigArgs;
use crate::exit;
use chrono::DateTime;
use clap::Args;
use rtf_proto::{Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// `rtf replay`, with its configuration.
#[derive(Debug, Args)]
pub struct ReplayCommand {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
}

/// From where, of what, and how.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub from: From,
    /// Only these partitions, for example 0,3-5
    #[arg(long, value_name = "LIST")]
    pub partitions: Option<String>,
    /// Do it; without, only say what would be done
    #[arg(long, conflicts_with = "export")]
    pub execute: bool,
    /// Through the running dispatchers, which go back without being stopped
    #[arg(long)]
    pub running: bool,
    /// Wait until the dispatchers have come past where they were, and say what they found
    #[arg(long, requires = "execute")]
    pub watch: bool,
    /// Print the positions as CSV (topic,partition,offset) for --from-file or kafka-consumer-groups, and do nothing
    #[arg(long, conflicts_with = "json")]
    pub export: bool,
    /// With --running: these dispatchers instead of all: http://HOST:PORT of their gRPC; may be repeated
    #[arg(long, value_name = "URL")]
    pub endpoint: Vec<String>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// From where.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct From {
    /// From this offset in all partitions, or from P:O in partition P: P:O[,P:O...]
    #[arg(long, value_name = "O|P:O,...")]
    pub from_offset: Option<String>,
    /// From the first record of this time (Kafka's timestamp) or later, RFC 3339: 2026-03-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub to_datetime: Option<String>,
    /// So many records back from where it is, for example -1000
    #[arg(long, value_name = "-N", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
    /// From the first record there is
    #[arg(long)]
    pub to_earliest: bool,
    /// Refused: it would skip events
    #[arg(long)]
    pub to_latest: bool,
    /// From the positions in this CSV file (topic,partition,offset), as --export or kafka-consumer-groups --export print it
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
}

impl ReplayArgs {
    /// As `rtf dispatcher replay` means it.
    pub fn through_dispatchers(self) -> Self {
        Self {
            running: true,
            ..self
        }
    }

    /// The partitions that are meant; none: all.
    ///
    /// # Errors
    /// They are not written like that.
    pub fn chosen(&self) -> anyhow::Result<Option<BTreeSet<PartitionId>>> {
        let Some(text) = &self.partitions else {
            return Ok(None);
        };
        match rtf_config::ranges(text).filter(|partitions| !partitions.is_empty()) {
            Some(partitions) => Ok(Some(partitions)),
            None => Err(exit::usage(format!(
                "--partitions {text}: expected numbers like 0,3-5"
            ))),
        }
    }
}

impl From {
    /// What is meant, of all but a file.
    ///
    /// # Errors
    /// It cannot be read, or would go forward.
    pub fn target(&self) -> anyhow::Result<Target> {
        if let Some(text) = &self.from_offset {
            return offsets(text).ok_or_else(|| {
                exit::usage(format!(
                    "--from-offset {text}: expected an offset, or partition:offset pairs like 0:1200,3:50"
                ))
            });
        }
        if let Some(text) = &self.to_datetime {
            let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
                exit::usage(format!(
                    "--to-datetime {text}: {error}; expected RFC 3339, like 2026-03-01T00:00:00Z"
                ))
            })?;
            return Ok(Target::Time(time.timestamp_millis()));
        }
        match self.shift_by {
            None => Ok(Target::Earliest),
            Some(shift) if shift < 0 => Ok(Target::Back(shift.unsigned_abs())),
            Some(shift) => Err(exit::usage(format!(
                "--shift-by {shift}: a replay only goes back, for example --shift-by -1000; going forward would skip events that are not resolved"
            ))),
        }
    }
}

fn offsets(text: &str) -> Option<Target> {
    if let Ok(offset) = text.parse() {
        return Some(Target::Offset(offset));
    }
    let mut offsets: BTreeMap<PartitionId, Offset> = BTreeMap::new();
    for pair in text.split(',') {
        let (partition, offset) = pair.trim().split_once(':')?;
        let before = offsets.insert(partition.parse().ok()?, offset.parse().ok()?);
        if before.is_some() {
            return None;
        }
    }
    Some(Target::PerPartition(offsets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_one_for_all_or_one_each() {
        assert_eq!(offsets("17"), Some(Target::Offset(17)));
        let each = Target::PerPartition(BTreeMap::from([(0, 5), (12, 0)]));
        assert_eq!(offsets("0:5, 12:0"), Some(each));
        for wrong in [
            "", "-1", "x", "0:", ":5", "0:5,", "0:5,0:6", "0:5:6", "0:-1",
        ] {
            assert_eq!(offsets(wrong), None, "{wrong}");
        }
    }
}
