//! Throughput over a backlog, from process start until the last row is visible.

use crate::oracle::{Faults, Oracle, Tally};
use crate::output::{Output, Place};
use crate::stage::{Stage, all_run, stop};
use anyhow::{Result, bail};
use rtf_testing::Process;
use rtf_testing::cost::peak_mib;
use serde::Serialize;
use std::time::{Duration, Instant};

const SAMPLE_EVERY: Duration = Duration::from_millis(25);
/// When nothing has come for so long, it is looked at whether that was all.
const QUIET: Duration = Duration::from_secs(2);
/// When nothing has come for so long, nothing more will.
const STALLED: Duration = Duration::from_secs(60);

/// One run.
#[derive(Serialize)]
pub struct Backlog {
    pub rows: f64,
    pub rows_per_second: f64,
    pub first_row_seconds: f64,
    /// Of all processes together.
    pub peak_mib: f64,
    /// CPU seconds per million rows.
    pub own_cpu: f64,
    pub kafka_cpu: f64,
    pub redis_cpu: f64,
    pub row_bytes: f64,
    #[serde(flatten)]
    pub faults: Faults,
}

/// What was seen at one moment.
struct Sample {
    seconds: f64,
    ends: Vec<u64>,
    /// Own, Kafka's, Redis's.
    cpu: [f64; 3],
    peak_mib: u64,
}

/// Runs what `start` starts, one process or several that share the work, and stops it.
pub fn measure(
    stage: &Stage,
    mut output: Output,
    oracle: &Oracle,
    start: impl FnOnce() -> Result<Vec<Process>>,
) -> Result<Backlog> {
    let before = stage.cpu_seconds(&[])?;
    let begun = Instant::now();
    let mut processes = start()?;
    let mut samples = Vec::new();
    let mut tally = Tally::new(oracle);
    let mut last = vec![0; output.ends()?.len()];
    loop {
        watch(stage, &mut processes, &mut output, begun, &mut samples)?;
        let mut each = |place: Place, row: &[u8]| {
            tally.count(row);
            last[place.partition] = place.end;
        };
        while output.read(&mut each)? > 0 {}
        if tally.is_complete() || quiet_for(&samples) > STALLED {
            break;
        }
    }
    processes.into_iter().try_for_each(stop)?;
    figures(&samples, &last, before, &tally)
}

/// Takes samples until nothing moves any more.
fn watch(
    stage: &Stage,
    processes: &mut [Process],
    output: &mut Output,
    begun: Instant,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    let from = Instant::now();
    loop {
        all_run(processes)?;
        let peaks = processes.iter().map(|process| peak_mib(process.pid()));
        samples.push(Sample {
            seconds: begun.elapsed().as_secs_f64(),
            ends: output.ends()?,
            cpu: stage.cpu_seconds(processes)?,
            peak_mib: peaks.sum::<Result<u64>>()?,
        });
        let quiet = quiet_for(samples);
        let has_rows = samples.last().is_some_and(|last| is_begun(&last.ends));
        if quiet > STALLED || (has_rows && quiet > QUIET && from.elapsed() > QUIET) {
            return Ok(());
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
}

/// How long the last sample's ends have stood.
fn quiet_for(samples: &[Sample]) -> Duration {
    let Some(last) = samples.last() else {
        return Duration::ZERO;
    };
    let same = samples
        .iter()
        .rev()
        .take_while(|sample| sample.ends == last.ends);
    let since = same.last().map_or(last.seconds, |sample| sample.seconds);
    Duration::from_secs_f64(last.seconds - since)
}

fn is_begun(ends: &[u64]) -> bool {
    ends.iter().any(|end| *end > 0)
}

/// `last`: the end of each partition's last row.
fn figures(
    samples: &[Sample],
    last: &[u64],
    before: [f64; 3],
    tally: &Tally<'_>,
) -> Result<Backlog> {
    let is_done = |sample: &&Sample| sample.ends.iter().zip(last).all(|(end, last)| end >= last);
    let first = samples.iter().find(|sample| is_begun(&sample.ends));
    let (Some(first), Some(done)) = (first, samples.iter().find(is_done)) else {
        bail!("no row came");
    };
    let faults = tally.faults();
    let rows = (tally.clicks() - faults.missing) as f64;
    let per_million = |at: usize| (done.cpu[at] - before[at]) * 1e6 / rows;
    Ok(Backlog {
        rows,
        rows_per_second: rows / done.seconds,
        first_row_seconds: first.seconds,
        peak_mib: done.peak_mib as f64,
        own_cpu: per_million(0),
        kafka_cpu: per_million(1),
        redis_cpu: per_million(2),
        row_bytes: tally.row_bytes() as f64,
        faults,
    })
}
