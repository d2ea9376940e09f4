//! Each event ends exactly once, whatever dies: all roles in one process, killed again and again while events come.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_synth::{CLICKS, Clicks, ClicksParams, Tally};
use rtf_testing::{
    Checked, Checker, Instance, Load, Pipeline, PipelineOptions, Progress, Role, Servers, pause,
    wait_until,
};

const PAIRS: u64 = 100_000;
const PAIRS_PER_SECOND: u32 = 2_000;
const KILLS: u32 = 10;
/// The registry's directory is gone when it comes back after this kill.
const DELETION_AFTER_KILL: u32 = 4;
/// Redis forgets everything before this kill.
const FLUSH_BEFORE_KILL: u32 = 7;
/// Decides the load and the moments of the kills; `RTF_SEED` gives another.
const SEED: u64 = 3;
const SEED_VARIABLE: &str = "RTF_SEED";
const KILL_WITHIN_MS: u64 = 3_000;
/// Until something moves again after a start; a dead member's session has to end first.
const MOVES_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(180);

const ALL: Instance = Instance(Role::All, 0);
const RESET_TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

fn seed() -> Result<u64> {
    let given = std::env::var(SEED_VARIABLE).ok();
    Ok(given.map_or(Ok(SEED), |seed| seed.parse())?)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_event_ends_once_though_all_is_killed_wiped_flushed_and_replayed() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, 4)?;
    let checker = servers.checker(CLICKS);
    let mut progress = servers.progress(CLICKS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions::new(CLICKS))?;
    let clicks = Clicks::new(ClicksParams {
        seed: seed()?,
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        ..ClicksParams::default()
    });

    let load = Load::start(checker.settings(), CLICKS, clicks.events())?;
    kill_again_and_again(&servers, &mut pipeline, &mut progress)?;
    let tally = load.finish()?;
    pipeline.wait_ready(ALL, MOVES_WITHIN)?;
    let checked = drained(&checker, &mut progress, &clicks, &tally)?;
    eprintln!("killed: {checked:?}");
    verify_agrees(&pipeline, &checked, &tally)?;

    replay(&servers, &mut pipeline, &mut progress, &clicks)?;
    verify_agrees(&pipeline, &checked, &tally)
}

/// Leaves it running.
fn kill_again_and_again(
    servers: &Servers,
    pipeline: &mut Pipeline,
    progress: &mut Progress,
) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed()?);
    pipeline.start(ALL)?;
    for kill in 1..=KILLS {
        // Every other kill comes when it is at work for sure, the others at any time, while it starts too.
        if kill % 2 == 1 {
            let before = progress.resolved()?;
            wait_until("something resolved", MOVES_WITHIN, || {
                progress
                    .resolved()
                    .map(|now| (now > before).then_some(()))
                    .transpose()
            })??;
        }
        if kill == FLUSH_BEFORE_KILL {
            servers.redis.flushall()?;
        }
        pause(Duration::from_millis(rng.random_range(0..KILL_WITHIN_MS)));
        ensure!(
            pipeline.process(ALL)?.is_running()?,
            "it ended before kill {kill}:\n{}",
            pipeline.process(ALL)?.log()?
        );
        pipeline.kill9(ALL)?;
        eprintln!(
            "kill {kill}: {} resolved, {} rows",
            progress.resolved()?,
            progress.rows()?
        );
        if kill == DELETION_AFTER_KILL {
            pipeline.delete_registry_data(0)?;
        }
        pipeline.start(ALL)?;
    }
    Ok(())
}

/// Waits until nothing is left to do, and checks all of it.
fn drained(
    checker: &Checker,
    progress: &mut Progress,
    clicks: &Clicks,
    tally: &Tally,
) -> Result<Checked> {
    progress.wait_resolved(tally.accepted(), DRAINED_WITHIN)?;
    progress.wait_rows(tally.joins, DRAINED_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)?;
    checker.check(clicks.expected())
}

/// Reads the whole foreign topic a second time: nothing may change.
fn replay(
    servers: &Servers,
    pipeline: &mut Pipeline,
    progress: &mut Progress,
    clicks: &Clicks,
) -> Result<()> {
    pipeline.stop(ALL)?;
    let checker = servers.checker(CLICKS);
    let rows = checker.rows()?;
    let (resolved, logged) = (progress.resolved()?, progress.logged_events()?);
    let reset = ["--reset-offsets", "--to-earliest", "--execute"];
    let of = [
        "--group",
        "clicks.dispatcher",
        "--topic",
        CLICKS.foreign.topic,
    ];
    servers
        .kafka
        .tool(RESET_TOOL, &[reset.as_slice(), &of].concat(), "")?;

    pipeline.start_ready(ALL, MOVES_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)?;
    let again = progress.logged_events()? - logged;
    eprintln!("replayed: {again} records more in the log");
    ensure!(
        progress.resolved()? == resolved,
        "the replay resolved more events"
    );
    ensure!(
        again <= logged / 100,
        "the replay appended {again} records, of {logged}"
    );
    checker.check(clicks.expected())?;
    ensure!(checker.rows()? == rows, "the replay changed rows in Redis");
    Ok(())
}

/// The product's own proof must come to the same result.
fn verify_agrees(pipeline: &Pipeline, checked: &Checked, tally: &Tally) -> Result<()> {
    let verified = pipeline.rtf("verify", &["--json"])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    let report = verified.json()?;
    let numbers = [
        ("foreign_records", tally.foreign_records()),
        ("foreign_events", tally.accepted()),
        ("joined", checked.joined),
        ("unjoinable", checked.unjoinable),
        ("malformed", checked.malformed),
        ("rows", checked.joined),
        ("waiting", 0),
        ("unpublished", 0),
        ("lost", 0),
        ("duplicated", 0),
    ];
    for (name, number) in numbers {
        ensure!(
            report[name] == number,
            "rtf verify: {name} should be {number}: {report}"
        );
    }
    Ok(())
}
