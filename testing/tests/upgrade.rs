//! A rolling upgrade: releases that write and know different versions of the log's records work side by side on one log, and one that is too old for it stops.

use std::time::Duration;

use anyhow::{Result, ensure};
use rtf_synth::{CLICKS, ClicksParams};
use rtf_testing::{Instance, PipelineOptions, Role, Scene};

const PAIRS: u64 = 50_000;
const PAIRS_PER_SECOND: u32 = 700;
const SEED: u64 = 17;
const READY_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What a process writes, and the last version it knows (`proto/src/next.rs`).
const VERSIONS: &str = "RTF_RECORD_VERSIONS";
/// This release, one that knows the next version, and one that writes it.
const OLD: &str = "1/1";
const KNOWS: &str = "1/2";
const WRITES: &str = "2/2";

/// In the order of docs/operations.md.
const EVERYBODY: [Instance; 8] = [
    Instance(Role::Registry, 0),
    Instance(Role::Registry, 1),
    Instance(Role::Joiner, 0),
    Instance(Role::Joiner, 1),
    Instance(Role::Dispatcher, 0),
    Instance(Role::Dispatcher, 1),
    Instance(Role::Publisher, 0),
    Instance(Role::Web, 0),
];
const FIRST: Instance = EVERYBODY[0];
const SECOND: Instance = EVERYBODY[1];

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn releases_work_side_by_side_and_one_that_is_too_old_stops() -> Result<()> {
    let options = PipelineOptions {
        is_cluster: true,
        dispatchers: 2,
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        seed: SEED,
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks)?;
    for instance in EVERYBODY {
        scene.pipeline.set_env(instance, VERSIONS, OLD);
    }
    scene.pipeline.start_all(&EVERYBODY, READY_WITHIN)?;
    let load = scene.load()?;
    moves(&mut scene)?;
    // Each beside those that are not replaced yet.
    for release in [KNOWS, WRITES] {
        for instance in EVERYBODY {
            replace(&mut scene, instance, release)?;
        }
    }
    // Back by one release, and on again.
    for release in [KNOWS, WRITES] {
        replace(&mut scene, FIRST, release)?;
    }
    one_that_is_too_old_stops(&mut scene)?;
    ensure!(!load.is_finished(), "the load is over: nothing is shown");
    replace_stopped(&mut scene, SECOND, WRITES)?;

    let tally = load.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    scene.verified(&checked, &tally)?;
    let digest = scene.pipeline.rtf("registry", &["digest", "--json"])?;
    ensure!(digest.done()?["agree"] == true, "{}", digest.output);
    for instance in EVERYBODY {
        scene.pipeline.stop(instance)?;
    }
    Ok(())
}

/// As an operator does it.
fn replace(scene: &mut Scene, instance: Instance, release: &str) -> Result<()> {
    scene.pipeline.stop(instance)?;
    replace_stopped(scene, instance, release)
}

fn replace_stopped(scene: &mut Scene, instance: Instance, release: &str) -> Result<()> {
    scene.pipeline.set_env(instance, VERSIONS, release);
    scene.pipeline.start_ready(instance, READY_WITHIN)?;
    moves(scene)
}

/// It guesses nothing; the other replica goes on.
fn one_that_is_too_old_stops(scene: &mut Scene) -> Result<()> {
    scene.pipeline.stop(SECOND)?;
    scene.pipeline.set_env(SECOND, VERSIONS, OLD);
    scene.pipeline.start(SECOND)?;
    let process = scene.pipeline.process(SECOND)?;
    let ended = process.wait(ENDS_WITHIN)?;
    let log = process.log()?;
    let is_told = ended.code() == Some(1)
        && log.contains("record version 2 is not known to this program (it knows up to 1)");
    ensure!(is_told, "{ended}: {log}");
    moves(scene)
}

fn moves(scene: &mut Scene) -> Result<()> {
    let before = scene.progress.resolved()?;
    scene.progress.wait_more_than(before)
}
