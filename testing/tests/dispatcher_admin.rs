//! What an operator may do to dispatchers: look, pause, drain, have what waits tried now. With two of them and a token.

use anyhow::{Context, Result, ensure};
use rtf_synth::{CLICKS, ClicksParams, Share};
use rtf_testing::{
    Finished, Instance, Pipeline, PipelineOptions, Progress, Role, Scene, http, pause, wait_until,
};
use serde_json::Value;
use std::time::Duration;

const PAIRS: u64 = 16_000;
const PAIRS_PER_SECOND: u32 = 800;
const TOKEN: &str = "[admin]\ntoken = \"s3cret\"\n";
const DISPATCHERS: [Instance; 2] = [Instance(Role::Dispatcher, 0), Instance(Role::Dispatcher, 1)];
const OTHERS: [Instance; 3] = [
    Instance(Role::Registry, 0),
    Instance(Role::Joiner, 0),
    Instance(Role::Publisher, 0),
];
const READY_WITHIN: Duration = Duration::from_secs(60);
const MOVES_WITHIN: Duration = Duration::from_secs(30);
/// Long against what an event takes, so that silence says something.
const SILENCE: Duration = Duration::from_secs(1);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn an_operator_looks_after_two_dispatchers() -> Result<()> {
    let options = PipelineOptions {
        is_cluster: true,
        dispatchers: 2,
        registries: 1,
        more: TOKEN.into(),
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::per_thousand(100),
        orphans: Share::NONE,
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks)?;
    for instance in DISPATCHERS {
        // Far apart, so that what waits does so until it is woken or hurried.
        for key in ["join.wait.retry_initial", "join.wait.retry_max"] {
            scene.pipeline.set(instance, key, "60s");
        }
    }
    let all = [OTHERS.as_slice(), &DISPATCHERS].concat();
    scene.pipeline.start_all(&all, READY_WITHIN)?;
    both_have_a_share(&scene.pipeline)?;

    let load = scene.load()?;
    moves(&mut scene.progress)?;
    the_token_is_asked_for(&scene.pipeline)?;
    one_is_paused(&scene.pipeline, &mut scene.progress)?;
    all_are_drained(&scene.pipeline, &mut scene.progress)?;
    ensure!(!load.is_finished(), "the load was too short");
    moves(&mut scene.progress)?;
    what_waits_is_tried(&scene.pipeline)?;
    let tally = load.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    scene.verified(&checked, &tally)?;
    all_is_shown(&scene.pipeline, tally.foreign_records())?;
    each_reads_its_share_again(&scene.pipeline, tally.foreign_records())?;
    ensure!(scene.check()? == checked, "the replay changed something");
    Ok(())
}

fn operator(pipeline: &Pipeline, arguments: &[&str]) -> Result<Finished> {
    pipeline.rtf("dispatcher", arguments)
}

/// What each dispatcher says to a command that must be done.
fn does(pipeline: &Pipeline, arguments: &[&str]) -> Result<Vec<Value>> {
    let finished = operator(pipeline, &[arguments, &["--json"]].concat())?;
    let done = finished.done().with_context(|| format!("{arguments:?}"))?;
    let dispatchers = done["dispatchers"].as_array();
    Ok(dispatchers.with_context(|| done.to_string())?.clone())
}

fn refuses(pipeline: &Pipeline, arguments: &[&str], words: &str) -> Result<()> {
    let finished = operator(pipeline, arguments)?;
    let output = &finished.output;
    ensure!(finished.code() == 1, "{arguments:?} did: {output}");
    ensure!(output.contains(words), "no `{words}` in: {output}");
    Ok(())
}

fn shares(pipeline: &Pipeline) -> Result<Vec<usize>> {
    let dispatchers = does(pipeline, &["status"])?;
    let partitions = |d: &Value| d["partitions"].as_array().map_or(0, Vec::len);
    Ok(dispatchers.iter().map(partitions).collect())
}

fn both_have_a_share(pipeline: &Pipeline) -> Result<()> {
    wait_until("both have partitions", MOVES_WITHIN, || {
        shares(pipeline)
            .is_ok_and(|shares| shares == [2, 2])
            .then_some(())
    })
}

fn moves(progress: &mut Progress) -> Result<()> {
    let before = progress.resolved()?;
    wait_until("more events are resolved", MOVES_WITHIN, || {
        progress
            .resolved()
            .is_ok_and(|now| now > before)
            .then_some(())
    })
}

fn the_token_is_asked_for(pipeline: &Pipeline) -> Result<()> {
    let wrong = "--set=admin.token=s3cre";
    for command in [
        ["pause"].as_slice(),
        &["resume"],
        &["drain"],
        &["retry-now", "--all"],
        &["log-level", "debug"],
    ] {
        refuses(
            pipeline,
            &[command, &[wrong]].concat(),
            "this is not the [admin].token",
        )?;
    }
    // There is nothing to go back from before the first commit.
    let replay = ["replay", "--to-earliest", "--execute", wrong];
    let refused = || refuses(pipeline, &replay, "this is not the [admin].token").ok();
    wait_until("a replay refused", MOVES_WITHIN, refused)?;
    // Looking is free.
    let status = operator(pipeline, &["status", wrong])?;
    ensure!(status.code() == 0, "{}", status.output);
    Ok(())
}

