//! What `rtf doctor` says of a pipeline.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{Pipeline, Running};

/// It looks at much, and waits for servers that are away.
const WITHIN: Duration = Duration::from_secs(120);

/// All its checks.
pub struct Diagnosis(Value);

/// Runs it with these settings; it must end with this exit code.
pub fn doctor(pipeline: &Pipeline, code: i32, settings: &[&str]) -> Result<Diagnosis> {
    diagnosis(start(pipeline, settings)?, code)
}

/// Runs it once with each of these settings, all at a time; each must end with this exit code.
pub fn doctors(pipeline: &Pipeline, code: i32, settings: &[&[&str]]) -> Result<Vec<Diagnosis>> {
    let running = settings.iter().map(|settings| start(pipeline, settings));
    let running: Vec<Running> = running.collect::<Result<_>>()?;
    let ended = running.into_iter();
    ended.map(|running| diagnosis(running, code)).collect()
}

fn diagnosis(running: Running, code: i32) -> Result<Diagnosis> {
    let finished = running.finish(WITHIN)?;
    ensure!(finished.code() == code, "{}", finished.output);
    Ok(Diagnosis(finished.json()?))
}

fn start(pipeline: &Pipeline, settings: &[&str]) -> Result<Running> {
    let settings = settings.iter().map(|setting| format!("--set={setting}"));
    let words: Vec<String> = settings.chain(["--json".into()]).collect();
    pipeline.spawn_rtf("doctor", &words)
}

impl Diagnosis {
    /// The status of a check; of several with this name the worst.
    fn status(&self, check: &str) -> &str {
        let checks = self.0["checks"].as_array().map_or(&[][..], Vec::as_slice);
        let named = checks.iter().filter(|found| found["check"] == check);
        let statuses = named.filter_map(|found| found["status"].as_str());
        let badness = |status: &&str| ["ok", "warn", "fail"].iter().position(|s| s == status);
        statuses.max_by_key(badness).unwrap_or("missing")
    }

    /// Each of these checks must have this status: ok, warn, fail, or missing.
    pub fn demand(&self, wanted: &[(&str, &str)]) -> Result<()> {
        for (check, status) in wanted {
            ensure!(
                self.status(check) == *status,
                "{check}: {status} was wanted of {self}"
            );
        }
        Ok(())
    }

    /// Its words must be among what was said.
    pub fn says(&self, words: &str) -> Result<()> {
        ensure!(
            self.to_string().contains(words),
            "`{words}` is not in {self}"
        );
        Ok(())
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
