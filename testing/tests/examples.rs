//! Each example does what its README says: its own configuration, the data of `rtf synth`, and in the end the checker.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use rtf_synth::{
    CLICKS, Clicks, ClicksParams, Example, ExampleParams, Expected, Join, PAYMENTS, SENSORS, Share,
    VACATION, Vacation, VacationParams,
};
use rtf_testing::{
    Checked, Fate, Instance, Pipeline, PipelineOptions, Role, Servers, http, rtf_binary, wait_until,
};
use serde_json::Value;

const ALL: Instance = Instance(Role::All, 0);
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(120);
const SEED: u64 = 7;
const NAMES: [&str; 4] = ["clicks", "payments", "sensors", "vacation"];
/// Rows that are looked at for the page's columns.
const LOOKED_AT: usize = 1_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn now_ms() -> Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

/// An example on its way.
struct Play {
    join: Join,
    start_ms: i64,
    servers: Servers,
    pipeline: Pipeline,
    settings: Vec<String>,
}

impl Play {
    /// Starts the pipeline with the example's own configuration, but for addresses, folders and the longest wait.
    fn open(join: Join) -> Result<Self> {
        let servers = Servers::start()?;
        servers.create_topics(&join, 3)?;
        let pipeline = servers.pipeline(&PipelineOptions::new(join))?;
        let config = folder().join(join.name).join("rtf.toml");
        fs::copy(config, pipeline.config())?;
        let data = |role: &str| pipeline.folder().join(role).display().to_string();
        let mut settings = vec![
            ("kafka.bootstrap".to_owned(), servers.kafka.bootstrap()),
            ("redis.url".to_owned(), servers.redis.url()),
            ("registry.data".to_owned(), data("registry-0")),
            ("joiner.data".to_owned(), data("joiner-0")),
            ("registry.partitions".to_owned(), "4".to_owned()),
            ("join.wait.max".to_owned(), "15s".to_owned()),
        ];
        for role in Role::EACH {
            let listen = format!("127.0.0.1:{}", pipeline.port(role, 0));
            settings.push((format!("{}.listen", role.command()), listen));
        }
        let mut play = Self {
            join,
            start_ms: now_ms()?,
            servers,
            pipeline,
            settings: Vec::new(),
        };
        for (key, value) in settings {
            play.pipeline.set(ALL, &key, &value);
            play.settings.push(format!("--set={key}={value}"));
        }
        let checked = play.rtf(&["config", "check"])?;
        ensure!(checked.contains("the configuration is good"), "{checked}");
        play.pipeline.start_ready(ALL, READY_WITHIN)?;
        Ok(play)
    }

    /// Runs a command with the example's configuration, which must succeed.
    fn rtf(&self, command: &[&str]) -> Result<String> {
        let config = self.pipeline.config();
        let output = Command::new(rtf_binary()?)
            .args(command)
            .arg("--config")
            .arg(config)
            .args(&self.settings)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {text}{errors}");
        Ok(text)
    }

    /// Has the example's data sent at its own times.
    fn synth(&self, more: &[&str]) -> Result<()> {
        let output = Command::new(rtf_binary()?)
            .args([
                "synth",
                self.join.name,
                "--kafka",
                &self.servers.kafka.bootstrap(),
            ])
            .args([
                "--seed",
                &SEED.to_string(),
                "--start-ms",
                &self.start_ms.to_string(),
            ])
            .args(more)
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rtf synth {more:?}: {errors}");
        Ok(())
    }

    /// Waits until all of it has ended, and checks how.
    fn ends(mut self, expected: Vec<Fate>, emits: bool, folds: bool) -> Result<Checked> {
        let is_row = |fate: &&Fate| match fate {
            Fate::Joined { .. } => true,
            Fate::Unjoinable { .. } => emits,
            Fate::Malformed { .. } => false,
        };
        let rows = expected.iter().filter(is_row).count() as u64;
        let mut progress = self.servers.progress(self.join)?;
        progress.wait_resolved(expected.len() as u64, DONE_WITHIN)?;
        progress.wait_rows(rows, DONE_WITHIN)?;
        progress.wait_committed(DONE_WITHIN)?;
        let mut checker = self.servers.checker(self.join);
        if emits {
            checker = checker.emitting();
        }
        if folds {
            checker = checker.folding();
        }
        let checked = checker.check(expected)?;
        eprintln!("{}: {checked:?}", self.join.name);
        let verified: Value = serde_json::from_str(&self.rtf(&["verify", "--json"])?)?;
        ensure!(verified["rows"] == rows, "{verified}");
        self.columns_are_filled(rows)?;
        self.pipeline.stop(ALL)?;
        Ok(checked)
    }