fn one_is_paused(pipeline: &Pipeline, progress: &mut Progress) -> Result<()> {
    let url = format!("http://127.0.0.1:{}", pipeline.port(Role::Dispatcher, 0));
    let endpoint = ["--endpoint", url.as_str()];
    let paused = does(pipeline, &[["pause"].as_slice(), &endpoint].concat())?;
    ensure!(
        paused.len() == 1 && paused[0]["was_paused"] == false,
        "{paused:?}"
    );
    refuses(pipeline, &["status"], "paused by an operator")?;
    let next = |pipeline: &Pipeline| {
        let status = operator(
            pipeline,
            &[["status", "--json"].as_slice(), &endpoint].concat(),
        )?
        .json()?;
        let partitions = status["dispatchers"][0]["partitions"].as_array().cloned();
        let next = |p: &Value| p["next"].as_u64().unwrap_or_default();
        anyhow::Ok(
            partitions
                .context("partitions")?
                .iter()
                .map(next)
                .sum::<u64>(),
        )
    };
    pause(SILENCE);
    let before = next(pipeline)?;
    moves(progress)?;
    pause(SILENCE);
    ensure!(next(pipeline)? == before, "it read on while it was paused");
    does(pipeline, &["resume"])?;
    wait_until("it reads on", MOVES_WITHIN, || {
        next(pipeline).is_ok_and(|now| now > before).then_some(())
    })
}

/// Nothing is registered while all are drained, and what is done is committed.
fn all_are_drained(pipeline: &Pipeline, progress: &mut Progress) -> Result<()> {
    for drained in does(pipeline, &["drain"])? {
        ensure!(drained["pending"] == 0, "{drained}");
    }
    let before = progress.logged_events()?;
    pause(SILENCE);
    ensure!(
        progress.logged_events()? == before,
        "it went on while drained"
    );
    let status = operator(pipeline, &["status", "--json"])?.json()?;
    for dispatcher in status["dispatchers"].as_array().context("dispatchers")? {
        ensure!(
            dispatcher["paused"] == true && dispatcher["in_flight"] == 0,
            "{dispatcher}"
        );
        for partition in dispatcher["partitions"].as_array().context("partitions")? {
            ensure!(partition["mark"] == partition["position"], "{partition}");
        }
    }
    for instance in DISPATCHERS {
        let ready = http::get(&format!("{}/readyz", pipeline.health(instance)))?;
        let body = ready.body();
        ensure!(
            ready.status() == 503 && body.contains("paused by an operator"),
            "{body}"
        );
    }
    does(pipeline, &["resume"])?;
    let again = operator(pipeline, &["resume"])?;
    ensure!(
        again.output.matches("was not paused").count() == 2,
        "{}",
        again.output
    );
    Ok(())
}

fn what_waits_is_tried(pipeline: &Pipeline) -> Result<()> {
    for (which, least) in [
        (["--key", "nobody"].as_slice(), 0),
        (&["--id", "nobody"], 0),
        (&["--all"], 1),
    ] {
        let hurried = || {
            let tried = does(pipeline, &[["retry-now"].as_slice(), which].concat()).ok()?;
            let events = tried
                .iter()
                .filter_map(|d| d["events"].as_u64())
                .sum::<u64>();
            (events >= least).then_some(events)
        };
        let events = wait_until(&format!("{which:?} tried"), MOVES_WITHIN, hurried)?;
        ensure!(least > 0 || events == 0, "{which:?}: {events}");
    }
    let usage = operator(pipeline, &["retry-now"])?;
    ensure!(usage.code() == 64, "{}", usage.output);
    Ok(())
}

fn each_reads_its_share_again(pipeline: &Pipeline, records: u64) -> Result<()> {
    let back = [
        "--to-earliest",
        "--running",
        "--execute",
        "--watch",
        "--json",
    ];
    let first = format!("http://127.0.0.1:{}", pipeline.port(Role::Dispatcher, 0));
    let half = pipeline.rtf(
        "replay",
        &[back.as_slice(), &["--endpoint", &first]].concat(),
    )?;
    let report = half.json()?;
    ensure!(
        half.code() == 1 && report["executed"] == false,
        "{}",
        half.output
    );
    let failures = report["failures"].to_string();
    ensure!(failures.contains("did not go back"), "{failures}");
    let found = report["caught_up"]["tally"]["already_resolved"].as_u64();
    ensure!(found > Some(0) && found < Some(records), "{report}");

    let report = pipeline.rtf("replay", &back)?.done()?;
    let found = &report["caught_up"]["tally"]["already_resolved"];
    ensure!(report["executed"] == true && *found == records, "{report}");
    Ok(())
}

fn all_is_shown(pipeline: &Pipeline, records: u64) -> Result<()> {
    // Ends are asked for every few seconds.
    wait_until("all is read and committed", MOVES_WITHIN, || {
        let dispatchers = does(pipeline, &["status"]).ok()?;
        let partitions = dispatchers
            .iter()
            .filter_map(|d| d["partitions"].as_array());
        let partitions: Vec<&Value> = partitions.flatten().collect();
        let ends = partitions
            .iter()
            .filter(|p| p["mark"] == p["end"] && p["lag"] == 0);
        let end: Option<u64> = ends.map(|p| p["end"].as_u64()).sum();
        (end? == records && partitions.len() == 4).then_some(())
    })?;
    let status = operator(pipeline, &["status"])?;
    eprintln!("{}", status.output);
    for word in [
        "POSITION",
        "MARK",
        "IN FLIGHT",
        "less than 1s",
        "1h and more",
        "already resolved",
        "ready",
    ] {
        ensure!(
            status.output.contains(word),
            "no `{word}`: {}",
            status.output
        );
    }
    let registry = format!("http://127.0.0.1:{}", pipeline.port(Role::Registry, 0));
    refuses(
        pipeline,
        &["status", "--endpoint", &registry],
        "this is a registry, not a dispatcher",
    )?;
    refuses(
        pipeline,
        &["retry-now", "--all", "--endpoint", &registry],
        "RetryNow is for a dispatcher, and this is a registry",
    )
}
