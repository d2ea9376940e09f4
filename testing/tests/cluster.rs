//! The cluster shape: one process per role over gRPC, each killed in turn, and two of a role at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use rtf_synth::{CLICKS, Clicks, ClicksParams};
use rtf_testing::{
    Instance, Load, Pipeline, PipelineOptions, Progress, Role, Servers, http, wait_until,
};

const PAIRS: u64 = 60_000;
const PAIRS_PER_SECOND: u32 = 1_500;
const SEED: u64 = 4;
const READY_WITHIN: Duration = Duration::from_secs(60);
const MOVES_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(180);

/// Who has a second process for a while.
const DOUBLED: [Role; 4] = [
    Role::Registry,
    Role::Joiner,
    Role::Dispatcher,
    Role::Publisher,
];

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_event_ends_once_though_every_role_is_killed_and_doubled() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, 4)?;
    let checker = servers.checker(CLICKS);
    let mut progress = servers.progress(CLICKS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions {
        is_cluster: true,
        ..PipelineOptions::new(CLICKS)
    })?;
    let clicks = Clicks::new(ClicksParams {
        seed: SEED,
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        ..ClicksParams::default()
    });

    for role in Role::EACH {
        pipeline.start(Instance(role, 0))?;
    }
    for role in Role::EACH {
        pipeline.wait_ready(Instance(role, 0), READY_WITHIN)?;
    }
    let load = Load::start(checker.settings(), CLICKS, clicks.events())?;
    wait_until_it_moves(&mut progress)?;
    for role in Role::EACH {
        kill_and_restart(&mut pipeline, &mut progress, role)?;
    }
    for role in DOUBLED {
        pipeline.start_ready(Instance(role, 1), READY_WITHIN)?;
    }
    wait_until_it_moves(&mut progress)?;
    // Now the second ones must do it alone.
    for role in DOUBLED {
        pipeline.kill9(Instance(role, 0))?;
    }
    wait_until_it_moves(&mut progress)?;
    eprintln!(
        "the first are dead, the load is {}",
        if load.is_finished() { "over" } else { "on" }
    );
    for role in DOUBLED {
        pipeline.start_ready(Instance(role, 0), READY_WITHIN)?;
    }

    let tally = load.finish()?;
    progress.wait_resolved(tally.accepted(), DRAINED_WITHIN)?;
    progress.wait_rows(tally.joins, DRAINED_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)?;
    let checked = checker.check(clicks.expected())?;
    eprintln!("cluster: {checked:?}");
    verified(&pipeline, tally.joins)?;
    shown(&pipeline)?;
    stopped(&mut pipeline)
}

fn kill_and_restart(pipeline: &mut Pipeline, progress: &mut Progress, role: Role) -> Result<()> {
    let instance = Instance(role, 0);
    pipeline.kill9(instance)?;
    pipeline.start_ready(instance, READY_WITHIN)?;
    wait_until_it_moves(progress)?;
    eprintln!("{instance} came back at {} events", progress.resolved()?);
    Ok(())
}

fn wait_until_it_moves(progress: &mut Progress) -> Result<()> {
    let before = (progress.resolved()?, progress.rows()?);
    wait_until("events resolved and rows in Redis", MOVES_WITHIN, || {
        let moved = |progress: &mut Progress| {
            Ok(progress.resolved()? > before.0 && progress.rows()? > before.1)
        };
        moved(progress).map(|moved| moved.then_some(())).transpose()
    })?
}

fn verified(pipeline: &Pipeline, joined: u64) -> Result<()> {
    let verified = pipeline.rtf("verify", &["--json"])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    let report = verified.json()?;
    ensure!(report["joined"] == joined, "{report}");
    ensure!(report["lost"] == 0 && report["duplicated"] == 0, "{report}");
    let status = pipeline.rtf("status", &["--json"])?;
    ensure!(status.code() == 0, "rtf status: {}", status.output);
    Ok(())
}

/// The page of the cluster shape has the rows too.
fn shown(pipeline: &Pipeline) -> Result<()> {
    let rows = http::get(&format!("{}/api/rows?limit=10", pipeline.web()))?.into_body();
    let rows: serde_json::Value = serde_json::from_str(&rows)?;
    ensure!(
        rows["rows"].as_array().is_some_and(|rows| rows.len() == 10),
        "{rows}"
    );
    Ok(())
}

fn stopped(pipeline: &mut Pipeline) -> Result<()> {
    for role in Role::EACH {
        pipeline.stop(Instance(role, 0))?;
    }
    for role in DOUBLED {
        pipeline.stop(Instance(role, 1))?;
    }
    Ok(())
}
