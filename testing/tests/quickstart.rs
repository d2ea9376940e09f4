//! docs/quickstart.md does what it says: each of its commands is run as it stands there, but for addresses.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_testing::{
    HEALTH_PORT_ABOVE, Process, Servers, free_port, free_role_port, http, rtf_binary, temp_folder,
    wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(120);
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Servers, a folder to work in, and ports of its own for each role.
struct Desk {
    servers: Servers,
    folder: TempDir,
    environment: Vec<(String, String)>,
    page: String,
    health: u16,
}

impl Desk {
    fn open() -> Result<Self> {
        let page = format!("127.0.0.1:{}", free_port()?);
        let mut environment = vec![("RTF__WEB__LISTEN".to_owned(), page.clone())];
        let mut health = 0;
        for role in ["REGISTRY", "JOINER", "DISPATCHER", "PUBLISHER"] {
            let port = free_role_port()?;
            health = port + HEALTH_PORT_ABOVE;
            environment.push((format!("RTF__{role}__LISTEN"), format!("127.0.0.1:{port}")));
        }
        Ok(Self {
            servers: Servers::start()?,
            folder: temp_folder("quickstart")?,
            environment,
            page,
            health,
        })
    }

    /// A command as the page has it, on these servers.
    fn command(&self, line: &str) -> Result<Command> {
        let line = line
            .replace("127.0.0.1:9092", &self.servers.kafka.bootstrap())
            .replace("redis://127.0.0.1:6379", &self.servers.redis.url());
        let mut words = line.split_whitespace();
        ensure!(words.next() == Some("rtf"), "{line}");
        let mut command = Command::new(rtf_binary()?);
        command.args(words).current_dir(self.folder.path());
        let variables = self.environment.iter();
        command.envs(variables.map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn output(&self, line: &str) -> Result<Output> {
        Ok(self.command(line)?.stdin(Stdio::null()).output()?)
    }

    /// Runs a command that must succeed, and returns what it printed.
    fn done(&self, line: &str) -> Result<String> {
        let output = self.output(line)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{line}: {text}{errors}");
        Ok(text)
    }

    /// Starts a command that goes on.
    fn start(&self, line: &str, log: &str) -> Result<Process> {
        let log = self.folder.path().join(log);
        Process::spawn(line, &self.command(line)?, &log)
    }
}

/// The page's commands, in order.
fn commands() -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/quickstart.md");
    let text = fs::read_to_string(path)?;
    let mut commands = Vec::new();
    // Inside a block: what it is of.
    let mut block = None;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            block = block.is_none().then_some(language);
        } else if block == Some("") {
            commands.push(line.to_owned());
        }
    }
    Ok(commands)
}

/// Rows as `rtf tail` prints them in a pipe.
fn ids(lines: &str) -> Result<Vec<String>> {
    let id = |line: &str| -> Result<String> {
        let row: Value = serde_json::from_str(line)?;
        Ok(row["id"].as_str().context("an id")?.to_owned())
    };
    lines.lines().map(id).collect()
}

