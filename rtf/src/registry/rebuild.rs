//! `rtf registry rebuild`: sets the view of a replica that does not run aside. Touches this machine's directory, and the log only to accept a loss.

use super::args::RebuildArgs;
use crate::{human, options, out};
use rtf_config::Config;
use rtf_proto::naming;
use rtf_registry::{Extent, Rebuild, accept_loss};
use serde_json::json;
use std::process::ExitCode;

/// What there is to do.
struct Plan {
    rebuild: Rebuild,
    topic: String,
    extent: Option<Extent>,
    /// Whether empty checkpoints are appended.
    accepts_loss: bool,
}

/// Says what would be done, or does it.
///
/// # Errors
/// A registry runs on the directory, or Kafka does not answer.
pub async fn run(config: &Config, args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || rebuild(&config, &args)).await??;
    Ok(ExitCode::SUCCESS)
}

fn rebuild(config: &Config, args: &RebuildArgs) -> anyhow::Result<()> {
    let settings = options::kafka(config);
    let topic = naming::log_topic(&config.join.name);
    let extent = Extent::ask(&settings, &topic)?;
    let log = extent.as_ref().map(|extent| extent.log);
    let plan = Plan {
        rebuild: Rebuild::plan(&config.registry.data, &topic, log)?,
        topic,
        extent,
        accepts_loss: args.accept_loss,
    };
    if args.json {
        out::line(plan.json(args.execute))?;
    } else {
        out::write(plan.words(args.execute).as_bytes())?;
    }
    if args.execute {
        plan.rebuild.execute()?;
        if let (true, Some(extent)) = (plan.accepts_loss, &plan.extent) {
            accept_loss(&settings, &plan.topic, extent)?;
        }
    }
    Ok(())
}

impl Plan {
    fn beheaded(&self) -> Vec<u32> {
        let beheaded = self.extent.as_ref().map(Extent::beheaded);
        let beheaded = beheaded.unwrap_or_default().into_iter();
        beheaded.map(|(partition, _)| partition).collect()
    }

    fn words(&self, execute: bool) -> String {
        let (moves, appends) = if execute {
            ("moves", "appends")
        } else {
            ("would move", "would append")
        };
        let mut lines = Vec::new();
        for (from, to) in self.rebuild.moves() {
            lines.push(format!("{moves} {} to {}", from.display(), to.display()));
        }
        if lines.is_empty() {
            lines.push("there is no view to set aside".into());
        }
        let beheaded = self.beheaded();
        if self.accepts_loss && beheaded.is_empty() {
            lines.push(
                "no partition of the log lost its beginning: there is no loss to accept".into(),
            );
        } else if self.accepts_loss {
            lines.push(format!(
                "{appends} an empty checkpoint to partitions {beheaded:?} of `{}`: what was resolved before their first records counts as never resolved",
                self.topic
            ));
        }
        lines.push(self.next_start(&beheaded));
        if !execute {
            lines.push("nothing is changed: with --execute it is done".into());
        }
        lines.join("\n") + "\n"
    }

    fn next_start(&self, beheaded: &[u32]) -> String {
        let Some(extent) = &self.extent else {
            return format!(
                "topic `{}` does not exist: the next start makes it anew, empty",
                self.topic
            );
        };
        let read = format!(
            "the next start reads {} records of {} partitions of `{}` again",
            human::count(extent.records()),
            extent.offsets.len(),
            self.topic
        );
        if beheaded.is_empty() || self.accepts_loss {
            return read;
        }
        format!(
            "{read}; partitions {beheaded:?} lost their beginning, and are only served again if the log holds a checkpoint of them, as it does every few minutes"
        )
    }

    fn json(&self, execute: bool) -> serde_json::Value {
        let moves = self.rebuild.moves().iter();
        let moves: Vec<_> = moves
            .map(|(from, to)| json!({ "from": from, "to": to }))
            .collect();
        let checkpoints = if self.accepts_loss {
            self.beheaded()
        } else {
            Vec::new()
        };
        json!({
            "executed": execute, "moves": moves, "empty_checkpoints": checkpoints,
            "records": self.extent.as_ref().map(Extent::records),
        })
    }
}
