//! `rtf doctor`: whether a pipeline can run here, or why one does not run well. It changes nothing that anybody reads.

mod clock;
mod disk;
mod finding;
mod kafka;
mod keys;
mod redis;
mod roles;

use crate::cli::ReportArgs;
use crate::{load, options, out};
use finding::{Finding, Status};
use rtf_config::Config;
use rtf_kafka::{Cluster, Settings};
use serde_json::{Value, json};
use std::process::ExitCode;

/// What checks of Kafka ask with.
struct Asking {
    config: Config,
    settings: Settings,
    cluster: Cluster,
}

/// Prints a line for each check, as it is done. Exit code 1 when one fails.
///
/// # Errors
/// A configuration that is not accepted; what the checks find is no error but part of the answer.
pub async fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.config)?;
    let mut report = Report {
        json: args.json,
        findings: Vec::new(),
    };
    report.add(configuration(&config))?;
    let asked = config.clone();
    let asking = tokio::task::spawn_blocking(move || kafka::reach(asked)).await?;
    match asking {
        Ok((asking, reached)) => {
            report.add(reached)?;
            let checks = [
                kafka::topics,
                kafka::ours,
                kafka::rights,
                clock::brokers,
                keys::compare,
            ];
            let asking = std::sync::Arc::new(asking);
            for check in checks {
                let asking = asking.clone();
                report.add(tokio::task::spawn_blocking(move || check(&asking)).await?)?;
            }
        }
        Err(unreached) => report.add(vec![unreached])?,
    }
    report.add(redis::check(&config).await)?;
    report.add(disk::check(&config))?;
    report.add(roles::check(&config).await)?;
    report.end()
}

struct Report {
    json: bool,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, findings: Vec<Finding>) -> anyhow::Result<()> {
        if !self.json {
            let lines: String = findings.iter().map(Finding::line).collect();
            out::write(lines.as_bytes())?;
        }
        self.findings.extend(findings);
        Ok(())
    }

    fn end(self) -> anyhow::Result<ExitCode> {
        let count = |status| self.findings.iter().filter(|f| f.status == status).count();
        let (ok, warn, fail) = (count(Status::Ok), count(Status::Warn), count(Status::Fail));
        let text = if self.json {
            let checks: Vec<Value> = self.findings.iter().map(Finding::json).collect();
            format!("{}\n", json!({ "ok": fail == 0, "checks": checks }))
        } else {
            format!("\n{ok} ok, {warn} to look at, {fail} failed\n")
        };
        out::write(text.as_bytes())?;
        Ok(if fail == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// One that is not accepted never gets here.
fn configuration(config: &Config) -> Vec<Finding> {
    let words = format!(
        "{} joins {} with {}",
        config.join.name, config.join.foreign.topic, config.join.primary.topic
    );
    let warnings = config.check();
    let mut findings = vec![Finding::ok("configuration", words)];
    findings.extend(warnings.iter().map(|problem| {
        Finding::warn(
            "configuration",
            format!("`{}` {}", problem.key, problem.words),
            "",
        )
    }));
    findings
}

/// What is shown of an error: its causes too.
fn because(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

/// How the configuration's Kafka is reached.
fn settings(config: &Config) -> Settings {
    options::kafka(config)
}
