//! `rtf status`: asks every role how it is.

use crate::admin::{Remote, Reporter, Together};
use rtf_config::Config;
use std::process::ExitCode;
use std::sync::Arc;

/// Every role's gRPC address, from the configuration.
pub fn remotes(config: &Config) -> Vec<Arc<dyn Reporter>> {
    let of = |role, urls: Vec<String>| {
        let urls = urls.into_iter();
        urls.map(move |url| Remote::new(role, url) as Arc<dyn Reporter>)
    };
    let registries = of("registry", config.registries());
    let joiners = of("joiner", config.joiners());
    let dispatchers = of("dispatcher", config.dispatchers());
    let publisher = of("publisher", config.publishers());
    let all = registries
        .chain(joiners)
        .chain(dispatchers)
        .chain(publisher);
    all.collect()
}

/// Prints a line per role. Exit code 1 unless all are ready.
///
/// # Errors
/// None of its own: a role that does not answer is part of the answer.
pub async fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let together = Together::new(remotes(config));
    let merged = together.merged().await;
    let ready = merged["ready"].as_bool().unwrap_or(false);
    if json {
        println!("{merged}");
    } else {
        print_table(&together).await;
    }
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn print_table(together: &Together) {
    println!(
        "{:<11} {:<8} {:>9}  {:<7} FIGURES",
        "ROLE", "VERSION", "UPTIME", "READY"
    );
    for report in together.reports().await {
        let uptime = humantime(report.uptime.as_secs());
        let ready = if report.ready { "yes" } else { "no" };
        let figures = match &report.figures {
            serde_json::Value::Object(fields) => fields
                .iter()
                .filter(|(_, value)| value.is_number() || value.is_string())
                .map(|(key, value)| {
                    format!(
                        "{key}={}",
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned)
                    )
                })
                .collect::<Vec<_>>()
                .join(" "),
            _ => String::new(),
        };
        println!(
            "{:<11} {:<8} {uptime:>9}  {ready:<7} {figures}",
            report.role, report.version
        );
        if !report.reason.is_empty() {
            println!("            {}", report.reason);
        }
    }
}

fn humantime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}