    /// Each column of the page, and its small print, shows something in some row.
    fn columns_are_filled(&self, rows: u64) -> Result<()> {
        let config = fs::read_to_string(self.pipeline.config())?;
        let (_, web) = config.split_once("[web]").context("a page")?;
        let pointers: BTreeSet<&str> = web
            .split('"')
            .filter(|text| text.starts_with('/'))
            .collect();
        ensure!(pointers.len() >= 6, "{pointers:?}");
        let wanted = LOOKED_AT.min(usize::try_from(rows)?);
        let url = format!("{}/api/rows?limit={LOOKED_AT}", self.pipeline.web());
        let page = wait_until("rows on the page", DONE_WITHIN, || {
            let page: Value = serde_json::from_str(http::get(&url).ok()?.body()).ok()?;
            let rows = page["rows"].as_array()?.clone();
            (rows.len() >= wanted).then_some(rows)
        })?;
        for pointer in pointers {
            let shows = |row: &Value| row.pointer(pointer).is_some_and(|value| !value.is_null());
            ensure!(page.iter().any(shows), "no row has {pointer}");
        }
        Ok(())
    }
}

/// As they are when keys are folded.
fn folded(fate: Fate) -> Fate {
    let fold = |key: String| key.trim().to_lowercase();
    match fate {
        Fate::Joined { id, key, primary } => Fate::Joined {
            id,
            key: fold(key),
            primary,
        },
        Fate::Unjoinable { id, key } => Fate::Unjoinable { id, key: fold(key) },
        Fate::Malformed { .. } => fate,
    }
}

fn fates(expected: impl Iterator<Item = Expected>) -> Vec<Fate> {
    expected.map(Into::into).collect()
}

#[test]
fn all_examples_are_played() -> Result<()> {
    let mut found = BTreeSet::new();
    for example in fs::read_dir(folder())? {
        let example = example?;
        if example.path().is_dir() {
            found.insert(example.file_name().to_string_lossy().into_owned());
        }
    }
    ensure!(found.iter().eq(NAMES), "{found:?}");
    let readme = fs::read_to_string(folder().join("../README.md"))?;
    for name in NAMES {
        ensure!(readme.contains(&format!("(examples/{name})")), "{name}");
    }
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn vacation() -> Result<()> {
    let play = Play::open(VACATION)?;
    let vacation = Vacation::new(VacationParams {
        seed: SEED,
        start_ms: play.start_ms,
        deals: 600,
        tweets: Some(500),
        per_second: 50.try_into()?,
        late: Share::NONE,
        ..VacationParams::default()
    })?;
    let more = "--count 500 --deals 600 --rate 50 --late 0";
    play.synth(&more.split(' ').collect::<Vec<_>>())?;
    let expected = fates(vacation.expected()).into_iter().map(folded);
    let checked = play.ends(expected.collect(), false, true)?;
    ensure!(
        checked.joined > 400 && checked.unjoinable > 0,
        "{checked:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn clicks() -> Result<()> {
    let play = Play::open(CLICKS)?;
    let clicks = Clicks::new(ClicksParams {
        seed: SEED,
        start_ms: play.start_ms,
        count: 2_000,
        per_second: 200.try_into()?,
        ..ClicksParams::default()
    });
    play.synth(&["--count", "2000", "--rate", "200"])?;
    let checked = play.ends(fates(clicks.expected()), false, false)?;
    ensure!(
        checked.joined > 1_900 && checked.unjoinable > 0,
        "{checked:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn payments() -> Result<()> {
    let play = Play::open(PAYMENTS)?;
    let payments = Example::payments(ExampleParams {
        seed: SEED,
        start_ms: play.start_ms,
        ..ExampleParams::payments()
    });
    play.synth(&[])?;
    let checked = play.ends(fates(payments.expected()), true, false)?;
    ensure!(
        checked.joined > 1_800 && checked.unjoinable > 50,
        "{checked:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn sensors() -> Result<()> {
    let play = Play::open(SENSORS)?;
    let sensors = Example::sensors(ExampleParams {
        seed: SEED,
        start_ms: play.start_ms,
        ..ExampleParams::sensors()
    });
    play.synth(&[])?;
    let checked = play.ends(fates(sensors.expected()), false, false)?;
    ensure!(
        checked.joined > 1_700 && checked.unjoinable > 0,
        "{checked:?}"
    );
    Ok(())
}
