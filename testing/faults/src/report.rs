//! Report: what was done, what came of it, and what was left out.

use std::fmt;

use anyhow::{Result, bail};
use rtf_testing::Checked;
use serde::Serialize;

use crate::ledger::{Done, Line, Spread};
use crate::stage::Exit;

/// Of a whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) two_pipelines: bool,
    /// Foreign records sent.
    pub(crate) sent: u64,
    pub(crate) joined: u64,
    pub(crate) unjoinable: u64,
    pub(crate) malformed: u64,
    /// Records in the log that lost against an earlier one of their id.
    pub(crate) superseded: u64,
    pub(crate) faults: usize,
    pub(crate) kinds: Vec<Line>,
    /// Each fault.
    pub(crate) done: Vec<Done>,
    pub(crate) skipped: Vec<Left>,
    /// Processes that ended without being killed.
    pub(crate) exits: Vec<Exit>,
    /// From the load's end until nothing was left to do.
    pub(crate) drained_ms: u64,
    /// The run's slowest memory: the largest resident set of each role, MiB.
    pub(crate) rss_mib: Vec<(String, u64)>,
    /// Faults after which full speed did not come back in time.
    pub(crate) open: usize,
    /// The checker's words, if anything is lost, doubled or wrong.
    pub(crate) wrong: Option<String>,
}

/// A kind that was left out.
#[derive(Debug, Serialize)]
pub(crate) struct Left {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

impl Report {
    pub(crate) fn set(&mut self, checked: &Checked) {
        self.joined = checked.joined;
        self.unjoinable = checked.unjoinable;
        self.malformed = checked.malformed;
        self.superseded = checked.superseded;
    }

    /// Fails if anything is lost, doubled or wrong, or did not become well again.
    pub(crate) fn into_result(self, is_strict: bool) -> Result<()> {
        if let Some(words) = self.wrong {
            bail!("{words}");
        }
        if self.open > 0 {
            bail!(
                "{} faults after which full speed did not come back",
                self.open
            );
        }
        let missed: usize = self.kinds.iter().map(|line| line.missed).sum();
        if is_strict && missed > 0 {
            bail!("{missed} recoveries took longer than wanted");
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} s under fire, {} faults, {} foreign records sent: {} joined, {} unjoinable, {} malformed, {} superseded, {}",
            self.seed,
            self.seconds,
            self.faults,
            self.sent,
            self.joined,
            self.unjoinable,
            self.malformed,
            self.superseded,
            if self.wrong.is_some() {
                "WRONG"
            } else {
                "lost 0, duplicated 0"
            },
        )?;
        writeln!(
            f,
            "drained {} ms after the load; memory {:?}",
            self.drained_ms, self.rss_mib
        )?;
        writeln!(
            f,
            "\n| kind | times | gap ms p50/p99/max | slowest event | full speed after | full speed after healing | Kafka itself | wanted | missed |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for line in &self.kinds {
            let Line {
                kind,
                times,
                alone,
                wanted,
                missed,
                ..
            } = line;
            let (gap, slowest) = (shown(line.gap_ms), shown(line.slowest_ms));
            let (full, healed) = (shown(line.full_speed_ms), shown(line.after_healing_ms));
            let kafka = shown(line.kafka_ms);
            writeln!(
                f,
                "| {kind} | {times} ({alone} alone) | {gap} | {slowest} | {full} | {healed} | {kafka} | {wanted} | {missed} |"
            )?;
        }
        for exit in &self.exits {
            writeln!(
                f,
                "ended by itself: {} ({}) during {}: {}",
                exit.who, exit.status, exit.during, exit.words
            )?;
        }
        for left in &self.skipped {
            writeln!(f, "SKIPPED {}: {}", left.kind, left.reason)?;
        }
        match &self.wrong {
            Some(words) => write!(f, "{words}"),
            None => Ok(()),
        }
    }
}

fn shown(spread: Spread) -> String {
    format!("{} / {} / {}", spread.p50, spread.p99, spread.max)
}