fn ends(mut process: Process) -> Result<ExitStatus> {
    process.wait(ENDS_WITHIN)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn every_command_of_the_page_works() -> Result<()> {
    let desk = Desk::open()?;
    let commands = commands()?;
    ensure!(commands.len() >= 10, "{commands:?}");
    let mut running = None;
    for command in &commands {
        eprintln!("{command}");
        let name = command.split_whitespace().nth(1).unwrap_or_default();
        match name {
            "run" => {
                let process = desk.start(command, "run.log")?;
                let ready = format!("http://127.0.0.1:{}/readyz", desk.health);
                wait_until("rtf run is ready", READY_WITHIN, || {
                    let answer = http::get(&ready).ok()?;
                    (answer.status() == 200).then_some(())
                })?;
                http::get(&format!("http://{}/", desk.page))?;
                running = Some(process);
            }
            "tail" if command.contains("--no-follow") => {
                let all = wait_until("all rows", DONE_WITHIN, || {
                    let rows = ids(&desk.done(command).ok()?).ok()?;
                    (rows.len() > 1_900).then_some(rows)
                })?;
                let distinct: BTreeSet<&String> = all.iter().collect();
                ensure!(distinct.len() == all.len(), "a row was printed twice");
            }
            "tail" => {
                let mut tail = desk.start(command, "tail.log")?;
                tail.wait_for_log("\"outcome\":\"joined\"", DONE_WITHIN)?;
                tail.sigint()?;
                ensure!(ends(tail)?.success());
            }
            "verify" => {
                let said = desk.done(command)?;
                ensure!(said.contains("exactly once: yes"), "{said}");
            }
            "doctor" => {
                let said = desk.done(command)?;
                for part in ["join log", "Redis rights", "keys", "0 failed"] {
                    ensure!(said.contains(part), "{said}");
                }
            }
            _ => drop(desk.done(command)?),
        }
    }
    let mut running = running.context("rtf run")?;
    live_rows(&desk)?;
    watched(&desk)?;
    let doctor: Value = serde_json::from_str(&desk.done("rtf doctor -c rtf.toml --json")?)?;
    let roles: BTreeSet<&str> = doctor["checks"]
        .as_array()
        .context("checks")?
        .iter()
        .filter(|check| check["status"] == "ok")
        .filter_map(|check| check["check"].as_str())
        .collect();
    for role in ["registry", "joiner", "dispatcher", "publisher", "web"] {
        ensure!(roles.contains(role), "{role}: {doctor}");
    }
    running.sigterm()?;
    ensure!(ends(running)?.success());
    Ok(())
}

/// Rows come while they are looked at; whoever looks can be stopped, or stop reading.
fn live_rows(desk: &Desk) -> Result<()> {
    let last = desk.done("rtf tail -c rtf.toml -n 3 --no-follow")?;
    ensure!(ids(&last)?.len() == 3, "{last}");
    let row: Value = serde_json::from_str(last.lines().next().context("a row")?)?;
    let key = row["key"].as_str().context("a key")?;
    let of_key = desk.done(&format!("rtf tail -c rtf.toml --key {key} --no-follow"))?;
    ensure!(ids(&of_key)?.contains(&row["id"].as_str().unwrap_or_default().to_owned()));

    let mut tail = desk.start("rtf tail -c rtf.toml -n 0", "live.log")?;
    let synth = "rtf synth clicks --kafka 127.0.0.1:9092 --count 50 --fast --seed 2";
    desk.done(synth)?;
    tail.wait_for_log("\"outcome\":\"joined\"", DONE_WITHIN)?;
    let printed = ids(&tail.log()?)?;
    let before = ids(&desk.done("rtf tail -c rtf.toml --from-beginning --no-follow")?)?;
    ensure!(printed.iter().all(|id| before.contains(id)));
    tail.sigterm()?;
    ensure!(ends(tail)?.success());

    let mut command = desk.command("rtf tail -c rtf.toml --from-beginning")?;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut first = String::new();
    BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut first)?;
    ids(&first)?;
    // The reader is gone; more rows than a pipe holds wait for it.
    let status = wait_until("the end of rtf tail", ENDS_WITHIN, || {
        child.try_wait().transpose()
    })??;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// A status that is watched comes again, without colours where there is no terminal, and ends when it is told to.
fn watched(desk: &Desk) -> Result<()> {
    for command in ["status", "registry status", "dispatcher status"] {
        let line = format!("rtf {command} -c rtf.toml --watch=100ms --json");
        let mut watch = desk.start(&line, "watch.log")?;
        wait_until(&line, ENDS_WITHIN, || {
            let log = watch.log().ok()?;
            (log.lines().filter(|line| line.starts_with('{')).count() >= 3).then_some(())
        })?;
        watch.sigint()?;
        ensure!(ends(watch)?.success(), "{line}");
        let once = desk.done(&format!("rtf {command} -c rtf.toml"))?;
        ensure!(!once.contains('\u{1b}'), "{once}");
    }
    Ok(())
}

#[test]
fn the_page_has_the_commands_of_the_way_in() -> Result<()> {
    let commands = commands()?;
    for name in ["init", "config check", "doctor", "run", "tail", "verify"] {
        let begins = format!("rtf {name}");
        ensure!(commands.iter().any(|c| c.starts_with(&begins)), "{name}");
    }
    Ok(())
}
