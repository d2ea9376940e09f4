//! The demonstration, as whoever tries it first sees it: nothing installed, a row within seconds, a page, a clean end.

use std::collections::HashSet;
use std::fs;
use std::io::BufRead;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rtf_testing::{Process, free_port, http, rtf_binary, temp_folder, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const FIRST_ROW_WITHIN: Duration = Duration::from_secs(5);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(20);

/// What the contract promises at `/metrics`.
const METRICS: [&str; 9] = [
    "rtf_dispatcher_events_total",
    "rtf_dispatcher_waiting",
    "rtf_dispatcher_oldest_waiting_seconds",
    "rtf_registry_registered_total",
    "rtf_registry_ids",
    "rtf_publisher_rows_total",
    "rtf_publisher_lag_records",
    "rtf_join_latency_seconds",
    "rtf_consumer_lag_records",
];
/// What the original's table had: name, location, text, departure, arrival, price.
const CELLS: [&str; 6] = [
    "/foreign/user/name",
    "/foreign/user/location",
    "/foreign/text",
    "/primary/0/departureTime",
    "/primary/0/arrivalTime",
    "/primary/0/totalFare",
];

struct Demo {
    process: Process,
    page: String,
    started: Instant,
    _folder: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Result<Self> {
        let folder = temp_folder("demo")?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(rtf_binary()?);
        command
            .args(["demo", "--listen", &address])
            .args(arguments)
            .current_dir(folder.path());
        let started = Instant::now();
        let process = Process::spawn("rtf demo", &command, &folder.path().join("demo.log"))?;
        Ok(Self {
            process,
            page: format!("http://{address}"),
            started,
            _folder: folder,
        })
    }

    fn text(&self, path: &str) -> Result<String> {
        let answer = http::get(&format!("{}{path}", self.page))?;
        ensure!(
            answer.status() == 200,
            "{path}: {}: {}",
            answer.status(),
            answer.body()
        );
        Ok(answer.into_body())
    }

    fn json(&self, path: &str) -> Result<Value> {
        let text = self.text(path)?;
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    fn rows(&self) -> Result<Vec<Value>> {
        let answer = self.json("/api/rows?limit=100")?;
        Ok(answer["rows"].as_array().cloned().unwrap_or_default())
    }

    /// Processes it has started.
    fn children(&self) -> Result<Vec<u32>> {
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // It may end while we look.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // pid (name, which may hold anything) state parent …
            let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
            let parent = after
                .split(' ')
                .nth(1)
                .and_then(|parent| parent.parse().ok());
            if parent == Some(self.process.pid()) {
                children.push(pid);
            }
        }
        Ok(children)
    }
}

fn shows_rows_in_time(demo: &mut Demo) -> Result<()> {
    let first = wait_until("the first row", SOON, || {
        demo.rows().ok().filter(|rows| !rows.is_empty())
    });
    let took = demo.started.elapsed();
    let rows = first.with_context(|| demo.process.log().unwrap_or_default())?;
    eprintln!("the first row came after {took:?}");
    ensure!(
        took <= FIRST_ROW_WITHIN,
        "the first row came after {took:?}"
    );
    for pointer in CELLS {
        let cell = rows[0].pointer(pointer);
        ensure!(
            cell.is_some_and(|cell| !cell.is_null()),
            "no {pointer}: {}",
            rows[0]
        );
    }
    ensure!(rows[0]["outcome"] == "joined", "{}", rows[0]);
    Ok(())
}

fn goes_on(demo: &Demo) -> Result<()> {
    let rows = wait_until("twenty rows", SOON, || {
        demo.rows().ok().filter(|rows| rows.len() >= 20)
    })?;
    let ids: HashSet<_> = rows.iter().map(|row| row["id"].to_string()).collect();
    ensure!(ids.len() == rows.len(), "a tweet is shown twice");
    let places: HashSet<_> = rows
        .iter()
        .map(|row| (row["partition"].to_string(), row["offset"].to_string()))
        .collect();
    ensure!(
        places.len() == rows.len(),
        "a place in the log is shown twice"
    );
    Ok(())
}

fn serves_its_page(demo: &Demo) -> Result<()> {
    let page = demo.text("/")?.to_lowercase();
    for word in [
        "<!doctype html",
        "<table",
        "location",
        "departure",
        "arrival",
        "price",
    ] {
        ensure!(page.contains(word), "the page has no {word}: {page}");
    }
    let status = demo.json("/api/status")?;
    ensure!(
        status.as_object().is_some_and(|status| !status.is_empty()),
        "{status}"
    );
    demo.text("/livez")?;
    wait_until("readiness", SOON, || demo.text("/readyz").ok())?;
    let missing = |text: &str| METRICS.iter().any(|name| !text.contains(name));
    let mut last = String::new();
    let metrics = wait_until("all metrics", SOON, || {
        last = demo.text("/metrics").ok()?;
        (!missing(&last)).then_some(())
    });
    metrics.with_context(|| {
        let absent: Vec<_> = METRICS
            .iter()
            .filter(|name| !last.contains(*name))
            .collect();
        format!("not at /metrics: {absent:?}")
    })
}

fn streams_rows(demo: &Demo) -> Result<()> {
    let url = format!("{}/api/stream", demo.page);
    let stream = http::open(&url, &[("accept", "text/event-stream")], SOON)?;
    ensure!(stream.status() == 200, "{url}: {}", stream.status());
    for line in stream.into_body().lines() {
        if line?.starts_with("data:") {
            return Ok(());
        }
    }
    anyhow::bail!("{url} ended without an event")
}

fn stops(demo: &mut Demo) -> Result<()> {
    let children = demo.children()?;
    demo.process.sigterm()?;
    let status = demo.process.wait(STOP_WITHIN)?;
    ensure!(status.success(), "{status}: {}", demo.process.log()?);
    let log = demo.process.log()?;
    ensure!(!log.contains("panicked"), "{log}");
    for child in children {
        let gone = || (!fs::exists(format!("/proc/{child}")).ok()?).then_some(());
        wait_until(&format!("the end of its child {child}"), SOON, gone)?;
    }
    Ok(())
}

fn whole_visit(arguments: &[&str]) -> Result<()> {
    let mut demo = Demo::start(arguments)?;
    shows_rows_in_time(&mut demo)?;
    serves_its_page(&demo)?;
    streams_rows(&demo)?;
    goes_on(&demo)?;
    let log = demo.process.log()?;
    ensure!(
        log.contains(&demo.page),
        "its address is not printed: {log}"
    );
    stops(&mut demo)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn with_a_redis_server_of_its_own() -> Result<()> {
    whole_visit(&[])
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn with_nothing_at_all() -> Result<()> {
    whole_visit(&["--no-redis"])
}

/// The default ports are free for either, and only one of them can have them.
#[test]
#[ignore = "needs real servers: ./test runs it"]
fn two_begin_at_the_same_moment() -> Result<()> {
    let mut demos = [Demo::start(&["--no-redis"])?, Demo::start(&["--no-redis"])?];
    for demo in &mut demos {
        wait_until("the first row", SOON, || {
            demo.rows().ok().filter(|rows| !rows.is_empty())
        })
        .with_context(|| demo.process.log().unwrap_or_default())?;
    }
    demos.iter_mut().try_for_each(stops)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_port_in_use_is_named() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let folder = temp_folder("demo")?;
    let mut command = Command::new(rtf_binary()?);
    command.args(["demo", "--no-redis", "--listen", &address]);
    let finished = rtf_testing::run(&command, folder.path(), SOON)?;
    ensure!(finished.code() == 1, "{}", finished.output);
    ensure!(finished.output.contains(&address), "{}", finished.output);
    Ok(())
}
