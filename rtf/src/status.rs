//! `rtf status`: asks every role how it is.

use crate::admin::{Remote, Report, Reporter, Together};
use crate::cli::StatusArgs;
use crate::table::{Align, Table};
use crate::watch::{self, Shown};
use crate::{grpc_tls, human, paint};
use rtf_config::Config;
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;

/// Every role's gRPC address, from the configuration.
///
/// # Errors
/// Certificates that cannot be read.
pub fn remotes(config: &Config) -> anyhow::Result<Vec<Arc<dyn Reporter>>> {
    let tls = grpc_tls::client(config)?;
    let of = |role, urls: Vec<String>| {
        let (urls, tls) = (urls.into_iter(), tls.clone());
        urls.map(move |url| Remote::new(role, url, tls.clone()) as Arc<dyn Reporter>)
    };
    let registries = of("registry", config.registries());
    let joiners = of("joiner", config.joiners());
    let dispatchers = of("dispatcher", config.dispatchers());
    let publisher = of("publisher", config.publishers());
    let all = registries
        .chain(joiners)
        .chain(dispatchers)
        .chain(publisher);
    Ok(all.collect())
}

/// Prints a line per role. Exit code 1 unless all are ready.
///
/// # Errors
/// The output cannot be written; a role that does not answer is part of the answer.
pub async fn run(config: &Config, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let together = Together::new(remotes(config)?);
    let json = args.report.json;
    watch::show(&args.watch, || shown(&together, json)).await
}

async fn shown(together: &Together, json: bool) -> Shown {
    if json {
        let merged = together.merged().await;
        return (format!("{merged}\n"), merged["ready"] == true);
    }
    let reports = together.reports().await;
    (table(&reports), reports.iter().all(|report| report.ready))
}

fn table(reports: &[Report]) -> String {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("ROLE", Left),
        ("VERSION", Left),
        ("UP", Right),
        ("READY", Left),
        ("FIGURES", Left),
    ]);
    for report in reports {
        let ready = if report.ready {
            paint::good("yes")
        } else {
            paint::bad("no")
        };
        let up = i64::try_from(report.uptime.as_millis()).unwrap_or(i64::MAX);
        let mut told: Vec<String> = Vec::new();
        if !report.reason.is_empty() {
            told.push(report.reason.clone());
        }
        let figures = figures(&report.figures);
        if !figures.is_empty() {
            told.push(figures);
        }
        table.row(vec![
            report.role.clone(),
            report.version.clone(),
            human::span(up),
            ready,
            told.join("; "),
        ]);
    }
    table.to_string()
}

/// Those that are plain: `name=value`.
fn figures(figures: &Value) -> String {
    let Value::Object(fields) = figures else {
        return String::new();
    };
    let plain = fields.iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Number(number) => Some(format!("{name}={number}")),
        _ => None,
    });
    plain.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_role_is_a_line_with_what_it_says() {
        let report = |role: &str, ready, reason: &str| Report {
            role: role.into(),
            version: "0.1.0".into(),
            uptime: Duration::from_secs(61),
            memory: None,
            ready,
            reason: reason.into(),
            figures: json!({ "ids": 3, "parts": "0-7", "more": {} }),
        };
        let text = table(&[
            report("registry", true, ""),
            report("joiner", false, "reading"),
        ]);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[0], "  ROLE      VERSION     UP  READY  FIGURES");
        assert_eq!(
            lines[1],
            "  registry  0.1.0    1m01s  yes    ids=3 parts=0-7"
        );
        assert_eq!(
            lines[2],
            "  joiner    0.1.0    1m01s  no     reading; ids=3 parts=0-7"
        );
    }
}
