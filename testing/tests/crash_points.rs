//! The registry is killed at every step that has a name, under load, and loses nothing (RULE 36).

use anyhow::{Context, Result, ensure};
use rtf_synth::{CLICKS, Clicks, ClicksParams, Share};
use rtf_testing::{Instance, Load, Pipeline, PipelineOptions, Role, Servers};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

/// Where it dies. Every step of the source must be here, see below.
const STEPS: &[&str] = &[
    "registry-before-append",
    "registry-after-append",
    "registry-before-commit",
    "registry-after-commit",
    "registry-between-buckets",
    "registry-before-answer",
    "registry-before-sealed",
    "registry-after-sealed",
    "registry-before-removal",
    "registry-stopping",
];
/// And here, while the log is split: each step with the count that is asked for.
const SPLIT_STEPS: &[(&str, u32)] = &[
    ("registry-split-wished", 4),
    ("registry-between-epochs", 8),
    ("registry-before-split", 16),
    ("registry-after-split", 32),
];
const PARTITIONS: u32 = 2;
const PAIRS: u64 = 50_000;
const PAIRS_PER_SECOND: u32 = 500;
/// Buckets of a second: there is always one to be sealed and one to be removed.
const HORIZON: &str = "12s";
const SIGKILL: i32 = 9;
const REGISTRY: Instance = Instance(Role::Registry, 0);
const READY_WITHIN: Duration = Duration::from_secs(60);
const DIES_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(180);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn killed_at_every_step_it_loses_nothing() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&CLICKS, 4)?;
    let checker = servers.checker(CLICKS);
    let mut progress = servers.progress(CLICKS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions {
        partitions: PARTITIONS,
        wait_max: "3s",
        horizon: HORIZON,
        is_cluster: true,
        registries: 1,
        ..PipelineOptions::new(CLICKS)
    })?;
    let clicks = Clicks::new(ClicksParams {
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::NONE,
        ..ClicksParams::default()
    });
    for role in Role::EACH {
        pipeline.start(Instance(role, 0))?;
    }
    let load = Load::start(checker.settings(), CLICKS, clicks.events())?;
    for step in STEPS {
        pipeline.wait_ready(REGISTRY, READY_WITHIN)?;
        pipeline.kill9(REGISTRY)?;
        pipeline.crash_at(REGISTRY, step);
        pipeline.start(REGISTRY)?;
        if *step == "registry-stopping" {
            pipeline.wait_ready(REGISTRY, READY_WITHIN)?;
            pipeline.process(REGISTRY)?.sigterm()?;
        }
        dies(&mut pipeline, step)?;
        pipeline.start(REGISTRY)?;
    }
    for (step, partitions) in SPLIT_STEPS {
        pipeline.wait_ready(REGISTRY, READY_WITHIN)?;
        // An orderly end, else the split before may be applied again and be the step.
        pipeline.stop(REGISTRY)?;
        pipeline.crash_at(REGISTRY, step);
        pipeline.start_ready(REGISTRY, READY_WITHIN)?;
        let interrupted = split(&pipeline, *partitions)?;
        ensure!(interrupted != 0, "{step}: the split was not interrupted");
        dies(&mut pipeline, step)?;
        pipeline.start_ready(REGISTRY, READY_WITHIN)?;
        ensure!(split(&pipeline, *partitions)? == 0, "{step}: not finished");
    }
    let tally = load.finish()?;
    progress.wait_resolved(tally.accepted(), DRAINED_WITHIN)?;
    progress.wait_rows(tally.joins, DRAINED_WITHIN)?;
    progress.wait_committed(DRAINED_WITHIN)?;
    let checked = checker.check(clicks.expected())?;
    eprintln!("{checked:?}");
    let verified = pipeline.rtf("verify", &["--json"])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    Ok(())
}

/// Waits for the kill, and for nothing else.
fn dies(pipeline: &mut Pipeline, step: &str) -> Result<()> {
    let registry = pipeline.process(REGISTRY)?;
    let status = registry
        .wait(DIES_WITHIN)
        .with_context(|| format!("{step} was not reached"))?;
    ensure!(
        status.signal() == Some(SIGKILL),
        "{step}: it ended otherwise ({status}):\n{}",
        registry.log()?
    );
    eprintln!("killed at {step}");
    Ok(())
}

/// The command's exit code.
fn split(pipeline: &Pipeline, partitions: u32) -> Result<i32> {
    let partitions = format!("--partitions={partitions}");
    Ok(pipeline.rtf("registry", &["split", &partitions])?.code())
}

#[test]
fn every_step_of_the_source_is_tried() -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry/src");
    let mut named = BTreeSet::new();
    for file in fs::read_dir(source)? {
        let text = fs::read_to_string(file?.path())?;
        let calls = text.split("crash::point(\"").skip(1);
        named.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
    }
    let split = SPLIT_STEPS.iter().map(|(step, _)| step);
    let tried = STEPS.iter().chain(split).map(|step| (*step).to_owned());
    ensure!(!named.is_empty() && named == tried.collect(), "{named:?}");
    Ok(())
}
