//! docs/metrics.md has the metrics that the roles have, and alerts and board ask for no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_testing::{Process, free_port, http, rtf_binary, temp_folder, wait_until};

const PAGE: &str = "docs/metrics.md";
/// Of every process, by the names that a library gives them.
const OF_PROCESS: &str = "process_";
/// Where metrics are made.
const SOURCES: [&str; 7] = [
    "dispatcher/src",
    "joiner/src",
    "lib",
    "publisher/src",
    "registry/src",
    "rtf/src",
    "web/src",
];
/// What a histogram is served as.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// A metric: its type, where that can be seen, and its labels, where they are named.
#[derive(Default, Debug)]
struct Metric {
    kind: Option<String>,
    labels: Option<BTreeSet<String>>,
}

fn on_page() -> Result<BTreeMap<String, Metric>> {
    let page = read(PAGE)?;
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let kind = Some(cells.next()?.to_owned());
        let labels = cells.next()?.split(',').map(|label| label.trim());
        let labels = labels.map(|label| label.trim_matches('`').to_owned());
        let labels = Some(labels.filter(|label| !label.is_empty()).collect());
        Some((name.to_owned(), Metric { kind, labels }))
    });
    Ok(rows.collect())
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// A crate's name has two parts, a metric's more.
fn is_metric(text: &str) -> bool {
    let mut parts = text.split('_');
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    parts.next() == Some("rtf") && parts.clone().count() > 1 && parts.all(is_part)
}

/// What stands between a name's quotation mark and its call's end: the labels. None if they come from a variable.
fn labels(rest: &str) -> Option<BTreeSet<String>> {
    let arguments = rest.split(')').next()?;
    if arguments.contains("&labels") {
        return None;
    }
    let mut before = arguments.split("=>").collect::<Vec<_>>();
    before.pop();
    let name = |text: &str| {
        Some(
            text.trim()
                .strip_suffix('"')?
                .rsplit('"')
                .next()?
                .to_owned(),
        )
    };
    Some(before.into_iter().filter_map(name).collect())
}

/// Names of metrics are always written out, as texts of their own.
fn in_code() -> Result<BTreeMap<String, Metric>> {
    let mut files = Vec::new();
    for folder in SOURCES {
        rust_files(&root().join(folder), &mut files)?;
    }
    let mut metrics = BTreeMap::<String, Metric>::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (at, _) in code.match_indices("\"rtf_") {
            let Some((name, rest)) = code[at + 1..].split_once('"') else {
                continue;
            };
            if !is_metric(name) {
                continue;
            }
            let metric = metrics.entry(name.to_owned()).or_default();
            let call = code[..at].trim_end();
            let kinds = ["counter", "gauge", "histogram"];
            let made_as = |kind: &&str| call.ends_with(&format!("{kind}!("));
            if let Some(kind) = kinds.into_iter().find(made_as) {
                metric.kind = Some(kind.to_owned());
                metric.labels = labels(rest);
            }
        }
    }
    Ok(metrics)
}

#[test]
fn the_page_has_the_metrics_that_the_code_has() -> Result<()> {
    let (page, code) = (on_page()?, in_code()?);
    ensure!(code.len() > 50, "only {} found in the code", code.len());
    for (name, made) in &code {
        let told = page
            .get(name)
            .with_context(|| format!("{name} is not in {PAGE}"))?;
        ensure!(
            made.kind.is_none() || made.kind == told.kind,
            "{name}: {made:?}, but {PAGE} says {told:?}"
        );
        ensure!(
            made.labels.is_none() || made.labels == told.labels,
            "{name}: {made:?}, but {PAGE} says {told:?}"
        );
    }
    for name in page.keys() {
        ensure!(
            name.starts_with(OF_PROCESS) || code.contains_key(name),
            "{name} is in {PAGE}, but nowhere made"
        );
    }
    Ok(())
}

/// Words that begin like a metric of ours; in Grafana's and Prometheus's files nothing else does.
fn asked_for(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| is_metric(word) || word.starts_with(OF_PROCESS))
        .collect()
}

