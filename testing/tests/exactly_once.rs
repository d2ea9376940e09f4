//! Each event ends exactly once, whatever dies: all roles in one process, killed again and again while events come.

use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_synth::{CLICKS, ClicksParams};
use rtf_testing::{Instance, Pipeline, PipelineOptions, Role, Scene, pause, seed, wait_until};

const PAIRS: u64 = 100_000;
const PAIRS_PER_SECOND: u32 = 2_000;
const KILLS: u32 = 10;
/// The registry's directory is gone when it comes back after this kill.
const DELETION_AFTER_KILL: u32 = 4;
/// Redis forgets everything before this kill.
const FLUSH_BEFORE_KILL: u32 = 7;
/// Decides the load and the moments of the kills.
const SEED: u64 = 3;
const KILL_WITHIN_MS: u64 = 3_000;
/// Until something moves again after a start; a dead member's session has to end first.
const MOVES_WITHIN: Duration = Duration::from_secs(60);

/// So often `rtf verify` is killed, each time when it has come a little further.
const VERIFY_KILLS: u32 = 3;
const VERIFY_WITHIN: Duration = Duration::from_secs(60);

const ALL: Instance = Instance(Role::All, 0);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_event_ends_once_though_all_is_killed_wiped_flushed_and_replayed() -> Result<()> {
    let clicks = ClicksParams {
        seed: seed(SEED)?,
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&PipelineOptions::new(CLICKS), clicks)?;
    let load = scene.load()?;
    kill_again_and_again(&mut scene)?;
    let tally = load.finish()?;
    scene.pipeline.wait_ready(ALL, MOVES_WITHIN)?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    eprintln!("killed: {checked:?}");
    scene.verified(&checked, &tally)?;

    let checked = scene.replayed(ALL)?;
    scene.verified(&checked, &tally)?;
    verified_though_killed(&scene.pipeline)
}

/// `rtf verify` is killed and begun again until it has come to its end, which is what it comes to in one go.
fn verified_though_killed(pipeline: &Pipeline) -> Result<()> {
    let expected = pipeline.rtf("verify", &["--json"])?.done()?;
    let state = pipeline.folder().join("verify");
    let arguments = [OsStr::new("--json"), OsStr::new("--state"), state.as_ref()];
    for kill in 1..=VERIFY_KILLS {
        let before = state.join("progress.json");
        let before = fs::read(&before).unwrap_or_default();
        let running = pipeline.spawn_rtf("verify", &arguments)?;
        wait_until("it to have saved something more", VERIFY_WITHIN, || {
            let saved = fs::read(state.join("progress.json")).ok()?;
            (saved.len() > before.len()).then_some(())
        })?;
        // Dropped, it is killed.
        drop(running);
        eprintln!("rtf verify killed {kill} times");
    }
    let report = pipeline.rtf("verify", &arguments)?.done()?;
    ensure!(report == expected, "{report} instead of {expected}");
    ensure!(!state.exists(), "what it needs no more is there still");

    let sample = pipeline
        .rtf("verify", &["--json", "--sample", "10"])?
        .done()?;
    let part = |name: &str| sample[name].as_u64().zip(expected[name].as_u64());
    for name in ["partitions_checked", "foreign_events", "joined", "rows"] {
        let (part, whole) = part(name).with_context(|| format!("no {name} in {sample}"))?;
        ensure!(0 < part && part < whole, "{name}: {sample}");
    }
    Ok(())
}

/// Leaves it running.
fn kill_again_and_again(scene: &mut Scene) -> Result<()> {
    let Scene {
        pipeline,
        progress,
        servers,
        ..
    } = scene;
    let mut rng = ChaCha8Rng::seed_from_u64(seed(SEED)?);
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
