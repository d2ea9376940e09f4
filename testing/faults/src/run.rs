//! Run: faults as the seed draws them, one after the other and sometimes two at once, under steady load; then everything must drain and be right.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::Rng;
use rand::seq::SliceRandom;
use rtf_synth::{CLICKS, Clicks, ClicksParams, Share, Tally};
use rtf_testing::{Fate, Load, cost};

use crate::isolation::Isolation;
use crate::kind::{Begun, Kind, Skipped};
use crate::ledger::{Ledger, Shot};
use crate::report::{Left, Report};
use crate::stage::{EVERYBODY, Stage};

/// All must be at full speed again so long after a fault was healed, or the run fails.
const CALM_WITHIN: Duration = Duration::from_secs(120);
const DRAINED_WITHIN: Duration = Duration::from_secs(400);
/// Between two faults.
const PAUSE_MS: std::ops::Range<u64> = 500..2_500;
/// Every so manyth has a second one beside it.
const PAIRED_ONE_IN: u32 = 5;

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) rate: u32,
    pub(crate) two_pipelines: bool,
    pub(crate) single: bool,
    /// Nothing is done to anybody, and all is remembered for minutes only.
    pub(crate) is_soak: bool,
    pub(crate) kinds: Vec<&'static Kind>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Does it.
pub(crate) fn run(plan: &Plan, isolation: &Isolation) -> Result<Report> {
    let mut stage = Stage::open(plan, isolation)?;
    let (clicks, load) = load(&stage, plan)?;
    let begun = Instant::now();
    let mut ledger = Ledger::default();
    shoot(&mut stage, plan, &load, &mut ledger)?;
    let mut report = Report {
        seed: plan.seed,
        seconds: begun.elapsed().as_secs(),
        two_pipelines: plan.two_pipelines,
        sent: 0,
        joined: 0,
        unjoinable: 0,
        malformed: 0,
        superseded: 0,
        faults: ledger.lines().iter().map(|line| line.times).sum(),
        kinds: ledger.lines(),
        done: ledger.done(),
        skipped: (plan.skipped.iter())
            .map(|(kind, reason)| Left {
                kind: kind.name,
                reason: reason.clone(),
            })
            .collect(),
        exits: Vec::new(),
        drained_ms: 0,
        rss_mib: Vec::new(),
        open: ledger.open(),
        wrong: None,
    };
    let tally = load.finish()?;
    report.sent = tally.foreign_records() + stage.expected.len() as u64;
    let ended = Instant::now();
    let drained = drain(&mut stage, &tally);
    report.drained_ms = ended.elapsed().as_millis() as u64;
    stage.say("drained; checking");
    let extra = stage.expected.clone();
    let expected = clicks.expected().map(Fate::from).chain(extra);
    match (drained, stage.checker.check(expected)) {
        (_, Err(error)) => report.wrong = Some(format!("{error:#}")),
        (Err(error), Ok(checked)) => {
            report.set(&checked);
            report.wrong = Some(format!("{error:#}"));
        }
        (Ok(()), Ok(checked)) => report.set(&checked),
    }
    report.exits = std::mem::take(&mut stage.exits);
    report.rss_mib = memory(&mut stage)?;
    Ok(report)
}

/// What is sent, and its sending, of which the meter is told.
pub(crate) fn load(stage: &Stage, plan: &Plan) -> Result<(Clicks, Load)> {
    let clicks = Clicks::new(ClicksParams {
        seed: plan.seed,
        count: (plan.time.as_secs_f64() * f64::from(plan.rate)) as u64,
        per_second: plan.rate.try_into()?,
        orphans: Share::per_thousand(5),
        late: Share::per_thousand(50),
        ..ClicksParams::default()
    });
    let mut observe = stage.meter.observer();
    let events = clicks.events().inspect(move |event| observe(event));
    let acknowledged = stage.meter.acknowledged();
    let load = Load::start_observed(stage.checker.settings(), CLICKS, events, acknowledged)?;
    Ok((clicks, load))
}

