//! Dispatchers come and go, in order and not, stall and come back: no event is lost, none is doubled.

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_synth::{CLICKS, ClicksParams, Share, Tally};
use rtf_testing::{
    Instance, Load, Operator, Pipeline, PipelineOptions, Role, Scene, pause, seed, wait_until,
};
use serde_json::Value;
use std::time::{Duration, Instant};

const PAIRS_PER_SECOND: u32 = 1_000;
/// Decides who goes when, and how.
const SEED: u64 = 11;
const DISPATCHERS: [Instance; 3] = [
    Instance(Role::Dispatcher, 0),
    Instance(Role::Dispatcher, 1),
    Instance(Role::Dispatcher, 2),
];
const OTHERS: [Instance; 3] = [
    Instance(Role::Registry, 0),
    Instance(Role::Joiner, 0),
    Instance(Role::Publisher, 0),
];
const WITHIN: Duration = Duration::from_secs(60);
/// The group forgets a member that is silent for so long; see the options.
const SESSION: Duration = Duration::from_secs(2);
/// What is in flight has so long when partitions go.
const DRAIN: Duration = Duration::from_secs(2);
/// Two rounds of a cooperative rebalance, on a busy machine.
const REBALANCED_WITHIN: Duration = Duration::from_secs(15);

fn scene(pairs: u64) -> Result<Scene> {
    let options = PipelineOptions {
        is_cluster: true,
        registries: 1,
        dispatchers: 3,
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        seed: seed(SEED)?,
        count: pairs,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::per_thousand(50),
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks)?;
    // A static member: it comes back as who it was.
    let third = DISPATCHERS[2];
    scene.pipeline.set(third, "dispatcher.instance_id", "third");
    scene.pipeline.start_all(&OTHERS, WITHIN)?;
    Ok(scene)
}

/// Everything is there once, and the product's own proof says so too.
fn ends_right(scene: &mut Scene, load: Load) -> Result<Tally> {
    let tally = load.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    eprintln!("{checked:?}");
    scene.verified(&checked, &tally)?;
    Ok(tally)
}

/// How many partitions each dispatcher has; none for one that does not answer.
fn shares(pipeline: &Pipeline) -> Result<Vec<usize>> {
    let status = pipeline.rtf("dispatcher", &["status", "--json"])?.json()?;
    let dispatchers = status["dispatchers"].as_array().context("dispatchers")?;
    let share = |d: &Value| d["partitions"].as_array().map_or(0, Vec::len);
    Ok(dispatchers.iter().map(share).collect())
}

fn wait_for_shares(pipeline: &Pipeline, within: Duration, fit: fn(&[usize]) -> bool) -> Result<()> {
    let mut last = Vec::new();
    let waited = wait_until("the partitions are shared", within, || {
        last = shares(pipeline).unwrap_or_default();
        (last.iter().sum::<usize>() == 4 && fit(&last)).then_some(())
    });
    waited.with_context(|| format!("they have {last:?}"))
}

fn moves(scene: &mut Scene) -> Result<()> {
    let before = scene.progress.resolved()?;
    scene.progress.wait_more_than(before)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_storm_of_joins_and_leaves_loses_nothing_and_doubles_nothing() -> Result<()> {
    const ROUNDS: u32 = 18;
    let mut scene = scene(90_000)?;
    scene.pipeline.start_all(&DISPATCHERS, WITHIN)?;
    let load = scene.load()?;
    moves(&mut scene)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed(SEED)?);
    for round in 0..ROUNDS {
        let instance = DISPATCHERS[rng.random_range(0..DISPATCHERS.len())];
        let in_order = rng.random_bool(0.5);
        if in_order {
            scene.pipeline.stop(instance)?;
        } else {
            scene.pipeline.kill9(instance)?;
        }
        // Sometimes before the group knows, sometimes long after.
        pause(Duration::from_millis(rng.random_range(0..3_000)));
        scene.pipeline.start(instance)?;
        pause(Duration::from_millis(rng.random_range(0..1_500)));
        let how = if in_order { "left" } else { "was killed" };
        eprintln!(
            "round {round}: {instance} {how}, {} resolved",
            scene.progress.resolved()?
        );
    }
    ensure!(!load.is_finished(), "the load was too short");
    moves(&mut scene)?;
    wait_for_shares(&scene.pipeline, WITHIN, |shares| {
        shares.iter().all(|share| *share > 0)
    })?;
    ends_right(&mut scene, load)?;
    for instance in DISPATCHERS {
        scene.pipeline.stop(instance)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_stalled_dispatcher_comes_back_harmless_and_works_again() -> Result<()> {
    let mut scene = scene(90_000)?;
    let [stalled, other, stalled_static] = DISPATCHERS;
    scene.pipeline.start_all(&[stalled, other], WITHIN)?;
    wait_for_shares(&scene.pipeline, WITHIN, |shares| shares == [2, 2, 0])?;
    let load = scene.load()?;
    for _ in 0..2 {
        stalls(&mut scene, stalled, |shares| shares[0] == 0)?;
        wait_for_shares(&scene.pipeline, WITHIN, |shares| shares == [2, 2, 0])?;
    }
    scene.pipeline.start_ready(stalled_static, WITHIN)?;
    wait_for_shares(&scene.pipeline, WITHIN, |shares| {
        shares.iter().all(|share| *share > 0)
    })?;
    stalls(&mut scene, stalled_static, |shares| shares[2] == 0)?;
    wait_for_shares(&scene.pipeline, WITHIN, |shares| shares[2] > 0)?;
    // Those that stalled do it alone.
    scene.pipeline.stop(other)?;
    wait_for_shares(&scene.pipeline, WITHIN, |shares| shares == [2, 0, 2])?;
    ensure!(!load.is_finished(), "the load was too short");
    moves(&mut scene)?;
    ends_right(&mut scene, load)?;
    for instance in [stalled, stalled_static] {
        let log = scene.pipeline.process(instance)?.log()?;
        ensure!(
            log.contains("partitions lost"),
            "{instance} noticed nothing: {log}"
        );
        scene.pipeline.stop(instance)?;
    }
    Ok(())
}

/// Frozen in the middle of its work until the others have its partitions and have gone on with them; then it goes on with what it had in mind.
fn stalls(scene: &mut Scene, instance: Instance, is_out: fn(&[usize]) -> bool) -> Result<()> {
    moves(scene)?;
    scene.pipeline.process(instance)?.sigstop()?;
    pause(SESSION);
    wait_for_shares(&scene.pipeline, WITHIN, is_out)?;
    moves(scene)?;
    scene.pipeline.process(instance)?.sigcont()?;
    moves(scene)
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn partitions_go_in_time_though_nobody_answers() -> Result<()> {
    let mut scene = scene(12_000)?;
    let [first, second, _] = DISPATCHERS;
    scene.pipeline.start_ready(first, WITHIN)?;
    let load = scene.load()?;
    moves(&mut scene)?;
    // From now on nothing that is in flight is answered.
    Operator(&scene.pipeline).does(&["drain"])?;
    let begun = Instant::now();
    scene.pipeline.start(second)?;
    wait_for_shares(&scene.pipeline, DRAIN + REBALANCED_WITHIN, |shares| {
        shares == [2, 2, 0]
    })?;
    eprintln!("shared after {:?}", begun.elapsed());
    let log = scene.pipeline.process(first)?.log()?;
    ensure!(
        log.contains("drained=false"),
        "nothing was in flight: {log}"
    );
    Operator(&scene.pipeline).does(&["resume"])?;
    ends_right(&mut scene, load)?;
    Ok(())
}
