//! What the registry forgets is never joined a second time: a horizon of seconds passes, then everything is read again.

use anyhow::{Result, ensure};
use rtf_synth::{CLICKS, ClicksParams, Share};
use rtf_testing::{Instance, Pipeline, PipelineOptions, Role, Scene, http};
use std::time::Duration;

const PAIRS: u64 = 3000;
const PAIRS_PER_SECOND: u32 = 1000;
/// Buckets of a second; everything is forgotten about half a minute after it was registered.
const HORIZON: &str = "12s";
const ALL: Instance = Instance(Role::All, 0);
const READY_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_is_forgotten_is_not_joined_again() -> Result<()> {
    let options = PipelineOptions {
        wait_max: "3s",
        horizon: HORIZON,
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        count: PAIRS,
        per_second: PAIRS_PER_SECOND.try_into()?,
        late: Share::NONE,
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks)?;
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    let tally = scene.load()?.finish()?;
    scene.drained(&tally)?;
    scene.check()?;
    let rows = scene.checker.rows()?;
    let logged = scene.progress.logged_events()?;

    let url = scene.pipeline.health(ALL);
    scene.pipeline.wait_forgotten(ALL, FORGOTTEN_WITHIN)?;
    let forgotten = http::metric(&url, "rtf_registry_forgotten_total", "")?;
    ensure!(
        forgotten as u64 == tally.accepted(),
        "{forgotten} ids forgotten, {} were registered",
        tally.accepted()
    );

    let log = scene.pipeline.process(ALL)?.log()?;
    ensure!(log.contains("a bucket is sealed"), "no bucket was sealed");
    ensure!(
        log.contains("forgotten buckets are removed"),
        "nothing was removed from disk"
    );

    // Everything once more: recognised by its position, though no id is remembered.
    scene.read_again(ALL)?;
    let too_old = http::metric(&url, "rtf_dispatcher_events_total", "too_old")?;
    ensure!(
        too_old as u64 == tally.foreign_records(),
        "{too_old} too old, of {} records",
        tally.foreign_records()
    );
    // Also the events that never had a partner: the look-up says so, and none waits in vain once more.
    let retries = http::metric(&url, "rtf_dispatcher_retries_total", "")?;
    ensure!(retries == 0.0, "{retries} retries of what is forgotten");
    ensure!(
        scene.progress.logged_events()? == logged,
        "the log has new events"
    );
    ensure!(scene.checker.rows()? == rows, "rows have changed");

    // The same events sent again, at new offsets, after their time: new events, each with a row of its own.
    let again = scene.load()?.finish()?;
    let joins = tally.joins + again.joins;
    scene.progress.wait_rows(joins, DRAINED_WITHIN)?;
    scene.progress.wait_committed(DRAINED_WITHIN)?;
    verified(&scene.pipeline)?;
    let rows = scene.checker.rows()?;

    // A registry that starts from nothing forgets alike, and Redis is filled again from what the log still has.
    scene.pipeline.kill9(ALL)?;
    scene.pipeline.delete_registry_data(0)?;
    scene.servers.redis.flushall()?;
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    scene.progress.wait_rows(joins, DRAINED_WITHIN)?;
    ensure!(scene.checker.rows()? == rows, "other rows were filled in");
    scene.pipeline.wait_forgotten(ALL, FORGOTTEN_WITHIN)
}

/// The product's own proof knows what was forgotten.
fn verified(pipeline: &Pipeline) -> Result<()> {
    let verified = pipeline.rtf("verify", &["--json"])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    Ok(())
}