#[test]
fn alerts_and_board_ask_for_metrics_that_there_are() -> Result<()> {
    let page = on_page()?;
    for path in [
        "deploy/prometheus/alerts.yml",
        "deploy/prometheus/alerts.test.yml",
        "deploy/grafana/dashboards/rtf.json",
    ] {
        let text = read(path)?;
        let names = asked_for(&text);
        ensure!(names.len() > 10, "{path} asks for {}", names.len());
        for name in names {
            let parts = OF_HISTOGRAM.iter();
            let of = parts.filter_map(|part| page.get(name.strip_suffix(part)?));
            let is_part = of
                .into_iter()
                .any(|m| m.kind.as_deref() == Some("histogram"));
            ensure!(
                is_part || page.contains_key(name),
                "{path} asks for {name}, which is not in {PAGE}"
            );
        }
    }
    Ok(())
}

/// Each alert of the rules: its name, and its lines.
fn alerts() -> Result<BTreeMap<String, String>> {
    let rules = read("deploy/prometheus/alerts.yml")?;
    let mut alerts = BTreeMap::new();
    for rule in rules.split("- alert: ").skip(1) {
        let (name, rest) = rule.split_once('\n').context("a rule has lines")?;
        alerts.insert(name.trim().to_owned(), rest.to_owned());
    }
    Ok(alerts)
}

#[test]
fn every_alert_says_what_it_means_where_to_read_on_and_has_a_test() -> Result<()> {
    let (failures, tests) = (
        read("docs/failure-modes.md")?,
        read("deploy/prometheus/alerts.test.yml")?,
    );
    let alerts = alerts()?;
    ensure!(alerts.len() > 15, "{} alerts", alerts.len());
    for (name, rule) in &alerts {
        for wanted in [
            "for: ",
            "severity: ",
            "summary: ",
            "description: ",
            "/manual/",
        ] {
            ensure!(rule.contains(wanted), "{name} has no `{wanted}`");
        }
        ensure!(
            failures.contains(&format!("`{name}`")),
            "docs/failure-modes.md does not say what {name} is"
        );
        ensure!(
            tests.contains(&format!("alertname=\"{name}\"")),
            "{name} has no test"
        );
    }
    let mentioned = failures.split("`Rtf").skip(1);
    for name in mentioned.filter_map(|row| row.split('`').next()) {
        ensure!(
            alerts.contains_key(&format!("Rtf{name}")),
            "there is no alert Rtf{name}"
        );
    }
    Ok(())
}

/// Needs no server: the demonstration has its own.
#[test]
#[ignore = "starts the demonstration"]
fn what_a_process_serves_is_on_the_page_with_its_words() -> Result<()> {
    let folder = temp_folder("metrics")?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(rtf_binary()?);
    command
        .args(["demo", "--no-redis", "--listen", &address])
        .current_dir(folder.path());
    let _demo = Process::spawn("rtf demo", &command, &folder.path().join("demo.log"))?;
    let url = format!("http://{address}/metrics");
    // What is told now and then only comes last.
    let awaited = [
        "rtf_join_latency_seconds_count ",
        "rtf_joiner_events ",
        "rtf_registry_ids ",
        "rtf_consumer_lag_records{",
        "rtf_publisher_lag_records{",
    ];
    let text = wait_until("all roles have figures", Duration::from_secs(60), || {
        let text = http::get(&url).ok()?.into_body();
        let is_there = |start: &&str| text.lines().any(|line| line.starts_with(*start));
        awaited.iter().all(is_there).then_some(text)
    })?;
    let page = on_page()?;
    let served = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut count = 0;
    for (name, kind) in served.filter_map(|line| line.split_once(' ')) {
        let told = page
            .get(name)
            .with_context(|| format!("{name} is served, but not in {PAGE}"))?;
        ensure!(told.kind.as_deref() == Some(kind), "{name} is a {kind}");
        ensure!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no words"
        );
        count += 1;
    }
    ensure!(count > 20, "{count} metrics are served");
    for name in page.keys().filter(|name| name.starts_with(OF_PROCESS)) {
        ensure!(text.contains(&format!("# TYPE {name} ")), "no {name}");
    }
    Ok(())
}