/// A round has each kind once, in an order of its own; so many rounds as there is time for.
fn shoot(stage: &mut Stage, plan: &Plan, load: &Load, ledger: &mut Ledger) -> Result<()> {
    settle(stage, load, "the beginning", Duration::ZERO)?;
    loop {
        let mut round = plan.kinds.clone();
        round.shuffle(&mut stage.rng);
        // Families in turn, so that a short run has something of each.
        round.sort_by_cached_key({
            let mut seen = std::collections::HashMap::<&str, u32>::new();
            move |kind| {
                let number = seen.entry(kind.family()).or_default();
                *number += 1;
                *number
            }
        });
        let mut round = round.into_iter();
        while let Some(kind) = round.next() {
            if load.is_finished() {
                return Ok(());
            }
            let pause = Duration::from_millis(stage.rng.random_range(PAUSE_MS));
            stage.tend_for(pause)?;
            let is_paired = !plan.single && stage.rng.random_ratio(1, PAIRED_ONE_IN);
            let second = if is_paired { round.next() } else { None };
            let second = second.filter(|second| !second.may_undo(kind));
            one(stage, load, ledger, kind, second)?;
        }
    }
}

fn one(
    stage: &mut Stage,
    load: &Load,
    ledger: &mut Ledger,
    kind: &'static Kind,
    second: Option<&'static Kind>,
) -> Result<()> {
    let kinds: Vec<_> = [Some(kind), second].into_iter().flatten().collect();
    let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
    stage.during = names.join(" + ");
    let began = stage.meter.now();
    let mut on: Vec<(&Kind, Begun)> = Vec::new();
    for kind in &kinds {
        let begun = (kind.begin)(stage).with_context(|| format!("{} did not begin", kind.name))?;
        on.push((kind, begun));
    }
    let whom: Vec<_> = on.iter().map(|(_, begun)| begun.whom.clone()).collect();
    stage.say(&format!("{}: {}", stage.during, whom.join(" + ")));
    let held = Instant::now();
    // Each after its own time: a Redis that is frozen for as long as its company has another primary afterwards.
    on.sort_by_key(|(kind, _)| kind.hold);
    let mut healing = began;
    for (kind, begun) in on {
        stage.tend_for(kind.hold.saturating_sub(held.elapsed()))?;
        healing = stage.meter.now();
        (begun.heal)(stage).with_context(|| format!("{} is not healed", kind.name))?;
    }
    let healing = stage.healed.take().unwrap_or(healing);
    let is_calm = settle(stage, load, &stage.during.clone(), healing)?;
    // With the load over nothing more can be said of it.
    if is_calm.is_none() {
        return Ok(());
    }
    let ended = stage.meter.now();
    let seen = stage.meter.seen(began, ended);
    let after_healing = stage.meter.seen(healing, ended).full_speed;
    stage.say(&format!(
        "{}: gap {:?}, slowest {:?}, full speed after {:?}, {after_healing:?} after healing, Kafka itself after {:?}",
        stage.during, seen.gap, seen.slowest, seen.full_speed, seen.kafka
    ));
    for (kind, whom) in kinds.iter().zip(&whom) {
        ledger.add(Shot {
            kind,
            whom: whom.clone(),
            has_company: kinds.len() > 1,
            seen,
            after_healing,
            is_open: is_calm == Some(false),
        });
    }
    stage.during = "nothing".into();
    Ok(())
}

/// Waits until all is well since then: everybody ready, Redis in step, rows in time. Whether it came so far; none if the load ended before.
fn settle(stage: &mut Stage, load: &Load, after: &str, since: Duration) -> Result<Option<bool>> {
    let is_calm = stage.tend_until(CALM_WITHIN, |stage| {
        stage.meter.is_calm_since(since) || load.is_finished()
    })?;
    if !is_calm {
        stage.say(&format!(
            "NO FULL SPEED within {CALM_WITHIN:?} after {after}"
        ));
    }
    let is_over = load.is_finished();
    stage.wait_ready(&EVERYBODY)?;
    stage.rows.wait_in_step()?;
    Ok((!is_over).then_some(is_calm))
}

fn drain(stage: &mut Stage, tally: &Tally) -> Result<()> {
    stage.wait_ready(&EVERYBODY)?;
    let accepted = tally.accepted() + stage.expected.len() as u64;
    let progress = &mut stage.progress;
    progress.wait_resolved(accepted, DRAINED_WITHIN)?;
    progress.wait_rows(tally.joins, DRAINED_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)
}

/// The largest resident set of each process since its last start, MiB.
fn memory(stage: &mut Stage) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for instance in EVERYBODY {
        let pid = stage.pipeline.process(instance)?.pid();
        // One that has just ended has none.
        let peak = cost::peak_mib(pid).unwrap_or_default();
        all.push((instance.to_string(), peak));
    }
    Ok(all)
}
